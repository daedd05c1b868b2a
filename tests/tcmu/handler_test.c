/* Handlers that keep their blocks in memory and do what the tests ask for: tcmu_later completes on threads of
 * its own, tcmu_one wants to be called by one thread at a time, tcmu_four by up to four.
 *
 * The configuration string is a directory. What happens is written to `events` there; commands that touch
 * block HELD wait until a file `release` is there. Block STATUS + n answers status n. */
#include "runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS = 1000, HELD = 2000, TWICE = 3000, LOST = 3100, SLOW = 3200 };
enum { OK = 0, PASSED = 2, MISCOMPARE = 6, FORMATTING = 15 };

struct disk {
    char *directory, *bytes;
    size_t size;
    uint32_t block;
    pthread_mutex_t lock;
    int inside, most, out, unmaps, flushes;
};

struct work {
    struct device *device;
    struct command *command;
    struct iovec iov[2];
    int count, write, compare;
    uint64_t offset, length;
};

static void say(struct disk *disk, const char *format, ...)
{
    char path[4096];
    va_list list;

    snprintf(path, sizeof path, "%s/events", disk->directory);
    FILE *file = fopen(path, "a");
    if (!file)
        abort();
    va_start(list, format);
    vfprintf(file, format, list);
    va_end(list);
    fclose(file);
}

static void count(struct disk *disk, int *number, int by)
{
    pthread_mutex_lock(&disk->lock);
    *number += by;
    if (disk->inside > disk->most)
        disk->most = disk->inside;
    pthread_mutex_unlock(&disk->lock);
}

static bool check(const char *text, char **reason)
{
    if (!strstr(text, "unwanted"))
        return true;
    *reason = strdup("nobody wants it");
    return false;
}

static int open_disk(struct device *device, bool reopen)
{
    char *text = strchr(tcmu_dev_get_cfgstring(device), '/');
    struct disk *disk = calloc(1, sizeof *disk);
    int result = 1;

    disk->size = tcmu_cfgfs_dev_get_info_u64(device, "Size", &result);
    disk->block = tcmu_dev_get_block_size(device);
    if (reopen || result || !text || tcmu_cfgfs_dev_get_info_u64(device, "Other", &result) || result != -EINVAL ||
        tcmu_dev_get_num_lbas(device) * disk->block != disk->size) {
        free(disk);
        return -EINVAL;
    }
    if (access(text + 1, W_OK)) {
        tcmu_err_message(NULL, __func__, __LINE__, "no directory %s\n", text + 1);
        tcmur_dev_set_private(device, disk);
        free(disk);
        return -ENOTDIR;
    }
    disk->directory = strdup(text + 1);
    disk->bytes = calloc(1, disk->size);
    pthread_mutex_init(&disk->lock, NULL);
    tcmur_dev_set_private(device, disk);
    tcmu_dev_set_write_cache_enabled(device, true);
    tcmu_dev_set_opt_unmap_gran(device, 8, false);
    tcmu_dev_set_max_unmap_len(device, 64);
    tcmu_warn_message(device, __func__, __LINE__, "%d %s %.2f %lu %c %x %ld %s %.1f\n", -7, "seven", 0.25, 1UL << 40,
                      'c', 255, -1L, "eighth", 1e3);
    /* What handler_rbd looks at: counters and the state of the lock. */
    const uint64_t *record = tcmu_dev_get_private(device);
    if (record[0] != (uintptr_t)device || record[1] != (uintptr_t)disk || record[6] || record[7] || record[8])
        abort();
    say(disk, "open\n");
    return 0;
}

static void close_disk(struct device *device)
{
    struct disk *disk = tcmur_dev_get_private(device);

    say(disk, "close out=%d most=%d unmaps=%d flushes=%d\n", disk->out, disk->most, disk->unmaps, disk->flushes);
    pthread_mutex_destroy(&disk->lock);
    free(disk->directory);
    free(disk->bytes);
    free(disk);
}

