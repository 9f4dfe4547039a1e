// SPDX-License-Identifier: GPL-2.0-or-later
/* Both `pwrite` and `pwrite64` are to be ours: LMDB calls the one, we the other. */
#undef _FILE_OFFSET_BITS
#include "medium.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fake_file.h"
#include "unit.h"

#define OURS __attribute__((visibility("default")))
#define ROOM (512ull << 20)
#define ID "trusted.medium"

enum kind {
	WRITE,
	FLUSH,
	ZERO,
	ALLOCATE,
	RESIZE,
	MAKE,
	MAKE_DIRECTORY,
	REMOVE,
	RENAME,
	FLUSH_NAMES
};

static const char *const kinds[] = {
	"write", "flush",          "zero",   "allocate", "resize",
	"make",  "make directory", "remove", "rename",   "flush names of",
};

struct call {
	uint64_t room; /* with its data */
	enum kind kind;
	unsigned how; /* IO_DSYNC, a zero_mode, or whether it grows */
	uint64_t inode, off, len;
	struct timespec mtime; /* of the file, after it */
	char data[];           /* what is written, or a path, or two */
};

/* What the processes share. */
struct log {
	_Atomic uint64_t calls, used;
	_Alignas(16) char room[];
};

struct content {
	struct content *next;
	uint64_t inode, id;
	struct timespec mtime;
	struct file *file;
	char *path; /* as it was called last */
};

/* Those that are gone stay in the list as long as they may be back. */
struct name {
	struct name *next;
	char *path;
	bool directory, now, may_be_there, may_be_gone;
	struct content *content;
};

struct medium {
	char dir[PATH_MAX];
	size_t length; /* of that */
	struct log *log;
	struct content *contents;
	struct name *names, **last;
	uint64_t played, at; /* the place of the next call in the log */
	const struct call *call;
	const char *lose;
};

static struct medium *recording, *known; /* by this process; whose directory it is */
static unsigned boot;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Check's own asserts write to a file each time, and are not for any thread. */
static void must(bool is)
{
	if (!is)
		abort();
}

/* ---- what the program calls ---- */

static bool is_below(const struct medium *m, const char *path)
{
	return m && !strncmp(path, m->dir, m->length) &&
	       (path[m->length] == '/' || !path[m->length]);
}

static bool path_of(int fd, char path[PATH_MAX])
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return true;
}

static bool join(int dirfd, const char *name, char path[2 * PATH_MAX])
{
	size_t n;

	if (name[0] == '/') {
		snprintf(path, 2 * PATH_MAX, "%s", name);
		return true;
	}
	if (!path_of(dirfd, path))
		return false;
	n = strlen(path);
	snprintf(path + n, 2 * PATH_MAX - n, "/%s", name);
	return true;
}

/* Under lock. `with` goes behind what is in `data` already, which is len bytes long. */
static void put(enum kind kind, int fd, const struct call *c, const void *data, size_t len,
		const char *with)
{
	struct log *log = recording->log;
	uint64_t used = atomic_load(&log->used);
	struct call *to = (struct call *)(log->room + used);
	size_t more = with ? strlen(with) + 1 : 0;
	struct stat st;

	uint64_t room = (sizeof(*c) + len + more + 15) / 16 * 16;

	must(used + room < ROOM - sizeof(*log));
	*to = *c;
	to->kind = kind;
	if (fd >= 0 && !fstat(fd, &st))
		to->mtime = st.st_mtim;
	to->room = room;
	if (len)
		memcpy(to->data, data, len);
	if (with)
		memcpy(to->data + len, with, more);
	atomic_store(&log->used, used + room);
	atomic_fetch_add(&log->calls, 1);
}

/* A file that is written down? */
static bool ours(int fd, uint64_t *inode)
{
	char path[PATH_MAX];
	struct stat st;

	if (!recording || !path_of(fd, path) || !is_below(recording, path) || fstat(fd, &st) ||
	    !S_ISREG(st.st_mode))
		return false;
	*inode = st.st_ino;
	return true;
}

static ssize_t write_at(int fd, const void *buf, size_t len, off_t off)
{
	uint64_t inode;
	ssize_t n;

	if (!ours(fd, &inode))
		return syscall(SYS_pwrite64, fd, buf, len, off);
	pthread_mutex_lock(&lock);
	n = syscall(SYS_pwrite64, fd, buf, len, off);
	if (n > 0)
		put(WRITE, fd,
		    &(struct call){ .inode = inode,
				    .off = off,
				    .len = n,
				    .how = fcntl(fd, F_GETFL) & O_DSYNC ? IO_DSYNC : 0 },
		    buf, n, NULL);
	pthread_mutex_unlock(&lock);
	return n;
}

