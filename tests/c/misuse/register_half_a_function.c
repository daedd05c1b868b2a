/* A table of functions ends within one of them. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.size = offsetof(struct scstu_backstore_ops, flush) + 4;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "its size must be sizeof");
    return done(handle);
}
