/* A portal is opened too early. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOTCONN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0), "not started");
    return done(handle);
}
