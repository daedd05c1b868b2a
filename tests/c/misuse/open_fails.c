/* The program itself refuses: its errno comes back. */
#include "../misuse.h"

static int bad_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    (void)disk;
    return -EPERM;
}

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.open = bad_open;
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EPERM, scstu_add_device, (handle, "plain", "disk", NULL), "handler plain does not open");
    return done(handle);
}
