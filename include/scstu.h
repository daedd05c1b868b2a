/*
 * scstu: an iSCSI target in user mode, embedded in a C or C++ program.
 *
 * Made from the source by cbindgen; do not edit. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Instances. scstu_new() gives a handle; everything of an instance is reached through it, and several
 * instances in a process share nothing but the level of the log (`trace_level`). A handle is looked up and
 * never followed: a wrong or freed one is -EBADF.
 *
 * Errors. Functions answer 0 or a negative errno. scstu_error() then tells in words what was wrong and what
 * is allowed, scstu_error_call() the name of the call; both are the calling thread's own. Every pointer is
 * checked for NULL, every struct for its size. A failed call has changed nothing, unless it says so.
 *
 * Threads. All functions may be called from any thread, several at once. Callbacks run on threads of the
 * instance, with all signals blocked, or on the thread that calls. They must not throw C++ exceptions, not
 * longjmp() out and not end their thread; a thread that is in a call must not be cancelled
 * (pthread_cancel()).
 * All functions may be called while a thread or the process ends: by destructors of thread-specific data and
 * of static objects, and by handlers of atexit().
 *
 * Callbacks. From within one, its thread may call, with whatever handle, what this table says; the rest
 * answers -EDEADLK at once and changes nothing. scstu_error(), scstu_error_call() and scstu_version() may be
 * called from everywhere. Within two at once, the inner one counts, unless it is of the first kind.
 *
 *   functions passed to a call, as to scstu_list()   all, except scstu_free() with the handle of that call
 *   scstu_options.event                              all, except scstu_stop(), scstu_free()
 *   those of a backstore and its attributes          scstu_complete()
 *   scstu_options.log                                nothing
 *   scstu_free_fn                                    nothing
 *
 * Fork. Threads do not come along with fork(), so the instances and commands of the parent are not the
 * child's: every call with one of them answers -ECHILD at once, and changes nothing. The child may make
 * instances of its own, also when other threads were in the library at that moment. Sockets are
 * close-on-exec; a child that does not exec keeps copies of them open until it ends. A fork from within a
 * callback leaves the child in that callback: it gets -EDEADLK as its parent would.
 *
 * The process stays the program's: the library installs no signal handler, raises no SIGPIPE, never exits,
 * writes nothing to standard output or error, sets no locale, environment, umask or directory. Errors of its
 * own come as -EIO "internal error", never as a crash.
 *
 * Growth. Structs begin with their size and grow at the end. What the program's struct does not have counts
 * as zero; what the library does not know must be zero (-E2BIG). Numbers are never given another meaning.
 * Symbols have versions in the packaged library. Strings are UTF-8 and end with NUL; the library keeps copies.
 */

#ifndef SCSTU_H
#define SCSTU_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/**
 * User kind: initiators log in with it. @since 0.1
 */
#define SCSTU_USER_INCOMING 1

/**
 * User kind: the target answers with it, when the initiator asks it to prove itself. @since 0.1
 */
#define SCSTU_USER_OUTGOING 2

/**
 * scstu_backstore_ops.attribute_count: the most there may be. @since 0.1
 */
#define SCSTU_ATTRIBUTE_LIMIT 32

/**
 * Longest value of a declared attribute in bytes, without its NUL. @since 0.1
 */
#define SCSTU_VALUE_LIMIT 1024

/**
 * The version of struct scstu_backstore_ops that this header describes. @since 0.1
 */
#define SCSTU_BACKSTORE_VERSION 1

/**
 * scstu_disk.flags: unmap frees blocks. @since 0.1
 */
#define SCSTU_DISK_UNMAP 1

/**
 * scstu_disk.flags: unmapped blocks read as zeros, always. @since 0.1
 */
#define SCSTU_DISK_UNMAP_READS_ZERO (1 << 1)

/**
 * scstu_disk.flags: no function ever waits: they run on the thread that has received the command, which
 * saves two changes of threads. Data to be written may then begin at any address. Not together with submit.
 * @since 0.1
 */
#define SCSTU_DISK_NEVER_BLOCKS (1 << 2)

/**
 * scstu_disk.flags: every write fails; write may be NULL. The attribute read_only of the device goes on to
 * tell what the administrator has asked for. @since 0.1
 */
#define SCSTU_DISK_READ_ONLY (1 << 3)

/**
 * scstu_disk.flags: what was written may be lost with the power until flush returns. Initiators are told
 * (WCE). @since 0.1
 */
#define SCSTU_DISK_VOLATILE_CACHE (1 << 4)

/**
 * scstu_disk.flags: the functions may be called several at once. Without it the library calls them one after
 * the other. @since 0.1
 */
#define SCSTU_DISK_CONCURRENT (1 << 5)

/**
 * scstu_disk.flags: buffers come in three pieces of odd lengths instead of one, to see whether the handler
 * minds. It is for tests of handlers, and costs nothing but what they make of it. @since 0.1
 */
#define SCSTU_DISK_SPLIT_BUFFERS (1 << 6)

/**
 * scstu_disk.flags: read of up to 4 KiB is no more than a copy out of memory: it makes no system call, and
 * takes no lock that anybody keeps for longer than such a copy. It may then be called with the device locked
 * inside the library, which spares short reads a fifth of their instructions. Only with
 * SCSTU_DISK_NEVER_BLOCKS, and with read. @since 0.1
 */
#define SCSTU_DISK_AT_HAND (1 << 7)

/**
 * scstu_open.flags: the device was asked to refuse writes. @since 0.1
 */
#define SCSTU_OPEN_READ_ONLY 1

/**
 * scstu_open.flags: every write is to be on stable storage before it is answered, and comes with
 * SCSTU_WRITE_DURABLE. @since 0.1
 */
#define SCSTU_OPEN_WRITE_THROUGH (1 << 1)

/**
 * scstu_open.flags: the cache counts as non-volatile; nothing is flushed, and no write comes with
 * SCSTU_WRITE_DURABLE. @since 0.1
 */
#define SCSTU_OPEN_NV_CACHE (1 << 2)

/**
 * scstu_open.flags: the device was asked to free blocks. @since 0.1
 */
#define SCSTU_OPEN_THIN (1 << 3)

/**
 * Write flag: the data is on stable storage when the write is done (FUA). @since 0.1
 */
#define SCSTU_WRITE_DURABLE 1

/**
 * compare_and_write: the medium differs, nothing was written. @since 0.1
 */
#define SCSTU_MISCOMPARE 1

/**
 * scstu_request.operation: fill the buffers from the medium. @since 0.1
 */
#define SCSTU_READ 1

/**
 * scstu_request.operation: write the buffers to the medium. @since 0.1
 */
#define SCSTU_WRITE 2

/**
 * scstu_request.operation: make stable what was completed before. @since 0.1
 */
#define SCSTU_FLUSH 3

/**
 * scstu_request.operation: free the range. @since 0.1
 */
#define SCSTU_UNMAP 4

/**
 * scstu_load() flag: what the text does not mention goes. @since 0.1
 */
#define SCSTU_LOAD_EXACT 1

/**
 * Entry kind: an object, with entries of its own. @since 0.1
 */
#define SCSTU_OBJECT 1

/**
 * Entry kind: an attribute, or "mgmt", which takes commands. @since 0.1
 */
#define SCSTU_ATTRIBUTE 2

/**
 * Entry kind: a link to an object. @since 0.1
 */
#define SCSTU_LINK 3

/**
 * scstu_description.flags, scstu_attribute.flags: it can be read. @since 0.1
 */
#define SCSTU_READABLE 1

/**
 * scstu_description.flags, scstu_attribute.flags: it can be set. @since 0.1
 */
#define SCSTU_WRITABLE (1 << 1)

/**
 * scstu_description.flags: its value belongs into a saved configuration. @since 0.1
 */
#define SCSTU_SAVED (1 << 2)

