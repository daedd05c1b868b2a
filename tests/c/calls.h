/* Every function that takes a handle, with other arguments that are right: CALL(function, its arguments). */
#ifndef CALLS_H
#define CALLS_H

#include "misuse.h"

static inline int no_text(void *context, const char *text)
{
    (void)context;
    (void)text;
    return 0;
}

static inline int no_entry(void *context, const char *name, uint32_t kind)
{
    (void)context;
    (void)name;
    (void)kind;
    return 0;
}

static inline int no_description(void *context, const struct scstu_description *description)
{
    (void)context;
    (void)description;
    return 0;
}

static inline int no_session(void *context, const struct scstu_session *session)
{
    (void)context;
    (void)session;
    return 0;
}

static char text_of_calls[64];
static struct scstu_backstore_ops ops_of_calls;
static struct scstu_statistics statistics_of_calls;
static struct scstu_device_statistics device_of_calls;

static inline void prepare_calls(void)
{
    ops_of_calls = plain();
    statistics_of_calls.size = sizeof statistics_of_calls;
    device_of_calls.size = sizeof device_of_calls;
}

#define CALLS(CALL)                                                                                         \
    CALL(scstu_start, (handle))                                                                             \
    CALL(scstu_stop, (handle, 0))                                                                           \
    CALL(scstu_load, (handle, "", 0))                                                                       \
    CALL(scstu_plan, (handle, "", 0, no_text, NULL))                                                        \
    CALL(scstu_save, (handle, no_text, NULL))                                                               \
    CALL(scstu_get, (handle, "version", text_of_calls, sizeof text_of_calls, NULL))                         \
    CALL(scstu_set, (handle, "suspend", "0"))                                                               \
    CALL(scstu_do, (handle, "handlers/vdisk_ram", "add_device x size=1M"))                                  \
    CALL(scstu_list, (handle, "", no_entry, NULL))                                                          \
    CALL(scstu_describe, (handle, "version", no_description, NULL))                                         \
    CALL(scstu_add_device, (handle, "vdisk_ram", "x", "size=1M"))                                           \
    CALL(scstu_remove_device, (handle, "x"))                                                                \
    CALL(scstu_resize_device, (handle, "x", 1 << 20))                                                       \
    CALL(scstu_resync_device, (handle, "x", NULL))                                                          \
    CALL(scstu_add_target, (handle, TARGET))                                                                \
    CALL(scstu_remove_target, (handle, TARGET))                                                             \
    CALL(scstu_enable_target, (handle, TARGET, 1))                                                          \
    CALL(scstu_add_lun, (handle, TARGET, NULL, 0, "x", 0))                                                  \
    CALL(scstu_remove_lun, (handle, TARGET, NULL, 0))                                                       \
    CALL(scstu_add_group, (handle, TARGET, "group"))                                                        \
    CALL(scstu_remove_group, (handle, TARGET, "group"))                                                     \
    CALL(scstu_add_initiator, (handle, TARGET, "group", "iqn.*"))                                           \
    CALL(scstu_remove_initiator, (handle, TARGET, "group", "iqn.*"))                                        \
    CALL(scstu_add_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe", "twelvesecrets"))                     \
    CALL(scstu_remove_user, (handle, TARGET, SCSTU_USER_INCOMING, "joe"))                                   \
    CALL(scstu_sessions, (handle, no_session, NULL))                                                        \
    CALL(scstu_kick, (handle, 1))                                                                           \
    CALL(scstu_read_statistics, (handle, &statistics_of_calls))                                             \
    CALL(scstu_read_device_statistics, (handle, "x", &device_of_calls))                                     \
    CALL(scstu_backstore_register, (handle, &ops_of_calls))                                                 \
    CALL(scstu_backstore_unregister, (handle, "plain"))                                                     \
    CALL(scstu_load_tcmu_handlers, (handle, "/"))                                                           \
    CALL(scstu_listen, (handle, "127.0.0.1:0", NULL, 0))                                                    \
    CALL(scstu_listen_fd, (handle, 0))                                                                      \
    CALL(scstu_serve_fd, (handle, 0))                                                                       \
    CALL(scstu_close_portal, (handle, "127.0.0.1:1"))                                                       \
    CALL(scstu_portals, (handle, no_text, NULL))                                                            \
    CALL(scstu_free, (handle))

#endif
