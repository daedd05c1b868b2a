/*
 * A program that is built with the header as it is, with an older one whose structs were shorter, and with a
 * newer one whose structs are longer (-DTOMORROW): it runs against this library each time.
 */
#include "misuse.h"

#define GUARD 0x5a

/* A struct to be filled, with bytes behind it that must stay as they are. */
#define FILLED(type, name)                                                                                  \
    struct {                                                                                                \
        struct type value;                                                                                  \
        unsigned char behind[64];                                                                           \
    } name;                                                                                                 \
    memset(&name, GUARD, sizeof name);                                                                      \
    name.value.size = sizeof name.value

static int is_untouched(const unsigned char *behind)
{
    for (int i = 0; i < 64; i++)
        if (behind[i] != GUARD)
            return 0;
    return 1;
}

int main(void)
{
    struct scstu_options options;
    struct scstu_backstore_ops ops = plain();
    struct scstu *handle = NULL;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.workers = 4;
    ops.size = sizeof ops;
#ifdef TOMORROW
    options.tomorrow[3] = 1;
    EXPECT(E2BIG, scstu_new, (&options, &handle), "not zero");
    options.tomorrow[3] = 0;
#endif
    GOOD(scstu_new(&options, &handle));
#ifdef TOMORROW
    ops.tomorrow[0] = 1;
    EXPECT(E2BIG, scstu_backstore_register, (handle, &ops), "not zero");
    ops.tomorrow[0] = 0;
#endif
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));

    FILLED(scstu_statistics, statistics);
    GOOD(scstu_read_statistics(handle, &statistics.value));
    TRUE(statistics.value.devices == 1 && statistics.value.targets == 0);
    TRUE(statistics.value.size == sizeof statistics.value);
    TRUE(is_untouched(statistics.behind));

    FILLED(scstu_device_statistics, device);
    GOOD(scstu_read_device_statistics(handle, "disk", &device.value));
    TRUE(device.value.bytes == 1 << 20 && device.value.block_size == 512);
    TRUE(is_untouched(device.behind));
#ifdef TOMORROW
    TRUE(statistics.value.tomorrow[3] == 0 && device.value.tomorrow[0] == 0);
#endif
    printf("options %zu, ops %zu, statistics %zu\n", sizeof options, sizeof ops, sizeof statistics.value);
    return done(handle);
}
