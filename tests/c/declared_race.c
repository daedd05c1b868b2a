/*
 * A declared attribute is set and read while its device is opened, closed, taken out and made anew, and while the
 * instance is freed. The argument is the number of rounds. No function of a device runs when it is closed.
 */
#include "misuse.h"

#define THREADS 4

struct disk {
    int is_open;
    uint64_t number;
    int users;
};

static int disks;

static void used(struct disk *disk, int change)
{
    __atomic_add_fetch(&disk->users, change, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&disk->is_open, __ATOMIC_SEQ_CST)) {
        fprintf(stderr, "a device is used that is closed\n");
        __atomic_add_fetch(&mistakes, 1, __ATOMIC_SEQ_CST);
    }
}

static int open_one(void *context, const struct scstu_open *open, struct scstu_disk *out)
{
    struct disk *disk = calloc(1, sizeof *disk);

    disk->is_open = 1;
    disk->number = open->numbers[0];
    __atomic_add_fetch(&disks, 1, __ATOMIC_SEQ_CST);
    plain_open(context, open, out);
    out->device = disk;
    return 0;
}

static void close_one(void *device)
{
    struct disk *disk = device;

    TRUE(__atomic_load_n(&disk->users, __ATOMIC_SEQ_CST) == 0);
    __atomic_store_n(&disk->is_open, 0, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&disks, 1, __ATOMIC_SEQ_CST);
    free(disk);
}

static int set_number(void *device, const char *value, uint64_t number)
{
    struct disk *disk = device;

    used(disk, 1);
    TRUE(strtoull(value, NULL, 10) == number);
    __atomic_store_n(&disk->number, number, __ATOMIC_SEQ_CST);
    used(disk, -1);
    return number % 7 ? 0 : -EBUSY;
}

static int get_number(void *device, char *buffer, size_t length)
{
    struct disk *disk = device;

    used(disk, 1);
    snprintf(buffer, length, "%llu", (unsigned long long)__atomic_load_n(&disk->number, __ATOMIC_SEQ_CST));
    used(disk, -1);
    return 0;
}

static struct scstu *handle;
static int is_over;
static unsigned long reads, writes;

static void *run(void *context)
{
    unsigned which = (unsigned)(uintptr_t)context;
    char value[64];

    for (unsigned i = 0; !__atomic_load_n(&is_over, __ATOMIC_SEQ_CST); i++) {
        snprintf(value, sizeof value, "%u", i % 1000);
        if (which % 2) {
            if (!scstu_get(handle, "devices/disk/told", value, sizeof value, NULL))
                __atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST);
        } else if (!scstu_set(handle, "devices/disk/number", value)) {
            __atomic_add_fetch(&writes, 1, __ATOMIC_SEQ_CST);
        }
    }
    return NULL;
}

static void round_of(unsigned number)
{
    static const struct scstu_attribute
        settable = { .size = sizeof settable, .name = "number", .value_type = SCSTU_TYPE_NUMBER,
                     .flags = SCSTU_WRITABLE, .maximum = 1000, .set = set_number },
        told = { .size = sizeof told, .name = "told", .value_type = SCSTU_TYPE_TEXT, .maximum = 20,
                 .flags = SCSTU_READABLE, .get = get_number };
    static const struct scstu_attribute *const attributes[] = { &settable, &told };
    struct scstu_backstore_ops ops = plain();
    pthread_t threads[THREADS];

    ops.open = open_one;
    ops.close = close_one;
    ops.attributes = attributes;
    ops.attribute_count = 2;
    handle = made();
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    is_over = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        TRUE(!pthread_create(&threads[i], NULL, run, (void *)i));
    for (unsigned i = 0; i < 20; i++) {
        (void)scstu_set(handle, "devices/disk/active", i % 2 ? "1" : "0");
        if (i % 5 == 4) {
            GOOD(scstu_remove_device(handle, "disk"));
            GOOD(scstu_add_device(handle, "plain", "disk", "number=3"));
        }
    }
    if (number % 2)
        GOOD(scstu_free(handle));
    __atomic_store_n(&is_over, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < THREADS; i++)
        TRUE(!pthread_join(threads[i], NULL));
    if (number % 2 == 0)
        GOOD(scstu_free(handle));
    TRUE(__atomic_load_n(&disks, __ATOMIC_SEQ_CST) == 0);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 100;

    for (unsigned i = 0; i < rounds && !mistakes; i++)
        round_of(i);
    printf("%u rounds: %lu read, %lu set\n", rounds, reads, writes);
    TRUE(reads > 0 && writes > 0);
    return mistakes != 0;
}
