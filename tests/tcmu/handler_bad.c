/* What cannot be loaded, one library each: chosen with -D when it is compiled. */
#include "runner.h"

int handler_init(void);

#ifdef UNKNOWN_FUNCTION
void tcmu_of_tomorrow(void);

int handler_init(void)
{
    tcmu_of_tomorrow();
    return 0;
}
#endif

#ifdef NO_OPEN
static struct handler own = { .name = "no open", .subtype = "no_open" };
#endif
#ifdef STRANGE_NAME
static struct handler own = { .name = "strange", .subtype = "../x" };
#endif
#ifdef TAKEN
static struct handler own = { .name = "taken", .subtype = "later" };
#endif
#ifdef FAILS
static int fails(void)
{
    return 7;
}
static int open_nothing(struct device *device, bool reopen)
{
    (void)device;
    return reopen ? -1 : 0;
}
static void close_nothing(struct device *device)
{
    (void)device;
}
static int read_nothing(struct device *device, struct command *command, struct iovec *iov, size_t number, size_t length,
                        off_t offset)
{
    (void)device, (void)command, (void)iov, (void)number, (void)length, (void)offset;
    return 0;
}
static struct handler own = { .name = "fails", .subtype = "fails", .open = open_nothing, .close = close_nothing,
                              .read = read_nothing, .init = fails };
#endif

#if defined NO_OPEN || defined STRANGE_NAME || defined TAKEN || defined FAILS
int handler_init(void)
{
    return tcmur_register_handler(&own);
}
#endif