OURS ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return write_at(fd, buf, len, off);
}

OURS ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	return write_at(fd, buf, len, off);
}

/* One that appends has its place after it only. Nobody else writes at this one meanwhile. */
OURS ssize_t write(int fd, const void *buf, size_t len)
{
	uint64_t inode;
	ssize_t n;

	if (!ours(fd, &inode))
		return syscall(SYS_write, fd, buf, len);
	pthread_mutex_lock(&lock);
	n = syscall(SYS_write, fd, buf, len);
	if (n > 0)
		put(WRITE, fd,
		    &(struct call){ .inode = inode, .off = lseek(fd, 0, SEEK_CUR) - n, .len = n },
		    buf, n, NULL);
	pthread_mutex_unlock(&lock);
	return n;
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t off)
{
	ssize_t sum = 0, n;

	for (int i = 0; i < count; i++) {
		n = off < 0 ? write(fd, parts[i].iov_base, parts[i].iov_len)
			    : write_at(fd, parts[i].iov_base, parts[i].iov_len, off + sum);
		if (n < 0)
			return sum ? sum : n;
		sum += n;
	}
	return sum;
}

OURS ssize_t writev(int fd, const struct iovec *parts, int count)
{
	uint64_t inode;

	return ours(fd, &inode) ? write_parts(fd, parts, count, -1)
				: syscall(SYS_writev, fd, parts, count);
}

OURS ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t off)
{
	return write_parts(fd, parts, count, off);
}

OURS ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t off)
{
	return write_parts(fd, parts, count, off);
}

static int cut_off(int fd, off_t size)
{
	uint64_t inode;
	int result;

	if (!ours(fd, &inode))
		return syscall(SYS_ftruncate, fd, size);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_ftruncate, fd, size);
	if (!result)
		put(RESIZE, fd, &(struct call){ .inode = inode, .len = size }, NULL, 0, NULL);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int ftruncate(int fd, off_t size)
{
	return cut_off(fd, size);
}

OURS int ftruncate64(int fd, off64_t size)
{
	return cut_off(fd, size);
}

static int change_space(int fd, int mode, off_t off, off_t len)
{
	struct call c = { .off = off, .len = len };
	int result;

	if (!ours(fd, &c.inode))
		return syscall(SYS_fallocate, fd, mode, off, len);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_fallocate, fd, mode, off, len);
	c.how = mode & FALLOC_FL_PUNCH_HOLE ? ZERO_PUNCH : ZERO_KEEP;
	if (!result && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		put(ZERO, fd, &c, NULL, 0, NULL);
	c.how = !(mode & FALLOC_FL_KEEP_SIZE);
	/* Space alone is nothing that is seen. */
	if (!result && !mode)
		put(ALLOCATE, fd, &c, NULL, 0, NULL);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int fallocate(int fd, int mode, off_t off, off_t len)
{
	return change_space(fd, mode, off, len);
}

OURS int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	return change_space(fd, mode, off, len);
}

static int flush(int fd)
{
	char path[PATH_MAX];
	struct stat st;

	if (!recording || !path_of(fd, path) || !is_below(recording, path) || fstat(fd, &st))
		return 0;
	pthread_mutex_lock(&lock);
	if (S_ISDIR(st.st_mode))
		put(FLUSH_NAMES, -1, &(struct call){ 0 }, NULL, 0, path);
	else
		put(FLUSH, -1, &(struct call){ .inode = st.st_ino }, NULL, 0, NULL);
	pthread_mutex_unlock(&lock);
	return 0;
}

OURS int fdatasync(int fd)
{
	return flush(fd);
}

OURS int fsync(int fd)
{
	return flush(fd);
}

/* ---- names ---- */

/* What says which boot it is. */
static int open_boot(void)
{
	char text[40];
	int fd = memfd_create("boot", MFD_CLOEXEC), n;

	n = snprintf(text, sizeof(text), "%08x-0000-4000-8000-000000000000\n", boot);
	if (fd >= 0 && syscall(SYS_pwrite64, fd, text, n, 0) != n)
		abort();
	return fd;
}

