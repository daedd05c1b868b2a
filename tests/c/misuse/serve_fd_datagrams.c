/* A UDP socket. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    EXPECT(EPROTONOSUPPORT, scstu_serve_fd, (handle, fd), "a TCP socket that is connected is wanted");
    close(fd);
    return done(handle);
}
