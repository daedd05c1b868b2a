/* A parameter without a value. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size"), "NAME=VALUE");
    return done(handle);
}
