/*
 * What the API does when all goes well, seen from both sides: this program embeds the target, whose disk is its own,
 * and is its initiator too. For CHAP a client of somebody else's is asked: each line "try URL yes" or "try URL no" says
 * whether it is to be let in; a line of input says that it was tried.
 */
#include "initiator.h"

/* Events, in the order in which they were told. */

struct told {
    uint32_t kind;
    uint64_t session, bytes;
    char initiator[256], target[256], peer[64], device[64], text[256];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct told told[64];
static int told_count, taken_count;

static void on_event(void *context, const struct scstu_event *event)
{
    struct told *now = &told[told_count % 64];

    TRUE(context == &lock && event->size == sizeof *event && !event->lost && !event->reserved);
    pthread_mutex_lock(&lock);
    now->kind = event->kind;
    now->session = event->session;
    now->bytes = event->bytes;
    snprintf(now->initiator, sizeof now->initiator, "%s", event->initiator);
    snprintf(now->target, sizeof now->target, "%s", event->target);
    snprintf(now->peer, sizeof now->peer, "%s", event->peer);
    snprintf(now->device, sizeof now->device, "%s", event->device);
    snprintf(now->text, sizeof now->text, "%s", event->text);
    told_count++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

/* The next event, which must be of this kind. */
static struct told next_event(uint32_t kind)
{
    struct told next;

    pthread_mutex_lock(&lock);
    while (taken_count == told_count)
        pthread_cond_wait(&changed, &lock);
    next = told[taken_count++ % 64];
    pthread_mutex_unlock(&lock);
    if (next.kind != kind)
        fprintf(stderr, "event %u (%s) and not %u\n", next.kind, next.text, kind);
    TRUE(next.kind == kind);
    return next;
}

/* The disk: its size can be changed, also behind the library's back, and reads can fail. */

static uint64_t disk_bytes = 1 << 20, refused_bytes = 9 << 20;
static int read_result, closed;

static int disk_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    (void)context;
    (void)open;
    disk->bytes = disk_bytes;
    disk->device = &disk_bytes;
    return 0;
}

static void disk_close(void *device)
{
    TRUE(device == &disk_bytes);
    closed++;
}

static int disk_read(void *device, uint64_t offset, const struct iovec *iov, size_t count)
{
    if (read_result)
        return read_result;
    return plain_read(device, offset, iov, count);
}

static int disk_get_size(void *device, uint64_t *bytes)
{
    *bytes = *(uint64_t *)device;
    return 0;
}

static int disk_resize(void *device, uint64_t bytes)
{
    if (bytes == refused_bytes)
        return -ENOSPC;
    *(uint64_t *)device = bytes;
    return 0;
}

static struct scstu *made_with_disk(void)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu_options options;
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.event = on_event;
    options.event_context = &lock;
    GOOD(scstu_new(&options, &handle));
    ops.open = disk_open;
    ops.close = disk_close;
    ops.read = disk_read;
    ops.get_size = disk_get_size;
    ops.resize = disk_resize;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_start(handle));
    return handle;
}

struct names {
    int count;
    char first[64], last[64];
};

static int on_name(void *context, const char *name)
{
    struct names *names = context;

    snprintf(names->count++ ? names->last : names->first, 64, "%s", name);
    return 0;
}

static void name_of(int fd, char *name, size_t length)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    TRUE(!getsockname(fd, (struct sockaddr *)&address, &size));
    snprintf(name, length, "127.0.0.1:%d", ntohs(address.sin_port));
}

