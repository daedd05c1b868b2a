/* The buffer is too short for the answer. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    char buffer[4];

    EXPECT(ERANGE, scstu_listen, (handle, "127.0.0.1:0", buffer, sizeof buffer), "the buffer has 4 bytes");
    return done(handle);
}
