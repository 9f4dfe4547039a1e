// SPDX-License-Identifier: GPL-2.0-or-later
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's header. */
#define ACCESS_FS_TRUNCATE (1ull << 14)
#define ACCESS_FS_IOCTL_DEV (1ull << 15)
#define ACCESS_NET_BIND_TCP (1ull << 0)
#define ACCESS_NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)

#define READ LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)
#define RUN (READ | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
/* What a file can be opened for; the others are of directories. */
#define OF_FILES (READ | WRITE | LANDLOCK_ACCESS_FS_EXECUTE)

/* What is taken away, by the version of the kernel's interface from which on it can be. */
struct ruleset {
	uint64_t fs, net, scope;
};

static int abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool confine_available(void)
{
	return abi() > 0;
}

static struct ruleset all_of(int version)
{
	struct ruleset r = { .fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 };

	if (version >= 2)
		r.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		r.fs |= ACCESS_FS_TRUNCATE;
	if (version >= 4)
		r.net = ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP;
	if (version >= 5)
		r.fs |= ACCESS_FS_IOCTL_DEV;
	if (version >= 6)
		r.scope = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	return r;
}

static size_t size_of(int version)
{
	return version >= 6   ? sizeof(struct ruleset)
	       : version >= 4 ? offsetof(struct ruleset, scope)
			      : offsetof(struct ruleset, net);
}

/* fd: O_PATH will do. */
static int allow(int ruleset, const struct ruleset *r, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	rule.allowed_access = access & r->fs & (S_ISDIR(st.st_mode) ? ~0ull : OF_FILES);
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		return -errno;
	return 0;
}

/* What is not there needs no rule. */
static int allow_path(int ruleset, const struct ruleset *r, const char *path, uint64_t access)
{
	int fd = open(path, O_PATH | O_CLOEXEC), err;

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	err = allow(ruleset, r, fd, access);
	close(fd);
	return err;
}

/* Sockets and the like have no path, and what has none cannot be opened again. */
static int allow_given(int ruleset, const struct ruleset *r, int fd)
{
	static const uint64_t
		as_open[] = { [O_RDONLY] = READ, [O_WRONLY] = WRITE, [O_RDWR] = READ | WRITE };
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return 0;
	return allow(ruleset, r, fd, as_open[flags & O_ACCMODE]);
}

int confine_make(const char *path, const int *fds, size_t count)
{
	/* Where programs and libraries are on the systems there are. */
	static const char *const run[] = { "/usr",   "/bin", "/sbin",      "/lib",      "/lib32",
					   "/lib64", "/opt", "/nix/store", "/gnu/store" };
	static const char *const read[] = { "/proc", "/etc/ld.so.cache" };
	static const char *const use[] = { "/dev/null", "/dev/zero", "/dev/random",
					   "/dev/urandom" };
	int version = abi(), ruleset, err = 0;
	struct ruleset r = all_of(version);

	if (version < 1)
		return -ENOSYS;
	ruleset = syscall(SYS_landlock_create_ruleset, &r, size_of(version), 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(run) / sizeof(*run) && !err; i++)
		err = allow_path(ruleset, &r, run[i], RUN);
	for (size_t i = 0; i < sizeof(read) / sizeof(*read) && !err; i++)
		err = allow_path(ruleset, &r, read[i], READ | LANDLOCK_ACCESS_FS_READ_DIR);
	for (size_t i = 0; i < sizeof(use) / sizeof(*use) && !err; i++)
		err = allow_path(ruleset, &r, use[i], READ | WRITE);
	if (!err)
		err = allow_path(ruleset, &r, path, RUN);
	for (size_t i = 0; i < count && !err; i++)
		err = allow_given(ruleset, &r, fds[i]);
	if (err) {
		close(ruleset);
		return err;
	}
	return ruleset;
}

int confine_self(int ruleset)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return errno;
	return 0;
}
