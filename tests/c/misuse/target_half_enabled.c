/* A switch that is neither on nor off; a target that is not there. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(EINVAL, scstu_enable_target, (handle, TARGET, 2), "on is 2 and not 0 or 1");
    EXPECT(ENOENT, scstu_enable_target, (handle, "iqn.2026-01.test:other", 1), "iqn.2026-01.test:other");
    return done(handle);
}
