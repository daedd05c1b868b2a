/* A handle is used in a child of the process that made it. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = started();
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        EXPECT(ECHILD, scstu_add_target, (handle, TARGET), "did not come along with fork");
        EXPECT(ECHILD, scstu_free, (handle), "did not come along with fork");
        _exit(mistakes != 0);
    }
    TRUE(waitpid(child, &status, 0) == child && status == 0);
    return done(handle);
}
