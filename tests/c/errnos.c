/*
 * Every errno that scstu.h documents, provoked: one line of output for each function and errno, which whoever runs
 * this compares with the header. What cannot be provoked here is a line too, with the reason. The argument is a
 * directory to write in.
 */
#include "calls.h"
#include "initiator.h"

#include <sys/stat.h>

#define LONG_NAME_10 "0123456789"
#define LONG_NAME_300                                                                                       \
    LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 \
        LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10          \
            LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10      \
                LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10 LONG_NAME_10  \
                    LONG_NAME_10

static void case_at(int line, int got, int number, const char *name, const char *call)
{
    if (got == -number && !strcmp(scstu_error_call(), call) && *scstu_error()) {
        printf("%s -%s\n", call, name);
        return;
    }
    fprintf(stderr, "line %d: %s: %d, %s: \"%s\"; wanted -%s\n", line, call, got, scstu_error_call(),
            scstu_error(), name);
    mistakes++;
}

/* CASE(ENOENT, scstu_kick, (handle, 1)) */
#define CASE(number, function, arguments)                                                                   \
    case_at(__LINE__, function arguments, number, #number, #function)
#define NOT_PROVOKED(number, function, reason) printf("%s -%s not provoked: %s\n", #function, #number, reason)

/* What every function with a handle answers. */

#define WITH_NULL(function, arguments)                                                                      \
    if (strcmp(#function, "scstu_free"))                                                                    \
        CASE(EINVAL, function, arguments);
#define WITH_FREED(function, arguments) CASE(EBADF, function, arguments);
#define IN_CHILD(function, arguments) CASE(ECHILD, function, arguments);
#define FROM_CALLBACK(function, arguments) CASE(EDEADLK, function, arguments);

static struct scstu *outer;

static int open_that_calls(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    struct scstu *handle = outer, *other;

    CALLS(FROM_CALLBACK)
    CASE(EDEADLK, scstu_new, (NULL, &other));
    return plain_open(context, open, disk);
}

static void log_that_completes(void *context, int level, const char *module, const char *message)
{
    (void)level;
    (void)module;
    (void)message;
    if (!__atomic_fetch_add((int *)context, 1, __ATOMIC_SEQ_CST))
        CASE(EDEADLK, scstu_complete, (1, 0));
}

static uint64_t token_of_parent;

static void in_child(struct scstu *handle)
{
    CALLS(IN_CHILD)
    CASE(ECHILD, scstu_complete, (token_of_parent, 0));
    fflush(NULL);
    _exit(mistakes != 0);
}

static void of_every_function(void)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = NULL;
    int status = 0;
    pid_t child;

    CALLS(WITH_NULL)
    handle = outer = started();
    ops.open = open_that_calls;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    fflush(NULL);
    child = fork();
    if (child == 0)
        in_child(handle);
    TRUE(waitpid(child, &status, 0) == child && status == 0);
    GOOD(scstu_free(handle));
    CALLS(WITH_FREED)
}

static void of_new(void)
{
    struct {
        struct scstu_options known;
        unsigned char more[8];
    } options;
    char directory[] = "/tmp/scstu-errnos-XXXXXX", file[64];
    struct scstu *handle, *other;
    int lines = 0;

    memset(&options, 0, sizeof options);
    options.known.size = sizeof options;
    options.known.log = log_that_completes;
    options.known.log_context = &lines;
    GOOD(scstu_new(&options.known, &handle));
    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", NULL, 0));
    while (!__atomic_load_n(&lines, __ATOMIC_SEQ_CST))
        usleep(1000);
    GOOD(scstu_free(handle));
    options.more[0] = 1;
    CASE(E2BIG, scstu_new, (&options.known, &handle));
    options.more[0] = 0;
    options.known.workers = 1;
    CASE(EINVAL, scstu_new, (&options.known, &handle));
    CASE(EINVAL, scstu_new, (NULL, NULL));
    options.known.workers = 0;
    if (!mkdtemp(directory))
        abort();
    options.known.state_directory = directory;
    GOOD(scstu_new(&options.known, &handle));
    CASE(EBUSY, scstu_new, (&options.known, &other));
    GOOD(scstu_free(handle));
    GOOD(scstu_new(&options.known, &handle));
    GOOD(scstu_free(handle));
    snprintf(file, sizeof file, "%s/setup_id", directory);
    unlink(file);
    rmdir(directory);
}

/* Commands of an asynchronous handler that are kept until they are let go. */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t kept;
static uint32_t keeps, fails;

static int keep_some(void *device, const struct scstu_request *request)
{
    (void)device;
    if (request->operation == fails) {
        GOOD(scstu_complete(request->token, -EIO));
        return 0;
    }
    if (request->operation != keeps) {
        GOOD(scstu_complete(request->token, 0));
        return 0;
    }
    pthread_mutex_lock(&lock);
    kept = request->token;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void wait_for_kept(void)
{
    pthread_mutex_lock(&lock);
    while (!kept)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void let_go(void)
{
    GOOD(scstu_complete(kept, 0));
    kept = 0;
}

/* With is_late, what is cancelled is completed, but not at once. */
static int is_late;

static void *complete_later(void *context)
{
    usleep(300000);
    let_go();
    return context;
}

static void cancel_later(void *device, uint64_t token)
{
    pthread_t thread;

    (void)device;
    if (!is_late)
        return;
    TRUE(token == kept);
    TRUE(!pthread_create(&thread, NULL, complete_later, NULL));
    TRUE(!pthread_detach(thread));
}

/* Started, with a target whose LUN 0 is of keep_some, and a portal. */
static struct scstu *serving(char *portal)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = started();

    ops.read = NULL;
    ops.write = NULL;
    ops.submit = keep_some;
    ops.cancel = cancel_later;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_group(handle, TARGET, "group"));
    GOOD(scstu_add_initiator(handle, TARGET, "group", "iqn.2026-01.test:*"));
    GOOD(scstu_add_lun(handle, TARGET, "group", 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, 64));
    return handle;
}

static void *stop(void *handle)
{
    GOOD(scstu_stop(handle, 0));
    return NULL;
}

static void of_its_life(void)
{
    struct initiator initiator;
    char portal[64];
    struct scstu *handle = serving(portal);
    pthread_t thread;

    CASE(EALREADY, scstu_start, (handle));
    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    CASE(EBUSY, scstu_remove_target, (handle, TARGET));
    CASE(EBUSY, scstu_remove_group, (handle, TARGET, "group"));
    close(initiator.fd);

    keeps = SCSTU_FLUSH;
    TRUE(!pthread_create(&thread, NULL, stop, handle));
    wait_for_kept();
    CASE(EBUSY, scstu_start, (handle));
    CASE(EINVAL, scstu_complete, (kept, 1));
    let_go();
    CASE(ENOENT, scstu_complete, (kept, 0));
    TRUE(!pthread_join(thread, NULL));
    keeps = 0;

    GOOD(scstu_start(handle));
    fails = SCSTU_FLUSH;
    CASE(EIO, scstu_stop, (handle, 0));
    fails = 0;

    /* An initiator that does not log out uses up the time for it, not that of the commands. */
    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    keeps = SCSTU_READ;
    read16(&initiator, 0, 8);
    wait_for_kept();
    is_late = 1;
    GOOD(scstu_stop(handle, 2100));
    close(initiator.fd);
    is_late = 0;

    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    read16(&initiator, 0, 8);
    wait_for_kept();
    CASE(ETIMEDOUT, scstu_stop, (handle, 0));
    CASE(EBUSY, scstu_free, (handle));
    let_go();
    close(initiator.fd);
    GOOD(scstu_free(handle));
}

static int no_size(void *device, uint64_t *bytes)
{
    (void)device;
    (void)bytes;
    return -EIO;
}

static void of_devices(void)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = made();
    uint64_t bytes;

    ops.get_size = no_size;
    GOOD(scstu_backstore_register(handle, &ops));
    CASE(ENOENT, scstu_add_device, (handle, "tape", "disk", NULL));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", NULL, NULL));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", "a/b", "size=1M"));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", "a.b", "size=1M"));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", LONG_NAME_300, "size=1M"));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M; colour=red"));
    CASE(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1"));
    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M"));
    CASE(EEXIST, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M"));
    NOT_PROVOKED(ENOSPC, scstu_add_device, "65536 devices take minutes under valgrind and much memory");
    GOOD(scstu_add_device(handle, "vcdrom", "empty", NULL));
    GOOD(scstu_add_device(handle, "plain", "fixed", NULL));

    CASE(ENOENT, scstu_resize_device, (handle, "nothing", 1 << 20));
    CASE(EINVAL, scstu_resize_device, (handle, "disk", 1000));
    CASE(EINVAL, scstu_resize_device, (handle, "fixed", 1 << 21));
    GOOD(scstu_add_device(handle, "plain", "closed", "active=0"));
    CASE(EMEDIUMTYPE, scstu_resize_device, (handle, "closed", 1 << 21));
    CASE(EMEDIUMTYPE, scstu_resync_device, (handle, "empty", &bytes));
    CASE(EIO, scstu_resync_device, (handle, "fixed", &bytes));
    CASE(ENOENT, scstu_resync_device, (handle, "nothing", &bytes));

    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "fixed", 0));
    CASE(EBUSY, scstu_remove_device, (handle, "fixed"));
    CASE(ENOENT, scstu_remove_device, (handle, "nothing"));
    CASE(EBUSY, scstu_backstore_unregister, (handle, "plain"));
    CASE(EBUSY, scstu_backstore_unregister, (handle, "vdisk_ram"));
    CASE(ENOENT, scstu_backstore_unregister, (handle, "tape"));
    CASE(ENOENT, scstu_read_device_statistics, (handle, "nothing", &device_of_calls));
    CASE(EINVAL, scstu_read_device_statistics, (handle, "disk", NULL));
    CASE(EINVAL, scstu_read_statistics, (handle, NULL));
    GOOD(scstu_free(handle));
}