/**
 * scstu_description.flags, scstu_attribute.flags: it is given when the object is made, and not later.
 * @since 0.1
 */
#define SCSTU_CREATE_ONLY (1 << 3)

/**
 * scstu_description.flags: one of several values, which come and go with commands. @since 0.1
 */
#define SCSTU_DYNAMIC (1 << 4)

/**
 * Attribute type: 0 or 1. @since 0.1
 */
#define SCSTU_TYPE_BOOL 1

/**
 * Attribute type: a number from minimum to maximum. @since 0.1
 */
#define SCSTU_TYPE_NUMBER 2

/**
 * Attribute type: a number that may be negative; read minimum and maximum as int64_t. @since 0.1
 */
#define SCSTU_TYPE_SIGNED 3

/**
 * Attribute type: a number of bytes; K, M, G or T may stand behind it. @since 0.1
 */
#define SCSTU_TYPE_SIZE 4

/**
 * Attribute type: one of the words. @since 0.1
 */
#define SCSTU_TYPE_WORD 5

/**
 * Attribute type: printable ASCII and blanks, minimum to maximum bytes of it. @since 0.1
 */
#define SCSTU_TYPE_TEXT 6

/**
 * Attribute type: empty, or 0x and two hexadecimal digits for each byte; minimum and maximum are numbers of
 * bytes, and values says which of them there may be. @since 0.1
 */
#define SCSTU_TYPE_BYTES 7

/**
 * Attribute type: a text whose syntax values describes. @since 0.1
 */
#define SCSTU_TYPE_OTHER 8

/**
 * Attribute type: an order, carried out whatever is written. @since 0.1
 */
#define SCSTU_TYPE_TRIGGER 9

/**
 * Attribute type: "mgmt", which takes commands, for scstu_do(). @since 0.1
 */
#define SCSTU_TYPE_COMMANDS 10

/**
 * Log level: something is lost. @since 0.1
 */
#define SCSTU_LOG_ERROR 1

/**
 * Log level: something is wrong and was dealt with. @since 0.1
 */
#define SCSTU_LOG_WARN 2

/**
 * Log level: what an administrator wants to see, such as sessions. @since 0.1
 */
#define SCSTU_LOG_INFO 3

/**
 * Log level: for those who look for a fault. @since 0.1
 */
#define SCSTU_LOG_DEBUG 4

/**
 * Log level: everything. @since 0.1
 */
#define SCSTU_LOG_TRACE 5

/**
 * Event: an initiator has logged in. Set are session, initiator, target, peer. @since 0.1
 */
#define SCSTU_EVENT_SESSION_OPENED 1

/**
 * Event: a session is over. Set are session, initiator, target, peer, text (why). @since 0.1
 */
#define SCSTU_EVENT_SESSION_CLOSED 2

/**
 * Event: a login did not succeed: it was refused, broke the protocol, or took too long. A connection that
 * the initiator closes by itself is no login. Set are peer, text (why). @since 0.1
 */
#define SCSTU_EVENT_LOGIN_REFUSED 3

/**
 * Event: LOGICAL UNIT RESET or a target reset has hit a device. Set is device. @since 0.1
 */
#define SCSTU_EVENT_UNIT_RESET 4

/**
 * Event: a device has another size. Set are device, bytes. @since 0.1
 */
#define SCSTU_EVENT_CAPACITY_CHANGED 5

/**
 * Event: a backstore has failed a command with a medium error. Set are device, text (the sense data).
 * @since 0.1
 */
#define SCSTU_EVENT_BACKSTORE_FAILED 6

/**
 * scstu_add_lun(): the LUN is mapped read-only. @since 0.1
 */
#define SCSTU_LUN_READ_ONLY 1

/**
 * An instance: configuration, portals, sessions, threads. Several in one process share nothing
 * but the level of the log (`trace_level`), which is the process's.
 *
 * The pointer is a name, not an address: it must not be followed.
 *
 * @since 0.1
 */
struct scstu;

/**
 * Releases a context of the program. Called exactly once, from any thread, when the context will not be used
 * any more. It must not call the library, except scstu_error(), scstu_error_call() and scstu_version().
 *
 * @param context the context
 *
 * @since 0.1
 */
typedef void (*scstu_free_fn)(void *context);

/**
 * What a device that is to be opened was given.
 *
 * The library sets `size`; a program that was built with a newer header must not look beyond it.
 *
 * @since 0.1
 */
struct scstu_open {
  /**
   * Bytes of this struct that the library knows.
   */
  size_t size;
  /**
   * Name of the device; valid during the call, as all strings here.
   */
  const char *device;
  /**
   * Parameter filename, an absolute path; NULL when it was not given.
   */
  const char *filename;
  /**
   * Parameter options: text that only the handler knows the meaning of; empty when it was not given.
   */
  const char *options;
  /**
   * Parameter size in bytes; 0 when it was not given.
   */
  uint64_t bytes;
  /**
   * Parameter blocksize in bytes; 0 when it was not given.
   */
  uint32_t block_size;
  /**
   * SCSTU_OPEN_... together.
   */
  uint32_t flags;
  /**
   * Values of what the handler declares, in the order of scstu_backstore_ops.attributes: what was given,
   * or the default; NULL for what the device tells. NULL when it declares nothing.
   */
  const char *const *values;
  /**
   * The same as numbers, as scstu_attribute.set has them.
   */
  const uint64_t *numbers;
  /**
   * Number of both: scstu_backstore_ops.attribute_count.
   */
  size_t value_count;
};

/**
 * A device that open has opened. The library sets everything to zero, and `size`; open fills the rest.
 *
 * @since 0.1
 */
struct scstu_disk {
  /**
   * Bytes of this struct that the library knows: do not write beyond it.
   */
  size_t size;
  /**
   * The handler's own; passed to all other functions.
   */
  void *device;
  /**
   * Size in bytes, a positive multiple of block_size.
   */
  uint64_t bytes;
  /**
   * Logical block length in bytes: 512, 1024, 2048 or 4096; 0 for scstu_open.block_size, or 512 where that
   * is 0 too. Another than was asked for is refused (-EINVAL).
   */
  uint32_t block_size;
  /**
   * SCSTU_DISK_... together.
   */
  uint32_t flags;
  /**
   * A physical block is 2 to this power logical ones, 0 to 15.
   */
  uint32_t physical_block_exponent;
  /**
   * Bytes that are best moved at once, at most 32 MiB; 0 when unknown. Initiators see it, in whole blocks,
   * as OPTIMAL TRANSFER LENGTH (SBC-3, 6.6.4), unless the device is given another `opt_trans_len`.
   */
  uint32_t optimal_transfer_bytes;
  /**
   * Bytes that are freed at once; 0 for a block.
   */
  uint32_t unmap_granularity_bytes;
  /**
   * Where the first such piece begins, in bytes.
   */
  uint32_t unmap_alignment_bytes;
};

/**
 * A command of an asynchronous handler. It stays as it is until it is completed, its buffers too.
 *
 * The library sets `size`; a program that was built with a newer header must not look beyond it.
 *
 * @since 0.1
 */
struct scstu_request {
  /**
   * Bytes of this struct that the library knows.
   */
  size_t size;
  /**
   * Names the command in scstu_complete(); never 0, never used again.
   */
  uint64_t token;
  /**
   * SCSTU_READ, SCSTU_WRITE, SCSTU_FLUSH or SCSTU_UNMAP.
   */
  uint32_t operation;
  /**
   * For a write: 0 or SCSTU_WRITE_DURABLE.
   */
  uint32_t flags;
  /**
   * First byte, a multiple of the block size.
   */
  uint64_t offset;
  /**
   * Number of bytes, a multiple of the block size, inside the medium.
   */
  uint64_t length;
  /**
   * The buffers, `length` bytes in all; NULL for a flush and an unmap. A read fills them, a write must not
   * change them.
   */
  const struct iovec *iov;
  /**
   * Number of buffers.
   */
  size_t iov_count;
};

