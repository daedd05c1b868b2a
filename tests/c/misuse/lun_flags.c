/* A flag that there is not. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(EINVAL, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 6), "flags 0x6");
    return done(handle);
}
