/* A struct too short to have what every handler needs: nothing of it is taken over. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    ops.size = offsetof(struct scstu_backstore_ops, read);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "its size must be sizeof");
    TRUE(released == 0);
    return done(handle);
}
