/* Handlers of tcmu-runner from where none are. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_load_tcmu_handlers, (handle, NULL), "directory is NULL");
    EXPECT(ENOENT, scstu_load_tcmu_handlers, (handle, "/none/at/all"), "/none/at/all");
    EXPECT(ENOENT, scstu_load_tcmu_handlers, (handle, "/"), "has no handlers of tcmu-runner");
    return done(handle);
}
