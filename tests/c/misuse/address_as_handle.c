/* Some address is passed as a handle. */
#include "../misuse.h"

int main(void)
{
    char memory[64] = "no instance";

    EXPECT(EBADF, scstu_start, ((struct scstu *)(void *)memory), "not one that scstu_new gave");
    EXPECT(EBADF, scstu_free, ((struct scstu *)(void *)memory), "not one that scstu_new gave");
    return done(made());
}
