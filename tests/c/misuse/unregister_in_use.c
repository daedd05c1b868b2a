/* A handler goes while it has devices. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    EXPECT(EBUSY, scstu_backstore_unregister, (handle, "plain"), "device disk is of handler plain");
    GOOD(scstu_remove_device(handle, "disk"));
    GOOD(scstu_backstore_unregister(handle, "plain"));
    TRUE(released == 1);
    EXPECT(ENOENT, scstu_backstore_unregister, (handle, "plain"), "there is no handler plain");
    return done(handle);
}