/**
 * A parameter or an attribute that the devices of a handler have beside those of all devices. Set everything
 * to zero, then `size` to sizeof, then what is wanted.
 *
 * It shows up like any other: in the tree as a file of the device, in add_device, scst.conf, scstu_plan(),
 * scstu_save() and scstu_describe(); "handlers/NAME/mgmt" tells of it before there is a device. What an
 * administrator writes is checked before the handler learns of it.
 *
 * Its memory and all strings are copied by scstu_backstore_register() and may be changed or freed then. The
 * library keeps each list of attributes until the process ends, once for all handlers and instances that
 * declare the same.
 *
 * @since 0.1
 */
struct scstu_attribute {
  /**
   * sizeof(struct scstu_attribute).
   */
  size_t size;
  /**
   * Name: a small letter, then small letters, digits and _, 64 bytes at most. No other attribute of the
   * device may have it, also none that all devices have.
   */
  const char *name;
  /**
   * SCSTU_TYPE_BOOL, SCSTU_TYPE_NUMBER, SCSTU_TYPE_SIGNED, SCSTU_TYPE_SIZE, SCSTU_TYPE_WORD or
   * SCSTU_TYPE_TEXT.
   */
  uint32_t value_type;
  /**
   * One of SCSTU_CREATE_ONLY (a parameter: it may be given when the device is made, and not later),
   * SCSTU_WRITABLE (it may be given then, and set at any time; needs set), SCSTU_READABLE (the device
   * tells it; needs get). The value of the first two can be read as well.
   */
  uint32_t flags;
  /**
   * Least value of SCSTU_TYPE_NUMBER; of SCSTU_TYPE_SIGNED, as an int64_t; 0 for all others.
   */
  uint64_t minimum;
  /**
   * Greatest value of SCSTU_TYPE_NUMBER; of SCSTU_TYPE_SIGNED, as an int64_t; most bytes of
   * SCSTU_TYPE_TEXT, 1 to SCSTU_VALUE_LIMIT; 0 for all others.
   */
  uint64_t maximum;
  /**
   * The words of SCSTU_TYPE_WORD, each of 1 to 64 printable characters without ; = " \ # { and }; NULL for
   * all others.
   */
  const char *const *words;
  /**
   * Number of words, 1 to 64; 0 for all other types.
   */
  size_t word_count;
  /**
   * Value when nobody has set it, as an administrator would write it ("1M" will do for a size); NULL for
   * 0, the first word or the empty text, but for a number that cannot be 0. Of what the device tells: what
   * is shown while it is closed, and when get fails; NULL for the empty text.
   */
  const char *default_value;
  /**
   * What it means, in one line of at most 1024 printable ASCII characters; may be NULL.
   */
  const char *help;
  /**
   * Tells the value. Called on the thread that reads it, at once with other functions of the device, also
   * if it has no SCSTU_DISK_CONCURRENT. Must not block: whoever reads the tree waits for it. Needed with
   * SCSTU_READABLE, else NULL.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param buffer gets the value, printable ASCII with a NUL at its end; it is shown as it is, and not
   * compared with type, minimum and maximum
   * @param length bytes of buffer, SCSTU_VALUE_LIMIT + 1
   * @return 0, or a negative errno
   */
  int (*get)(void *device, char *buffer, size_t length);
  /**
   * Learns of another value, which fits; one after the other with other functions of the device unless it
   * has SCSTU_DISK_CONCURRENT. It is called on the thread that changes the configuration, while no other
   * change is made; a device that is closed learns of it when it is opened. When something else of the
   * same scstu_load() fails it is called again, with the value before. Needed with SCSTU_WRITABLE, else
   * NULL.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param value its text, as scstu_get() tells it; valid during the call
   * @param number the same as a number: 0 or 1; bytes; of SCSTU_TYPE_SIGNED an int64_t; of a word its
   * place in words, from 0; 0 of a text
   * @return 0, or a negative errno, with which the change fails: everything stays as it was
   */
  int (*set)(void *device, const char *value, uint64_t number);
};

/**
 * A kind of backstore. Set everything to zero, then `size` to sizeof, `version` to SCSTU_BACKSTORE_VERSION,
 * then the functions.
 *
 * Functions answer 0 or a negative errno. -ENOSPC and -EDQUOT (no space left), -EROFS (read-only),
 * -EOPNOTSUPP, -EAGAIN and -ENOMEM (busy: it may try again) have a meaning to the initiator, all others are
 * medium errors. Offsets and lengths are bytes, multiples of the block size, inside the medium: they need
 * no check. Buffers come as iovecs, are the library's, are not copied, and are valid until the function
 * returns. Today there is one iovec a command, later there may be more: take any number of any lengths,
 * none of them 0; SCSTU_DISK_SPLIT_BUFFERS shows whether that is so.
 *
 * Functions are called on threads of the instance with all signals blocked, several at once for different
 * devices, and for one device if SCSTU_DISK_CONCURRENT says so. They may block, unless they promise not to.
 * They must not call the library, except scstu_complete(), scstu_error(), scstu_error_call() and
 * scstu_version(); must not throw C++ exceptions, longjmp() out or end the thread.
 *
 * A handler has read, write and what else it can (blocking), or submit (asynchronous), or both.
 *
 * With submit, what initiators ask comes through it, and no thread of the library waits for the answer:
 * READ, WRITE and WRITE ATOMIC as one request, SYNCHRONIZE CACHE and START STOP UNIT as a flush; UNMAP as
 * one for each run of blocks; WRITE SAME as an unmap, or as writes of at most 1 MiB; VERIFY as reads of at
 * most 1 MiB; COMPARE AND WRITE and ORWRITE as a read and a write; WRITE AND VERIFY as a write, a flush and
 * reads. Where an initiator sends only a part of the last block, that block is read and written by itself;
 * FUA with READ adds a flush before, and UNMAP or WRITE SAME after, where writes are to be durable although
 * the device has a volatile cache. Requests of one command come one after the other, and commands that
 * touch the same blocks are held back until it is over; an error ends it, and so does an abort, after the
 * request that is out. 16777216 requests may be out in a process; commands beyond them are answered with
 * BUSY.
 *
 * Two functions come before submit where they are there, called on a worker that waits: write_same, unless
 * blocks are to be freed, and compare_and_write. What is not a plain command of an initiator waits too, on
 * threads of its own: third-party copies, FORMAT UNIT, SANITIZE, and the flush at the end (scstu_stop()).
 * It calls read, write, flush and unmap where they are there, and else submits and waits.
 *
 * @since 0.1
 */
