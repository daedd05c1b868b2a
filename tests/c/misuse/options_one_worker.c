/* A number is out of its range. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.workers = 1;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "workers 1 is not 0 or a number from 2 to 1024");
    return done(made());
}
