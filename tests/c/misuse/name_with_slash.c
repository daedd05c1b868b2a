/* A name that would be a path. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_nullio", "a/b", NULL), "a/b");
    return done(handle);
}
