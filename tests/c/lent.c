/*
 * Pages of a file go to an initiator without a copy, by a call that has no flag against SIGPIPE: only threads of
 * the library make it, in which that signal is blocked; a thread of the program leaves the pages to them. Whether
 * the initiator goes away meanwhile, the program does not notice.
 *
 * Its argument is a file of 1 MiB.
 */
#include "keep.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/stat.h>

#define LONG 2048
#define SHORT 128

static int filled, sent;

/* The library's calls come here. Pages come from the file when the connection's thread is kept elsewhere. */
ssize_t splice(int from, off64_t *at, int to, off64_t *there, size_t length, unsigned int flags)
{
    static ssize_t (*next)(int, off64_t *, int, off64_t *, size_t, unsigned int);
    struct stat status;
    sigset_t blocked;
    ssize_t moved;

    pthread_mutex_lock(&lock);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "splice");
    TRUE(!fstat(to, &status));
    if (S_ISSOCK(status.st_mode)) {
        TRUE(!pthread_sigmask(SIG_BLOCK, NULL, &blocked));
        TRUE(sigismember(&blocked, SIGPIPE));
        sent++;
    } else {
        while (count < 2)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    moved = next(from, at, to, there, length, flags);
    pthread_mutex_lock(&lock);
    filled += !S_ISSOCK(status.st_mode);
    pthread_mutex_unlock(&lock);
    return moved;
}

/* READ (16) of LUN `lun`, put at `at`. */
static unsigned char *read_of(struct initiator *initiator, unsigned char *at, unsigned char lun, uint32_t blocks)
{
    memset(at, 0, 48);
    at[0] = 0x01;
    at[1] = 0xc1;
    at[9] = lun;
    put32(at + 16, initiator->tag++);
    put32(at + 20, blocks * 512);
    put32(at + 24, initiator->cmd_sn++);
    at[32] = 0x88;
    put32(at + 42, blocks);
    return at + 48;
}

/* The unit attention of LUN 1 is told to a read, which does not come to the handler. */
static void ready_1(struct initiator *initiator)
{
    unsigned char request[48];

    send_all(initiator, request, (size_t)(read_of(initiator, request, 1, 1) - request), 0);
    TRUE(status_of(initiator) == 2);
}

/* A thread of the program answers while pages are first in the queue. */
static void answer_behind_pages(const char *portal)
{
    struct initiator initiator;
    unsigned char requests[3 * 48], *at = requests;

    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    ready_1(&initiator);
    at = read_of(&initiator, at, 0, SHORT);
    at = read_of(&initiator, at, 1, LONG);
    at = read_of(&initiator, at, 1, 1);
    send_all(&initiator, requests, sizeof requests, 0);
    await_both();
    pthread_mutex_lock(&lock);
    while (!filled) {
        pthread_mutex_unlock(&lock);
        usleep(1000);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    /* Until the pages are in the queue, most likely. */
    usleep(200000);
    let_go();
    for (int i = 0; i < 3; i++)
        TRUE(status_of(&initiator) == 0);
    TRUE(sent);
    close(initiator.fd);
}

/* The initiator is gone while pages are on their way. */
static void go_away(const char *portal, int round)
{
    struct linger at_once = { 1, 0 };
    struct initiator initiator;
    static char data[300000];

    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    for (int i = 0; i < 16; i++)
        read16(&initiator, 0, i % 2 ? SHORT : LONG);
    TRUE(!read_exactly(initiator.fd, data, (size_t)round % 4 * 100000));
    usleep((useconds_t)round * 37 % 3000);
    if (round % 2)
        setsockopt(initiator.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(initiator.fd);
}

int main(int argc, char **argv)
{
    struct scstu_backstore_ops ops = keeping();
    char portal[64] = "", parameters[4200];
    struct sigaction action;
    struct scstu *handle;

    TRUE(argc == 2);
    snprintf(parameters, sizeof parameters, "filename=%s", argv[1]);
    TRUE(!sigaction(SIGPIPE, NULL, &action) && action.sa_handler == SIG_DFL);
    handle = started();
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_device(handle, "vdisk_fileio", "file", parameters));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "file", 0));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 1, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    answer_behind_pages(portal);
    for (int round = 0; round < 200; round++)
        go_away(portal, round);
    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
    return mistakes != 0;
}
