/* No functions at all. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_backstore_register, (handle, NULL), "struct scstu_backstore_ops is NULL");
    return done(handle);
}
