/* There is no memory for another thread, and so nobody who would tell events. */
#include "../misuse.h"

#include <malloc.h>
#include <sys/resource.h>

static void on_event(void *context, const struct scstu_event *event)
{
    (void)context;
    (void)event;
}

int main(void)
{
    struct scstu_options options = { .size = sizeof options, .event = on_event, .event_free = release };
    struct scstu *handle = NULL;
    struct rlimit before, none = { 0, 0 };

    /* What is allocated otherwise comes from here. */
    TRUE(mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 64 << 20));
    free(malloc(16 << 20));
    TRUE(!getrlimit(RLIMIT_AS, &before));
    none.rlim_max = before.rlim_max;
    TRUE(!setrlimit(RLIMIT_AS, &none));
    EXPECT(EAGAIN, scstu_new, (&options, &handle), "no thread for events");
    TRUE(!setrlimit(RLIMIT_AS, &before));
    TRUE(!handle && released == 1);
    return done(made());
}
