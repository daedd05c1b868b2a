/* There is no such handler; the error names those that there are. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOENT, scstu_add_device, (handle, "vdisk_tape", "disk", NULL), "vdisk_fileio");
    return done(handle);
}