/* A portal of its own, and a socket of the program's; one closes, its session stays. */
static void portals(struct scstu *handle, struct initiator *one, char *portal)
{
    struct names names = { 0, "", "" };
    char first[64], own[64], *port;
    int listening = listening_socket(), fd;

    GOOD(scstu_listen(handle, "127.0.0.1:0", first, sizeof first));
    name_of(listening, portal, 64);
    GOOD(scstu_listen_fd(handle, listening));
    TRUE(fcntl(listening, F_GETFD) < 0);
    GOOD(scstu_portals(handle, on_name, &names));
    TRUE(names.count == 2);
    TRUE((!strcmp(names.first, first) && !strcmp(names.last, portal)) ||
         (!strcmp(names.first, portal) && !strcmp(names.last, first)));

    fd = connected(first);
    TRUE(login(one, fd) == 0);
    name_of(fd, own, sizeof own);
    {
        struct told event = next_event(SCSTU_EVENT_SESSION_OPENED);

        TRUE(event.session > 0 && !strcmp(event.initiator, INITIATOR) && !strcmp(event.target, TARGET));
        TRUE(!strcmp(event.peer, own) && !*event.device);
    }
    ready(one);
    GOOD(scstu_close_portal(handle, first));
    memset(&names, 0, sizeof names);
    GOOD(scstu_portals(handle, on_name, &names));
    TRUE(names.count == 1 && !strcmp(names.first, portal));
    ready(one);
    /* Nobody listens there any more. */
    fd = socket(AF_INET, SOCK_STREAM, 0);
    {
        struct sockaddr_in address = { .sin_family = AF_INET };

        port = strrchr(first, ':') + 1;
        address.sin_port = htons((uint16_t)atoi(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        TRUE(connect(fd, (struct sockaddr *)&address, sizeof address) && errno == ECONNREFUSED);
    }
    close(fd);
}

struct seen {
    int count;
    uint64_t ids[8];
    struct scstu_traffic traffic[8];
    char portal[8][64], peer[8][64];
};

static int on_session(void *context, const struct scstu_session *session)
{
    struct seen *seen = context;
    int at = seen->count++;

    TRUE(!strcmp(session->initiator, INITIATOR) && !strcmp(session->target, TARGET) && session->tsih > 0);
    TRUE(session->age_ms < 600000 && session->isid[0] == 0x40);
    seen->ids[at] = session->id;
    seen->traffic[at] = session->traffic;
    snprintf(seen->portal[at], 64, "%s", session->portal);
    snprintf(seen->peer[at], 64, "%s", session->peer);
    return 0;
}

/* Both sessions are told, oldest first, with what they did; the second is closed. */
static void sessions(struct scstu *handle, const char *portal)
{
    struct scstu_statistics statistics;
    struct scstu_device_statistics device;
    struct seen before, after;
    struct initiator two;
    struct told event;
    unsigned char header[48];
    char peer[64];

    TRUE(login(&two, connected(portal)) == 0);
    name_of(two.fd, peer, sizeof peer);
    event = next_event(SCSTU_EVENT_SESSION_OPENED);
    ready(&two);
    memset(&before, 0, sizeof before);
    GOOD(scstu_sessions(handle, on_session, &before));
    TRUE(before.count == 2 && before.ids[0] < before.ids[1] && before.ids[1] == event.session);
    TRUE(!strcmp(before.portal[1], portal) && !strcmp(before.peer[1], peer));
    read16(&two, 0, 8);
    TRUE(status_of(&two) == 0);
    /* A command is finished a moment after its answer has left. */
    do {
        memset(&after, 0, sizeof after);
        GOOD(scstu_sessions(handle, on_session, &after));
    } while (after.count == 2 && after.traffic[1].in_flight);
    TRUE(after.count == 2);
    TRUE(after.traffic[0].read_bytes == before.traffic[0].read_bytes);
    TRUE(after.traffic[1].read_bytes == before.traffic[1].read_bytes + 4096);
    TRUE(after.traffic[1].read_commands == before.traffic[1].read_commands + 1);
    TRUE(after.traffic[1].other_commands > 0);
    TRUE(after.traffic[1].write_bytes == 0 && after.traffic[1].check_conditions > 0);

    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    GOOD(scstu_read_statistics(handle, &statistics));
    TRUE(statistics.sessions == 2 && statistics.connections == 2 && statistics.targets == 1);
    TRUE(statistics.traffic.read_bytes == after.traffic[0].read_bytes + after.traffic[1].read_bytes);
    memset(&device, 0, sizeof device);
    device.size = sizeof device;
    GOOD(scstu_read_device_statistics(handle, "disk", &device));
    TRUE(device.nexuses == 2 && device.bytes == disk_bytes && device.operations > 0 && device.errors == 0);

    GOOD(scstu_kick(handle, event.session));
    TRUE(next_pdu(&two, header) < 0 || header[0] == 0x32);
    event = next_event(SCSTU_EVENT_SESSION_CLOSED);
    TRUE(event.session == before.ids[1] && !strcmp(event.initiator, INITIATOR) && *event.text);
    TRUE(!strcmp(event.target, TARGET) && !strcmp(event.peer, peer));
    EXPECT(ENOENT, scstu_kick, (handle, before.ids[1]), "there is no session");
    close(two.fd);
}

static void sizes(struct scstu *handle, struct initiator *one)
{
    struct told event;
    uint64_t bytes = 0;

    GOOD(scstu_resize_device(handle, "disk", 2 << 20));
    TRUE(disk_bytes == 2 << 20);
    event = next_event(SCSTU_EVENT_CAPACITY_CHANGED);
    TRUE(event.bytes == 2 << 20 && !strcmp(event.device, "disk") && !*event.initiator && !event.session);
    EXPECT(ENOSPC, scstu_resize_device, (handle, "disk", refused_bytes), "size");
    disk_bytes = 3 << 20;
    GOOD(scstu_resync_device(handle, "disk", &bytes));
    TRUE(bytes == 3 << 20);
    TRUE(next_event(SCSTU_EVENT_CAPACITY_CHANGED).bytes == 3 << 20);
    ready(one);
    /* The last block of the third mebibyte is there now. */
    read16(one, 6143, 1);
    TRUE(status_of(one) == 0);
}

/* What goes wrong is told too. */
static void mishaps(struct scstu *handle, struct initiator *one, const char *portal)
{
    unsigned char reset[48] = { 0x42, 0x85 }, header[48];
    static const unsigned char command[48] = { 0x01 };
    struct initiator stranger;
    struct told event;
    char peer[64];

    read_result = -EIO;
    read16(one, 0, 8);
    TRUE(status_of(one) == 2);
    read_result = 0;
    event = next_event(SCSTU_EVENT_BACKSTORE_FAILED);
    TRUE(!strcmp(event.device, "disk") && !strncmp(event.text, "MEDIUM ERROR", 12));

    put32(reset + 16, one->tag++);
    put32(reset + 20, 0xffffffff);
    put32(reset + 24, one->cmd_sn);
    send_pdu(one, reset, NULL, 0);
    TRUE(!next_pdu(one, header) && header[0] == 0x22 && header[2] == 0);
    TRUE(!strcmp(next_event(SCSTU_EVENT_UNIT_RESET).device, "disk"));
    ready(one);

    GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_INCOMING, "joe", "twelvesecrets"));
    TRUE(login(&stranger, connected(portal)) == 0x0201);
    name_of(stranger.fd, peer, sizeof peer);
    event = next_event(SCSTU_EVENT_LOGIN_REFUSED);
    TRUE(!strcmp(event.peer, peer) && strstr(event.text, "authentication"));
    close(stranger.fd);

    /* Neither does one that begins with something else log in. */
    stranger.fd = connected(portal);
    TRUE(write(stranger.fd, command, sizeof command) == (ssize_t)sizeof command);
    event = next_event(SCSTU_EVENT_LOGIN_REFUSED);
    TRUE(strstr(event.text, "before login"));
    close(stranger.fd);
}

