/* What a program puts into a text comes back in one line, of a length that is known; commands are one line. */
#include "../misuse.h"

int main(void)
{
    static char long_name[1 << 20];
    struct scstu *handle = with_device();

    EXPECT(EINVAL, scstu_do, (handle, "handlers/vdisk_ram", "add_device a size=1M\nadd_device b size=1M"),
           "one line");
    EXPECT(ENOENT, scstu_remove_device, (handle, "a"), "a");
    GOOD(scstu_do(handle, "handlers/vdisk_ram", "add_device a size=1M\n"));
    EXPECT(ENOENT, scstu_get, (handle, "no\nsuch\001path", NULL, 0, NULL), "no\\nsuch\\u{1}path");
    memset(long_name, 'x', sizeof long_name - 1);
    EXPECT(ENOENT, scstu_get, (handle, long_name, NULL, 0, NULL), "xxx...");
    TRUE(strlen(scstu_error()) <= 4096);
    return done(handle);
}
