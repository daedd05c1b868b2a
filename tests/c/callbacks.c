/*
 * From within every kind of callback, every function: a line of output for each, "KIND MEMBER FUNCTION HANDLE ANSWER".
 * HANDLE is "own", that of the instance that calls back, or "other"; ANSWER is "refused" for -EDEADLK, else
 * "taken". Whoever runs this compares it with the table in scstu.h.
 */
#include "calls.h"
#include "initiator.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* What has been gone through, as text, each once. */
static char gone[8192];

static int is_gone(const char *kind, const char *member)
{
    char name[64];

    snprintf(name, sizeof name, " %s/%s ", kind, member);
    return strstr(gone, name) != NULL;
}

static void wait_for(const char *kind, const char *member)
{
    pthread_mutex_lock(&lock);
    while (!is_gone(kind, member))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static struct scstu *own, *other, *made_inside;

static void answered(const char *kind, const char *member, const char *function, const char *whose, int answer)
{
    int is_refused = answer == -EDEADLK && !strcmp(scstu_error_call(), function)
                     && strstr(scstu_error(), "called from within");

    printf("%s %s %s %s %s\n", kind, member, function, whose, is_refused ? "refused" : "taken");
}

#define TRY(function, arguments) answered(kind, member, #function, whose, function arguments);

static void with_handle(const char *kind, const char *member, const char *whose, struct scstu *handle)
{
    CALLS(TRY)
}

static void set_handles(struct scstu *own_one, struct scstu *other_one)
{
    pthread_mutex_lock(&lock);
    own = own_one;
    other = other_one;
    pthread_mutex_unlock(&lock);
}

/* Whether it is still to be gone through, and with which handles. */
static int begins(const char *kind, const char *member, struct scstu **own_one, struct scstu **other_one)
{
    int is_new;

    pthread_mutex_lock(&lock);
    is_new = own && !is_gone(kind, member);
    *own_one = own;
    *other_one = other;
    pthread_mutex_unlock(&lock);
    return is_new;
}

static void go_through(const char *kind, const char *member)
{
    /* What is called here may call back. */
    static __thread int is_inside;
    const char *whose = "other";
    struct scstu *new_one = NULL, *own_one, *other_one;

    if (is_inside || !begins(kind, member, &own_one, &other_one))
        return;
    is_inside = 1;
    TRY(scstu_new, (NULL, &new_one))
    TRY(scstu_complete, (1, 0))
    with_handle(kind, member, "other", other_one);
    with_handle(kind, member, "own", own_one);
    TRUE(*scstu_version());
    is_inside = 0;
    pthread_mutex_lock(&lock);
    if (new_one)
        made_inside = new_one;
    snprintf(gone + strlen(gone), sizeof gone - strlen(gone), " %s/%s ", kind, member);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_event(void *context, const struct scstu_event *event)
{
    (void)context;
    if (event->kind == SCSTU_EVENT_SESSION_OPENED)
        go_through("event", "event");
}

static void on_log(void *context, int level, const char *module, const char *message)
{
    (void)context;
    (void)level;
    (void)module;
    (void)message;
    go_through("log", "log");
}

static void on_release(void *context)
{
    go_through("release", context);
}

/* Functions of a backstore. */

static int on_open(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    go_through("ops", "open");
    disk->flags = SCSTU_DISK_UNMAP | SCSTU_DISK_VOLATILE_CACHE;
    return plain_open(context, open, disk);
}

static void on_close(void *device)
{
    (void)device;
    go_through("ops", "close");
}

static int on_read(void *device, uint64_t offset, const struct iovec *iov, size_t count)
{
    go_through("ops", "read");
    return plain_read(device, offset, iov, count);
}

static int on_write(void *device, uint64_t offset, const struct iovec *iov, size_t count, uint32_t flags)
{
    go_through("ops", "write");
    return plain_write(device, offset, iov, count, flags);
}

static int on_flush(void *device)
{
    (void)device;
    go_through("ops", "flush");
    return 0;
}

static int on_unmap(void *device, uint64_t offset, uint64_t length)
{
    (void)device;
    (void)offset;
    (void)length;
    go_through("ops", "unmap");
    return 0;
}

static int on_write_same(void *device, uint64_t offset, uint64_t length, const struct iovec *iov, size_t count,
                         uint32_t flags)
{
    (void)length;
    go_through("ops", "write_same");
    return plain_write(device, offset, iov, count, flags);
}

static int on_compare_and_write(void *device, uint64_t offset, const struct iovec *compare, size_t compare_count,
                                const struct iovec *write, size_t write_count, uint32_t flags,
                                uint64_t *difference)
{
    (void)compare;
    (void)compare_count;
    *difference = 0;
    go_through("ops", "compare_and_write");
    return plain_write(device, offset, write, write_count, flags);
}

static int on_get_size(void *device, uint64_t *bytes)
{
    (void)device;
    *bytes = 1 << 20;
    go_through("ops", "get_size");
    return 0;
}

static int on_resize(void *device, uint64_t bytes)
{
    (void)device;
    (void)bytes;
    go_through("ops", "resize");
    return 0;
}

static int on_get(void *device, char *buffer, size_t length)
{
    (void)device;
    snprintf(buffer, length, "x");
    go_through("ops", "get");
    return 0;
}

static int on_set(void *device, const char *value, uint64_t number)
{
    (void)device;
    TRUE(number == 1 && !strcmp(value, "1"));
    go_through("ops", "set");
    return 0;
}

static uint64_t kept;

static int on_submit(void *device, const struct scstu_request *request)
{
    (void)device;
    go_through("ops", "submit");
    if (request->operation != SCSTU_READ) {
        GOOD(scstu_complete(request->token, 0));
        return 0;
    }
    pthread_mutex_lock(&lock);
    kept = request->token;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void on_cancel(void *device, uint64_t token)
{
    (void)device;
    go_through("ops", "cancel");
    GOOD(scstu_complete(token, 0));
}

/* An instance that serves a LUN 0, and the other instance. */
static struct scstu *serving(const char *handler, const char *parameters, const struct scstu_backstore_ops *ops,
                             struct initiator *initiator)
{
    struct scstu_options options;
    struct scstu *handle = NULL;
    char portal[64];

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log = on_log;
    options.log_context = "log_free";
    options.log_free = on_release;
    options.event = on_event;
    options.event_context = "event_free";
    options.event_free = on_release;
    GOOD(scstu_new(&options, &handle));
    set_handles(handle, started());
    GOOD(scstu_start(handle));
    if (ops)
        GOOD(scstu_backstore_register(handle, ops));
    GOOD(scstu_add_device(handle, handler, "disk", parameters));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    TRUE(!login(initiator, connected(portal)));
    return handle;
}

/* The instance still is what it was, unless what may be called has changed it. */
static void ended(struct initiator *initiator)
{
    struct scstu *handle = own, *rest = other;

    close(initiator->fd);
    GOOD(scstu_add_device(handle, "vdisk_nullio", "after", NULL));
    GOOD(scstu_free(handle));
    set_handles(NULL, NULL);
    GOOD(scstu_free(made_inside));
    made_inside = NULL;
    (void)scstu_free(rest);
}

static int stop_at_text(void *context, const char *text)
{
    TRUE(*text);
    go_through("call", context);
    return 7;
}

static int stop_at_entry(void *context, const char *name, uint32_t kind)
{
    TRUE(*name && kind);
    go_through("call", context);
    return 7;
}

static int stop_at_description(void *context, const struct scstu_description *description)
{
    TRUE(description->size > 0);
    go_through("call", context);
    return 7;
}

static int stop_at_session(void *context, const struct scstu_session *session)
{
    TRUE(session->id > 0);
    go_through("call", context);
    return 7;
}

/* CALLBACK(call) runs a call with a function, with an instance of its own. */
#define CALLBACK(call)                                                                                      \
    {                                                                                                       \
        struct initiator initiator;                                                                         \
        struct scstu *handle = serving("vdisk_ram", "size=1M", NULL, &initiator);                           \
                                                                                                            \
        TRUE((call) == 7);                                                                                  \
        ended(&initiator);                                                                                  \
    }

static void of_calls(void)
{
    static const char text[] = "HANDLER vdisk_nullio {\n    DEVICE new {\n    }\n}\n";

    /* Neither counts here. */
    strcat(gone, " event/event  log/log  release/log_free  release/event_free ");
    CALLBACK(scstu_list(handle, "", stop_at_entry, "scstu_list"))
    CALLBACK(scstu_describe(handle, "version", stop_at_description, "scstu_describe"))
    CALLBACK(scstu_sessions(handle, stop_at_session, "scstu_sessions"))
    CALLBACK(scstu_portals(handle, stop_at_text, "scstu_portals"))
    CALLBACK(scstu_plan(handle, text, 0, stop_at_text, "scstu_plan"))
    CALLBACK(scstu_save(handle, stop_at_text, "scstu_save"))
    *gone = 0;
}

/* Their releases are gone through when the instance ends. */
static void of_events_and_log(void)
{
    struct initiator initiator;

    (void)serving("vdisk_ram", "size=1M", NULL, &initiator);
    wait_for("event", "event");
    GOOD(scstu_listen(own, "127.0.0.1:0", NULL, 0));
    wait_for("log", "log");
    ended(&initiator);
}

static void of_blocking_backstores(void)
{
    static const unsigned char write[16] = { 0x8a, [13] = 1 }, same[16] = { 0x93, [13] = 1 },
                               compare[16] = { 0x89, [13] = 1 }, flush[16] = { 0x91 },
                               unmap[16] = { 0x42, [8] = 24 };
    static const unsigned char blocks[1024], ranges[24] = { 0, 22, 0, 16, [19] = 1 };
    static const struct scstu_attribute
        told = { .size = sizeof told, .name = "told", .value_type = SCSTU_TYPE_TEXT, .maximum = 9,
                 .flags = SCSTU_READABLE, .get = on_get },
        learnt = { .size = sizeof learnt, .name = "learnt", .value_type = SCSTU_TYPE_BOOL,
                   .flags = SCSTU_WRITABLE, .set = on_set };
    static const struct scstu_attribute *const attributes[] = { &told, &learnt };
    struct scstu_backstore_ops ops = plain();
    struct initiator initiator;
    char value[16];

    ops.attributes = attributes;
    ops.attribute_count = 2;
    ops.open = on_open;
    ops.close = on_close;
    ops.read = on_read;
    ops.write = on_write;
    ops.flush = on_flush;
    ops.unmap = on_unmap;
    ops.write_same = on_write_same;
    ops.compare_and_write = on_compare_and_write;
    ops.get_size = on_get_size;
    ops.resize = on_resize;
    ops.context = "free_context";
    ops.free_context = on_release;
    (void)serving("plain", NULL, &ops, &initiator);
    ready(&initiator);
    read16(&initiator, 0, 1);
    TRUE(status_of(&initiator) == 0);
    TRUE(write_command(&initiator, write, blocks, 512) == 0);
    TRUE(write_command(&initiator, same, blocks, 512) == 0);
    TRUE(write_command(&initiator, compare, blocks, 1024) == 0);
    TRUE(write_command(&initiator, unmap, ranges, 24) == 0);
    command(&initiator, flush, 0);
    TRUE(status_of(&initiator) == 0);
    GOOD(scstu_resync_device(own, "disk", NULL));
    GOOD(scstu_resize_device(own, "disk", 2 << 20));
    GOOD(scstu_get(own, "devices/disk/told", value, sizeof value, NULL));
    GOOD(scstu_set(own, "devices/disk/learnt", "1"));
    ended(&initiator);
}

static void of_asynchronous_backstores(void)
{
    struct scstu_backstore_ops ops = plain();
    struct initiator initiator;
    uint32_t tag;

    ops.read = NULL;
    ops.write = NULL;
    ops.submit = on_submit;
    ops.cancel = on_cancel;
    (void)serving("plain", NULL, &ops, &initiator);
    ready(&initiator);
    tag = read16(&initiator, 0, 1);
    pthread_mutex_lock(&lock);
    while (!kept)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    abort_task(&initiator, tag);
    wait_for("ops", "cancel");
    ended(&initiator);
}

int main(void)
{
    prepare_calls();
    of_calls();
    of_events_and_log();
    of_blocking_backstores();
    of_asynchronous_backstores();
    return mistakes != 0;
}