struct scstu_backstore_ops {
  /**
   * sizeof(struct scstu_backstore_ops).
   */
  size_t size;
  /**
   * SCSTU_BACKSTORE_VERSION.
   */
  uint32_t version;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Name of the handler: 1 to 223 printable characters without blanks and /. Copied.
   */
  const char *name;
  /**
   * What it is, in one line; may be NULL. Copied.
   */
  const char *help;
  /**
   * Passed to open.
   */
  void *context;
  /**
   * Releases context when the last device of the handler is closed and the handler is gone; also when
   * registering fails. May be NULL.
   */
  scstu_free_fn free_context;
  /**
   * Opens a device. Called on the thread that adds or activates the device, several at once for different
   * ones; may block. A device that scstu_load() makes anew is closed before, and opened as it was if the
   * text is refused; one that gets another file in one step is closed when the new one is open. Needed.
   *
   * @param context the handler's own, as context says
   * @param open what the device was given; valid during the call
   * @param disk to be filled; valid during the call. A device that makes no sense is closed again
   * @return 0, or a negative errno, with which adding the device fails
   */
  int (*open)(void *context, const struct scstu_open *open, struct scstu_disk *disk);
  /**
   * Closes a device, on a thread of the library or one that calls it, but never from within
   * scstu_complete(): it may wait for the threads that complete. No other function of the device is
   * running, none will be called. May be NULL.
   *
   * @param device the handler's own, as scstu_disk.device says
   */
  void (*close)(void *device);
  /**
   * Fills the buffers from offset. May be NULL if there is submit.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param offset first byte, a multiple of the block size
   * @param iov the buffers, a multiple of the block size in all; valid until this returns
   * @param iov_count number of buffers, at least 1
   * @return 0, or a negative errno; the buffers then do not matter
   */
  int (*read)(void *device, uint64_t offset, const struct iovec *iov, size_t iov_count);
  /**
   * Writes the buffers at offset. May be NULL if there is submit, or every device is SCSTU_DISK_READ_ONLY.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param offset first byte, a multiple of the block size
   * @param iov the buffers, a multiple of the block size in all; not to be changed; valid until this
   * returns
   * @param iov_count number of buffers, at least 1
   * @param flags 0 or SCSTU_WRITE_DURABLE
   * @return 0, or a negative errno; the blocks may then hold the old or the new
   */
  int (*write)(void *device,
               uint64_t offset,
               const struct iovec *iov,
               size_t iov_count,
               uint32_t flags);
  /**
   * Makes stable what was written before. NULL when everything is at once.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @return 0, or a negative errno: what was written since the last flush counts as lost
   */
  int (*flush)(void *device);
  /**
   * Frees a range. NULL when it cannot.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param offset first byte, a multiple of the block size
   * @param length bytes, a multiple of the block size
   * @return 0, or a negative errno
   */
  int (*unmap)(void *device, uint64_t offset, uint64_t length);
  /**
   * Writes one block over and over. NULL to have it done by write.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param offset first byte, a multiple of the block size
   * @param length bytes to be written, a multiple of the block size
   * @param iov the block; not to be changed; valid until this returns
   * @param iov_count number of buffers that it is in, at least 1
   * @param flags 0 or SCSTU_WRITE_DURABLE
   * @return 0, or a negative errno; the blocks may then hold the old or the new
   */
  int (*write_same)(void *device,
                    uint64_t offset,
                    uint64_t length,
                    const struct iovec *iov,
                    size_t iov_count,
                    uint32_t flags);
  /**
   * In one step for everybody: if the medium from offset holds what compare holds, writes what write
   * holds, as long. NULL to have it done by read and write, with commands to the same blocks held back.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param offset first byte, a multiple of the block size
   * @param compare what the medium must hold; not to be changed; valid until this returns
   * @param compare_count number of buffers of it, at least 1
   * @param write what is written then; not to be changed; valid until this returns
   * @param write_count number of buffers of it, at least 1
   * @param flags 0 or SCSTU_WRITE_DURABLE
   * @param difference gets the first byte that differs, counted from offset, with SCSTU_MISCOMPARE
   * @return 0, SCSTU_MISCOMPARE, or a negative errno
   */
  int (*compare_and_write)(void *device,
                           uint64_t offset,
                           const struct iovec *compare,
                           size_t compare_count,
                           const struct iovec *write,
                           size_t write_count,
                           uint32_t flags,
                           uint64_t *difference);
  /**
   * Tells the size as it is now. NULL when it does not change by itself.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param bytes gets the size in bytes, a positive multiple of the block size
   * @return 0, or a negative errno: the size stays what it was
   */
  int (*get_size)(void *device, uint64_t *bytes);
  /**
   * Makes the device longer or shorter. NULL when it cannot.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param bytes the new size in bytes, a positive multiple of the block size
   * @return 0, or a negative errno, with which the change fails
   */
  int (*resize)(void *device, uint64_t bytes);
  /**
   * Takes a command and returns at once. Must not block. Called on any thread of the instance, also on
   * one that is in scstu_complete(). NULL for a handler without asynchronous commands.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param request the command; it and its buffers stay until it is completed
   * @return 0 when it was taken, and then scstu_complete() must be called exactly once, by any thread,
   * before or after this returns; a negative errno when it was not
   */
  int (*submit)(void *device, const struct scstu_request *request);
  /**
   * Nobody waits for this command any more (it was aborted, its session is over). It must still be
   * completed, with any result; until then its buffers stay valid, and if it writes, its blocks stay
   * reserved. It may have been completed a moment ago. Must not block; may call scstu_complete(). Called
   * on any thread of the instance, at once with other functions of the device. May be NULL.
   *
   * @param device the handler's own, as scstu_disk.device says
   * @param token the command, as scstu_request.token says it
   */
  void (*cancel)(void *device, uint64_t token);
  /**
   * Parameters and attributes that devices have beside those of all devices; NULL for none. Copied.
   */
  const struct scstu_attribute *const *attributes;
  /**
   * Number of attributes, 0 to SCSTU_ATTRIBUTE_LIMIT.
   */
  size_t attribute_count;
};

/**
 * Takes a piece of text, or one line of several.
 *
 * Called on the thread that has called the library, which may call the library again from within,
 * except scstu_free() with the handle of that call.
 *
 * @param context what was passed along with the function
 * @param text in UTF-8, without newline at its end; valid during the call
 * @return 0 to go on; anything else ends the call that has called this, which answers it
 *
 * @since 0.1
 */
typedef int (*scstu_text_fn)(void *context, const char *text);

/**
 * Takes an entry of an object.
 *
 * Called on the thread that has called scstu_list(), which may call the library again from within,
 * except scstu_free() with the handle of that call.
 *
 * @param context what was passed to scstu_list()
 * @param name its name; valid during the call
 * @param kind SCSTU_OBJECT, SCSTU_ATTRIBUTE or SCSTU_LINK
 * @return 0 to go on; anything else ends scstu_list(), which answers it
 *
 * @since 0.1
 */
typedef int (*scstu_entry_fn)(void *context, const char *name, uint32_t kind);

/**
 * What there is to know of an attribute.
 *
 * The library sets `size`; a program that was built with a newer header must not look beyond it.
 *
 * @since 0.1
 */
struct scstu_description {
  /**
   * Bytes of this struct that the library knows.
   */
  size_t size;
  /**
   * Name; valid during the call, as all strings here.
   */
  const char *name;
  /**
   * Which values it takes, in words, with their range.
   */
  const char *values;
  /**
   * Value when nobody has set it; may be empty.
   */
  const char *default_value;
  /**
   * Value now; NULL when it cannot be read, and for "mgmt", whose text scstu_get() tells.
   */
  const char *value;
  /**
   * What it means. Of "mgmt": its commands, one a line.
   */
  const char *help;
  /**
   * SCSTU_READABLE and the others together.
   */
  uint32_t flags;
  /**
   * One of SCSTU_TYPE_...; others may come with newer versions: then values says it in words.
   */
  uint32_t value_type;
  /**
   * Least value, as the type says; 0 for a type that says nothing of it.
   */
  uint64_t minimum;
  /**
   * Greatest value, as the type says; 0 for a type that says nothing of it.
   */
  uint64_t maximum;
  /**
   * The words of SCSTU_TYPE_WORD, as they must be written; NULL for another type.
   */
  const char *const *words;
  /**
   * Number of words.
   */
  size_t word_count;
};

/**
 * Takes a description.
 *
 * Called on the thread that has called scstu_describe(), which may call the library again from within,
 * except scstu_free() with the handle of that call.
 *
 * @param context what was passed to scstu_describe()
 * @param description the description; valid during the call
 * @return 0; anything else is what scstu_describe() answers
 *
 * @since 0.1
 */
typedef int (*scstu_description_fn)(void *context, const struct scstu_description *description);

