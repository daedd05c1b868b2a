/* The size of a struct is forgotten. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.size = 0;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "its size must be sizeof");
    TRUE(!handle);
    return done(made());
}
