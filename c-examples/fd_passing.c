/*
 * Two processes: one opens the port and accepts (it may have rights that the other lacks, and could check
 * who comes), one serves. Connections travel as descriptors over a socket between them.
 *
 * The serving process is forked first and makes its instance afterwards: threads do not come along with fork.
 * Serves until standard input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <scstu.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TARGET "iqn.2026-01.org.example:passed"

static int fail(void)
{
    fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
    return 1;
}

static int send_fd(int to, int fd)
{
    char byte = 0, control[CMSG_SPACE(sizeof fd)];
    struct iovec iov = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
    };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);

    memset(control, 0, sizeof control);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(to, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* The next descriptor, or -1 when there will be none. */
static int receive_fd(int from)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
    };
    int fd = -1;

    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static int serve(int from)
{
    struct scstu *instance;
    int fd;

    if (scstu_new(NULL, &instance) || scstu_start(instance) ||
        scstu_add_device(instance, "vdisk_ram", "disk", "size=64M") ||
        scstu_add_target(instance, TARGET) ||
        scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) ||
        scstu_enable_target(instance, TARGET, 1))
        return fail();
    while ((fd = receive_fd(from)) >= 0)
        if (scstu_serve_fd(instance, fd)) {
            fail();
            close(fd);
        }
    return scstu_stop(instance, 1000) || scstu_free(instance) ? fail() : 0;
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int pair[2], listening, status;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return perror("socketpair"), 1;
    child = fork();
    if (child < 0)
        return perror("fork"), 1;
    if (child == 0) {
        close(pair[0]);
        return serve(pair[1]);
    }
    close(pair[1]);
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, sizeof address) ||
        listen(listening, 128) || getsockname(listening, (struct sockaddr *)&address, &length))
        return perror("listening"), 1;
    printf("iscsi://127.0.0.1:%d/%s/0\n", ntohs(address.sin_port), TARGET);
    fflush(stdout);
    for (;;) {
        struct pollfd ready[2] = { { .fd = listening, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
        char byte;

        if (poll(ready, 2, -1) < 0 && errno != EINTR)
            return perror("poll"), 1;
        if (ready[1].revents && read(0, &byte, 1) <= 0)
            break;
        if (ready[0].revents) {
            int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0) {
                if (send_fd(pair[0], fd))
                    perror("send");
                close(fd);
            }
        }
    }
    close(listening);
    close(pair[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
