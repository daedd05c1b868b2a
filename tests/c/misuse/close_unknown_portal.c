/* A portal that is not open is closed. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(ENOENT, scstu_close_portal, (handle, "127.0.0.1:1"), "there is no portal 127.0.0.1:1");
    return done(handle);
}
