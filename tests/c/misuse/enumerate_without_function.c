/* Nobody takes what is asked for. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(EINVAL, scstu_portals, (handle, NULL, NULL), "the function is NULL");
    EXPECT(EINVAL, scstu_sessions, (handle, NULL, NULL), "the function is NULL");
    return done(handle);
}
