/*
 * Children of a process whose other threads are all the time in the library: whatever those hold at that moment,
 * no call of a child waits for it. The argument says how many children. A child that does not end is killed and
 * is a mistake.
 */
#include "misuse.h"

#include <signal.h>
#include <time.h>

#define THREADS 6
/* So long may a child take, in milliseconds; on a loaded machine too it takes a few. */
#define PATIENCE 60000

static struct scstu *handle;
static int is_over;

static void on_log(void *context, int level, const char *module, const char *message)
{
    (void)context;
    (void)level;
    (void)module;
    (void)message;
}

static struct scstu *with_log(void)
{
    struct scstu_options options;
    struct scstu *made = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.workers = 2;
    options.log = on_log;
    options.log_level = SCSTU_LOG_TRACE;
    GOOD(scstu_new(&options, &made));
    return made;
}

static void *busy(void *context)
{
    struct scstu_statistics statistics;
    long number = (long)context;

    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        if (number == 0) {
            GOOD(scstu_free(with_log()));
            continue;
        }
        memset(&statistics, 0, sizeof statistics);
        statistics.size = sizeof statistics;
        GOOD(scstu_read_statistics(handle, &statistics));
        TRUE(scstu_start(handle) == -EALREADY);
        TRUE(scstu_complete(number << 32, 0) == -ENOENT);
        if (number == 1)
            GOOD(scstu_set(handle, "devices/disk/max_tgt_dev_commands", "9"));
    }
    return NULL;
}

static void in_child(void)
{
    struct scstu *own;

    EXPECT(ECHILD, scstu_start, (handle), "did not come along");
    EXPECT(ECHILD, scstu_complete, (7, 0), "did not come along");
    EXPECT(ECHILD, scstu_free, (handle), "did not come along");
    own = with_log();
    GOOD(scstu_start(own));
    GOOD(scstu_add_device(own, "vdisk_ram", "disk", "size=1M"));
    GOOD(scstu_add_target(own, TARGET));
    GOOD(scstu_add_lun(own, TARGET, NULL, 0, "disk", 0));
    EXPECT(ECHILD, scstu_start, (handle), "did not come along");
    GOOD(scstu_stop(own, 0));
    GOOD(scstu_free(own));
    _exit(mistakes != 0);
}

/* What became of a child; -1 when it had to be killed. */
static int ended(pid_t child)
{
    struct timespec moment = { 0, 1000000 };
    int status = 0;

    for (int waited = 0; waited < PATIENCE; waited++) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        nanosleep(&moment, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1;
}

int main(int argc, char **argv)
{
    int children = argc > 1 ? atoi(argv[1]) : 400, hung = 0;
    pthread_t threads[THREADS];

    handle = with_log();
    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M"));
    GOOD(scstu_start(handle));
    for (long i = 0; i < THREADS; i++)
        TRUE(!pthread_create(&threads[i], NULL, busy, (void *)i));
    for (int i = 0; i < children && hung < 3 && !mistakes; i++) {
        pid_t child = fork();
        int status;

        if (child == 0)
            in_child();
        TRUE(child > 0);
        status = ended(child);
        hung += status == -1;
        TRUE(status == 0);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        TRUE(!pthread_join(threads[i], NULL));
    if (hung)
        fprintf(stderr, "%d children had to be killed\n", hung);
    return done(handle);
}
