/* A handle is used in a child of the process that made it. The child may make its own; the parent goes on. */
#include "../misuse.h"

static void in_child(struct scstu *handle)
{
    struct scstu *own;

    EXPECT(ECHILD, scstu_add_target, (handle, TARGET), "did not come along");
    EXPECT(ECHILD, scstu_free, (handle), "did not come along");
    own = started();
    EXPECT(ECHILD, scstu_add_target, (handle, TARGET), "did not come along");
    EXPECT(ECHILD, scstu_stop, (handle, 0), "did not come along");
    EXPECT(ECHILD, scstu_free, (handle), "did not come along");
    EXPECT(EBADF, scstu_start, ((struct scstu *)(void *)&own), "not one that scstu_new gave");
    TRUE(own != handle);
    GOOD(scstu_add_device(own, "vdisk_ram", "disk", "size=1M"));
    _exit(done(own));
}

int main(void)
{
    struct scstu *handle = started();
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        in_child(handle);
    TRUE(waitpid(child, &status, 0) == child && status == 0);
    return done(handle);
}
