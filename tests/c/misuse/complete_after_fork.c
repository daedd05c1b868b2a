/* A child completes a command of its parent: nothing happens, and the parent can still complete it. */
#include "../misuse.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t token;

static int keep(void *device, const struct scstu_request *request)
{
    (void)device;
    pthread_mutex_lock(&lock);
    token = request->token;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void in_child(void)
{
    struct scstu *own;

    EXPECT(ECHILD, scstu_complete, (token, 0), "did not come along");
    own = started();
    EXPECT(ECHILD, scstu_complete, (token, 0), "did not come along");
    EXPECT(ENOENT, scstu_complete, (token | 0xff000000, 0), "there is no command");
    _exit(done(own));
}

/* Its flush is the command. */
static void *stop(void *handle)
{
    GOOD(scstu_stop(handle, 0));
    return NULL;
}

int main(void)
{
    struct scstu *handle = started();
    struct scstu_backstore_ops ops = plain();
    pthread_t thread;
    int status = 0;
    pid_t child;

    ops.read = NULL;
    ops.write = NULL;
    ops.submit = keep;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    TRUE(!pthread_create(&thread, NULL, stop, handle));
    pthread_mutex_lock(&lock);
    while (!token)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    child = fork();
    if (child == 0)
        in_child();
    TRUE(waitpid(child, &status, 0) == child && status == 0);
    GOOD(scstu_complete(token, 0));
    EXPECT(ENOENT, scstu_complete, (token, 0), "completed already");
    TRUE(!pthread_join(thread, NULL));
    return done(handle);
}
