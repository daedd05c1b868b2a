/* A device is given a parameter twice. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "two", "size=1M; read_only=0; size=2M"),
           "size is given twice");
    EXPECT(EINVAL, scstu_do, (handle, "handlers/vdisk_ram", "add_device two size=1M; SIZE=1M"),
           "size is given twice");
    EXPECT(EINVAL, scstu_load,
           (handle, "HANDLER vdisk_ram {\n DEVICE two {\n  size 1M\n  size 2M\n }\n}\n", 0), "size");
    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(EINVAL, scstu_do,
           (handle, "targets/iscsi/" TARGET "/luns", "add disk 0 read_only=1; read_only=0"),
           "read_only is given twice");
    EXPECT(EINVAL, scstu_do,
           (handle, "targets/iscsi", "add_target " TARGET ":two MaxBurstLength=65536; maxburstlength 8192"),
           "MaxBurstLength is given twice");
    EXPECT(ENOENT, scstu_remove_device, (handle, "two"), "two");
    return done(handle);
}
