/* Groups and initiators that are not there. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(ENOENT, scstu_add_group, (handle, TARGET, "group"), "there is no target");
    GOOD(scstu_add_target(handle, TARGET));
    EXPECT(ENOENT, scstu_add_initiator, (handle, TARGET, "group", "iqn.*"), "there is no group group");
    GOOD(scstu_add_group(handle, TARGET, "group"));
    EXPECT(ENOENT, scstu_remove_initiator, (handle, TARGET, "group", "iqn.*"), "there is no initiator iqn.*");
    EXPECT(EINVAL, scstu_add_initiator, (handle, TARGET, "group", NULL), "initiator is NULL");
    GOOD(scstu_add_initiator(handle, TARGET, "group", "iqn.*"));
    GOOD(scstu_remove_initiator(handle, TARGET, "group", "iqn.*"));
    GOOD(scstu_remove_group(handle, TARGET, "group"));
    EXPECT(ENOENT, scstu_remove_group, (handle, TARGET, "group"), "there is no group group");
    return done(handle);
}
