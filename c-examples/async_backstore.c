/*
 * A backstore of one's own, asynchronous form: submit only queues, threads of this program carry out and
 * complete. Delays and errors are injected by options, to see what initiators make of them:
 *
 *   async_backstore ["delay_us=N threads=N fail_every=N split=1"]
 *
 * Serves memory until standard input ends; then tells how many commands were completed, failed, cancelled.
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
    unsigned thread_count, fail_every;
    long delay_us;
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
        if (!result && disk->delay_us)
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

/* The value of NAME=VALUE in a list with blanks. */
static long option(const char *options, const char *name, long otherwise)
{
    size_t length = strlen(name);

    for (const char *at = options; *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (!strncmp(at, name, length) && at[length] == '=')
            return strtol(at + length + 1, NULL, 10);
    return otherwise;
}

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
    long threads = option(open->options, "threads", 2);

    (void)context;
    if (!disk)
        return -ENOMEM;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    disk->last = &disk->first;
    disk->delay_us = option(open->options, "delay_us", 0);
    disk->fail_every = (unsigned)option(open->options, "fail_every", 0);
    out->device = disk;
    out->bytes = open->bytes ? open->bytes : 64 << 20;
    out->block_size = open->block_size;
    out->flags = SCSTU_DISK_CONCURRENT | SCSTU_DISK_UNMAP | SCSTU_DISK_UNMAP_READS_ZERO;
    if (option(open->options, "split", 0))
        out->flags |= SCSTU_DISK_SPLIT_BUFFERS;
    disk->bytes = calloc(1, out->bytes);
    while (disk->bytes && disk->thread_count < MAX_THREADS && disk->thread_count < threads) {
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

    if (!one)
        return -ENOMEM;
    *one = (struct waiting){ .request = request };
    clock_gettime(CLOCK_MONOTONIC, &one->due);
    one->due.tv_nsec += disk->delay_us % 1000000 * 1000;
    one->due.tv_sec += disk->delay_us / 1000000 + one->due.tv_nsec / 1000000000;
    one->due.tv_nsec %= 1000000000;
    pthread_mutex_lock(&disk->lock);
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
    };
    struct scstu *instance;
    char portal[64], parameters[512];

    snprintf(parameters, sizeof parameters, "size=64M; options=%s", argc > 1 ? argv[1] : "");
    if (scstu_new(NULL, &instance) || scstu_backstore_register(instance, &ops) ||
        scstu_add_device(instance, "async", "disk", parameters) || scstu_add_target(instance, TARGET) ||
        scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) || scstu_enable_target(instance, TARGET, 1) ||
        scstu_start(instance) || scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    /* With injected errors the last flush may fail, which is said here. */
    if (scstu_stop(instance, 1000))
        printf("%s\n", scstu_error());
    if (scstu_free(instance))
        return fail();
    printf("%lu done, %lu failed, %lu cancelled\n", totals.done, totals.failed, totals.cancelled);
    return 0;
}
