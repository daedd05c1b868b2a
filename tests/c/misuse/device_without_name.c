/* A string is NULL. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", NULL, NULL), "name is NULL");
    EXPECT(EINVAL, scstu_add_device, (handle, NULL, "disk", NULL), "handler is NULL");
    return done(handle);
}
