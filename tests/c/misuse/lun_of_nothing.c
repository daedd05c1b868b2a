/* A LUN of a device that is not there. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOENT, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 0), "there is no target " TARGET);
    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(ENOENT, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 0), "there is no device disk");
    EXPECT(ENOENT, scstu_add_lun, (handle, TARGET, "group", 0, "disk", 0), "there is no group group");
    EXPECT(ENOENT, scstu_remove_lun, (handle, TARGET, NULL, 0), "there is no LUN 0");
    EXPECT(ENOENT, scstu_remove_lun, (handle, TARGET, "group", 0), "there is no group group");
    return done(handle);
}
