/*
 * The process stays the program's: signal handlers and masks, the disposition of SIGPIPE, locale, environment,
 * directory, umask, standard streams are as before, whatever the library has done meanwhile. It writes nothing:
 * whoever runs this looks at the output.
 *
 * With the argument "raise" the library is made to forget that it wants no SIGPIPE, which must end this program.
 */
#include "keep.h"

#include <dlfcn.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

extern char **environ;

static void on_signal(int number)
{
    (void)number;
}

struct state {
    struct sigaction actions[65];
    sigset_t mask;
    char locale[256], directory[4096];
    char **environment;
    mode_t umask;
    struct stat streams[3];
};

static void look(struct state *state)
{
    memset(state, 0, sizeof *state);
    for (int i = 1; i < 65; i++)
        sigaction(i, NULL, &state->actions[i]);
    pthread_sigmask(SIG_BLOCK, NULL, &state->mask);
    snprintf(state->locale, sizeof state->locale, "%s", setlocale(LC_ALL, NULL));
    TRUE(getcwd(state->directory, sizeof state->directory));
    state->environment = environ;
    state->umask = umask(077);
    umask(state->umask);
    for (int i = 0; i < 3; i++)
        fstat(i, &state->streams[i]);
}

static int is_same(const struct state *a, const struct state *b)
{
    for (int i = 1; i < 65; i++)
        if (a->actions[i].sa_handler != b->actions[i].sa_handler ||
            a->actions[i].sa_flags != b->actions[i].sa_flags)
            return 0;
    for (int i = 0; i < 3; i++)
        if (a->streams[i].st_ino != b->streams[i].st_ino || a->streams[i].st_dev != b->streams[i].st_dev)
            return 0;
    return !memcmp(&a->mask, &b->mask, sizeof a->mask) && !strcmp(a->locale, b->locale) &&
           !strcmp(a->directory, b->directory) && a->environment == b->environment && a->umask == b->umask;
}

/* The library's calls of sendmsg come here. */
static int forgets;

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*next)(int, const struct msghdr *, int);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sendmsg");
    return next(fd, message, forgets ? flags & ~MSG_NOSIGNAL : flags);
}

/* Two ends of a TCP connection. */
static void pair(int ends[2])
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listening = listening_socket();

    TRUE(!getsockname(listening, (struct sockaddr *)&address, &length));
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    TRUE(!connect(ends[0], (struct sockaddr *)&address, sizeof address));
    ends[1] = accept(listening, NULL, NULL);
    close(listening);
}

static int sessions(struct scstu *handle)
{
    struct scstu_statistics statistics;

    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    GOOD(scstu_read_statistics(handle, &statistics));
    return (int)statistics.connections;
}

/*
 * Answers a read on this thread, which takes signals, after the peer is gone and the socket has said so: the next
 * thing that it says is EPIPE.
 */
static void answer_to_nobody(struct scstu *handle)
{
    struct linger at_once = { 1, 0 };
    struct initiator initiator;
    struct pollfd look;
    int ends[2], error = 0;
    socklen_t length = sizeof error;

    pair(ends);
    look.fd = dup(ends[1]);
    look.events = 0;
    GOOD(scstu_serve_fd(handle, ends[1]));
    TRUE(login(&initiator, ends[0]) == 0);
    ready(&initiator);
    read16(&initiator, 0, 2048);
    read16(&initiator, 0, 2048);
    await_both();
    setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(ends[0]);
    while (!(look.revents & POLLHUP))
        TRUE(poll(&look, 1, -1) == 1);
    TRUE(!getsockopt(look.fd, SOL_SOCKET, SO_ERROR, &error, &length) && error == ECONNRESET);
    let_go();
    close(look.fd);
    while (sessions(handle))
        usleep(1000);
}

int main(int argc, char **argv)
{
    struct scstu_backstore_ops ops = keeping();
    struct sigaction action;
    struct state before, after;
    struct scstu *handle;

    forgets = argc > 1 && !strcmp(argv[1], "raise");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    setlocale(LC_ALL, "C.UTF-8");
    look(&before);
    handle = started();
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    answer_to_nobody(handle);
    look(&after);
    TRUE(is_same(&before, &after));
    kill(getpid(), SIGTERM);
    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
    look(&after);
    TRUE(is_same(&before, &after));
    return mistakes != 0;
}