static int open_it(int dirfd, const char *name, int flags, mode_t mode)
{
	char path[2 * PATH_MAX];
	struct stat st;
	bool was_there;
	int fd;

	if (known && !strcmp(name, "/proc/sys/kernel/random/boot_id"))
		return open_boot();
	if (!recording || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE ||
	    !join(dirfd, name, path) || !is_below(recording, path))
		return syscall(SYS_openat, dirfd, name, flags, mode);
	pthread_mutex_lock(&lock);
	was_there = !stat(path, &st);
	fd = syscall(SYS_openat, dirfd, name, flags, mode);
	if (fd >= 0 && !fstat(fd, &st)) {
		if (!was_there)
			put(MAKE, -1, &(struct call){ .inode = st.st_ino }, NULL, 0, path);
		else if (flags & O_TRUNC)
			put(RESIZE, fd, &(struct call){ .inode = st.st_ino }, NULL, 0, NULL);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPEN(name, ...)                                                          \
	{                                                                        \
		va_list args;                                                    \
		mode_t mode;                                                     \
		va_start(args, flags);                                           \
		mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0; \
		va_end(args);                                                    \
		return open_it(__VA_ARGS__, name, flags, mode);                  \
	}

OURS int open(const char *name, int flags, ...) OPEN(name, AT_FDCWD) OURS
	int open64(const char *name, int flags, ...) OPEN(name, AT_FDCWD) OURS
	int openat(int dirfd, const char *name, int flags, ...) OPEN(name, dirfd) OURS
	int openat64(int dirfd, const char *name, int flags, ...) OPEN(name, dirfd)

		static int make_directory(int dirfd, const char *name, mode_t mode)
{
	char path[2 * PATH_MAX];
	int result;

	if (!recording || !join(dirfd, name, path) || !is_below(recording, path))
		return syscall(SYS_mkdirat, dirfd, name, mode);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_mkdirat, dirfd, name, mode);
	if (!result)
		put(MAKE_DIRECTORY, -1, &(struct call){ 0 }, NULL, 0, path);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int mkdirat(int dirfd, const char *name, mode_t mode)
{
	return make_directory(dirfd, name, mode);
}

OURS int mkdir(const char *name, mode_t mode)
{
	return make_directory(AT_FDCWD, name, mode);
}

OURS int unlinkat(int dirfd, const char *name, int flags)
{
	char path[2 * PATH_MAX];
	int result;

	if (!recording || !join(dirfd, name, path) || !is_below(recording, path))
		return syscall(SYS_unlinkat, dirfd, name, flags);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_unlinkat, dirfd, name, flags);
	if (!result)
		put(REMOVE, -1, &(struct call){ 0 }, NULL, 0, path);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

OURS int linkat(int fromfd, const char *from, int tofd, const char *to, int flags)
{
	char path[2 * PATH_MAX];
	struct stat st;
	int result;

	if (!recording || !join(tofd, to, path) || !is_below(recording, path))
		return syscall(SYS_linkat, fromfd, from, tofd, to, flags);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_linkat, fromfd, from, tofd, to, flags);
	if (!result && !stat(path, &st))
		put(MAKE, -1, &(struct call){ .inode = st.st_ino }, NULL, 0, path);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
	char old[2 * PATH_MAX], new[2 * PATH_MAX];
	int result;

	if (!recording || !join(fromfd, from, old) || !join(tofd, to, new) ||
	    !is_below(recording, old))
		return syscall(SYS_renameat2, fromfd, from, tofd, to, flags);
	pthread_mutex_lock(&lock);
	result = syscall(SYS_renameat2, fromfd, from, tofd, to, flags);
	if (!result)
		put(RENAME, -1, &(struct call){ 0 }, old, strlen(old) + 1, new);
	pthread_mutex_unlock(&lock);
	return result;
}

OURS int renameat(int fromfd, const char *from, int tofd, const char *to)
{
	return renameat2(fromfd, from, tofd, to, 0);
}

OURS int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* What is left of a file is another one, which goes on as that. */
static uint64_t id_of(int fd)
{
	struct stat st = { 0 };
	uint64_t id;

	fstat(fd, &st);
	return fgetxattr(fd, ID, &id, sizeof(id)) == sizeof(id) ? id : st.st_ino;
}

OURS int name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount_id,
			   int flags)
{
	char path[PATH_MAX];
	uint64_t id;

	if (!known || *name || !path_of(dirfd, path) || !is_below(known, path) ||
	    handle->handle_bytes < sizeof(id))
		return syscall(SYS_name_to_handle_at, dirfd, name, handle, mount_id, flags);
	id = id_of(dirfd);
	handle->handle_type = 1;
	handle->handle_bytes = sizeof(id);
	memcpy(handle->f_handle, &id, sizeof(id));
	return 0;
}

