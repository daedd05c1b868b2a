/* A buffer that is too short stays as it is. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = with_device();
    char buffer[4] = "abc";
    size_t need = 0;

    EXPECT(ERANGE, scstu_get, (handle, "devices/disk/size", buffer, sizeof buffer, &need), "8 are needed");
    TRUE(need == 8 && !strcmp(buffer, "abc"));
    EXPECT(EINVAL, scstu_get, (handle, "devices/disk/size", NULL, 4, &need), "buffer is NULL, its length 4");
    EXPECT(EINVAL, scstu_get, (handle, "devices/disk/size", NULL, 0, NULL), "buffer and need are NULL");
    GOOD(scstu_get(handle, "devices/disk/size", NULL, 0, &need));
    return done(handle);
}
