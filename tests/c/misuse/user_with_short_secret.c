/* A CHAP secret that is too short, which the error does not tell. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    GOOD(scstu_add_target(handle, TARGET));
    TRUE(scstu_add_user(handle, TARGET, SCSTU_USER_INCOMING, "joe", "short") == -EINVAL);
    TRUE(strstr(scstu_error(), "12") && !strstr(scstu_error(), "short"));
    EXPECT(EINVAL, scstu_add_user, (handle, TARGET, 3, "joe", "123456789012"), "kind 3");
    EXPECT(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "j e", "123456789012"), "j e");
    EXPECT(ENOENT, scstu_remove_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe"), "joe");
    GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_INCOMING, "joe", "123456789012"));
    GOOD(scstu_remove_user(handle, TARGET, SCSTU_USER_INCOMING, "joe"));
    return done(handle);
}
