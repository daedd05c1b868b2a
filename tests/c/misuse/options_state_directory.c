/* The state directory cannot be made. */
#include "../misuse.h"

int main(void)
{
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.state_directory = "/dev/null/state";
    EXPECT(ENOTDIR, scstu_new, (&options, &handle), "/dev/null/state");
    return done(made());
}
