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
