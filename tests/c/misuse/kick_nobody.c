/* A session that is not there is closed. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(ENOENT, scstu_kick, (handle, 4711), "there is no session 4711");
    return done(handle);
}
