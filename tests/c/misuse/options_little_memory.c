/* Too little memory for any command. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.buffer_bytes = 4096;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "buffer_bytes 4096");
    return done(made());
}
