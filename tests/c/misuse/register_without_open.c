/* A handler that cannot open. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    ops.open = NULL;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "open is NULL");
    TRUE(released == 1);
    return done(handle);
}