static void try(const char *users, const char *portal, const char *more, const char *outcome)
{
    char line[16];

    printf("try iscsi://%s%s/%s/0%s %s\n", users, portal, TARGET, more, outcome);
    fflush(stdout);
    TRUE(fgets(line, sizeof line, stdin));
}

/* An initiator of somebody else's is let in with the right secrets, in both directions. */
static void secrets(struct scstu *handle, const char *portal)
{
    try("", portal, "", "no");
    try("joe%wrongsecrets@", portal, "", "no");
    try("jim%twelvesecrets@", portal, "", "no");
    try("joe%twelvesecrets@", portal, "", "yes");
    GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_OUTGOING, "me", "othersecrets"));
    try("joe%twelvesecrets@", portal, "?target_user=me&target_password=othersecrets", "yes");
    try("joe%twelvesecrets@", portal, "?target_user=me&target_password=wrongsecrets", "no");
    GOOD(scstu_remove_user(handle, TARGET, SCSTU_USER_INCOMING, "joe"));
    GOOD(scstu_remove_user(handle, TARGET, SCSTU_USER_OUTGOING, "me"));
    try("", portal, "", "yes");
}

struct expected {
    const char *path;
    uint32_t type;
    uint64_t minimum, maximum;
    const char *word;
};

static int on_description(void *context, const struct scstu_description *description)
{
    const struct expected *expected = context;
    int has_word = 0;

    TRUE(description->value_type == expected->type);
    TRUE(description->minimum == expected->minimum && description->maximum == expected->maximum);
    TRUE(*description->values && *description->help && strstr(expected->path, description->name));
    TRUE((description->words != NULL) == (description->word_count > 0));
    for (size_t i = 0; i < description->word_count; i++)
        has_word |= !strcmp(description->words[i], expected->word);
    TRUE(has_word == (expected->word[0] != 0));
    return 7;
}

