/* A struct is shorter than what it cannot do without. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.size = sizeof(size_t) - 1;
    EXPECT(EINVAL, scstu_new, (&options, &handle), "struct scstu_options says that it has 7 bytes");
    return done(made());
}
