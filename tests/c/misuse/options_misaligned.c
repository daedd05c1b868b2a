/* A struct is not where structs can be. */
#include "../misuse.h"

int main(void)
{
    char memory[sizeof(struct scstu_options) + 8] = { 0 };
    struct scstu *handle = NULL;

    EXPECT(EINVAL, scstu_new, ((struct scstu_options *)(void *)(memory + 1), &handle), "not aligned");
    return done(made());
}
