/*
 * A program that is built with the header as it is, with an older one whose structs were shorter (-DOLD), and with a
 * newer one whose structs are longer (-DTOMORROW): it runs against this library each time.
 */
#include "initiator.h"

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

/* A struct that the library fills says how much of it there is; only that may be looked at. */
static void look_at_size(size_t size, size_t own)
{
#if defined OLD
    TRUE(size > own);
#elif defined TOMORROW
    TRUE(size == own - 4 * sizeof(uint64_t));
#else
    TRUE(size == own);
#endif
}

/* Bits of what the library has called. */
enum { OPENED = 1, SUBMITTED = 2, DESCRIBED = 4, TOLD = 8, SEEN = 16, ALL = 31 };
static int seen;

static void saw(int what)
{
    __atomic_or_fetch(&seen, what, __ATOMIC_SEQ_CST);
}

static int open_one(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    look_at_size(open->size, sizeof *open);
    look_at_size(disk->size, sizeof *disk);
    TRUE(!strcmp(open->device, "disk") && !strcmp(open->options, "one two") && open->bytes == 4096);
    saw(OPENED);
    return plain_open(context, open, disk);
}

static int submit_one(void *device, const struct scstu_request *request)
{
    (void)device;
    look_at_size(request->size, sizeof *request);
    TRUE(request->operation == SCSTU_FLUSH && request->length == 0 && !request->iov);
    saw(SUBMITTED);
    GOOD(scstu_complete(request->token, 0));
    return 0;
}

static int on_description(void *context, const struct scstu_description *description)
{
    (void)context;
    look_at_size(description->size, sizeof *description);
    TRUE(!strcmp(description->name, "threads_pool_type") && *description->help && *description->values);
    TRUE(description->flags & SCSTU_READABLE);
    saw(DESCRIBED);
    return 0;
}

static void on_event(void *context, const struct scstu_event *event)
{
    (void)context;
    look_at_size(event->size, sizeof *event);
    if (event->kind != SCSTU_EVENT_CAPACITY_CHANGED)
        return;
    TRUE(event->bytes == 2 << 20 && !strcmp(event->device, "ram"));
    saw(TOLD);
}

static int on_session(void *context, const struct scstu_session *session)
{
    (void)context;
    look_at_size(session->size, sizeof *session);
    TRUE(session->id > 0 && !strcmp(session->initiator, INITIATOR) && !strcmp(session->target, TARGET));
    TRUE(session->tsih > 0 && session->isid[0] == 0x40);
    saw(SEEN);
    return 0;
}

/* A session, and a resize while it is there. */
static void serve(struct scstu *handle)
{
    struct initiator initiator;
    char portal[64];

    GOOD(scstu_add_device(handle, "vdisk_ram", "ram", "size=1M"));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "ram", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    TRUE(login(&initiator, connected(portal)) == 0);
    ready(&initiator);
    GOOD(scstu_sessions(handle, on_session, NULL));
    GOOD(scstu_resize_device(handle, "ram", 2 << 20));
    GOOD(scstu_describe(handle, "devices/ram/threads_pool_type", on_description, NULL));
    close(initiator.fd);
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
#ifndef OLD
    options.event = on_event;
#endif
    GOOD(scstu_new(&options, &handle));
#ifdef TOMORROW
    ops.tomorrow[0] = 1;
    EXPECT(E2BIG, scstu_backstore_register, (handle, &ops), "not zero");
    ops.tomorrow[0] = 0;
#endif
    ops.open = open_one;
#ifndef OLD
    struct scstu_attribute attribute;
    const struct scstu_attribute *const attributes[] = { &attribute };

    memset(&attribute, 0, sizeof attribute);
    attribute.size = sizeof attribute;
    attribute.name = "speed";
    attribute.value_type = SCSTU_TYPE_BOOL;
    attribute.flags = SCSTU_CREATE_ONLY;
    ops.attributes = attributes;
    ops.attribute_count = 1;
#ifdef TOMORROW
    attribute.tomorrow[3] = 1;
    EXPECT(E2BIG, scstu_backstore_register, (handle, &ops), "scstu_attribute has");
    attribute.tomorrow[3] = 0;
#endif
    ops.submit = submit_one;
    ops.flush = NULL;
#endif
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", "size=4096; options=one two"));

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
    printf("options %zu, ops %zu, statistics %zu, open %zu, disk %zu, request %zu, description %zu, event %zu, "
           "session %zu\n",
           sizeof options, sizeof ops, sizeof statistics.value, sizeof(struct scstu_open),
           sizeof(struct scstu_disk), sizeof(struct scstu_request), sizeof(struct scstu_description),
           sizeof(struct scstu_event), sizeof(struct scstu_session));
    serve(handle);
    GOOD(scstu_stop(handle, 0));
    GOOD(scstu_free(handle));
#ifdef OLD
    /* Its structs end before the functions for events and asynchronous commands. */
    TRUE(seen == (ALL & ~(TOLD | SUBMITTED)));
#else
    TRUE(seen == ALL);
#endif
    return mistakes != 0;
}