/* ---- what is on the medium ---- */

static struct content *content_of(struct medium *m, uint64_t inode)
{
	struct content *c = m->contents;

	while (c && c->inode != inode)
		c = c->next;
	if (c)
		return c;
	/* One that has no name yet. */
	c = calloc(1, sizeof(*c));
	*c = (struct content){ .next = m->contents,
			       .inode = inode,
			       .id = inode,
			       .file = fake_file_new(NULL, 0),
			       .path = strdup("") };
	return m->contents = c;
}

static struct name *name_of(struct medium *m, const char *path)
{
	struct name *n = m->names;

	while (n && (!n->now || strcmp(n->path, path) != 0))
		n = n->next;
	return n;
}

static struct name *add_name(struct medium *m, const char *path, struct content *content)
{
	struct name *n = calloc(1, sizeof(*n));

	*n = (struct name){ .path = strdup(path),
			    .directory = !content,
			    .now = true,
			    .may_be_there = true,
			    .may_be_gone = true,
			    .content = content };
	*m->last = n;
	m->last = &n->next;
	if (content) {
		free(content->path);
		content->path = strdup(path);
	}
	return n;
}

static void forget_names(struct medium *m)
{
	struct name *n;
	struct content *c;

	while ((n = m->names)) {
		m->names = n->next;
		free(n->path);
		free(n);
	}
	m->last = &m->names;
	while ((c = m->contents)) {
		m->contents = c->next;
		c->file->ops->close(c->file);
		free(c->path);
		free(c);
	}
}

/* Not what is zeros. */
static void load_file(struct content *c, const char *path)
{
	static char buf[64 << 10];
	struct file *to = c->file;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = 0;
	ssize_t n;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (n = pread(fd, buf, sizeof(buf), at)) > 0) {
		to->ops->write(to, buf, n, at, 0);
		at += n;
	}
	to->ops->resize(to, lseek(fd, 0, SEEK_END));
	to->ops->flush(to);
	if (!fstat(fd, &st))
		c->mtime = st.st_mtim;
	c->id = id_of(fd);
	close(fd);
}

static int load_name(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct name *n;

	if (!ftw->level)
		return 0;
	n = add_name(known, path, S_ISREG(st->st_mode) ? content_of(known, st->st_ino) : NULL);
	n->may_be_gone = false;
	if (n->content)
		load_file(n->content, path);
	return 0;
}

struct medium *medium_new(const char *dir)
{
	struct medium *m = calloc(1, sizeof(*m));

	m->length = snprintf(m->dir, sizeof(m->dir), "%s", dir);
	m->last = &m->names;
	m->log = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert(m->log != MAP_FAILED);
	known = m;
	return m;
}

void medium_free(struct medium *m)
{
	forget_names(m);
	munmap(m->log, ROOM);
	if (known == m)
		known = NULL;
	free(m);
}

void medium_load(struct medium *m)
{
	forget_names(m);
	known = m;
	nftw(m->dir, load_name, 16, FTW_PHYS);
	m->played = m->at = 0;
	m->call = NULL;
	atomic_store(&m->log->calls, 0);
	atomic_store(&m->log->used, 0);
}

void medium_record(struct medium *m)
{
	recording = known = m;
}

uint64_t medium_calls(struct medium *m)
{
	return atomic_load(&m->log->calls);
}

uint64_t medium_played(const struct medium *m)
{
	return m->played;
}

void medium_lose(struct medium *m, const char *part)
{
	m->lose = part;
}

