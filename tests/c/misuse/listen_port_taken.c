/* The port is taken. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    char portal[64] = "";

    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    EXPECT(EADDRINUSE, scstu_listen, (handle, portal, NULL, 0), portal);
    return done(handle);
}