/* Types and ranges, for programs that show attributes which they do not know. */
static void introspection(struct scstu *handle)
{
    static const struct expected all[] = {
        { "devices/disk/read_only", SCSTU_TYPE_BOOL, 0, 1, "" },
        { "devices/disk/max_tgt_dev_commands", SCSTU_TYPE_NUMBER, 0, UINT32_MAX, "" },
        { "devices/disk/size", SCSTU_TYPE_SIZE, 0, UINT64_MAX, "" },
        { "devices/disk/threads_pool_type", SCSTU_TYPE_WORD, 0, 0, "shared" },
        { "devices/disk/sync", SCSTU_TYPE_TRIGGER, 0, 0, "" },
        { "handlers/vdisk_ram/mgmt", SCSTU_TYPE_COMMANDS, 0, 0, "" },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int before = mistakes;

        TRUE(scstu_describe(handle, all[i].path, on_description, (void *)&all[i]) == 7);
        if (mistakes != before)
            fprintf(stderr, "%s\n", all[i].path);
    }
}

static void end(struct scstu *handle, struct initiator *one)
{
    struct scstu_statistics statistics;

    EXPECT(EBUSY, scstu_remove_target, (handle, TARGET), "sessions");
    close(one->fd);
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    do {
        GOOD(scstu_read_statistics(handle, &statistics));
        usleep(1000);
    } while (statistics.sessions);
    GOOD(scstu_remove_target(handle, TARGET));
    EXPECT(ENOENT, scstu_enable_target, (handle, TARGET, 1), "there is no target");
    GOOD(scstu_remove_device(handle, "disk"));
    TRUE(closed == 1);
    GOOD(scstu_backstore_unregister(handle, "plain"));
    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
}

int main(void)
{
    struct scstu *handle = made_with_disk();
    struct initiator one;
    char portal[64];

    portals(handle, &one, portal);
    sessions(handle, portal);
    sizes(handle, &one);
    introspection(handle);
    mishaps(handle, &one, portal);
    secrets(handle, portal);
    end(handle, &one);
    return mistakes != 0;
}