static void of_targets(void)
{
    struct scstu *handle = with_device();

    CASE(EINVAL, scstu_add_target, (handle, "nonsense"));
    CASE(EINVAL, scstu_add_target, (handle, "iqn.2026-01.test:" LONG_NAME_300));
    GOOD(scstu_add_target(handle, TARGET));
    CASE(EEXIST, scstu_add_target, (handle, "IQN.2026-01.test:Target"));
    NOT_PROVOKED(ENOSPC, scstu_add_target, "65536 targets take minutes under valgrind");
    CASE(ENOENT, scstu_remove_target, (handle, "iqn.2026-01.test:nothing"));
    CASE(ENOENT, scstu_enable_target, (handle, "iqn.2026-01.test:nothing", 1));
    CASE(EINVAL, scstu_enable_target, (handle, TARGET, 2));
    GOOD(scstu_add_target(handle, TARGET "2"));
    GOOD(scstu_set(handle, "targets/iscsi/" TARGET "/rel_tgt_id", "7"));
    GOOD(scstu_set(handle, "targets/iscsi/" TARGET "2/rel_tgt_id", "7"));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    CASE(EBADSLT, scstu_enable_target, (handle, TARGET "2", 1));
    NOT_PROVOKED(ENOSPC, scstu_enable_target, "65535 targets take minutes under valgrind");

    CASE(ENOENT, scstu_add_lun, (handle, TARGET, NULL, 0, "nothing", 0));
    CASE(ENOENT, scstu_add_lun, (handle, TARGET, "group", 0, "disk", 0));
    CASE(EINVAL, scstu_add_lun, (handle, TARGET, NULL, 16384, "disk", 0));
    CASE(EINVAL, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 2));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    CASE(EEXIST, scstu_add_lun, (handle, TARGET, NULL, 0, "disk", 0));
    CASE(ENOENT, scstu_remove_lun, (handle, TARGET, NULL, 1));
    CASE(EINVAL, scstu_remove_lun, (handle, TARGET, NULL, 16384));

    CASE(ENOENT, scstu_add_group, (handle, "iqn.2026-01.test:nothing", "group"));
    CASE(EINVAL, scstu_add_group, (handle, TARGET, "two words"));
    CASE(EINVAL, scstu_add_group, (handle, TARGET, LONG_NAME_300));
    GOOD(scstu_add_group(handle, TARGET, "group"));
    CASE(EEXIST, scstu_add_group, (handle, TARGET, "group"));
    NOT_PROVOKED(ENOSPC, scstu_add_group, "65536 groups take minutes under valgrind");
    CASE(ENOENT, scstu_remove_group, (handle, TARGET, "nothing"));
    CASE(ENOENT, scstu_add_initiator, (handle, TARGET, "nothing", "iqn.*"));
    CASE(EINVAL, scstu_add_initiator, (handle, TARGET, "group", "two words"));
    CASE(EINVAL, scstu_add_initiator, (handle, TARGET, "group", LONG_NAME_300));
    GOOD(scstu_add_initiator(handle, TARGET, "group", "iqn.*"));
    CASE(EEXIST, scstu_add_initiator, (handle, TARGET, "group", "iqn.*"));
    NOT_PROVOKED(ENOSPC, scstu_add_initiator, "65536 initiators take minutes under valgrind");
    CASE(ENOENT, scstu_remove_initiator, (handle, TARGET, "group", "nothing"));
    GOOD(scstu_free(handle));
}

