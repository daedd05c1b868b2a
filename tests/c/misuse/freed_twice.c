/* A handle is freed twice. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_free(handle));
    EXPECT(EBADF, scstu_free, (handle), "freed");
    return done(made());
}
