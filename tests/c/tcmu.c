/* A program that loads handlers of tcmu-runner from the directory given and serves disks of them, until its
 * input ends. With a third word a command is out then, and comes back while the instance is freed. */
#include <errno.h>
#include <scstu.h>
#include <stdio.h>
#include <string.h>

#define TARGET "iqn.2026-01.test:tcmu"

static int fail(void)
{
    fprintf(stderr, "%s: %s\n", scstu_error_call(), scstu_error());
    return 1;
}

int main(int count, char **arguments)
{
    struct scstu *instance, *other;
    char portal[64], text[4096];
    static const char *const handlers[] = { "tcmu_later", "tcmu_one", "tcmu_four" };

    if (count < 3 || scstu_new(NULL, &instance) || scstu_new(NULL, &other))
        return fail();
    int loaded = scstu_load_tcmu_handlers(instance, arguments[1]);
    /* Every instance asks for itself; the libraries are there once. */
    if (loaded < 1 || scstu_load_tcmu_handlers(instance, arguments[1]) != loaded ||
        scstu_add_device(other, "tcmu_later", "x", "size=1M;cfgstring=/x") != -2 ||
        scstu_load_tcmu_handlers(other, arguments[1]) != loaded || scstu_free(other))
        return fail();
    if (scstu_start(instance) || scstu_add_target(instance, TARGET))
        return fail();
    for (int at = 0; at < 3; at++) {
        snprintf(text, sizeof text, "cfgstring=%s;size=4M", arguments[2]);
        if (scstu_add_device(instance, handlers[at], handlers[at], text) ||
            scstu_add_lun(instance, TARGET, NULL, (uint16_t)at, handlers[at], 0))
            return fail();
    }
    if (scstu_enable_target(instance, TARGET, 1) || scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return fail();
    printf("%s\n", portal);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    if (scstu_stop(instance, count > 3 ? 0 : 1000) != (count > 3 ? -ETIMEDOUT : 0))
        return fail();
    puts("stopped");
    fflush(stdout);
    /* The libraries stay, and so does what their devices need, until those are closed. */
    return scstu_free(instance) ? fail() : 0;
}
