/* A function that scstu_list() calls frees the instance that is listing: at once an error, and nothing is lost. */
#include "../misuse.h"

static int on_entry(void *context, const char *name, uint32_t kind)
{
    (void)kind;
    TRUE(*name);
    EXPECT(EDEADLK, scstu_free, (context), "within a function that a call with this handle has called");
    return 0;
}

int main(void)
{
    struct scstu *handle = with_device(), *other = started();

    GOOD(scstu_list(handle, "devices", on_entry, handle));
    GOOD(scstu_resize_device(handle, "disk", 2 << 20));
    GOOD(scstu_free(other));
    return done(handle);
}
