/* A LUN of a device that is not there. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(ENOENT, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 0), "disk");
    EXPECT(ENOENT, scstu_add_lun, (handle, TARGET, "group", 0, "disk", 0), "");
    EXPECT(ENOENT, scstu_remove_lun, (handle, TARGET, NULL, 0), "");
    return done(handle);
}