static void of_users(void)
{
    struct scstu *handle = made();
    char name[16];

    CASE(ENOENT, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", "twelvesecrets"));
    GOOD(scstu_add_target(handle, TARGET));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, 3, "joe", "twelvesecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", "short"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", LONG_NAME_300));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "j e", "twelvesecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, LONG_NAME_300, "twelvesecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", " twelvesecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", "twelve\nsecrets"));
    GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_INCOMING, "joe", "twelvesecrets"));
    CASE(EEXIST, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", "othersecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_OUTGOING, "me", "twelvesecrets"));
    GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_OUTGOING, "me", "othersecrets"));
    CASE(EEXIST, scstu_add_user, (handle, TARGET, SCSTU_USER_OUTGOING, "me2", "thirdsecrets"));
    CASE(EINVAL, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "jim", "othersecrets"));
    CASE(ENOENT, scstu_remove_user, (handle, TARGET, SCSTU_USER_INCOMING, "me"));
    CASE(EINVAL, scstu_remove_user, (handle, TARGET, 3, "me"));
    GOOD(scstu_remove_user(handle, TARGET, SCSTU_USER_OUTGOING, "me"));
    for (int i = 1; i < 4096; i++) {
        snprintf(name, sizeof name, "user%d", i);
        GOOD(scstu_add_user(handle, TARGET, SCSTU_USER_INCOMING, name, "twelvesecrets"));
    }
    CASE(ENOSPC, scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "last", "twelvesecrets"));
    GOOD(scstu_free(handle));
}

