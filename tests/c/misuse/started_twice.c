/* An instance is started twice. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();

    EXPECT(EALREADY, scstu_start, (handle), "started already");
    return done(handle);
}
