/* A configuration with a misspelt word: line and column are told. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_load, (handle, "HANDLER vdisk_ram {\n  DEVCE disk {\n }\n}\n", 0), "2:");
    TRUE(strstr(scstu_error(), "DEVCE"));
    EXPECT(EINVAL, scstu_load, (handle, NULL, 0), "text is NULL");
    EXPECT(EINVAL, scstu_load, (handle, "", 9), "flags 0x9");
    return done(handle);
}