/**
 * Takes a log line.
 *
 * Called from any thread of the instance and from the threads that call it, several at once; whoever logs
 * waits for it, perhaps with a lock held, so it must be quick. It must not call the library, except
 * scstu_error(), scstu_error_call() and scstu_version().
 *
 * @param context what scstu_options.log_context says
 * @param level one of SCSTU_LOG_ERROR to SCSTU_LOG_TRACE
 * @param module where it comes from, such as "scstu::server"; valid during the call
 * @param message one line in UTF-8, without newline; valid during the call
 *
 * @since 0.1
 */
typedef void (*scstu_log_fn)(void *context, int level, const char *module, const char *message);

/**
 * What has happened. What a kind does not set is an empty string or 0.
 *
 * The library sets `size`; a program that was built with a newer header must not look beyond it.
 *
 * @since 0.1
 */
struct scstu_event {
  /**
   * Bytes of this struct that the library knows.
   */
  size_t size;
  /**
   * One of SCSTU_EVENT_...; others may come with newer versions and are to be ignored.
   */
  uint32_t kind;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Number of the session, never used again in this instance.
   */
  uint64_t session;
  /**
   * The new size in bytes, of SCSTU_EVENT_CAPACITY_CHANGED.
   */
  uint64_t bytes;
  /**
   * Events that were dropped just before this one, because the callback did not take them in time.
   */
  uint64_t lost;
  /**
   * Initiator name; valid during the call, as all strings here; never NULL.
   */
  const char *initiator;
  /**
   * Target name; empty for a discovery session.
   */
  const char *target;
  /**
   * Address and port of the initiator, such as "192.0.2.1:40000"; an IPv6 address is in brackets.
   */
  const char *peer;
  /**
   * Name of the device.
   */
  const char *device;
  /**
   * Why, in words.
   */
  const char *text;
};

/**
 * Takes an event.
 *
 * Called on a thread of the instance that does nothing else, one event after the other. It may take its time
 * (4096 events wait, more are dropped and counted) and may call the library, except scstu_stop() and
 * scstu_free(), of whatever instance.
 *
 * @param context what scstu_options.event_context says
 * @param event the event; valid during the call
 *
 * @since 0.1
 */
typedef void (*scstu_event_fn)(void *context, const struct scstu_event *event);

/**
 * How an instance is to be. Set everything to zero, then `size` to sizeof, then what is wanted.
 *
 * @since 0.1
 */
struct scstu_options {
  /**
   * sizeof(struct scstu_options).
   */
  size_t size;
  /**
   * Worker threads, 2 to 1024; 0 for the default: four for each processor, 16 to 256.
   */
  uint32_t workers;
  /**
   * Milliseconds that a login may take in all, 100 to 3600000; 0 for the default of 15000.
   */
  uint32_t login_timeout_ms;
  /**
   * Memory for the data of commands in bytes, 1048576 to 140737488355328; 0 for the default of 512 MiB.
   * Commands beyond it are answered with BUSY.
   */
  uint64_t buffer_bytes;
  /**
   * A directory for reservations, mode pages and the identity of the installation, made if it is missing;
   * NULL to keep nothing. Copied.
   */
  const char *state_directory;
  /**
   * Takes log lines; NULL for none.
   */
  scstu_log_fn log;
  /**
   * Passed to `log`.
   */
  void *log_context;
  /**
   * Releases log_context; may be NULL.
   */
  scstu_free_fn log_free;
  /**
   * Least severe level that is logged, SCSTU_LOG_ERROR to SCSTU_LOG_TRACE; 0 for SCSTU_LOG_INFO.
   */
  uint32_t log_level;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Takes events; NULL for none.
   */
  scstu_event_fn event;
  /**
   * Passed to `event`.
   */
  void *event_context;
  /**
   * Releases event_context; may be NULL.
   */
  scstu_free_fn event_free;
};

/**
 * What commands there were. All but in_flight only grow, as long as no session and no LUN goes: what was
 * counted there goes with it.
 *
 * It is part of other structs, so it keeps its length: what newer versions count takes the place of
 * reserved.
 *
 * @since 0.1
 */
struct scstu_traffic {
  /**
   * Commands with data to the initiator.
   */
  uint64_t read_commands;
  /**
   * Commands with data from the initiator.
   */
  uint64_t write_commands;
  /**
   * Commands without data.
   */
  uint64_t other_commands;
  /**
   * Bytes to the initiator.
   */
  uint64_t read_bytes;
  /**
   * Bytes from the initiator.
   */
  uint64_t write_bytes;
  /**
   * Commands that ended with CHECK CONDITION.
   */
  uint64_t check_conditions;
  /**
   * Commands that are not finished.
   */
  uint64_t in_flight;
  /**
   * 0.
   */
  uint64_t reserved[9];
};

/**
 * A session, as it was when it was asked for.
 *
 * The library sets `size`; a program that was built with a newer header must not look beyond it.
 *
 * @since 0.1
 */
struct scstu_session {
  /**
   * Bytes of this struct that the library knows.
   */
  size_t size;
  /**
   * Number, never used again in this instance; for scstu_kick().
   */
  uint64_t id;
  /**
   * For how long it has been open, in milliseconds.
   */
  uint64_t age_ms;
  /**
   * Initiator name; valid during the call, as all strings here; never NULL.
   */
  const char *initiator;
  /**
   * Target name; empty for a discovery session.
   */
  const char *target;
  /**
   * Address and port of the initiator.
   */
  const char *peer;
  /**
   * Address and port of the portal.
   */
  const char *portal;
  /**
   * Initiator session identifier.
   */
  uint8_t isid[6];
  /**
   * Target session identifying handle.
   */
  uint16_t tsih;
  /**
   * What its commands were.
   */
  struct scstu_traffic traffic;
};

/**
 * Takes a session.
 *
 * Called on the thread that has called scstu_sessions(), which may call the library again from within,
 * except scstu_free() with the handle of that call.
 *
 * @param context what was passed to scstu_sessions()
 * @param session the session; valid during the call
 * @return 0 to go on; anything else ends scstu_sessions(), which answers it
 *
 * @since 0.1
 */
typedef int (*scstu_session_fn)(void *context, const struct scstu_session *session);

/**
 * Figures of an instance.
 *
 * @since 0.1
 */
struct scstu_statistics {
  /**
   * sizeof(struct scstu_statistics), set by the program. What the library does not know becomes 0.
   */
  size_t size;
  /**
   * Connections, logged in or not.
   */
  uint64_t connections;
  /**
   * Sessions.
   */
  uint64_t sessions;
  /**
   * Devices.
   */
  uint64_t devices;
  /**
   * Targets.
   */
  uint64_t targets;
  /**
   * Worker threads.
   */
  uint64_t workers;
  /**
   * Worker threads that wait for work.
   */
  uint64_t idle_workers;
  /**
   * Worker threads that a backstore has not given back for two seconds and more.
   */
  uint64_t stuck_workers;
  /**
   * Commands that wait for a worker.
   */
  uint64_t queued_commands;
  /**
   * Memory that commands hold, in bytes.
   */
  uint64_t buffer_bytes;
  /**
   * The most that they may hold, in bytes.
   */
  uint64_t buffer_budget;
  /**
   * What the commands of the sessions that exist were.
   */
  struct scstu_traffic traffic;
};

/**
 * State and figures of a device.
 *
 * @since 0.1
 */
