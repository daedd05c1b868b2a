/*
 * Completions that race everything: threads of this program complete commands late, twice, or while they are being
 * cancelled; initiators abort commands, reset the unit and go away in the middle; the instance is stopped and freed
 * meanwhile, and other threads go on calling it. Arguments: rounds, and a seed.
 */
#include "initiator.h"

#include <time.h>

#define CLIENTS 3
#define COMPLETERS 3
#define BATCH 8
#define OUT_LIMIT 4096

struct out {
    uint64_t token;
    const struct scstu_request *request;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct out out[OUT_LIMIT];
static int out_count, is_over;
static int submitted, completed, cancelled, cancelled_late, aborted, opened, closed;
static struct scstu *handle;
static char portal[64];

static int count(int *counter)
{
    return __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static int value(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static uint32_t below(uint32_t *random, uint32_t limit)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random % limit;
}

static int stress_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    disk->flags = SCSTU_DISK_CONCURRENT;
    count(&opened);
    return plain_open(context, open, disk);
}

static void stress_close(void *device)
{
    (void)device;
    count(&closed);
}

/* The data of a command must be there until it is completed. */
static void finish(const struct scstu_request *request)
{
    uint64_t token = request->token;
    const unsigned char *byte;

    for (size_t i = 0; i < request->iov_count; i++) {
        byte = request->iov[i].iov_base;
        if (request->operation == SCSTU_READ)
            memset(request->iov[i].iov_base, (int)(request->offset >> 9), request->iov[i].iov_len);
        else
            for (size_t at = 0; at < request->iov[i].iov_len; at++)
                TRUE(byte[at] == 0xa5);
    }
    /* Before: whoever waits for it may look at the numbers at once. */
    count(&completed);
    GOOD(scstu_complete(token, 0));
    if (token % 16 == 0)
        TRUE(scstu_complete(token, 0) == -ENOENT);
}

static int stress_submit(void *device, const struct scstu_request *request)
{
    (void)device;
    /* From here on the request may be completed, and gone, at any time. */
    count(&submitted);
    if (request->token % 8 == 1) {
        finish(request);
        return 0;
    }
    pthread_mutex_lock(&lock);
    TRUE(out_count < OUT_LIMIT);
    out[out_count++] = (struct out){ request->token, request };
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Half of those that are still out are completed from here. */
static void stress_cancel(void *device, uint64_t token)
{
    const struct scstu_request *request = NULL;
    int is_there = 0;

    (void)device;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < out_count; i++)
        if (out[i].token == token) {
            is_there = 1;
            if (token & 1 << 3) {
                request = out[i].request;
                out[i] = out[--out_count];
            }
            break;
        }
    pthread_mutex_unlock(&lock);
    count(is_there ? &cancelled : &cancelled_late);
    if (request)
        finish(request);
}

static void *completer(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed | 1;
    struct timespec moment = { 0, 0 };
    struct out one;

    while (!value(&is_over)) {
        pthread_mutex_lock(&lock);
        one.request = NULL;
        if (out_count) {
            int at = (int)below(&random, (uint32_t)out_count);

            one = out[at];
            out[at] = out[--out_count];
        }
        pthread_mutex_unlock(&lock);
        if (one.request && below(&random, 4))
            finish(one.request);
        else {
            moment.tv_nsec = below(&random, 500000);
            nanosleep(&moment, NULL);
            if (one.request)
                finish(one.request);
        }
    }
    return NULL;
}

/* A batch of commands, some of which are aborted at once; -1 when the connection is over. */
static int batch(struct initiator *initiator, uint32_t *random)
{
    unsigned char data[4096];
    unsigned char header[48], write[48];
    uint32_t first = initiator->tag, tag, waiting = 0, of[64];

    memset(data, 0xa5, sizeof data);
    memset(of, 0, sizeof of);
    for (int i = 0; i < BATCH; i++) {
        uint32_t lba = below(random, 64) * 8;

        waiting |= 1U << (initiator->tag - first);
        if (below(random, 2)) {
            read16(initiator, lba, 8);
            continue;
        }
        memset(write, 0, sizeof write);
        write[0] = 0x01;
        write[1] = 0xa1;
        put32(write + 16, initiator->tag++);
        put32(write + 20, sizeof data);
        put32(write + 24, initiator->cmd_sn++);
        write[32] = 0x8a;
        put32(write + 32 + 6, lba);
        put32(write + 32 + 10, 8);
        send_pdu(initiator, write, data, sizeof data);
    }
    for (int i = 0; i < BATCH; i++)
        if (below(random, 2)) {
            waiting |= 1U << (initiator->tag - first);
            of[initiator->tag - first] = first + (uint32_t)i;
            abort_task(initiator, first + (uint32_t)i);
            count(&aborted);
        }
    while (waiting) {
        if (next_pdu(initiator, header))
            return -1;
        tag = ((uint32_t)header[16] << 24 | (uint32_t)header[17] << 16 | (uint32_t)header[18] << 8 | header[19]) - first;
        if (header[0] == 0x21 || (header[0] == 0x25 && header[1] & 1))
            waiting &= ~(1U << tag);
        else if (header[0] == 0x22) {
            waiting &= ~(1U << tag);
            /* What was aborted is not answered any more. */
            waiting &= ~(1U << (of[tag] - first));
        }
    }
    return 0;
}

static void *client(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed | 1;

    while (!value(&is_over)) {
        struct initiator initiator;
        int batches = (int)below(&random, 20);
        int fd = try_connected(portal);

        if (fd < 0)
            break;
        if (!login(&initiator, fd))
            while (batches-- && !batch(&initiator, &random))
                continue;
        /* In the middle of a batch: the answers find nobody. */
        if (below(&random, 2)) {
            read16(&initiator, 0, 8);
            read16(&initiator, 8, 8);
        }
        close(fd);
    }
    return NULL;
}

/* Calls the instance until there is none. */
static void *watcher(void *context)
{
    struct scstu_statistics statistics;
    int result;

    do {
        memset(&statistics, 0, sizeof statistics);
        statistics.size = sizeof statistics;
        result = scstu_read_statistics(handle, &statistics);
    } while (!result);
    TRUE(result == -EBADF);
    return context;
}

static void one_round(uint32_t *random)
{
    struct scstu_backstore_ops ops = plain();
    struct timespec moment = { 0, 1000000 + (long)below(random, 60) * 1000000 };
    pthread_t clients[CLIENTS], watching;

    ops.open = stress_open;
    ops.close = stress_close;
    ops.read = NULL;
    ops.write = NULL;
    ops.submit = stress_submit;
    ops.cancel = stress_cancel;
    ops.free_context = release;
    handle = started();
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    for (uintptr_t i = 0; i < CLIENTS; i++)
        TRUE(!pthread_create(&clients[i], NULL, client, (void *)(uintptr_t)below(random, 1U << 30)));
    TRUE(!pthread_create(&watching, NULL, watcher, NULL));
    nanosleep(&moment, NULL);
    if (below(random, 2))
        GOOD(scstu_stop(handle, below(random, 2) * 20));
    GOOD(scstu_free(handle));
    TRUE(value(&submitted) == value(&completed));
    for (int i = 0; i < CLIENTS; i++)
        TRUE(!pthread_join(clients[i], NULL));
    TRUE(!pthread_join(watching, NULL));
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 100;
    uint32_t random = argc > 2 ? (uint32_t)atoi(argv[2]) | 1 : 1;
    pthread_t completers[COMPLETERS];

    may_be_gone = 1;
    for (int i = 0; i < COMPLETERS; i++)
        TRUE(!pthread_create(&completers[i], NULL, completer, (void *)(uintptr_t)below(&random, 1U << 30)));
    for (int i = 0; i < rounds && !mistakes; i++)
        one_round(&random);
    __atomic_store_n(&is_over, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < COMPLETERS; i++)
        TRUE(!pthread_join(completers[i], NULL));
    TRUE(opened == closed && released == opened);
    printf("%d rounds: %d submitted, %d aborted, %d cancelled, %d of them too late\n", rounds, submitted, aborted,
           cancelled + cancelled_late, cancelled_late);
    TRUE(submitted > 0 && submitted == completed && out_count == 0);
    return mistakes != 0;
}
