/*
 * The process stays the program's: signal handlers and masks, the disposition of SIGPIPE, locale, environment,
 * directory, umask, standard streams are as before, whatever the library has done meanwhile. It writes nothing:
 * whoever runs this looks at the output.
 */
#include "misuse.h"

#include <locale.h>
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

/* Asks for a login many times and is gone before the answers: SIGPIPE would end this process. */
static void rude_initiator(int port)
{
    static const char text[] = "InitiatorName=iqn.2026-01.test:rude\0SessionType=Discovery\0AuthMethod=None";
    unsigned char pdu[48 + sizeof text + 3];
    struct linger at_once = { 1, 0 };
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(pdu, 0, sizeof pdu);
    pdu[0] = 0x43;
    pdu[1] = 0x87;
    pdu[7] = sizeof text;
    pdu[8] = 0x80;
    pdu[19] = 1;
    pdu[27] = 1;
    memcpy(pdu + 48, text, sizeof text);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TRUE(!connect(fd, (struct sockaddr *)&address, sizeof address));
    TRUE(send(fd, pdu, 48 + (sizeof text + 3) / 4 * 4, MSG_NOSIGNAL) > 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

int main(void)
{
    struct sigaction action;
    struct state before, after;
    struct scstu *handle;
    char portal[64];

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    setlocale(LC_ALL, "C.UTF-8");
    look(&before);
    handle = started();
    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M"));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    for (int i = 0; i < 50; i++)
        rude_initiator(atoi(strrchr(portal, ':') + 1));
    look(&after);
    TRUE(is_same(&before, &after));
    kill(getpid(), SIGTERM);
    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
    look(&after);
    TRUE(is_same(&before, &after));
    return mistakes != 0;
}
