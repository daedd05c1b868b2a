/* A handler that cannot read. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    ops.read = NULL;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "read and submit are NULL");
    TRUE(released == 1);
    return done(handle);
}
