/* A size that cannot be is not believed. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.size = (size_t)1 << 40;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "1099511627776 bytes");
    return done(made());
}
