/* A socket that does not listen. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    EXPECT(EINVAL, scstu_listen_fd, (handle, fd), "a TCP socket that listens is wanted");
    TRUE(fcntl(fd, F_GETFD) >= 0);
    close(fd);
    return done(handle);
}