struct scstu_device_statistics {
  /**
   * sizeof(struct scstu_device_statistics), set by the program. What the library does not know becomes 0.
   */
  size_t size;
  /**
   * Size of the medium in bytes; 0 without one.
   */
  uint64_t bytes;
  /**
   * Logical block length in bytes.
   */
  uint32_t block_size;
  /**
   * I_T nexuses that use it.
   */
  uint32_t nexuses;
  /**
   * What the commands of those nexuses were.
   */
  struct scstu_traffic traffic;
  /**
   * Calls of its backstore.
   */
  uint64_t operations;
  /**
   * Calls that failed.
   */
  uint64_t errors;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Adds a group of initiators to a target. Its members see its LUNs instead of the target's own.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of the group: 1 to 255 printable characters without blanks and /
 * @return 0, or
 * -ENOENT there is no such target;
 * -EEXIST there is such a group;
 * -EINVAL a NULL pointer, a name that cannot be;
 * -ENOSPC the target has 65536 groups;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_group(struct scstu *handle, const char *target, const char *group);

/**
 * Takes a group of initiators out, with its LUNs.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of the group
 * @return 0, or
 * -ENOENT there is no such target or group;
 * -EBUSY it has sessions;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_group(struct scstu *handle, const char *target, const char *group);

/**
 * Adds an initiator to a group.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of the group
 * @param initiator name of the initiator, or a pattern with * and ?, of at most 255 bytes
 * @return 0, or
 * -ENOENT there is no such target or group;
 * -EEXIST it is in the group;
 * -EINVAL a NULL pointer, a pattern that cannot be;
 * -ENOSPC the group has 65536 initiators;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_initiator(struct scstu *handle,
                        const char *target,
                        const char *group,
                        const char *initiator);

/**
 * Takes an initiator out of a group.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of the group
 * @param initiator name or pattern, as it was added
 * @return 0, or
 * -ENOENT there is no such target, group or initiator;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_initiator(struct scstu *handle,
                           const char *target,
                           const char *group,
                           const char *initiator);

/**
 * Adds a CHAP user to a target.
 *
 * @param handle the instance
 * @param target name of the target
 * @param kind SCSTU_USER_INCOMING: from then on initiators must log in with one of these users;
 * SCSTU_USER_OUTGOING: the one with which the target proves itself
 * @param user name: 1 to 255 bytes without blanks
 * @param secret 12 to 255 bytes, without blanks at its ends and control characters, and another one than
 * that of the other direction
 * @return 0, or
 * -ENOENT there is no such target;
 * -EEXIST there is such a user, or an outgoing user already;
 * -EINVAL a NULL pointer, a kind, name or secret that cannot be, a secret of the other direction;
 * -ENOSPC the target has 4096 users;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_user(struct scstu *handle,
                   const char *target,
                   uint32_t kind,
                   const char *user,
                   const char *secret);

/**
 * Takes a CHAP user out of a target. Sessions that logged in with it go on.
 *
 * @param handle the instance
 * @param target name of the target
 * @param kind SCSTU_USER_INCOMING or SCSTU_USER_OUTGOING
 * @param user name
 * @return 0, or
 * -ENOENT there is no such target or user;
 * -EINVAL a NULL pointer, a kind that cannot be;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_user(struct scstu *handle, const char *target, uint32_t kind, const char *user);

/**
 * Registers a kind of backstore. Devices of it can then be added, with the parameters filename, size,
 * blocksize, read_only, nv_cache, write_through, thin_provisioned, rotational, removable, tst, active and
 * options, and those that the handler declares; it appears in the tree as handlers/NAME.
 *
 * @param handle the instance
 * @param ops the functions. Copied. Its context is released also when this fails, unless it could not be
 * read because of its size, or the handle is wrong
 * @return 0, or
 * -EEXIST there is a handler of this name, or it declares an attribute that all devices have;
 * -EINVAL a NULL pointer, a size that cannot be, a name that cannot be, functions that do not go together,
 * an attribute that cannot be;
 * -ENOTSUP another version;
 * -E2BIG the struct is longer than the library's and not zero there;
 * -ENOSPC there are 1024 handlers, or the process has declared 1024 different lists of attributes;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_backstore_register(struct scstu *handle,
                             const struct scstu_backstore_ops *ops);

/**
 * Loads the handlers of tcmu-runner 1.5 in a directory, all files `handler_*.so` of it. Each becomes a kind
 * of backstore named tcmu_ and its subtype, such as tcmu_qcow, whose devices take the parameter cfgstring:
 * what tcmu-runner's own has behind the subtype and the /.
 *
 * Their code runs in this process with all that it may do, and stays until the process ends; a handler that
 * crashes ends it. A handler finds the library's tcmu_ and tcmur_ functions by their names, so link with
 * libscstu.so (not opened with RTLD_LOCAL), or with the static library and -rdynamic. Libraries that cannot
 * be loaded are logged.
 *
 * @param handle the instance
 * @param directory such as "/usr/lib/x86_64-linux-gnu/tcmu-runner"
 * @return the number of handlers that are in it and can be used now, at least 1, or
 * -ENOENT there is no such directory, or no handler in it;
 * -ECHILD some were loaded before fork(): their threads and locks did not come along;
 * -ENOEXEC nothing in it could be loaded; scstu_error() tells of the first, the log of all;
 * -EPERM the same, because others may write to it;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start();
 * another negative errno of the directory
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_load_tcmu_handlers(struct scstu *handle,
                             const char *directory);

/**
 * Takes a kind of backstore out again.
 *
 * @param handle the instance
 * @param name name of the handler
 * @return 0, or
 * -ENOENT there is no such handler;
 * -EBUSY there are devices of it, or it is one of the library's own;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_backstore_unregister(struct scstu *handle, const char *name);

/**
 * Completes a command of an asynchronous backstore: its answer leaves at once, on this thread. The request
 * and its buffers must not be touched any more.
 *
 * @param token the command, as scstu_request says it
 * @param result 0, or a negative errno as the functions of struct scstu_backstore_ops answer it
 * @return 0, or
 * -ENOENT there is no such command: it is completed already, or never was one;
 * -EINVAL result is positive; the command is still to be completed;
 * -ECHILD the command was submitted before fork(): the parent is to complete it;
 * -EDEADLK called from within the log callback or one that releases a context; the command is still to be
 * completed
 *
 * Thread-safe; from any thread, also from within the functions of a backstore.
 *
 * @since 0.1
 */
int scstu_complete(uint64_t token,
                   int result);

/**
 * Brings the configuration to what a text says. All of it, or nothing if something is wrong.
 *
 * @param handle the instance
 * @param text the configuration, as in scst.conf, at most 16777216 bytes
 * @param flags 0: what it does not mention stays; SCSTU_LOAD_EXACT: that goes
 * @return 0, or
 * -EINVAL a NULL pointer, an unknown flag, or the text is wrong: scstu_error() begins with line and column;
 * -EFBIG the text is too long;
 * the negative errno of what cannot be done;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_load(struct scstu *handle,
               const char *text,
               uint32_t flags);

/**
 * Tells what scstu_load() would change, without doing it. No backstore is opened: what
 * scstu_backstore_ops.open refuses, this does not tell.
 *
 * @param handle the instance
 * @param text the configuration, as in scst.conf, at most 16777216 bytes
 * @param flags as of scstu_load()
 * @param function called with each change, in words: "+" something new, "-" something that goes, "~"
 * something that changes
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -EINVAL a NULL pointer, an unknown flag, or the text is wrong: scstu_error() begins with line and column;
 * -EFBIG the text is too long;
 * the negative errno of what could not be done;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_plan(struct scstu *handle,
               const char *text,
               uint32_t flags,
               scstu_text_fn function,
               void *context);

/**
 * Tells the configuration as a text that scstu_load() takes. It holds the secrets of CHAP users.
 *
 * @param handle the instance
 * @param function called once, with all of it
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_save(struct scstu *handle, scstu_text_fn function, void *context);

/**
 * Reads an attribute.
 *
 * Paths are those of SCST's tree below /sys/kernel/scst_tgt, such as "devices/disk1/size" or
 * "targets/iscsi/iqn.2026-01.org.example:disk1/enabled".
 *
 * @param handle the instance
 * @param path the attribute
 * @param buffer gets its value, without newline; NULL (and length 0) to ask for the length only
 * @param length bytes of buffer
 * @param need gets the bytes that the value takes with its NUL; may be NULL
 * @return 0, or
 * -ENOENT there is no such path;
 * -EISDIR it is an object, -ELOOP a link, -EIO an attribute that cannot be read;
 * -ERANGE the buffer is too short;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_get(struct scstu *handle,
              const char *path,
              char *buffer,
              size_t length,
              size_t *need);

/**
 * Sets an attribute.
 *
 * @param handle the instance
 * @param path the attribute, as of scstu_get()
 * @param value its new value
 * @return 0, or
 * -ENOENT there is no such path;
 * -EISDIR it is an object, -ELOOP a link, -EIO an attribute that cannot be set;
 * -EINVAL a NULL pointer, "mgmt", or a value that it does not take: scstu_error() says which it does;
 * -ERANGE a number that is too great for any attribute, -E2BIG a value of more than 4096 bytes;
 * another negative errno of what cannot be done; of an attribute that a handler declares what its
 * scstu_attribute.set has answered;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_set(struct scstu *handle,
              const char *path,
              const char *value);

/**
 * Carries out a command of an object, as SCST's "mgmt" files take them. They are less strict than the calls
 * of their own: the name of a target need not be an iSCSI name.
 *
 * @param handle the instance
 * @param object path of the object, such as "handlers/vdisk_fileio"
 * @param command the command, one line, such as "add_device disk1 filename=/srv/disk1"
 * @return 0, or
 * -ENOENT there is no such object, or it takes no commands;
 * -EINVAL a NULL pointer, a command that there is not, an object that is not there;
 * -E2BIG a command of more than 4096 bytes;
 * another negative errno of what cannot be done;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_do(struct scstu *handle,
             const char *object,
             const char *command);

/**
 * Names what an object has, by name.
 *
 * @param handle the instance
 * @param path the object; "" for the root
 * @param function called with each
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -ENOENT there is no such path;
 * -ENOTDIR it is an attribute or a link;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_list(struct scstu *handle, const char *path, scstu_entry_fn function, void *context);

/**
 * Tells what there is to know of an attribute: which values it takes, its default, what it means.
 *
 * @param handle the instance
 * @param path the attribute, as of scstu_get(); of "mgmt" of an object, its commands are told
 * @param function called once
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -ENOENT there is no such path;
 * -EISDIR it is an object, -ELOOP a link;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_describe(struct scstu *handle,
                   const char *path,
                   scstu_description_fn function,
                   void *context);

/**
 * What was wrong with the last call of the calling thread that failed, and what is allowed.
 *
 * @return a text of at most 4096 bytes without control characters (a newline is written as \\n), in UTF-8;
 * empty when no call of this thread has failed yet. It belongs to the library and is valid until the next
 * call of this thread fails, or the thread ends. Never NULL. Where the thread is ending (a destructor of
 * thread-specific data, a handler of atexit()) it may only say that there is no text any more.
 *
 * Thread-safe; may be called from every callback.
 *
 * @since 0.1
 */
const char *scstu_error(void);

/**
 * The name of the function that scstu_error() speaks of.
 *
 * @return a text such as "scstu_start"; empty when no call of this thread has failed yet. It belongs to the
 * library and is valid for ever. Never NULL.
 *
 * Thread-safe; may be called from every callback.
 *
 * @since 0.1
 */
const char *scstu_error_call(void);

/**
 * The version of the library that runs, which may be newer than the header that the program was built with.
 *
 * @return a text such as "0.1.0". It belongs to the library and is valid for ever. Never NULL.
 *
 * Thread-safe; may be called from every callback, and before and after everything else.
 *
 * @since 0.1
 */
const char *scstu_version(void);

/**
 * Makes an instance: without configuration, not started.
 *
 * In a program that forks, make it after forking: its threads do not come along, and calls in the child fail
 * with -ECHILD. A child may make instances of its own, whatever other threads did when it was made.
 *
 * @param options how it is to be; NULL for the defaults. Copied. Its contexts are released also when this
 * fails, unless it could not be read because of its size
 * @param out the handle; free it with scstu_free(). Set to NULL when this fails
 * @return 0, or
 * -EINVAL a NULL pointer, a size that cannot be, a value out of its range;
 * -E2BIG the struct is longer than the library's and not zero there;
 * -EBUSY another instance has the state directory, in this process or another;
 * -EDEADLK called from within a callback that must not, as the table at the top of this file says;
 * another negative errno of the state directory, or of threads that cannot be made
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_new(const struct scstu_options *options,
              struct scstu **out);

/**
 * Starts an instance: from now on portals can be opened and connections served. Nothing listens before
 * scstu_listen(), scstu_listen_fd() or scstu_serve_fd(); that is so again when an instance that was stopped
 * is started, with the configuration and devices that it has.
 *
 * @param handle the instance
 * @return 0, or
 * -EINVAL the handle is NULL;
 * -EBADF the handle is freed, or never was one;
 * -EALREADY it is started;
 * -EBUSY another thread is stopping it;
 * -ECHILD the handle was made before fork();
 * -EDEADLK called from within a callback that must not, as the table at the top of this file says
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_start(struct scstu *handle);

/**
 * Stops an instance: portals are closed, initiators are asked to log out and have `drain_ms` for it, then
 * their connections are closed and their commands aborted; at the end every device is flushed. The
 * configuration stays until scstu_free(), and scstu_start() goes on with it. Stopping twice is no error; the
 * second call does not wait for the first.
 *
 * Asynchronous backstores are told to cancel; keep completing commands until this returns.
 *
 * @param handle the instance
 * @param drain_ms milliseconds for the logout, 0 to 4294967295. It returns as soon as all are gone
 * @return 0, or
 * -ETIMEDOUT backstores still hold threads or commands. It is stopped, and flushed as far as that went in 20
 * seconds;
 * -EIO it is stopped, but devices could not be flushed, or not within 300 seconds;
 * -EINVAL the handle is NULL;
 * -EBADF the handle is freed, or never was one;
 * -ECHILD the handle was made before fork();
 * -EDEADLK called from within a callback that must not, as the table at the top of this file says
 *
 * Thread-safe; not from the event callback, whose instance it would wait for.
 *
 * @since 0.1
 */
int scstu_stop(struct scstu *handle,
               uint32_t drain_ms);

/**
 * Frees an instance, after stopping it without drain time if it runs. Devices are closed and contexts
 * released before this returns 0; nothing of the program's is called or used any more then.
 *
 * Stopping flushes, as scstu_stop() says: a flush that does not come back takes up to 300 seconds. Then it
 * waits 10 seconds for calls of other threads, for backstores and callbacks. The handle is no longer
 * valid for anything but scstu_free() when it begins; with -EDEADLK it has not begun.
 *
 * @param handle the instance; NULL is no error
 * @return 0, or
 * -EBUSY functions or commands of the program are still out: complete them, then call again;
 * -EBADF the handle is freed, or never was one;
 * -ECHILD the handle was made before fork();
 * -EDEADLK called from within a callback, or a function that a call with this handle has called
 *
 * Thread-safe; not from the event callback, whose instance it would wait for.
 *
 * @since 0.1
 */
int scstu_free(struct scstu *handle);

/**
 * Adds a device.
 *
 * @param handle the instance
 * @param handler a kind of backstore, such as "vdisk_fileio", or one that was registered
 * @param name name of the device: 1 to 64 printable characters without blanks, / and .
 * @param parameters "NAME=VALUE; NAME=VALUE", such as "filename=/srv/disk1; blocksize=4096"; NULL for none.
 * scstu_get() of "handlers/HANDLER/mgmt" names those that a handler takes
 * @return 0, or
 * -ENOENT there is no such handler;
 * -EEXIST there is such a device;
 * -EINVAL a NULL pointer, a name that cannot be, an unknown parameter, one that is given twice, or a bad
 * value;
 * -ENOSPC there are 65536 devices;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start(); another negative errno of opening the medium
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_device(struct scstu *handle,
                     const char *handler,
                     const char *name,
                     const char *parameters);

/**
 * Takes a device out and closes it, when its last command is done.
 *
 * @param handle the instance
 * @param name name of the device
 * @return 0, or
 * -ENOENT there is no such device;
 * -EBUSY a target maps it;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_device(struct scstu *handle, const char *name);

/**
 * Makes a device longer or shorter. Its initiators are told.
 *
 * @param handle the instance
 * @param name name of the device
 * @param bytes the new size in bytes, a positive multiple of the block size
 * @return 0, or
 * -ENOENT there is no such device;
 * -EINVAL a NULL pointer, a size that cannot be, a medium that cannot be resized;
 * -EMEDIUMTYPE it has no medium;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start(); another negative errno of the medium
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_resize_device(struct scstu *handle, const char *name, uint64_t bytes);

/**
 * Looks at the size of a device's medium again (it grew behind our back). Its initiators are told when it is
 * another.
 *
 * @param handle the instance
 * @param name name of the device
 * @param bytes gets the size in bytes; may be NULL
 * @return 0, or
 * -ENOENT there is no such device;
 * -EMEDIUMTYPE it has no medium;
 * -EIO the medium does not say;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_resync_device(struct scstu *handle,
                        const char *name,
                        uint64_t *bytes);

/**
 * Adds a target: disabled, without LUNs.
 *
 * @param handle the instance
 * @param name an iSCSI name of at most 223 bytes, such as "iqn.2026-01.org.example:disk1"; iqn., eui. and
 * naa. are the forms. Upper and lower case are the same
 * @return 0, or
 * -EEXIST there is such a target;
 * -EINVAL a NULL pointer, or no iSCSI name;
 * -ENOSPC there are 65536 targets;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_target(struct scstu *handle,
                     const char *name);

/**
 * Takes a target out, with its LUNs and groups.
 *
 * @param handle the instance
 * @param name name of the target
 * @return 0, or
 * -ENOENT there is no such target;
 * -EBUSY it has sessions; disable it and close them with scstu_kick() first;
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_target(struct scstu *handle, const char *name);

/**
 * Has a target accept logins, or no more.
 *
 * @param handle the instance
 * @param name name of the target
 * @param on 1 for yes, 0 for no
 * @return 0, or
 * -ENOENT there is no such target;
 * -EBADSLT another enabled target has its rel_tgt_id;
 * -ENOSPC 65535 targets are enabled;
 * -EINVAL a NULL pointer, or `on` is neither;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_enable_target(struct scstu *handle, const char *name, int on);

/**
 * Shows a device as a LUN of a target. Sessions see it at once.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of one of its groups, whose initiators see it; NULL for those that are in no group
 * @param lun its number, 0 to 16383; initiators want one to have 0
 * @param device name of the device
 * @param flags 0 or SCSTU_LUN_READ_ONLY
 * @return 0, or
 * -ENOENT no such target, group or device;
 * -EEXIST the number is taken;
 * -EINVAL a NULL pointer, a number out of range, an unknown flag;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_add_lun(struct scstu *handle,
                  const char *target,
                  const char *group,
                  uint32_t lun,
                  const char *device,
                  uint32_t flags);

/**
 * Takes a LUN out: initiators get LOGICAL UNIT NOT SUPPORTED there from now on. Commands that are out are
 * carried out and answered.
 *
 * @param handle the instance
 * @param target name of the target
 * @param group name of one of its groups; NULL for the LUNs of those that are in no group
 * @param lun its number, 0 to 16383
 * @return 0, or
 * -ENOENT no such target, group or LUN;
 * -EINVAL a NULL pointer, a number out of range;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_remove_lun(struct scstu *handle,
                     const char *target,
                     const char *group,
                     uint32_t lun);

/**
 * Names the sessions, oldest first.
 *
 * @param handle the instance
 * @param function called with each
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_sessions(struct scstu *handle, scstu_session_fn function, void *context);

/**
 * Closes a session: its commands are aborted. The initiator may log in again; remove it from its group, or
 * disable the target, to keep it out.
 *
 * @param handle the instance
 * @param session number of the session, as scstu_session and scstu_event say it
 * @return 0, or
 * -ENOENT there is no such session (any more);
 * -EINVAL the handle is NULL;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_kick(struct scstu *handle,
               uint64_t session);

/**
 * Tells figures of an instance.
 *
 * @param handle the instance
 * @param statistics gets the figures; its size must be set
 * @return 0, or
 * -EINVAL a NULL pointer, or a size that cannot be;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_read_statistics(struct scstu *handle, struct scstu_statistics *statistics);

/**
 * Tells state and figures of a device.
 *
 * @param handle the instance
 * @param name name of the device
 * @param statistics gets the figures; its size must be set
 * @return 0, or
 * -ENOENT there is no such device;
 * -EINVAL a NULL pointer, or a size that cannot be;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_read_device_statistics(struct scstu *handle,
                                 const char *name,
                                 struct scstu_device_statistics *statistics);

/**
 * Opens a portal: a listening socket of the library's own.
 *
 * @param handle the instance, which is started
 * @param portal numeric address and port, such as "0.0.0.0:3260"; an IPv6 address is in brackets, and takes
 * IPv6 only; port 0 for any free one
 * @param buffer gets where it listens, as text; NULL when that is not wanted
 * @param length bytes of buffer; 64 are enough
 * @return 0, or
 * -EINVAL a NULL pointer, or no address;
 * -ERANGE the buffer is too short (the portal is open);
 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES as bind(2), and other negative errnos of it and of socket(2);
 * -ENOTCONN the instance is not started, -ESHUTDOWN it is stopped;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_listen(struct scstu *handle,
                 const char *portal,
                 char *buffer,
                 size_t length);

/**
 * Takes over a TCP socket that listens already (socket activation, a helper with more rights).
 *
 * @param handle the instance, which is started
 * @param fd the socket. With success it belongs to the library, which sets it to blocking and close-on-exec,
 * and closes it; after a failure it is the program's as before
 * @return 0, or
 * -EBADF no descriptor, or a handle that is freed;
 * -ENOTSOCK no socket;
 * -EPROTONOSUPPORT no TCP socket;
 * -EINVAL it does not listen, or the handle is NULL;
 * -ENOTCONN the instance is not started, -ESHUTDOWN it is stopped;
 * another negative errno when there are no descriptors or threads left;
 * -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_listen_fd(struct scstu *handle,
                    int fd);

/**
 * Serves a TCP connection that the program has accepted (or connected). The login comes next on it.
 *
 * @param handle the instance, which is started
 * @param fd the socket. With success it belongs to the library, which sets it to blocking and close-on-exec,
 * and closes it; after a failure it is the program's as before
 * @return 0, or
 * -EBADF no descriptor, or a handle that is freed;
 * -ENOTSOCK no socket;
 * -EPROTONOSUPPORT no TCP socket;
 * -ENOTCONN it is not connected, or the instance is not started;
 * -EINVAL it listens, or the handle is NULL;
 * -ESHUTDOWN the instance is stopped;
 * another negative errno when there are no descriptors or threads left;
 * -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_serve_fd(struct scstu *handle,
                   int fd);

/**
 * Closes a portal; its connections stay.
 *
 * @param handle the instance
 * @param portal where it listens, as scstu_listen() or scstu_portals() say it
 * @return 0, or
 * -ENOENT there is no such portal;
 * -EINVAL a NULL pointer, or no address;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_close_portal(struct scstu *handle, const char *portal);

/**
 * Names the portals that are open.
 *
 * @param handle the instance
 * @param function called with each, such as "127.0.0.1:3260"
 * @param context passed to function
 * @return 0, what function answered if that was not 0, or
 * -EINVAL a NULL pointer;
 * -EBADF, -ECHILD, -EDEADLK as scstu_start()
 *
 * Thread-safe.
 *
 * @since 0.1
 */
int scstu_portals(struct scstu *handle, scstu_text_fn function, void *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SCSTU_H */
