/* An attribute that cannot be set. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();

    TRUE(scstu_set(handle, "devices/disk/type", "1") < 0);
    TRUE(strstr(scstu_error(), "devices/disk/type"));
    return done(handle);
}
