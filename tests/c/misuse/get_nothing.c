/* A path that leads nowhere, or to an object. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    char buffer[64];

    EXPECT(ENOENT, scstu_get, (handle, "devices/disk/size", buffer, sizeof buffer, NULL), "devices/disk");
    EXPECT(EISDIR, scstu_get, (handle, "devices", buffer, sizeof buffer, NULL), "devices is a directory");
    EXPECT(EINVAL, scstu_get, (handle, NULL, buffer, sizeof buffer, NULL), "path is NULL");
    return done(handle);
}
