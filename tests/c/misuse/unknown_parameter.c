/* A parameter that the handler does not have. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();

    TRUE(scstu_add_device(handle, "vdisk_ram", "disk", "size=1M; colour=red") < 0);
    TRUE(strstr(scstu_error(), "colour"));
    return done(handle);
}
