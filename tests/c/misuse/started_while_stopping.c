/* An instance is started while another thread stops it, and used between stop and start. */
#include "../misuse.h"

static void *stop(void *handle)
{
    GOOD(scstu_stop(handle, 60000));
    return NULL;
}

int main(void)
{
    struct scstu *handle = started();
    struct scstu_statistics statistics;
    struct sockaddr_in address;
    char portal[64];
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM, 0), result;

    /* A connection that does not log in keeps it stopping. */
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(strrchr(portal, ':') + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TRUE(!connect(fd, (struct sockaddr *)&address, sizeof address));
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    do {
        usleep(1000);
        GOOD(scstu_read_statistics(handle, &statistics));
    } while (!statistics.connections);
    TRUE(!pthread_create(&thread, NULL, stop, handle));
    while ((result = scstu_start(handle)) == -EALREADY)
        usleep(1000);
    expect_at(__LINE__, result, EBUSY, "scstu_start", "being stopped");
    EXPECT(ESHUTDOWN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0), "start it again");
    GOOD(scstu_stop(handle, 0));
    close(fd);
    TRUE(!pthread_join(thread, NULL));
    EXPECT(ESHUTDOWN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0), "start it again");
    GOOD(scstu_start(handle));
    EXPECT(EALREADY, scstu_start, (handle), "started already");
    GOOD(scstu_listen(handle, "127.0.0.1:0", NULL, 0));
    return done(handle);
}
