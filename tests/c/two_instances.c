/* Two instances with the same names and other sizes, side by side, until standard input ends. */
#include "misuse.h"

static struct scstu *serve(const char *parameters)
{
    struct scstu *handle = started();
    char portal[64] = "";

    GOOD(scstu_add_device(handle, "vdisk_ram", "disk", parameters));
    GOOD(scstu_add_target(handle, TARGET));
    GOOD(scstu_add_lun(handle, TARGET, NULL, 0, "disk", 0));
    GOOD(scstu_enable_target(handle, TARGET, 1));
    GOOD(scstu_listen(handle, "127.0.0.1:0", portal, sizeof portal));
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    return handle;
}

int main(void)
{
    struct scstu *one = serve("size=8M"), *two = serve("size=16M");
    struct scstu_statistics statistics;
    char line[16];

    /* A line ends the first; the other goes on. */
    TRUE(fgets(line, sizeof line, stdin));
    GOOD(scstu_stop(one, 1000));
    GOOD(scstu_free(one));
    printf("one is gone\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        continue;
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    GOOD(scstu_read_statistics(two, &statistics));
    TRUE(statistics.devices == 1 && statistics.targets == 1);
    return done(two);
}
