/* An attribute that cannot be set, and one that is given when the device is made. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    EXPECT(EIO, scstu_set, (handle, "devices/disk/type", "1"), "/devices/disk/type cannot be written");
    EXPECT(EIO, scstu_set, (handle, "devices/disk/blocksize", "512"), "/devices/disk/blocksize cannot be written");
    EXPECT(EINVAL, scstu_set, (handle, "handlers/vdisk_ram/mgmt", "add_device x"), "takes commands, no value");
    return done(handle);
}