uint64_t medium_written(struct medium *m, const char *end)
{
	uint64_t sum = 0, used = atomic_load(&m->log->used);
	char path[2 * PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", m->dir, end);
	if (stat(path, &st))
		return 0;
	for (uint64_t at = 0; at < used;) {
		const struct call *c = (const struct call *)(m->log->room + at);

		if (c->inode == st.st_ino && (c->kind == WRITE || c->kind == ZERO))
			sum += c->len;
		at += c->room;
	}
	return sum;
}

/* ---- a call again ---- */

static void remove_name(struct medium *m, const char *path)
{
	struct name *n = name_of(m, path);

	if (!n)
		return;
	n->now = false;
	n->may_be_gone = true;
}

static bool is_in(const struct name *n, const char *directory)
{
	size_t length = strlen(directory);

	return !strncmp(n->path, directory, length) && n->path[length] == '/' &&
	       !strchr(n->path + length + 1, '/');
}

static void flush_names(struct medium *m, const char *directory)
{
	for (struct name *n = m->names; n; n = n->next)
		if (is_in(n, directory)) {
			n->may_be_there = n->now;
			n->may_be_gone = !n->now;
		}
}

static void change_name(struct medium *m, const char *from, const char *to)
{
	struct name *n = name_of(m, from), *over = name_of(m, to);

	if (over)
		over->now = over->may_be_there = false;
	if (!n)
		return;
	free(n->path);
	n->path = strdup(to);
	if (n->content) {
		free(n->content->path);
		n->content->path = strdup(to);
	}
}

static void do_again(struct medium *m, const struct call *c)
{
	struct content *content = c->kind <= MAKE ? content_of(m, c->inode) : NULL;
	struct file *f = content ? content->file : NULL;

	if (content && c->mtime.tv_sec)
		content->mtime = c->mtime;
	switch (c->kind) {
	case WRITE:
		must(!f->ops->write(f, c->data, c->len, c->off, c->how));
		break;
	case FLUSH:
		if (!m->lose || !strstr(content->path, m->lose))
			must(!f->ops->flush(f));
		break;
	case ZERO:
		must(!f->ops->zero(f, c->off, c->len, c->how));
		break;
	case ALLOCATE:
		must(!f->ops->allocate(f, c->off, c->len, c->how));
		break;
	case RESIZE:
		must(!f->ops->resize(f, c->len));
		break;
	case MAKE:
	case MAKE_DIRECTORY:
		add_name(m, c->data, content);
		break;
	case REMOVE:
		remove_name(m, c->data);
		break;
	case RENAME:
		change_name(m, c->data, c->data + strlen(c->data) + 1);
		break;
	case FLUSH_NAMES:
		flush_names(m, c->data);
		break;
	}
}

bool medium_play(struct medium *m)
{
	if (m->at >= atomic_load(&m->log->used))
		return false;
	m->call = (const struct call *)(m->log->room + m->at);
	do_again(m, m->call);
	m->at += m->call->room;
	m->played++;
	return true;
}

void medium_describe(const struct medium *m, char *buf, size_t size)
{
	const struct call *c = m->call;
	const char *path = "";

	if (!c) {
		snprintf(buf, size, "at its beginning");
		return;
	}
	if (c->kind > MAKE)
		path = c->data;
	for (const struct content *k = m->contents; k && c->kind <= MAKE; k = k->next)
		if (k->inode == c->inode)
			path = k->path;
	snprintf(buf, size, "after call %llu, %s %s (%llu+%llu)", (unsigned long long)m->played,
		 kinds[c->kind], is_below(m, path) ? path + m->length + 1 : path,
		 (unsigned long long)c->off, (unsigned long long)c->len);
}

/* ---- the cut ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (ftw->level)
		syscall(SYS_unlinkat, AT_FDCWD, path, S_ISDIR(st->st_mode) ? AT_REMOVEDIR : 0);
	return 0;
}

static bool is_nothing(const char *buf, size_t len)
{
	return !buf[0] && !memcmp(buf, buf + 1, len - 1);
}

/* Where its directory is not there, neither is it. */
static void put_file(const char *path, const struct content *c, struct file *f)
{
	const struct timespec times[2] = { c->mtime, c->mtime };
	char buf[FAKE_BLOCK];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct file_stat st;
	uint64_t at = 0;

	if (fd < 0)
		return;
	f->ops->stat(f, &st);
	must(!syscall(SYS_ftruncate, fd, st.size));
	while (!f->ops->seek(f, at, SEEK_DATA, &at)) {
		size_t n = st.size - at < sizeof(buf) ? st.size - at : sizeof(buf);

		f->ops->read(f, buf, n, at, 0);
		if (!is_nothing(buf, n))
			must(syscall(SYS_pwrite64, fd, buf, n, at) == (long)n);
		at += n;
	}
	must(!fsetxattr(fd, ID, &c->id, sizeof(c->id), 0));
	futimens(fd, times);
	close(fd);
}

void medium_cut(struct medium *m, uint64_t seed)
{
	nftw(m->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (const struct name *n = m->names; n; n = n->next) {
		struct file *left;

		if (!n->may_be_there || (n->may_be_gone && unit_below(&seed, 2)))
			continue;
		if (n->directory) {
			syscall(SYS_mkdirat, AT_FDCWD, n->path, 0700);
			continue;
		}
		left = fake_crashed(n->content->file, unit_random(&seed));
		put_file(n->path, n->content, left);
		left->ops->close(left);
	}
	boot++;
}
