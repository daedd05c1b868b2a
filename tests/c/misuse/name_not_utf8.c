/* A string is not UTF-8. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_target, (handle, "iqn.2026-01.test:\xff"), "not UTF-8 (at byte 17)");
    return done(handle);
}
