/* A value that cannot be. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M; blocksize=700"), "700");
    return done(handle);
}
