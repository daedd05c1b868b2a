/* A listening socket is passed as a connection. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    int fd = listening_socket();

    EXPECT(EINVAL, scstu_serve_fd, (handle, fd), "a TCP socket that is connected is wanted");
    TRUE(fcntl(fd, F_GETFD) >= 0);
    close(fd);
    return done(handle);
}
