/* An unknown log level; the context is released once all the same. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log_level = 9;
    options.log_context = &options;
    options.log_free = release;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "log_level 9 is not a number from 0 to 5");
    TRUE(released == 1);
    return done(made());
}
