/* An instance is started after it was stopped. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_stop(handle, 0));
    EXPECT(ESHUTDOWN, scstu_start, (handle), "make a new one");
    EXPECT(ESHUTDOWN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0), "stopped");
    return done(handle);
}
