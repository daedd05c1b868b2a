/* A handler opens a device with other blocks than the administrator has asked for. */
#include "../misuse.h"

static uint32_t chosen;

static int open_disk(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    disk->block_size = chosen;
    disk->flags = SCSTU_DISK_READ_ONLY;
    return 0;
}

static void close_disk(void *device)
{
    (void)device;
}

static int read_disk(void *device, uint64_t offset, const struct iovec *iov, size_t iov_count)
{
    (void)device;
    (void)offset;
    for (size_t at = 0; at < iov_count; at++)
        memset(iov[at].iov_base, 0, iov[at].iov_len);
    return 0;
}

static void expect_blocks(struct scstu *handle, const char *device, const char *blocks)
{
    char path[64], text[16];

    snprintf(path, sizeof path, "devices/%s/blocksize", device);
    GOOD(scstu_get(handle, path, text, sizeof text, NULL));
    TRUE(!strcmp(text, blocks));
}

int main(void)
{
    struct scstu *handle = with_device();
    struct scstu_backstore_ops ops = {.size = sizeof ops, .version = SCSTU_BACKSTORE_VERSION, .name = "own"};

    ops.open = open_disk;
    ops.close = close_disk;
    ops.read = read_disk;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "own", "follows", "blocksize=4096"));
    expect_blocks(handle, "follows", "4096");
    chosen = 2048;
    EXPECT(EINVAL, scstu_add_device, (handle, "own", "defies", "blocksize=4096"),
           "block_size 2048, although blocksize=4096 was asked for");
    GOOD(scstu_add_device(handle, "own", "chooses", NULL));
    expect_blocks(handle, "chooses", "2048");
    return done(handle);
}
