/* A configuration that stops in the middle. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_load, (handle, "HANDLER vdisk_ram {", 0), "1:");
    return done(handle);
}
