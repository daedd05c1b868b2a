/* A device whose size is no multiple of its block size. */
#include "../misuse.h"

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1000;
    return 0;
}

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", NULL), "bytes 1000");
    return done(handle);
}