static int injected(struct device *device, struct command *command, uint64_t offset)
{
    struct disk *disk = tcmur_dev_get_private(device);
    uint64_t block = offset / disk->block;

    if (block == LOST)
        tcmu_notify_lock_lost(device);
    if (block == SLOW)
        tcmu_notify_cmd_timed_out(device);
    if (block < STATUS || block >= STATUS + 40)
        return OK;
    int status = (int)(block - STATUS);
    if (status == PASSED)
        return tcmu_sense_set_data(command->library->sense, 0x5, 0x2104);
    if (status == MISCOMPARE)
        tcmu_sense_set_info(command->library->sense, 0x1234);
    if (status == FORMATTING)
        tcmu_sense_set_key_specific_info(command->library->sense, 0x4321);
    return status == 39 ? -1 : status;
}

static void hold(struct disk *disk, uint64_t offset)
{
    char path[4096];

    if (offset / disk->block != HELD)
        return;
    say(disk, "held\n");
    snprintf(path, sizeof path, "%s/release", disk->directory);
    while (access(path, F_OK))
        usleep(1000);
}

static int perform(struct work *work)
{
    struct disk *disk = tcmur_dev_get_private(work->device);
    char *place = disk->bytes + work->offset;
    int status;

    if (work->offset + work->length > disk->size)
        abort();
    hold(disk, work->offset);
    status = injected(work->device, work->command, work->offset);
    if (status != OK)
        return status;
    if (work->compare) {
        char *both = malloc(2 * work->length);
        if (tcmu_memcpy_from_iovec(both, 2 * work->length, work->iov, work->count) != 2 * work->length)
            abort();
        for (uint64_t at = 0; at < work->length && status == OK; at++) {
            if (both[at] != place[at]) {
                tcmu_sense_set_info(work->command->library->sense, (uint32_t)at);
                status = MISCOMPARE;
            }
        }
        if (status == OK)
            memcpy(place, both + work->length, work->length);
        free(both);
    } else if (work->write) {
        if (tcmu_memcpy_from_iovec(place, work->length, work->iov, work->count) != work->length)
            abort();
    } else if (tcmu_memcpy_into_iovec(work->iov, work->count, place, work->length) != work->length) {
        abort();
    }
    return status;
}

static void *later(void *argument)
{
    struct work *work = argument;
    struct disk *disk = tcmur_dev_get_private(work->device);

    tcmu_set_thread_name("later", work->device);
    usleep(rand() % 500);
    int status = perform(work);
    count(disk, &disk->out, -1);
    bool twice = work->offset / disk->block == TWICE;
    tcmur_cmd_complete(work->device, work->command, status);
    if (twice)
        tcmur_cmd_complete(work->device, work->command, status);
    free(work);
    return NULL;
}

static int begin(struct device *device, struct command *command, struct iovec *iov, size_t number, uint64_t length,
                 uint64_t offset, int write, int compare)
{
    struct disk *disk = tcmur_dev_get_private(device);
    struct work *work = calloc(1, sizeof *work);
    pthread_t thread;

    if (tcmu_iovec_length(iov, number) != length * (compare ? 2 : 1) || command->library->iov_count != number)
        abort();
    *work = (struct work){ device, command, { { NULL, 0 }, { NULL, 0 } }, (int)number, write, compare, offset, length };
    memcpy(work->iov, iov, number * sizeof *iov);
    /* A status at once is a failure that no completion follows. */
    if (!compare && offset / disk->block == STATUS + 3) {
        free(work);
        return 3;
    }
    count(disk, &disk->out, 1);
    /* Every other one is completed before the call returns. */
    if (offset / disk->block % 2 && offset / disk->block < STATUS) {
        later(work);
        return OK;
    }
    if (pthread_create(&thread, NULL, later, work))
        abort();
    pthread_detach(thread);
    return OK;
}

static int begin_read(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
                      off_t offset)
{
    return begin(device, command, iov, number, length, (uint64_t)offset, 0, 0);
}

static int begin_write(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
                       off_t offset)
{
    return begin(device, command, iov, number, length, (uint64_t)offset, 1, 0);
}

static int begin_compare(struct device *device, struct command *command, uint64_t offset, uint64_t length,
                         struct iovec *iov, size_t number)
{
    return begin(device, command, iov, number, length, offset, 1, 1);
}

static int clear(struct device *device, uint64_t offset, uint64_t length)
{
    struct disk *disk = tcmur_dev_get_private(device);

    if (offset + length > disk->size || length > 64 * disk->block)
        abort();
    memset(disk->bytes + offset, 0, length);
    count(disk, &disk->unmaps, 1);
    return OK;
}

