/* A newer struct wants something that the library does not know. */
#include "../misuse.h"

int main(void)
{
    struct { struct scstu_options known; unsigned char more[16]; } options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.known.size = sizeof options;
    options.more[9] = 1;
    EXPECT(E2BIG, scstu_new, (&options.known, &handle), "not zero");
    options.more[9] = 0;
    GOOD(scstu_new(&options.known, &handle));
    return done(handle);
}
