/*
 * A backstore of one's own, blocking form: memory of this program as a disk, until standard input ends.
 *
 * It never waits and takes several calls at once: of two commands that touch the same blocks, one of them
 * writing, the library holds the younger back, so the blocks need no lock here.
 */
#include <errno.h>
#include <scstu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET "iqn.2026-01.org.example:ram"

struct ram {
    unsigned char *bytes;
};

static int ram_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    struct ram *ram = malloc(sizeof *ram);

    (void)context;
    if (!ram)
        return -ENOMEM;
    disk->bytes = open->bytes ? open->bytes : 64 << 20;
    disk->block_size = open->block_size ? open->block_size : 512;
    ram->bytes = calloc(1, disk->bytes);
    if (!ram->bytes) {
        free(ram);
        return -ENOMEM;
    }
    disk->device = ram;
    disk->flags = SCSTU_DISK_NEVER_BLOCKS | SCSTU_DISK_AT_HAND | SCSTU_DISK_CONCURRENT |
                  SCSTU_DISK_UNMAP | SCSTU_DISK_UNMAP_READS_ZERO;
    /* As a handler would be that may have to wait. */
    if (strstr(open->options, "blocking"))
        disk->flags &= ~(uint32_t)(SCSTU_DISK_NEVER_BLOCKS | SCSTU_DISK_AT_HAND);
    /* To see that functions do not count on one buffer. */
    if (strstr(open->options, "split"))
        disk->flags |= SCSTU_DISK_SPLIT_BUFFERS;
    return 0;
}

static void ram_close(void *device)
{
    struct ram *ram = device;

    free(ram->bytes);
    free(ram);
}

static int ram_read(void *device, uint64_t offset, const struct iovec *iov, size_t count)
{
    const struct ram *ram = device;

    for (size_t i = 0; i < count; offset += iov[i++].iov_len)
        memcpy(iov[i].iov_base, ram->bytes + offset, iov[i].iov_len);
    return 0;
}

static int ram_write(void *device, uint64_t offset, const struct iovec *iov, size_t count, uint32_t flags)
{
    struct ram *ram = device;

    (void)flags;
    for (size_t i = 0; i < count; offset += iov[i++].iov_len)
        memcpy(ram->bytes + offset, iov[i].iov_base, iov[i].iov_len);
    return 0;
}

static int ram_unmap(void *device, uint64_t offset, uint64_t length)
{
    struct ram *ram = device;

    memset(ram->bytes + offset, 0, length);
    return 0;
}

static int ram_write_same(void *device, uint64_t offset, uint64_t length, const struct iovec *iov,
                          size_t count, uint32_t flags)
{
    size_t block = 0;

    for (size_t i = 0; i < count; i++)
        block += iov[i].iov_len;
    for (uint64_t done = 0; done < length; done += block)
        ram_write(device, offset + done, iov, count, flags);
    return 0;
}

static int ram_compare_and_write(void *device, uint64_t offset, const struct iovec *compare,
                                 size_t compare_count, const struct iovec *write, size_t write_count,
                                 uint32_t flags, uint64_t *difference)
{
    const struct ram *ram = device;
    uint64_t done = 0;

    for (size_t i = 0; i < compare_count; i++) {
        const unsigned char *wanted = compare[i].iov_base;

        for (size_t at = 0; at < compare[i].iov_len; at++, done++)
            if (ram->bytes[offset + done] != wanted[at]) {
                *difference = done;
                return SCSTU_MISCOMPARE;
            }
    }
    return ram_write(device, offset, write, write_count, flags);
}

static int fail(void)
{
    fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
    return 1;
}

int main(void)
{
    const struct scstu_backstore_ops ops = {
        .size = sizeof ops,
        .version = SCSTU_BACKSTORE_VERSION,
        .name = "ram",
        .help = "memory of the embedding program",
        .open = ram_open,
        .close = ram_close,
        .read = ram_read,
        .write = ram_write,
        .unmap = ram_unmap,
        .write_same = ram_write_same,
        .compare_and_write = ram_compare_and_write,
    };
    struct scstu *instance;
    char portal[64];

    if (scstu_new(NULL, &instance) || scstu_backstore_register(instance, &ops) ||
        scstu_add_device(instance, "ram", "disk", "size=64M; thin_provisioned=1") ||
        scstu_add_device(instance, "vdisk_ram", "builtin", "size=64M") ||
        scstu_add_device(instance, "ram", "blocking", "size=64M; options=blocking") ||
        scstu_add_device(instance, "ram", "split", "size=64M; thin_provisioned=1; options=split") ||
        scstu_add_target(instance, TARGET) || scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) ||
        scstu_add_lun(instance, TARGET, NULL, 1, "builtin", 0) ||
        scstu_add_lun(instance, TARGET, NULL, 2, "blocking", 0) ||
        scstu_add_lun(instance, TARGET, NULL, 3, "split", 0) ||
        scstu_enable_target(instance, TARGET, 1) || scstu_start(instance) ||
        scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return scstu_stop(instance, 1000) || scstu_free(instance) ? fail() : 0;
}
