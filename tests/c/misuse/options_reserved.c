/* A reserved field is not zero. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.reserved = 7;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "reserved is 7");
    return done(made());
}
