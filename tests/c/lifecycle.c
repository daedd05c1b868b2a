/*
 * Many instances, one after the other: made, started, stopped, freed. Memory, threads and descriptors must
 * not grow. The number of cycles is the argument.
 */
#include "misuse.h"

#include <dirent.h>
#include <time.h>

static int events, logs;

static void on_event(void *context, const struct scstu_event *event)
{
    (void)context;
    (void)event;
    __atomic_add_fetch(&events, 1, __ATOMIC_SEQ_CST);
}

static void on_log(void *context, int level, const char *module, const char *message)
{
    (void)context;
    (void)level;
    (void)module;
    (void)message;
    __atomic_add_fetch(&logs, 1, __ATOMIC_SEQ_CST);
}

static long field(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");

    while (fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)))
            value = strtol(line + strlen(name) + 1, NULL, 10);
    fclose(file);
    return value;
}

static long descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    long count = 0;

    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void cycle(int number)
{
    struct scstu_options options;
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = NULL;
    char portal[64];

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log = on_log;
    options.log_free = release;
    options.event = on_event;
    options.event_free = release;
    ops.free_context = release;
    GOOD(scstu_new(&options, &handle));
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    GOOD(scstu_add_device(handle, "vdisk_ram", "ram", "size=1M"));
    GOOD(scstu_resize_device(handle, "ram", 2 << 20));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_start(handle));
    if (number % 8 == 0)
        GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    if (number % 3)
        GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
}

/* Threads end a moment after they have done their last work. */
static void settle(long threads)
{
    struct timespec moment = { 0, 1000000 };

    for (int i = 0; i < 10000 && field("Threads:") > threads; i++)
        nanosleep(&moment, NULL);
}

int main(int argc, char **argv)
{
    int cycles = argc > 1 ? atoi(argv[1]) : 10000, warm = cycles / 10;
    long memory, threads = field("Threads:"), files = descriptors();

    for (int i = 0; i < warm && !mistakes; i++)
        cycle(i);
    settle(threads);
    memory = field("VmRSS:");
    for (int i = warm; i < cycles && !mistakes; i++)
        cycle(i);
    settle(threads);
    printf("%d cycles: %ld kB, then %ld kB; threads %ld, descriptors %ld\n", cycles, memory,
           field("VmRSS:"), field("Threads:"), descriptors());
    TRUE(field("Threads:") == threads);
    TRUE(descriptors() == files);
    /* The least that malloc() can lose in each cycle, 32 bytes, would show; of few cycles nothing would. */
    TRUE(cycles < 10000 || field("VmRSS:") - memory < (cycles - warm) / 1024 * 32);
    TRUE(released == 3 * cycles);
    TRUE(events == cycles);
    return mistakes != 0;
}
