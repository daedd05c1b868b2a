/* A handler of the library is taken out. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EBUSY, scstu_backstore_unregister, (handle, "vdisk_ram"), "built in");
    return done(handle);
}
