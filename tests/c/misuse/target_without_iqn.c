/* A name that is no iSCSI name. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_add_target, (handle, "iqn.2026-01.test:two words"), "two words");
    return done(handle);
}
