/* A name that cannot be. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.context = &ops;
    ops.free_context = release;
    ops.name = "two words";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "\"two words\" is no name of a handler");
    ops.name = NULL;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "name is NULL");
    TRUE(released == 2);
    return done(handle);
}
