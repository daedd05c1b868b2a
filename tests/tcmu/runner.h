/* The interface of tcmu-runner 1.5.4 as a handler sees it, written down from its layout alone. */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct device;

struct library_command {
    uint16_t number;
    uint8_t *cdb;
    struct iovec *iov;
    size_t iov_count;
    uint8_t sense[96];
    void *private;
};

struct command {
    struct library_command *library;
    struct iovec *iov;
    size_t iov_count;
    void *copy, *state;
    size_t requested;
    void *list[2];
    struct timespec start;
    bool timed_out;
    void (*done)(struct device *, struct command *, int status);
};

struct change {
    int kind;
    union {
        char *text;
        uint64_t size;
        bool on;
    } value;
};

struct handler {
    const char *name, *subtype, *help;
    void *opaque;
    bool (*check_config)(const char *text, char **reason);
    int (*reconfig)(struct device *, struct change *);
    int (*open)(struct device *, bool reopen);
    void (*close)(struct device *);
    int threads;
    int (*command)(struct device *, struct command *);
    int (*read)(struct device *, struct command *, struct iovec *, size_t count, size_t length, off_t);
    int (*write)(struct device *, struct command *, struct iovec *, size_t count, size_t length, off_t);
    int (*flush)(struct device *, struct command *);
    int (*unmap)(struct device *, struct command *, uint64_t offset, uint64_t length);
    int (*write_same)(struct device *, struct command *, uint64_t, uint64_t, struct iovec *, size_t);
    int (*compare)(struct device *, struct command *, uint64_t, uint64_t, struct iovec *, size_t);
    int (*report_event)(struct device *);
    int (*lock)(struct device *, uint16_t);
    int (*unlock)(struct device *);
    int (*get_lock_tag)(struct device *, uint16_t *);
    int (*get_lock_state)(struct device *);
    bool is_dbus;
    bool (*update_logdir)(void);
    int (*init)(void);
    void (*destroy)(void);
};

_Static_assert(sizeof(struct handler) == 200, "handler");
_Static_assert(sizeof(struct command) == 96, "command");
_Static_assert(sizeof(struct library_command) == 136, "library command");
_Static_assert(offsetof(struct command, done) == 88, "done");
_Static_assert(offsetof(struct handler, destroy) == 192, "destroy");

int tcmur_register_handler(struct handler *);
void tcmur_cmd_complete(struct device *, void *command, int status);
void *tcmur_dev_get_private(struct device *);
void tcmur_dev_set_private(struct device *, void *);
void *tcmu_dev_get_private(struct device *);
char *tcmu_dev_get_cfgstring(struct device *);
uint64_t tcmu_dev_get_num_lbas(struct device *);
uint32_t tcmu_dev_get_block_size(struct device *);
uint64_t tcmu_cfgfs_dev_get_info_u64(struct device *, const char *name, int *result);
void tcmu_dev_set_write_cache_enabled(struct device *, bool);
void tcmu_dev_set_opt_unmap_gran(struct device *, uint32_t, bool split);
void tcmu_dev_set_max_unmap_len(struct device *, uint32_t);
size_t tcmu_iovec_length(struct iovec *, size_t);
size_t tcmu_memcpy_into_iovec(struct iovec *, size_t, void *, size_t);
size_t tcmu_memcpy_from_iovec(void *, size_t, struct iovec *, size_t);
int tcmu_sense_set_data(uint8_t *, uint8_t key, uint16_t code);
void tcmu_sense_set_info(uint8_t *, uint32_t);
void tcmu_sense_set_key_specific_info(uint8_t *, uint16_t);
void tcmu_notify_lock_lost(struct device *);
void tcmu_notify_cmd_timed_out(struct device *);
void tcmu_set_thread_name(const char *, struct device *);
void tcmu_err_message(struct device *, const char *function, int line, const char *format, ...);
void tcmu_warn_message(struct device *, const char *function, int line, const char *format, ...);

#endif
