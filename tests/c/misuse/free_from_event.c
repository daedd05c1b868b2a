/* The event callback ends the instance that waits for it; other calls it may make. */
#include "../misuse.h"

static struct scstu *handle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int told;

static void on_event(void *context, const struct scstu_event *event)
{
    (void)context;
    TRUE(event->kind == SCSTU_EVENT_CAPACITY_CHANGED && event->bytes == 2 << 20);
    TRUE(!strcmp(event->device, "disk") && !*event->initiator);
    EXPECT(EDEADLK, scstu_stop, (handle, 0), "within the event callback");
    EXPECT(EDEADLK, scstu_free, (handle), "within the event callback");
    GOOD(scstu_add_target(handle, TARGET));
    pthread_mutex_lock(&lock);
    told = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    struct scstu_options options;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.event = on_event;
    options.event_context = &options;
    options.event_free = release;
    GOOD(scstu_new(&options, &handle));
    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M"));
    GOOD(scstu_resize_device(handle, "disk", 2 << 20));
    pthread_mutex_lock(&lock);
    while (!told)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    if (done(handle))
        return 1;
    return released != 1;
}
