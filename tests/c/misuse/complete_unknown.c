/* A command that never was is completed. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOENT, scstu_complete, (0, 0), "there is no command");
    EXPECT(ENOENT, scstu_complete, (0x100000001, 0), "there is no command 0x100000001");
    EXPECT(EINVAL, scstu_complete, (1, 5), "result 5 is not 0 or a negative errno");
    return done(handle);
}
