/* A disk in twenty lines: 64 MiB of memory behind iSCSI, until standard input ends. */
#include <scstu.h>
#include <stdio.h>

#define TARGET "iqn.2026-01.org.example:embedded"

static int fail(void)
{
    fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
    return 1;
}

int main(void)
{
    struct scstu *instance;
    char portal[64];

    if (scstu_new(NULL, &instance) || scstu_start(instance) ||
        scstu_add_device(instance, "vdisk_ram", "disk", "size=64M") ||
        scstu_add_target(instance, TARGET) ||
        scstu_add_lun(instance, TARGET, NULL, 0, "disk", 0) ||
        scstu_enable_target(instance, TARGET, 1) ||
        scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return scstu_stop(instance, 1000) || scstu_free(instance) ? fail() : 0;
}
