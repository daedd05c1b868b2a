/*
 * A backstore that keeps two reads until the program completes them. The second keeps the connection's thread too,
 * until `let_go`.
 */
#ifndef KEEP_H
#define KEEP_H

#include "initiator.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t tokens[2];
static int count, is_over;

static int async_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    disk->flags = SCSTU_DISK_CONCURRENT;
    return plain_open(context, open, disk);
}

static int keep(void *device, const struct scstu_request *request)
{
    (void)device;
    if (request->operation != SCSTU_READ) {
        GOOD(scstu_complete(request->token, 0));
        return 0;
    }
    pthread_mutex_lock(&lock);
    tokens[count++] = request->token;
    pthread_cond_broadcast(&changed);
    while (count == 2 && !is_over)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return 0;
}

static struct scstu_backstore_ops keeping(void)
{
    struct scstu_backstore_ops ops = plain();

    ops.open = async_open;
    ops.read = NULL;
    ops.write = NULL;
    ops.submit = keep;
    return ops;
}

/* Until both reads are kept. */
static void await_both(void)
{
    pthread_mutex_lock(&lock);
    while (count < 2)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Completes the first on this thread, then lets the connection's thread go, and completes the second. */
static void let_go(void)
{
    GOOD(scstu_complete(tokens[0], 0));
    pthread_mutex_lock(&lock);
    is_over = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    GOOD(scstu_complete(tokens[1], 0));
}

#endif
