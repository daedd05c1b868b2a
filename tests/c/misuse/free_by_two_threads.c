/* Two threads free a handle at once, whose device takes a while to close: one does, the other learns that it is
 * freed. */
#define _GNU_SOURCE
#include <stdint.h>

#include "../misuse.h"

static pthread_barrier_t both;

static int open_disk(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    disk->flags = SCSTU_DISK_READ_ONLY;
    return 0;
}

static void close_disk(void *device)
{
    (void)device;
    usleep(50000);
}

static int read_disk(void *device, uint64_t offset, const struct iovec *iov, size_t iov_count)
{
    (void)device, (void)offset, (void)iov, (void)iov_count;
    return -EIO;
}

static void *free_it(void *handle)
{
    pthread_barrier_wait(&both);
    return (void *)(intptr_t)scstu_free(handle);
}

int main(void)
{
    struct scstu_backstore_ops ops = {.size = sizeof ops, .version = SCSTU_BACKSTORE_VERSION, .name = "own"};

    ops.open = open_disk;
    ops.close = close_disk;
    ops.read = read_disk;
    TRUE(!pthread_barrier_init(&both, NULL, 2));
    for (int round = 0; round < 10; round++) {
        struct scstu *handle = started();
        pthread_t threads[2];
        void *answers[2];

        GOOD(scstu_backstore_register(handle, &ops));
        GOOD(scstu_add_device(handle, "own", "disk", NULL));
        for (int at = 0; at < 2; at++)
            TRUE(!pthread_create(&threads[at], NULL, free_it, handle));
        for (int at = 0; at < 2; at++)
            TRUE(!pthread_join(threads[at], &answers[at]));
        TRUE((intptr_t)answers[0] + (intptr_t)answers[1] == -EBADF);
    }
    return done(made());
}
