/* What the programs in misuse/ share: one mistake each, and the error that must come of it. */
#ifndef MISUSE_H
#define MISUSE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <scstu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TARGET "iqn.2026-01.test:target"

static int mistakes;

/* `got` is -`number`, and the error names the call and holds `words`. */
static inline void expect_at(int line, int got, int number, const char *call, const char *words)
{
    if (got == -number && !strcmp(scstu_error_call(), call) && strstr(scstu_error(), words))
        return;
    fprintf(stderr, "line %d: %d, %s: \"%s\"; wanted %d, %s: \"%s\"\n", line, got, scstu_error_call(),
            scstu_error(), -number, call, words);
    __atomic_add_fetch(&mistakes, 1, __ATOMIC_SEQ_CST);
}

static inline void good_at(int line, int got, const char *what)
{
    if (!got)
        return;
    fprintf(stderr, "line %d: %s: %d, %s: %s\n", line, what, got, scstu_error_call(), scstu_error());
    __atomic_add_fetch(&mistakes, 1, __ATOMIC_SEQ_CST);
}

/* EXPECT(ENOENT, scstu_kick, (handle, 1), "no session") */
#define EXPECT(number, call, arguments, words) expect_at(__LINE__, call arguments, number, #call, words)
#define GOOD(call) good_at(__LINE__, call, #call)
#define TRUE(condition) good_at(__LINE__, !(condition), #condition)

static inline struct scstu *made(void)
{
    struct scstu *handle = NULL;

    GOOD(scstu_new(NULL, &handle));
    return handle;
}

static inline struct scstu *started(void)
{
    struct scstu *handle = made();

    GOOD(scstu_start(handle));
    return handle;
}

static inline struct scstu *with_device(void)
{
    struct scstu *handle = made();

    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M"));
    return handle;
}

/* The instance still works after the mistake, and ends well. */
static inline int done(struct scstu *handle)
{
    if (handle) {
        GOOD(scstu_add_device(handle, "vdisk_nullio", "after", NULL));
        GOOD(scstu_stop(handle, 0));
        GOOD(scstu_free(handle));
    }
    return mistakes != 0;
}

static int released;

static inline void release(void *context)
{
    (void)context;
    __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

static inline int plain_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = 1 << 20;
    return 0;
}

static inline int plain_read(void *device, uint64_t offset, const struct iovec *iov, size_t count)
{
    (void)device;
    (void)offset;
    for (size_t i = 0; i < count; i++)
        memset(iov[i].iov_base, 0, iov[i].iov_len);
    return 0;
}

static inline int plain_write(void *device, uint64_t offset, const struct iovec *iov, size_t count,
                              uint32_t flags)
{
    (void)device;
    (void)offset;
    (void)iov;
    (void)count;
    (void)flags;
    return 0;
}

static inline struct scstu_backstore_ops plain(void)
{
    struct scstu_backstore_ops ops;

    memset(&ops, 0, sizeof ops);
    ops.size = sizeof ops;
    ops.version = SCSTU_BACKSTORE_VERSION;
    ops.name = "plain";
    ops.open = plain_open;
    ops.read = plain_read;
    ops.write = plain_write;
    return ops;
}

static inline int listening_socket(void)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TRUE(!bind(fd, (struct sockaddr *)&address, sizeof address));
    TRUE(!listen(fd, 1));
    return fd;
}

#endif
