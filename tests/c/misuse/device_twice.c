/* Two devices of one name. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    EXPECT(EEXIST, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M"), "disk");
    return done(handle);
}
