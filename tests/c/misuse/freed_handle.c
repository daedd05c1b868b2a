/* A handle is used after it was freed. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_free(handle));
    EXPECT(EBADF, scstu_start, (handle), "freed");
    EXPECT(EBADF, scstu_add_target, (handle, TARGET), "freed");
    return done(made());
}
