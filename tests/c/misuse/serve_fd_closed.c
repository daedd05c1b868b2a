/* A descriptor that is not open. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(EBADF, scstu_serve_fd, (handle, -1), "descriptor -1");
    EXPECT(EBADF, scstu_serve_fd, (handle, 1000), "descriptor 1000");
    return done(handle);
}
