/* Functions of another version. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    ops.version = 2;
    EXPECT(ENOTSUP, scstu_backstore_register, (handle, &ops), "version is 2; this library has 1");
    TRUE(released == 1);
    return done(handle);
}
