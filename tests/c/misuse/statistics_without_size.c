/* The size of a struct to be filled is forgotten. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_statistics statistics;

    memset(&statistics, 0, sizeof statistics);
    EXPECT(EINVAL, scstu_read_statistics, (handle, &statistics), "its size must be sizeof");
    return done(handle);
}
