/* A parameter that the handler does not have. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M; colour=red"),
           "vdisk_ram has no attribute colour; there are ");
    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M; =red"), "has no attribute ;");
    return done(handle);
}
