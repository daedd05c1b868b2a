/* Sockets are given too early: they stay the program's, as they were. */
#include "../misuse.h"

static int is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    struct scstu *handle = made();
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int connected = socket(AF_INET, SOCK_STREAM, 0);

    TRUE(!bind(listening, (struct sockaddr *)&address, sizeof address) && !listen(listening, 1));
    TRUE(!getsockname(listening, (struct sockaddr *)&address, &length));
    TRUE(!connect(connected, (struct sockaddr *)&address, length));
    EXPECT(ENOTCONN, scstu_listen_fd, (handle, listening), "not started");
    EXPECT(ENOTCONN, scstu_serve_fd, (handle, connected), "not started");
    TRUE(is_nonblocking(listening) && !is_nonblocking(connected));
    TRUE(!fcntl(connected, F_SETFL, O_NONBLOCK));
    EXPECT(ENOTCONN, scstu_serve_fd, (handle, connected), "not started");
    TRUE(is_nonblocking(connected));
    close(listening);
    close(connected);
    return done(handle);
}
