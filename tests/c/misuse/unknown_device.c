/* A device that is not there. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOENT, scstu_resync_device, (handle, "disk", NULL), "there is no device disk");
    EXPECT(ENOENT, scstu_resize_device, (handle, "disk", 1 << 20), "disk");
    EXPECT(ENOENT, scstu_remove_device, (handle, "disk"), "disk");
    return done(handle);
}
