/* A device that promises what its handler cannot do. */
#include "../misuse.h"

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    disk->flags = SCSTU_DISK_UNMAP;
    return 0;
}

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", NULL), "SCSTU_DISK_UNMAP");
    return done(handle);
}
