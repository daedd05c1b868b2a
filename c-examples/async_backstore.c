/*
 * A backstore of one's own, asynchronous form: submit only queues, threads of this program carry out and
 * complete. Delays and errors are injected, to see what initiators make of them. For that the handler declares
 * parameters and attributes of its own, which the library checks, saves and describes:
 *
 *   async_backstore ["delay_us=N; threads=N; fail_every=N; split_buffers=1"]
 *
 * Serves memory until standard input ends; then tells how many commands were completed, failed, cancelled. A line
 * with the name of an attribute of the device tells its value, one with a name and a value sets it: "delay_us 500".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <scstu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TARGET "iqn.2026-01.org.example:async"
#define MAX_THREADS 16

/* A command that waits. The request stays where it is until it is completed, so its address will do. */
struct waiting {
    struct waiting *next;
    const struct scstu_request *request;
    struct timespec due;
    int is_cancelled;
};

struct disk {
    unsigned char *bytes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting *first, **last;
    pthread_t threads[MAX_THREADS];
    unsigned thread_count;
    uint64_t fail_every, delay_us;
    unsigned long done, failed, cancelled, taken;
    int is_closing;
};

static struct { unsigned long done, failed, cancelled; } totals;

static int carry_out(struct disk *disk, const struct scstu_request *request)
{
    unsigned char *at = disk->bytes + request->offset;

    if (request->operation == SCSTU_UNMAP)
        memset(at, 0, request->length);
    for (size_t i = 0; i < request->iov_count; at += request->iov[i++].iov_len) {
        if (request->operation == SCSTU_READ)
            memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
        else
            memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
    }
    return 0;
}

