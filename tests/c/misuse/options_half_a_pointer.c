/* A struct ends within a pointer: half of one is not taken for one. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0xff, sizeof options);
    for (size_t half = 4; half < sizeof options; half += 8) {
        options.size = half;
        EXPECT(EINVAL, scstu_new, (&options, &handle), "its size must be sizeof");
    }
    return done(made());
}