static void of_handlers(const char *directory)
{
    struct {
        struct scstu_backstore_ops known;
        unsigned char more[8];
    } ops;
    struct scstu *handle = made();
    char text[4096];
    int count = 0;

    memset(&ops, 0, sizeof ops);
    ops.known = plain();
    ops.known.size = sizeof ops;
    ops.more[0] = 1;
    CASE(E2BIG, scstu_backstore_register, (handle, &ops.known));
    ops.known = plain();
    ops.known.version = 2;
    CASE(ENOTSUP, scstu_backstore_register, (handle, &ops.known));
    ops.known = plain();
    ops.known.open = NULL;
    CASE(EINVAL, scstu_backstore_register, (handle, &ops.known));
    ops.known = plain();
    GOOD(scstu_backstore_register(handle, &ops.known));
    CASE(EEXIST, scstu_backstore_register, (handle, &ops.known));
    ops.known.name = text;
    for (int result = 0; !result; count++) {
        snprintf(text, sizeof text, "plain%d", count);
        result = scstu_backstore_register(handle, &ops.known);
    }
    CASE(ENOSPC, scstu_backstore_register, (handle, &ops.known));
    TRUE(count > 1000);
    CASE(ENOENT, scstu_load_tcmu_handlers, (handle, directory));
    CASE(EINVAL, scstu_load_tcmu_handlers, (handle, NULL));
    snprintf(text, sizeof text, "%s/handler_none.so", directory);
    close(open(text, O_CREAT | O_WRONLY, 0644));
    CASE(ENOEXEC, scstu_load_tcmu_handlers, (handle, directory));
    TRUE(!chmod(text, 0666));
    CASE(EPERM, scstu_load_tcmu_handlers, (handle, directory));
    unlink(text);
    GOOD(scstu_free(handle));
}

