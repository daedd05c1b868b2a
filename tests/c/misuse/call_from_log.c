/* The log callback calls the library. */
#include "../misuse.h"

static struct scstu *handle;
static int lines;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_log(void *context, int level, const char *module, const char *message)
{
    (void)context;
    TRUE(level >= SCSTU_LOG_ERROR && level <= SCSTU_LOG_INFO && *module && *message);
    EXPECT(EDEADLK, scstu_start, (handle), "within the log callback");
    pthread_mutex_lock(&lock);
    lines++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    struct scstu_options options;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log = on_log;
    GOOD(scstu_new(&options, &handle));
    GOOD(scstu_start(handle));
    GOOD(scstu_listen(handle, "127.0.0.1:0", NULL, 0));
    pthread_mutex_lock(&lock);
    while (!lines)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return done(handle);
}
