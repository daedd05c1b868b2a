/* A backstore calls the library that waits for it. */
#include "../misuse.h"

static struct scstu *handle;

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    EXPECT(EDEADLK, scstu_add_target, (handle, TARGET), "within a backstore's function");
    EXPECT(EDEADLK, scstu_free, (handle), "within a backstore's function");
    return 0;
}

int main(void)
{
    struct scstu_backstore_ops ops = plain();

    handle = made();
    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    return done(handle);
}
