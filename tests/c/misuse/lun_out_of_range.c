/* A LUN beyond those that there can be. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(EINVAL, scstu_add_lun, (handle, TARGET, NULL, 16384, "disk", 0), "16383");
    EXPECT(EINVAL, scstu_add_lun, (handle, TARGET, NULL, 70000, "disk", 0), "0 to 16383");
    return done(handle);
}
