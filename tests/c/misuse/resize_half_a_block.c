/* A size that is no multiple of the block size. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    EXPECT(EINVAL, scstu_resize_device, (handle, "disk", 1000), "1000");
    return done(handle);
}