static void of_the_configuration(void)
{
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = with_device();
    char buffer[4], text[5000], *long_one = malloc((16 << 20) + 2);

    memset(long_one, '\n', (16 << 20) + 1);
    long_one[(16 << 20) + 1] = 0;
    CASE(EFBIG, scstu_load, (handle, long_one, 0));
    CASE(EFBIG, scstu_plan, (handle, long_one, 0, no_text, NULL));
    long_one[16 << 20] = 0;
    GOOD(scstu_load(handle, long_one, 0));
    free(long_one);
    CASE(EINVAL, scstu_load, (handle, "HANDLER", 0));
    CASE(EINVAL, scstu_load, (handle, "", 2));
    CASE(EINVAL, scstu_plan, (handle, "HANDLER", 0, no_text, NULL));
    CASE(EINVAL, scstu_save, (handle, NULL, NULL));

    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "plain", NULL));
    CASE(ENOENT, scstu_get, (handle, "devices/nothing/size", NULL, 0, NULL));
    CASE(EISDIR, scstu_get, (handle, "devices/disk", NULL, 0, NULL));
    CASE(ELOOP, scstu_get, (handle, "devices/disk/handler", NULL, 0, NULL));
    CASE(EIO, scstu_get, (handle, "devices/plain/sync", NULL, 0, NULL));
    CASE(ERANGE, scstu_get, (handle, "devices/disk/size", buffer, sizeof buffer, NULL));
    CASE(EINVAL, scstu_get, (handle, "devices/disk/size", NULL, 0, NULL));

    memset(text, '1', sizeof text);
    text[sizeof text - 1] = 0;
    CASE(ENOENT, scstu_set, (handle, "devices/disk/nothing", "1"));
    CASE(EISDIR, scstu_set, (handle, "devices/disk", "1"));
    CASE(ELOOP, scstu_set, (handle, "devices/disk/handler", "1"));
    CASE(EIO, scstu_set, (handle, "devices/disk/type", "1"));
    CASE(EINVAL, scstu_set, (handle, "handlers/vdisk_ram/mgmt", "add_device x"));
    CASE(EINVAL, scstu_set, (handle, "devices/disk/max_tgt_dev_commands", "many"));
    CASE(ERANGE, scstu_set, (handle, "devices/disk/max_tgt_dev_commands", "99999999999999999999"));
    CASE(E2BIG, scstu_set, (handle, "devices/disk/max_tgt_dev_commands", text));

    CASE(ENOENT, scstu_do, (handle, "handlers/tape", "add_device x"));
    CASE(EINVAL, scstu_do, (handle, "handlers/vdisk_ram", "invent x"));
    CASE(E2BIG, scstu_do, (handle, "handlers/vdisk_ram", text));

    CASE(ENOENT, scstu_list, (handle, "nothing", no_entry, NULL));
    CASE(ENOENT, scstu_list, (handle, "devices/nothing/size", no_entry, NULL));
    CASE(ENOTDIR, scstu_list, (handle, "devices/disk/size", no_entry, NULL));
    CASE(ENOTDIR, scstu_list, (handle, "devices/disk/handler", no_entry, NULL));
    CASE(EINVAL, scstu_list, (handle, NULL, no_entry, NULL));
    CASE(ENOENT, scstu_describe, (handle, "devices/disk/nothing", no_description, NULL));
    CASE(EISDIR, scstu_describe, (handle, "devices/disk", no_description, NULL));
    CASE(ELOOP, scstu_describe, (handle, "devices/disk/handler", no_description, NULL));
    CASE(EINVAL, scstu_describe, (handle, "devices/disk/size", NULL, NULL));
    GOOD(scstu_free(handle));
}

