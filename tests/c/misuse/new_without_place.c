/* There is no place for the handle. */
#include "../misuse.h"

int main(void)
{
    EXPECT(EINVAL, scstu_new, (NULL, NULL), "out is NULL");
    return done(made());
}
