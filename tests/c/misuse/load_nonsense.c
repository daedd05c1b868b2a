/* A configuration with a misspelt word: line and column are told. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_load, (handle, "HANDLER vdisk_ram {\n  DEVCE disk {\n }\n}\n"), "2:");
    TRUE(strstr(scstu_error(), "DEVCE"));
    EXPECT(EINVAL, scstu_load, (handle, NULL), "text is NULL");
    return done(handle);
}
