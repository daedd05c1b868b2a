/* A value that the attribute does not take. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_add_target(handle, TARGET));
    TRUE(scstu_set(handle, "targets/iscsi/" TARGET "/enabled", "maybe") == -EINVAL);
    TRUE(strstr(scstu_error(), "maybe"));
    EXPECT(EINVAL, scstu_set, (handle, "targets/iscsi/" TARGET "/enabled", NULL), "value is NULL");
    EXPECT(EINVAL, scstu_set, (handle, "targets/iscsi/mgmt", "x"), "takes commands");
    return done(handle);
}
