/* No place for the figures. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_read_statistics, (handle, NULL), "struct scstu_statistics is NULL");
    EXPECT(ENOENT, scstu_read_device_statistics, (handle, "disk", NULL), "disk");
    return done(handle);
}
