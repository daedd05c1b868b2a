/* Faults of files for tests, loaded into the daemon with LD_PRELOAD.
 *
 * A file NAME misbehaves as FOLDER/NAME.OPERATION says, FOLDER being in $SCSTU_FAULTS and OPERATION one of
 * read, write, durable (a write with RWF_DSYNC), sync, allocate: "hang" waits until that file is gone or says
 * something else; a number is the errno to fail with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What is wrong with an operation on this file: 0 for nothing, else an errno. */
static int fault(int file, const char *operation)
{
	const char *folder = getenv("SCSTU_FAULTS");
	char link[64], path[4096], order[8192], text[32];
	const char *name;
	ssize_t length;

	if (!folder)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0 || path[0] != '/')
		return 0;
	path[length] = 0;
	name = strrchr(path, '/') + 1;
	snprintf(order, sizeof(order), "%s/%s.%s", folder, name, operation);
	for (;;) {
		FILE *stream = fopen(order, "re");
		struct timespec pause = { 0, 2000000 };

		if (!stream)
			return 0;
		if (!fgets(text, sizeof(text), stream))
			text[0] = 0;
		fclose(stream);
		if (strncmp(text, "hang", 4))
			return atoi(text);
		nanosleep(&pause, NULL);
	}
}

#define FAIL(file, operation)                                                                                \
	do {                                                                                                 \
		int wrong = fault(file, operation);                                                          \
		if (wrong) {                                                                                 \
			errno = wrong;                                                                       \
			return -1;                                                                           \
		}                                                                                            \
	} while (0)

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread64(int file, void *to, size_t count, off64_t at)
{
	FAIL(file, "read");
	return NEXT(pread64)(file, to, count, at);
}

/* A hanging file has nothing in memory. */
ssize_t preadv2(int file, const struct iovec *to, int count, off_t at, int flags)
{
	char order[8192], link[64], path[4096];
	const char *folder = getenv("SCSTU_FAULTS");
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, path, sizeof(path) - 1);
	if (folder && length > 0) {
		path[length] = 0;
		snprintf(order, sizeof(order), "%s/%s.read", folder, strrchr(path, '/') + 1);
		if (!access(order, F_OK)) {
			errno = EAGAIN;
			return -1;
		}
	}
	return NEXT(preadv2)(file, to, count, at, flags);
}

ssize_t pwritev2(int file, const struct iovec *from, int count, off_t at, int flags)
{
	FAIL(file, "write");
	if (flags & RWF_DSYNC)
		FAIL(file, "durable");
	return NEXT(pwritev2)(file, from, count, at, flags);
}

int fdatasync(int file)
{
	FAIL(file, "sync");
	return NEXT(fdatasync)(file);
}

int fallocate(int file, int mode, off_t at, off_t length)
{
	FAIL(file, "allocate");
	return NEXT(fallocate)(file, mode, at, length);
}
