/* Destructors of thread-specific data call after the library's own of that thread have run. */
#include "../misuse.h"

#define ROUNDS 4

static pthread_key_t key;
static struct scstu *own;
static int rounds;

static void late(void *value)
{
    rounds++;
    /* Set again, it is called again: the library's destructors have run by then. */
    if (rounds < ROUNDS)
        TRUE(!pthread_setspecific(key, value));
    TRUE(scstu_kick(own, 5) == -ENOENT);
    TRUE(scstu_error() && *scstu_error() && scstu_error_call());
    TRUE(scstu_list(own, "devices", NULL, NULL) == -EINVAL);
    if (rounds == ROUNDS) {
        TRUE(!scstu_stop(own, 0));
        TRUE(!scstu_free(own));
    }
}

static void *run(void *context)
{
    EXPECT(ENOENT, scstu_kick, (own, 9), "9");
    TRUE(!pthread_setspecific(key, context));
    return NULL;
}

int main(void)
{
    pthread_t thread;

    own = started();
    TRUE(!pthread_key_create(&key, late));
    TRUE(!pthread_create(&thread, NULL, run, &key));
    TRUE(!pthread_join(thread, NULL));
    TRUE(rounds == ROUNDS);
    EXPECT(EBADF, scstu_stop, (own, 0), "freed");
    return done(made());
}
