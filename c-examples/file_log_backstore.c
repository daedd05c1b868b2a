/*
 * A disk that remembers every write: a log of records, replayed when the device is opened.
 *
 *   file_log_backstore LOG [RECORDS]
 *
 * With RECORDS only so many records are replayed: the disk as it was then; what comes after is cut off.
 * A record that a crash has torn ends the log: its checksum says so. Serves until standard input ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <scstu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define TARGET "iqn.2026-01.org.example:log"
#define DISK_BYTES ((uint64_t)64 << 20)
#define MAGIC 0x676f6c2d75747363u

struct record {
    uint64_t magic, offset, length, checksum;
};

struct log {
    int fd;
    off_t end;
    unsigned char *image;
    unsigned long records;
};

/* FNV-1a: tells a torn record from a whole one. */
static uint64_t checksum(uint64_t sum, const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

static uint64_t head_sum(const struct record *record)
{
    return checksum(0xcbf29ce484222325u ^ record->offset, (const unsigned char *)&record->length,
                    sizeof record->length);
}

/* Reads whole records into the image, at most `limit`; cuts off what follows. */
static int replay(struct log *log, unsigned long limit)
{
    struct record record;

    while (log->records < limit &&
           pread(log->fd, &record, sizeof record, log->end) == (ssize_t)sizeof record) {
        if (record.magic != MAGIC || record.length > DISK_BYTES ||
            record.offset > DISK_BYTES - record.length)
            break;
        unsigned char *data = malloc(record.length);
        if (!data)
            return -ENOMEM;
        int is_whole = pread(log->fd, data, record.length, log->end + (off_t)sizeof record) ==
                           (ssize_t)record.length &&
                       checksum(head_sum(&record), data, record.length) == record.checksum;
        if (is_whole)
            memcpy(log->image + record.offset, data, record.length);
        free(data);
        if (!is_whole)
            break;
        log->end += (off_t)(sizeof record + record.length);
        log->records++;
    }
    return ftruncate(log->fd, log->end) ? -errno : 0;
}

static void log_close(void *device)
{
    struct log *log = device;

    printf("%lu records in the log\n", log->records);
    close(log->fd);
    free(log->image);
    free(log);
}

static int log_open(void *context, const struct scstu_open *open_as, struct scstu_disk *disk)
{
    unsigned long limit = open_as->options[0] ? strtoul(open_as->options, NULL, 10) : (unsigned long)-1;
    struct log *log;
    int result;

    (void)context;
    if (!open_as->filename)
        return -EINVAL;
    log = calloc(1, sizeof *log);
    if (!log)
        return -ENOMEM;
    log->fd = open(open_as->filename, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    log->image = calloc(1, DISK_BYTES);
    result = log->fd < 0 ? -errno : log->image ? replay(log, limit) : -ENOMEM;
    if (result) {
        if (log->fd >= 0)
            close(log->fd);
        free(log->image);
        free(log);
        return result;
    }
    printf("%lu records replayed\n", log->records);
    disk->device = log;
    disk->bytes = DISK_BYTES;
    disk->flags = SCSTU_DISK_VOLATILE_CACHE;
    return 0;
}

static int log_read(void *device, uint64_t offset, const struct iovec *iov, size_t count)
{
    const struct log *log = device;

    for (size_t i = 0; i < count; offset += iov[i++].iov_len)
        memcpy(iov[i].iov_base, log->image + offset, iov[i].iov_len);
    return 0;
}

static int log_flush(void *device)
{
    const struct log *log = device;

    return fdatasync(log->fd) ? -errno : 0;
}

/* One record for each write; calls come one after the other, as SCSTU_DISK_CONCURRENT is not set. */
static int log_write(void *device, uint64_t offset, const struct iovec *iov, size_t count, uint32_t flags)
{
    struct log *log = device;
    struct record record = { .magic = MAGIC, .offset = offset };
    off_t end = log->end + (off_t)sizeof record;

    for (size_t i = 0; i < count; i++)
        record.length += iov[i].iov_len;
    record.checksum = head_sum(&record);
    for (size_t i = 0; i < count; i++) {
        record.checksum = checksum(record.checksum, iov[i].iov_base, iov[i].iov_len);
        for (size_t done = 0; done < iov[i].iov_len;) {
            const char *from = (const char *)iov[i].iov_base + done;
            ssize_t part = pwrite(log->fd, from, iov[i].iov_len - done, end);

            if (part < 0)
                return -errno;
            done += (size_t)part;
            end += part;
        }
    }
    /* The head comes last: without it the data counts for nothing. */
    if (pwrite(log->fd, &record, sizeof record, log->end) != (ssize_t)sizeof record)
        return -EIO;
    log->end = end;
    log->records++;
    for (size_t i = 0; i < count; offset += iov[i++].iov_len)
        memcpy(log->image + offset, iov[i].iov_base, iov[i].iov_len);
    return flags & SCSTU_WRITE_DURABLE ? log_flush(log) : 0;
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
        .name = "file_log",
        .help = "a log of writes in a file, replayed on opening",
        .open = log_open,
        .close = log_close,
        .read = log_read,
        .write = log_write,
        .flush = log_flush,
    };
    struct scstu *instance;
    char portal[64], parameters[4600];

    if (argc < 2 || argv[1][0] != '/') {
        fprintf(stderr, "usage: file_log_backstore LOG [RECORDS], LOG an absolute path\n");
        return 2;
    }
    snprintf(parameters, sizeof parameters, "filename=%s; options=%s", argv[1], argc > 2 ? argv[2] : "");
    if (scstu_new(NULL, &instance) || scstu_backstore_register(instance, &ops) ||
        scstu_add_device(instance, "file_log", "disk", parameters) ||
        scstu_add_target(instance, TARGET) || scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) ||
        scstu_enable_target(instance, TARGET, 1) || scstu_start(instance) ||
        scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return scstu_stop(instance, 1000) || scstu_free(instance) ? fail() : 0;
}
