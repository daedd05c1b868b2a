/*
 * An instance that is stopped and started again, with an asynchronous handler of its own and a disk in memory:
 * what was written is still there, the numbers of threads and descriptors do not grow. Each line of standard
 * input stops it and starts it again; its end ends it. Says where it listens each time.
 */
#include "misuse.h"

#include <dirent.h>

static unsigned char bytes[1 << 20];
static int opened, closed;

static int store_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    opened++;
    disk->bytes = sizeof bytes;
    disk->flags = SCSTU_DISK_CONCURRENT;
    return 0;
}

static void store_close(void *device)
{
    (void)device;
    closed++;
}

/* Completes before it returns. */
static int store_submit(void *device, const struct scstu_request *request)
{
    unsigned char *at = bytes + request->offset;

    (void)device;
    for (size_t i = 0; i < request->iov_count; at += request->iov[i++].iov_len) {
        if (request->operation == SCSTU_READ)
            memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
        else
            memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
    }
    GOOD(scstu_complete(request->token, 0));
    return 0;
}

static long entries(const char *path)
{
    DIR *folder = opendir(path);
    long count = 0;

    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* Threads and descriptors go a moment after what they were for: counts them once neither changes any more. */
static void count(long *threads, long *files)
{
    for (int same = 0, i = 0; same < 100 && i < 10000; same++, i++) {
        long now[2] = { entries("/proc/self/task"), entries("/proc/self/fd") };

        if (i == 0 || now[0] != *threads || now[1] != *files)
            same = 0;
        *threads = now[0];
        *files = now[1];
        usleep(1000);
    }
}

static void listen_and_say(struct scstu *handle)
{
    char portal[64] = "";

    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
}

int main(void)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = made();
    char line[16];
    long threads, files, threads_then, files_then;

    ops.open = store_open;
    ops.close = store_close;
    ops.read = NULL;
    ops.write = NULL;
    ops.submit = store_submit;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_device(handle, "vdisk_ram", "ram", "size=1M"));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 1, "ram", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_start(handle));
    listen_and_say(handle);
    while (fgets(line, sizeof line, stdin)) {
        GOOD(scstu_stop(handle, 1000));
        GOOD(scstu_start(handle));
        listen_and_say(handle);
    }
    GOOD(scstu_stop(handle, 1000));
    count(&threads, &files);
    for (int i = 0; i < 200; i++) {
        GOOD(scstu_start(handle));
        GOOD(scstu_listen(handle, "127.0.0.1:0", NULL, 0));
        GOOD(scstu_stop(handle, 0));
    }
    count(&threads_then, &files_then);
    TRUE(threads_then == threads);
    TRUE(files_then == files);
    TRUE(opened == 1 && closed == 0);
    GOOD(scstu_start(handle));
    GOOD(scstu_free(handle));
    TRUE(closed == 1);
    return mistakes != 0;
}
