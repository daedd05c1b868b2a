/* A file instead of a socket; it stays the program's. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    int fd = open("/dev/null", O_RDONLY);

    EXPECT(ENOTSOCK, scstu_listen_fd, (handle, fd), "a TCP socket that listens is wanted");
    TRUE(fcntl(fd, F_GETFD) >= 0);
    close(fd);
    return done(handle);
}
