/* A device whose data is said to be at hand although its functions may wait. */
#include "../misuse.h"

static uint32_t flags;

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    disk->flags = flags;
    return 0;
}

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    flags = SCSTU_DISK_AT_HAND;
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", NULL), "SCSTU_DISK_AT_HAND");
    flags = SCSTU_DISK_AT_HAND << 1;
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", NULL), "unknown flags 0x100");
    flags = SCSTU_DISK_AT_HAND | SCSTU_DISK_NEVER_BLOCKS;
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    return done(handle);
}
