// SPDX-License-Identifier: GPL-2.0-or-later
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
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
#define LOOK (READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define RUN (LOOK | LANDLOCK_ACCESS_FS_EXECUTE)
/* No device, no symbolic link, and nothing there is run. */
#define SERVE                                                             \
	(LOOK | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE |      \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |      \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER)
/* Linux 6.12: what is older does not keep signals in. */
#define ABI_OF_SERVER 6
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

/* Where programs and libraries are on the systems there are; from `rare` on, on few of them. */
static const char *const run[] = { "/usr",   "/bin", "/sbin",      "/lib",      "/lib32",
				   "/lib64", "/opt", "/nix/store", "/gnu/store" };
static const size_t rare = 6;

static int allow_all(int ruleset, const struct ruleset *r, const char *const *paths, size_t count,
		     uint64_t access)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = allow_path(ruleset, r, paths[i], access);
	return err;
}

/* What every program needs. */
static int allow_system(int ruleset, const struct ruleset *r)
{
	static const char *const look[] = { "/proc", "/etc/ld.so.cache", "/etc/localtime" };
	static const char *const use[] = { "/dev/null", "/dev/zero", "/dev/random",
					   "/dev/urandom" };

	return allow_all(ruleset, r, run, rare, RUN)
		       ?: allow_all(ruleset, r, look, sizeof(look) / sizeof(*look), LOOK)
		       ?: allow_all(ruleset, r, use, sizeof(use) / sizeof(*use), READ | WRITE);
}

/* A ruleset that takes everything away but that. */
static int begin(struct ruleset *r)
{
	int version = abi(), ruleset, err;

	if (version < 1)
		return -ENOSYS;
	*r = all_of(version);
	ruleset = syscall(SYS_landlock_create_ruleset, r, size_of(version), 0);
	if (ruleset < 0)
		return -errno;
	err = allow_system(ruleset, r);
	if (!err)
		return ruleset;
	close(ruleset);
	return err;
}

static int end(int ruleset, int err)
{
	if (!err)
		return ruleset;
	close(ruleset);
	return err;
}

int confine_make(const char *path, const int *fds, size_t count)
{
	struct ruleset r;
	int ruleset = begin(&r), err;

	if (ruleset < 0)
		return ruleset;
	err = allow_all(ruleset, &r, run + rare, sizeof(run) / sizeof(*run) - rare, RUN);
	if (!err)
		err = allow_path(ruleset, &r, path, RUN);
	for (size_t i = 0; i < count && !err; i++)
		err = allow_given(ruleset, &r, fds[i]);
	return end(ruleset, err);
}

/* ---- servers ---- */

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return !strncmp(path, top, len) && (!path[len] || path[len] == '/' || len == 1);
}

static bool is_needed(const char *dir, const char *const *programs)
{
	while (*programs && !is_below(*programs, dir))
		programs++;
	return *programs != NULL;
}

int confine_make_server(const char *const *dirs, const char *const *programs)
{
	struct ruleset r;
	int ruleset, err = 0;

	if (abi() < ABI_OF_SERVER)
		return abi() < 0 && errno == EOPNOTSUPP ? -EOPNOTSUPP : -ENOSYS;
	ruleset = begin(&r);
	if (ruleset < 0)
		return ruleset;
	for (size_t i = rare; i < sizeof(run) / sizeof(*run) && !err; i++)
		if (is_needed(run[i], programs))
			err = allow_path(ruleset, &r, run[i], RUN);
	for (size_t i = 0; programs[i] && !err; i++)
		err = allow_path(ruleset, &r, programs[i], RUN);
	for (size_t i = 0; dirs[i] && !err; i++) {
		int fd = open(dirs[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		err = fd < 0 ? -errno : allow(ruleset, &r, fd, SERVE);
		if (fd >= 0)
			close(fd);
	}
	return end(ruleset, err);
}

bool confine_runs_from(const char *dir, const char *const *programs)
{
	char real[PATH_MAX];

	for (size_t i = 0; i < sizeof(run) / sizeof(*run); i++)
		if ((i < rare || is_needed(run[i], programs)) && realpath(run[i], real) &&
		    (is_below(dir, real) || is_below(real, dir)))
			return true;
	return is_needed(dir, programs);
}

int confine_add_program(int ruleset, int fd)
{
	struct ruleset r = all_of(abi());

	return allow(ruleset, &r, fd, RUN);
}

bool confine_holds(void)
{
	int fd, err;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return false;
	fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = errno;
	if (fd >= 0)
		close(fd);
	return fd < 0 && err == EACCES;
}

bool confine_forbids(const char *dir)
{
	return confine_holds() && !faccessat(AT_FDCWD, dir, R_OK | X_OK, AT_EACCESS);
}

/* ---- capabilities ---- */

/*
 * Images have owners and modes of their own, and one that is made is given to who asked for it; a
 * lease tells who writes an image.
 */
static const unsigned needed[] = { CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_LEASE };

static bool is_kept(unsigned capability)
{
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		if (needed[i] == capability)
			return true;
	return false;
}

int confine_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return errno;
	/* Who may not do this gains nothing by exec either, once there are no new privileges. */
	for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!is_kept(c))
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	for (unsigned c = 0; c < 64; c++)
		if (!is_kept(c))
			data[c / 32].permitted &= ~(1u << c % 32);
	for (int i = 0; i < 2; i++) {
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) ? errno : 0;
}

int confine_self(int ruleset)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return errno;
	return 0;
}
