/* Every thread has its own last error. */
#include "../misuse.h"

static void *other(void *context)
{
    TRUE(!*scstu_error() && !*scstu_error_call());
    EXPECT(EINVAL, scstu_stop, (NULL, 0), "NULL");
    return context;
}

int main(void)
{
    pthread_t thread;

    EXPECT(EINVAL, scstu_start, (NULL), "NULL");
    TRUE(!pthread_create(&thread, NULL, other, NULL));
    TRUE(!pthread_join(thread, NULL));
    TRUE(!strcmp(scstu_error_call(), "scstu_start"));
    return done(made());
}
