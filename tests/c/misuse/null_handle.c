/* NULL as a handle is an error everywhere but in scstu_free(). */
#include "../misuse.h"

int main(void)
{
    EXPECT(EINVAL, scstu_start, (NULL), "NULL");
    EXPECT(EINVAL, scstu_stop, (NULL, 0), "NULL");
    EXPECT(EINVAL, scstu_add_target, (NULL, TARGET), "NULL");
    GOOD(scstu_free(NULL));
    return done(NULL);
}