static void of_sockets(void)
{
    struct scstu *handle = made();
    struct sockaddr_in address;
    char portal[64], own[64], buffer[4];
    int listening = listening_socket(), fresh = socket(AF_INET, SOCK_STREAM, 0), other;
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0), file = open("/dev/null", O_RDONLY);

    CASE(ENOTCONN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0));
    CASE(ENOTCONN, scstu_listen_fd, (handle, listening));
    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    TRUE(!getsockname(listening, (struct sockaddr *)&address, &(socklen_t){ sizeof address }));
    snprintf(own, sizeof own, "127.0.0.1:%d", ntohs(address.sin_port));
    other = connected(own);
    CASE(EINVAL, scstu_listen, (handle, "nowhere", NULL, 0));
    CASE(ERANGE, scstu_listen, (handle, "127.0.0.1:0", buffer, sizeof buffer));
    CASE(EADDRINUSE, scstu_listen, (handle, portal, NULL, 0));
    CASE(EADDRNOTAVAIL, scstu_listen, (handle, "192.0.2.1:0", NULL, 0));
    NOT_PROVOKED(EACCES, scstu_listen, "which ports are refused depends on the user and the machine");

    CASE(EBADF, scstu_listen_fd, (handle, 9999));
    CASE(ENOTSOCK, scstu_listen_fd, (handle, file));
    CASE(EPROTONOSUPPORT, scstu_listen_fd, (handle, datagrams));
    CASE(EINVAL, scstu_listen_fd, (handle, fresh));
    CASE(EBADF, scstu_serve_fd, (handle, 9999));
    CASE(ENOTSOCK, scstu_serve_fd, (handle, file));
    CASE(EPROTONOSUPPORT, scstu_serve_fd, (handle, datagrams));
    CASE(EINVAL, scstu_serve_fd, (handle, listening));
    CASE(ENOTCONN, scstu_serve_fd, (handle, fresh));

    CASE(ENOENT, scstu_close_portal, (handle, "127.0.0.1:1"));
    CASE(EINVAL, scstu_close_portal, (handle, "nowhere"));
    CASE(EINVAL, scstu_portals, (handle, NULL, NULL));
    CASE(EINVAL, scstu_sessions, (handle, NULL, NULL));
    CASE(ENOENT, scstu_kick, (handle, 4711));
    GOOD(scstu_stop(handle, 0));
    CASE(ESHUTDOWN, scstu_listen, (handle, "127.0.0.1:0", NULL, 0));
    CASE(ESHUTDOWN, scstu_listen_fd, (handle, listening));
    CASE(ESHUTDOWN, scstu_serve_fd, (handle, other));
    close(listening);
    close(fresh);
    close(other);
    close(datagrams);
    close(file);
    GOOD(scstu_free(handle));
}

int main(int argc, char **argv)
{
    TRUE(argc == 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    prepare_calls();
    of_every_function();
    of_new();
    of_its_life();
    of_devices();
    of_targets();
    of_users();
    of_handlers(argv[1]);
    of_the_configuration();
    of_sockets();
    return mistakes != 0;
}