static void *run(void *context)
{
    struct disk *disk = context;

    pthread_mutex_lock(&disk->lock);
    for (;;) {
        struct waiting *one = disk->first;
        int result;

        if (!one) {
            if (disk->is_closing)
                break;
            pthread_cond_wait(&disk->changed, &disk->lock);
            continue;
        }
        disk->first = one->next;
        if (!disk->first)
            disk->last = &disk->first;
        disk->taken++;
        result = one->is_cancelled ? -ECANCELED : 0;
        if (!result && disk->fail_every && disk->taken % disk->fail_every == 0)
            result = -EIO;
        pthread_mutex_unlock(&disk->lock);
        if (!result)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &one->due, NULL);
        if (!result)
            result = carry_out(disk, one->request);
        if (scstu_complete(one->request->token, result))
            fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
        free(one);
        pthread_mutex_lock(&disk->lock);
        disk->done += result == 0;
        disk->failed += result == -EIO;
        disk->cancelled += result == -ECANCELED;
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

/* Attributes, which may be set at any time. */

static int set_delay(void *device, const char *value, uint64_t number)
{
    struct disk *disk = device;

    (void)value;
    pthread_mutex_lock(&disk->lock);
    disk->delay_us = number;
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

static int set_fail_every(void *device, const char *value, uint64_t number)
{
    struct disk *disk = device;

    (void)value;
    pthread_mutex_lock(&disk->lock);
    disk->fail_every = number;
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

/* And one that only the device knows. */
static int get_completed(void *device, char *buffer, size_t length)
{
    struct disk *disk = device;

    pthread_mutex_lock(&disk->lock);
    snprintf(buffer, length, "%lu", disk->done + disk->failed + disk->cancelled);
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

enum { THREADS, SPLIT, DELAY, FAIL, COMPLETED, ATTRIBUTES };

static const struct scstu_attribute threads = {
    .size = sizeof threads,
    .name = "threads",
    .help = "threads that carry commands out",
    .value_type = SCSTU_TYPE_NUMBER,
    .flags = SCSTU_CREATE_ONLY,
    .minimum = 1,
    .maximum = MAX_THREADS,
    .default_value = "2",
}, split_buffers = {
    .size = sizeof split_buffers,
    .name = "split_buffers",
    .help = "buffers come in pieces",
    .value_type = SCSTU_TYPE_BOOL,
    .flags = SCSTU_CREATE_ONLY,
}, delay_us = {
    .size = sizeof delay_us,
    .name = "delay_us",
    .help = "microseconds that a command takes at least",
    .value_type = SCSTU_TYPE_NUMBER,
    .flags = SCSTU_WRITABLE,
    .maximum = 10000000,
    .set = set_delay,
}, fail_every = {
    .size = sizeof fail_every,
    .name = "fail_every",
    .help = "one command of so many fails with EIO; none with 0",
    .value_type = SCSTU_TYPE_NUMBER,
    .flags = SCSTU_WRITABLE,
    .maximum = 1000000,
    .set = set_fail_every,
}, completed_commands = {
    .size = sizeof completed_commands,
    .name = "completed_commands",
    .help = "commands that were completed, whatever their result",
    .value_type = SCSTU_TYPE_TEXT,
    .flags = SCSTU_READABLE,
    .maximum = 20,
    .get = get_completed,
};

static const struct scstu_attribute *const attributes[ATTRIBUTES] = {
    [THREADS] = &threads,   [SPLIT] = &split_buffers,         [DELAY] = &delay_us,
    [FAIL] = &fail_every,   [COMPLETED] = &completed_commands,
};

static void disk_close(void *device)
{
    struct disk *disk = device;

    pthread_mutex_lock(&disk->lock);
    disk->is_closing = 1;
    pthread_cond_broadcast(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
    for (unsigned i = 0; i < disk->thread_count; i++)
        pthread_join(disk->threads[i], NULL);
    totals.done += disk->done;
    totals.failed += disk->failed;
    totals.cancelled += disk->cancelled;
    pthread_cond_destroy(&disk->changed);
    pthread_mutex_destroy(&disk->lock);
    free(disk->bytes);
    free(disk);
}

static int disk_open(void *context, const struct scstu_open *open, struct scstu_disk *out)
{
    struct disk *disk = calloc(1, sizeof *disk);

    (void)context;
    if (!disk)
        return -ENOMEM;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    disk->last = &disk->first;
    disk->delay_us = open->numbers[DELAY];
    disk->fail_every = open->numbers[FAIL];
    out->device = disk;
    out->bytes = open->bytes ? open->bytes : 64 << 20;
    out->block_size = open->block_size;
    out->flags = SCSTU_DISK_CONCURRENT | SCSTU_DISK_UNMAP | SCSTU_DISK_UNMAP_READS_ZERO;
    if (open->numbers[SPLIT])
        out->flags |= SCSTU_DISK_SPLIT_BUFFERS;
    disk->bytes = calloc(1, out->bytes);
    while (disk->bytes && disk->thread_count < open->numbers[THREADS]) {
        if (pthread_create(&disk->threads[disk->thread_count], NULL, run, disk))
            break;
        disk->thread_count++;
    }
    if (!disk->thread_count) {
        disk_close(disk);
        return -EAGAIN;
    }
    return 0;
}

static int disk_submit(void *device, const struct scstu_request *request)
{
    struct disk *disk = device;
    struct waiting *one = malloc(sizeof *one);
    long delay;

    if (!one)
        return -ENOMEM;
    *one = (struct waiting){ .request = request };
    clock_gettime(CLOCK_MONOTONIC, &one->due);
    pthread_mutex_lock(&disk->lock);
    delay = (long)disk->delay_us;
    one->due.tv_nsec += delay % 1000000 * 1000;
    one->due.tv_sec += delay / 1000000 + one->due.tv_nsec / 1000000000;
    one->due.tv_nsec %= 1000000000;
    *disk->last = one;
    disk->last = &one->next;
    pthread_cond_signal(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

/* It may be waiting, being carried out, or completed: only what waits is left out. */
static void disk_cancel(void *device, uint64_t token)
{
    struct disk *disk = device;

    pthread_mutex_lock(&disk->lock);
    for (struct waiting *one = disk->first; one; one = one->next)
        if (one->request->token == token)
            one->is_cancelled = 1;
    pthread_mutex_unlock(&disk->lock);
}

static int fail(void)
{
    fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
    return 1;
}

/* "NAME" tells an attribute of the device, "NAME VALUE" sets it. */
static void attribute(struct scstu *instance, char *line)
{
    char path[320], told[SCSTU_VALUE_LIMIT + 1], *value;

    line[strcspn(line, "\n")] = 0;
    value = strchr(line, ' ');
    if (value)
        *value++ = 0;
    snprintf(path, sizeof path, "devices/disk/%s", line);
    if ((value && scstu_set(instance, path, value)) || scstu_get(instance, path, told, sizeof told, NULL))
        snprintf(told, sizeof told, "%s", scstu_error());
    printf("%s\n", told);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct scstu_backstore_ops ops = {
        .size = sizeof ops,
        .version = SCSTU_BACKSTORE_VERSION,
        .name = "async",
        .help = "memory behind threads of its own, with injected delays and errors",
        .open = disk_open,
        .close = disk_close,
        .submit = disk_submit,
        .cancel = disk_cancel,
        .attributes = attributes,
        .attribute_count = ATTRIBUTES,
    };
    struct scstu *instance;
    char portal[64], parameters[512], line[256];

    snprintf(parameters, sizeof parameters, "size=64M; %s", argc > 1 ? argv[1] : "");
    if (scstu_new(NULL, &instance) || scstu_backstore_register(instance, &ops) ||
        scstu_add_device(instance, "async", "disk", parameters) || scstu_add_target(instance, TARGET) ||
        scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) || scstu_enable_target(instance, TARGET, 1) ||
        scstu_start(instance) || scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        attribute(instance, line);
    /* With injected errors the last flush may fail, which is said here. */
    if (scstu_stop(instance, 1000))
        printf("%s\n", scstu_error());
    if (scstu_free(instance))
        return fail();
    printf("%lu done, %lu failed, %lu cancelled\n", totals.done, totals.failed, totals.cancelled);
    return 0;
}
