/* A device with a block size that cannot be. */
#include "../misuse.h"

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 777 * 4;
    disk->block_size = 777;
    return 0;
}

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", NULL), "block_size 777");
    return done(handle);
}
