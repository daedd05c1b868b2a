/* An address without port, a name instead of an address. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(EINVAL, scstu_listen, (handle, "127.0.0.1", NULL, 0), "\"127.0.0.1\" is no address");
    EXPECT(EINVAL, scstu_listen, (handle, "localhost:3260", NULL, 0), "is no address");
    return done(handle);
}
