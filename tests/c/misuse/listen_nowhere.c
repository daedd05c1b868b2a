/* No address at all. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(EINVAL, scstu_listen, (handle, NULL, NULL, 0), "portal is NULL");
    return done(handle);
}
