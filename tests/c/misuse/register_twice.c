/* Two handlers of one name; every context is released once. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EEXIST, scstu_backstore_register, (handle, &ops), "there is a handler plain already");
    TRUE(released == 1);
    ops.name = "vdisk_fileio";
    EXPECT(EEXIST, scstu_backstore_register, (handle, &ops), "vdisk_fileio");
    TRUE(released == 2);
    if (done(handle))
        return 1;
    return released != 3;
}