static int begin_unmap(struct device *device, struct command *command, uint64_t offset, uint64_t length)
{
    int status = clear(device, offset, length);

    tcmur_cmd_complete(device, command, status);
    return OK;
}

static bool fails_to_flush(struct disk *disk)
{
    char path[4096];

    count(disk, &disk->flushes, 1);
    snprintf(path, sizeof path, "%s/no-flush", disk->directory);
    return !access(path, F_OK);
}

static int begin_flush(struct device *device, struct command *command)
{
    bool fails = fails_to_flush(tcmur_dev_get_private(device));

    tcmur_cmd_complete(device, command, fails ? 4 : OK);
    return OK;
}

static int now(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
               off_t offset, int write)
{
    struct disk *disk = tcmur_dev_get_private(device);
    struct work work = { device, command, { { NULL, 0 }, { NULL, 0 } }, (int)number, write, 0, (uint64_t)offset, length };

    memcpy(work.iov, iov, number * sizeof *iov);
    count(disk, &disk->inside, 1);
    usleep(rand() % 500);
    int status = perform(&work);
    count(disk, &disk->inside, -1);
    return status;
}

static int read_now(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
                    off_t offset)
{
    return now(device, command, iov, number, length, offset, 0);
}

static int write_now(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
                     off_t offset)
{
    return now(device, command, iov, number, length, offset, 1);
}

static int flush_now(struct device *device, struct command *command)
{
    (void)command;
    return fails_to_flush(tcmur_dev_get_private(device)) ? 4 : OK;
}

static int fill_now(struct device *device, struct command *command, uint64_t offset, uint64_t length, struct iovec *iov,
                    size_t number)
{
    struct disk *disk = tcmur_dev_get_private(device);

    (void)command;
    if (tcmu_iovec_length(iov, number) != disk->block)
        abort();
    for (uint64_t at = offset; at < offset + length; at += disk->block)
        memcpy(disk->bytes + at, iov->iov_base, disk->block);
    return OK;
}

static int unmap_now(struct device *device, struct command *command, uint64_t offset, uint64_t length)
{
    (void)command;
    return clear(device, offset, length);
}

static int change(struct device *device, struct change *what)
{
    struct disk *disk = tcmur_dev_get_private(device);

    if (what->kind != 1)
        return -EOPNOTSUPP;
    if (what->value.size > 64 << 20)
        return -ENOSPC;
    disk->bytes = realloc(disk->bytes, what->value.size);
    if (what->value.size > disk->size)
        memset(disk->bytes + disk->size, 0, what->value.size - disk->size);
    disk->size = what->value.size;
    return 0;
}

static int prepared;

static int prepare(void)
{
    return prepared++;
}

static void finish(void)
{
    const char *path = getenv("SCSTU_TEST_DESTROYED");
    FILE *file = path ? fopen(path, "a") : NULL;

    if (file && fputs("destroyed\n", file) >= 0)
        fclose(file);
}

static struct handler all[] = {
    { .name = "Completes later", .subtype = "later", .help = "DIRECTORY\n  a directory", .check_config = check,
      .open = open_disk, .close = close_disk, .read = begin_read, .write = begin_write, .flush = begin_flush,
      .unmap = begin_unmap, .compare = begin_compare, .init = prepare, .destroy = finish },
    { .name = "One at a time", .subtype = "one", .help = "DIRECTORY", .threads = 1, .open = open_disk,
      .close = close_disk, .read = read_now, .write = write_now, .flush = flush_now, .reconfig = change },
    { .name = "Four at a time", .subtype = "four", .help = "DIRECTORY", .threads = 4, .open = open_disk,
      .close = close_disk, .read = read_now, .write = write_now, .flush = flush_now, .unmap = unmap_now,
      .write_same = fill_now },
};

int handler_init(void);

int handler_init(void)
{
    for (size_t at = 0; at < sizeof all / sizeof *all; at++)
        if (tcmur_register_handler(&all[at]))
            return -1;
    /* The same once more is refused. */
    return tcmur_register_handler(&all[0]) == -1 ? 0 : -1;
}
