/* A handler of atexit() stops and frees an instance, after a call of the same thread has failed. */
#include "../misuse.h"

static struct scstu *own;

static void bye(void)
{
    int stopped = scstu_stop(own, 0), freed = scstu_free(own), again = scstu_free(own);

    if (stopped || freed || again != -EBADF || !scstu_error()) {
        fprintf(stderr, "%d, %d and %d\n", stopped, freed, again);
        _exit(1);
    }
}

int main(void)
{
    TRUE(!atexit(bye));
    own = started();
    GOOD(scstu_add_device(own, "vdisk_ram", "disk", "size=1M"));
    EXPECT(ENOENT, scstu_kick, (own, 5), "5");
    return done(made());
}
