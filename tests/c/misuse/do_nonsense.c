/* A command that there is not. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_do, (handle, "handlers/vdisk_ram", "invent disk"), "invent");
    EXPECT(ENOENT, scstu_do, (handle, "handlers/vdisk_tape", "add_device disk"), "vdisk_tape");
    EXPECT(EINVAL, scstu_do, (handle, "handlers/vdisk_ram", NULL), "command is NULL");
    return done(handle);
}
