// SPDX-License-Identifier: GPL-2.0-or-later
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "take_over.h"

/* The holder has nothing else to do, but fusermount3 may take a while. */
#define ANSWER_MS 60000

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* ---- what goes to the kernel ---- */

static __thread enum { PATCH_NOTHING, PATCH_INIT, PATCH_OPEN } patch;

void mount_patch_next_open(void)
{
	patch = PATCH_OPEN;
}

static void describe_kernel(struct mount *m)
{
	const struct {
		bool has;
		const char *name, *needs;
	} list[] = {
		{ m->kernel.parallel_direct_writes, "parallel-direct-writes", "6.2" },
		{ m->kernel.shared_mmap, "shared-mmap", "6.6" },
		{ m->kernel.resend, "resend", "6.9" },
	};
	size_t has = 0, lacks = 0;

	m->kernel_has[0] = m->kernel_lacks[0] = '\0';
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i].has)
			has += snprintf(m->kernel_has + has, sizeof(m->kernel_has) - has, "%s%s",
					has ? ", " : "", list[i].name);
		else
			lacks += snprintf(m->kernel_lacks + lacks, sizeof(m->kernel_lacks) - lacks,
					  "%s%s (Linux %s)", lacks ? ", " : "", list[i].name,
					  list[i].needs);
	if (!has)
		strcpy(m->kernel_has, "-");
	if (!lacks)
		strcpy(m->kernel_lacks, "-");
	snprintf(m->protocol, sizeof(m->protocol), "%u.%u", m->kernel.major, m->kernel.minor);
}

void mount_patch_init(struct mount *m, const void *request, size_t len)
{
	m->kernel = kernel_offers(request, len);
	describe_kernel(m);
	if (len <= sizeof(m->memory->init) && request != m->memory->init) {
		memcpy(m->memory->init, request, len);
		m->memory->init_len = len;
	}
	patch = PATCH_INIT;
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct mount *m = userdata;

	if (patch == PATCH_INIT)
		kernel_patch_init_reply(&m->kernel, iov, count);
	else if (patch == PATCH_OPEN)
		kernel_patch_open_reply(&m->kernel, iov, count);
	patch = PATCH_NOTHING;
	return writev(fd, iov, count);
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
	return read(fd, buf, len); /* libfuse wants one; the workers read for themselves */
}

/* ---- start ---- */

#define PF_MEMALLOC_NOIO 0x80000

/* Made so by the holder, as a daemon that is confined may not even ask. */
static bool is_io_flusher(void)
{
	FILE *f = fopen("/proc/self/stat", "re");
	char line[1024], *end = NULL;
	unsigned flags = 0;

	if (f && fgets(line, sizeof(line), f))
		end = strrchr(line, ')');
	if (f)
		fclose(f);
	return end && sscanf(end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & PF_MEMALLOC_NOIO;
}

/* Our own write-back must not wait for memory that only our own write-back can free. */
static void become_io_flusher(struct mount *m)
{
	bool yes = !prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) || is_io_flusher();

	strcpy(m->io_flusher, yes ? "yes" : "no");
}

#define CAPABILITY_RESTART 5

static void list_capabilities(struct mount *m)
{
	const struct capability list[] = {
		{ "fuse-protocol", m->protocol },
		{ "kernel", m->kernel_has },
		{ "kernel-missing", m->kernel_lacks },
		{ "io-flusher", m->io_flusher },
		{ "libfuse", fuse_pkgversion() },
		[CAPABILITY_RESTART] = { "restart", "no" },
		{ "confined", m->mounter ? "yes" : "no" },
		{ NULL, NULL },
	};

	memcpy(m->capabilities, list, sizeof(list));
	ctl_set_capabilities(m->ctl, m->capabilities);
}

void mount_set_restart(struct mount *m, bool yes)
{
	atomic_store(&m->capabilities[CAPABILITY_RESTART].value, yes ? "yes" : "no");
}

/* The topmost mount just there: its number, and whether it is a FUSE file system. -1: there is none. */
static int mount_at(const char *path, bool *is_fuse)
{
	char line[3 * PATH_MAX];
	int id = -1;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *point = line, *type = strstr(line, " - ");

		for (int i = 0; i < 4 && point; i++)
			point = (point = strchr(point, ' ')) ? point + 1 : NULL;
		if (!point || !type || strncmp(point, path, strlen(path)) ||
		    point[strlen(path)] != ' ')
			continue;
		id = atoi(line); /* the last line is the topmost mount */
		*is_fuse = !strncmp(type + 3, "fuse", 4);
	}
	if (f)
		fclose(f);
	return id;
}

int mount_id_at(const char *path)
{
	bool ignored;

	return mount_at(path, &ignored);
}

/* But the mount point may be DISKDIR. */
static bool is_busy(const char *path)
{
	bool is_fuse;

	return mount_at(path, &is_fuse) >= 0 && is_fuse;
}

int mount_check(const char *given, char *resolved, struct why *why)
{
	struct stat st;

	if (!realpath(given, resolved) || stat(resolved, &st))
		return refuse(why, -errno, "mount point %s: %s", given, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return refuse(why, -ENOTDIR, "mount point %s is not a directory", given);
	if (is_busy(resolved))
		return refuse(why, -EBUSY, "mount point %s is busy: something is mounted there",
			      given);
	if (access("/dev/fuse", F_OK))
		return refuse(why, -ENODEV,
			      "there is no /dev/fuse: is the kernel's fuse module loaded?");
	return 0;
}

/* libfuse would print; what it says belongs into our one line, or into the log. */
static char last_word[200];

static void hear_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	vsnprintf(last_word, sizeof(last_word), fmt, ap);
	last_word[strcspn(last_word, "\n")] = '\0';
	log_line(LOG_LEVEL_DEBUG, "libfuse: %s", last_word);
}

/* A comma would end the option, and backslash quotes. out: twice as long as the longest path. */
static void quote(char *out, const char *path)
{
	size_t len = strnlen(path, PATH_MAX - 1);

	for (const char *s = path; s < path + len; s++) {
		if (*s == ',' || *s == '\\')
			*out++ = '\\';
		*out++ = *s;
	}
	*out = '\0';
}

/* m: whose requests these will be; only to be given to them. */
static int new_session(struct mount *m, const struct options *o, const char *disk_dir,
		       struct why *why)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char fsname[sizeof("fsname=") + 2 * PATH_MAX] = "fsname=";

	quote(fsname + strlen(fsname), disk_dir);
	fuse_set_log_func(hear_libfuse);
	fuse_opt_add_arg(&args, "tandemfs");
	fuse_opt_add_arg(&args, "-o");
	fuse_opt_add_arg(&args, fsname);
	fuse_opt_add_arg(&args, "-osubtype=tandemfs,default_permissions");
	if (o->fuse_options[0]) {
		fuse_opt_add_arg(&args, "-o");
		fuse_opt_add_arg(&args, o->fuse_options);
	}
	m->session = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
	fuse_opt_free_args(&args);
	if (!m->session)
		return refuse(why, -EINVAL, "libfuse refuses the options: %s", last_word);
	return 0;
}

/* where: the mount point, or /dev/fd/N of one that is mounted. */
static int open_session(struct mount *m, const struct options *o, const char *where,
			struct why *why)
{
	static const struct fuse_custom_io io = { .writev = write_reply, .read = read_request };
	int err = new_session(m, o, m->tandem->disk_dir, why);

	if (err)
		return err;
	if (fuse_session_mount(m->session, where))
		return refuse(why, -EIO, "%s cannot be mounted: %s", m->mount_point, last_word);
	if (fuse_session_custom_io(m->session, &io, fuse_session_fd(m->session)))
		return refuse(why, -ENOMEM, "out of memory");
	return 0;
}

int mount_make(const struct options *o, const char *disk_dir, const char *mount_point, int *fd,
	       struct why *why)
{
	struct mount m = { 0 };
	int err = new_session(&m, o, disk_dir, why), copy;

	if (err)
		return err;
	if (fuse_session_mount(m.session, mount_point)) {
		err = refuse(why, -EIO, "%s cannot be mounted: %s", mount_point, last_word);
	} else if ((copy = fcntl(fuse_session_fd(m.session), F_DUPFD_CLOEXEC, 0)) < 0) {
		err = refuse(why, -errno, "%s: %s", mount_point, strerror(errno));
		mount_remove(mount_point);
	} else {
		*fd = copy;
	}
	fuse_session_destroy(m.session); /* which lets the mount be */
	return err;
}

/* By the holder. */
static int ask_for_mount(struct mount *m, const struct options *o, struct why *why)
{
	static char text[HELD_TEXT + 1];
	char where[32];
	int fd, err = held_ask(m->mounter, HELD_MOUNT, ANSWER_MS, text, &fd);

	if (err)
		return refuse(why, err, "the holder does not mount: %s", strerror(-err));
	if (fd < 0)
		return refuse(why, -EIO, "%s", text);
	snprintf(where, sizeof(where), "/dev/fd/%d", fd);
	err = open_session(m, o, where, why);
	if (err)
		mount_detach(m);
	return err;
}

static int keep_memory(struct mount *m, struct why *why)
{
	struct session *s;
	int err = session_new(&m->memory, &m->memory_fd);

	if (err)
		return refuse(why, err, "memory for open files: %s", strerror(-err));
	s = m->memory;
	snprintf(s->disk_dir, sizeof(s->disk_dir), "%s", m->tandem->disk_dir);
	snprintf(s->state_dir, sizeof(s->state_dir), "%s", m->tandem->state_dir);
	snprintf(s->mount_point, sizeof(s->mount_point), "%s", m->mount_point);
	s->owner = m->owner;
	s->group = m->group;
	s->mounted = m->mounted;
	return 0;
}

static struct mount *allocate(const struct options *o, struct tandem *t, struct ctl *c,
			      struct held *h)
{
	struct mount *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->tandem = t;
	m->ctl = c;
	m->mounter = o->confine ? h : NULL;
	m->owner = getuid();
	m->group = getgid();
	clock_gettime(CLOCK_REALTIME, &m->mounted);
	m->memory_fd = -1;
	m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	become_io_flusher(m);
	list_capabilities(m);
	return m;
}

static void use_memory(struct mount *m)
{
	handles_init(&m->handles, m->memory);
	ctl_use_memory(m->ctl, m->memory->ctl);
}

int mount_start(const struct options *o, struct tandem *t, struct ctl *c, struct held *h,
		struct mount **out, struct why *why)
{
	struct mount *m = allocate(o, t, c, h);
	int err;

	if (!m)
		return refuse(why, -ENOMEM, "out of memory");
	err = m->wake_fd < 0 ? -errno : mount_check(o->mount_point, m->mount_point, why);
	if (!err)
		err = keep_memory(m, why);
	if (!err) {
		use_memory(m);
		err = m->mounter ? ask_for_mount(m, o, why)
				 : open_session(m, o, m->mount_point, why);
	}
	if (!err) {
		err = notify_start(&m->notify, m);
		if (!err)
			err = workers_start(&m->workers, m, o->threads);
		if (err) {
			refuse(why, err, "threads: %s", strerror(-err));
			mount_detach(m);
			mount_stop(m);
		}
	}
	if (err) {
		mount_free(m);
		return err;
	}
	*out = m;
	return 0;
}

/* What the kernel and the daemon before have agreed on, again. */
static int repeat_init(struct mount *m, struct why *why)
{
	struct session *s = m->memory;
	struct fuse_buf buf = { .mem = s->init, .size = s->init_len };

	if (!s->init_len || s->init_len > sizeof(s->init))
		return refuse(why, -EPROTO, "the mount had not begun yet");
	mount_patch_init(m, s->init, s->init_len);
	fuse_session_process_buf(m->session, &buf); /* its answer is that of no request: no harm */
	return atomic_load(&m->ready) ? 0 : refuse(why, -EPROTO, "libfuse: %s", last_word);
}

static int take_over_session(struct mount *m, const struct options *o, int fuse_fd, struct why *why)
{
	char where[32];
	int err;

	snprintf(m->mount_point, sizeof(m->mount_point), "%s", m->memory->mount_point);
	m->owner = m->memory->owner;
	m->group = m->memory->group;
	m->mounted = m->memory->mounted;
	snprintf(where, sizeof(where), "/dev/fd/%d", fuse_fd);
	use_memory(m);
	err = open_session(m, o, where, why);
	return err ? err : repeat_init(m, why);
}

int mount_take_over(const struct options *o, struct tandem *t, struct ctl *c, struct held *h,
		    struct mount **out, struct why *why)
{
	struct mount *m = allocate(o, t, c, h);
	int err;

	if (!m)
		return refuse(why, -ENOMEM, "out of memory");
	m->memory_fd = h->memory_fd;
	err = m->wake_fd < 0 ? -errno : session_take(h->memory_fd, &m->memory, why);
	if (!err)
		err = take_over_session(m, o, h->fuse_fd, why);
	if (!err) {
		err = notify_start(&m->notify, m);
		if (!err)
			err = take_over_files(m);
		if (!err)
			err = take_over_requests(m);
		if (!err)
			err = workers_start(&m->workers, m, o->threads);
		if (err) {
			refuse(why, err, "the mount of the daemon before: %s", strerror(-err));
			mount_stop(m);
		}
	}
	if (err) {
		mount_free(m);
		return err;
	}
	*out = m;
	return 0;
}

/* ---- stop ---- */

static void unmount_by_helper(const char *mount_point)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", mount_point, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

void mount_remove(const char *mount_point)
{
	/* Lazily: a shell that stands in the directory must not keep us. */
	if (umount2(mount_point, MNT_DETACH) && errno == EPERM)
		unmount_by_helper(mount_point);
}

void mount_detach(struct mount *m)
{
	static char text[HELD_TEXT + 1];
	int fd, err;

	if (atomic_load(&m->ended))
		return;
	if (!m->mounter) {
		mount_remove(m->mount_point);
		return;
	}
	err = m->mounter->sock < 0 ? -EPIPE
				   : held_ask(m->mounter, HELD_UNMOUNT, ANSWER_MS, text, &fd);
	if (err == -EPIPE)
		log_line(LOG_LEVEL_WARNING,
			 "%s stays mounted, as the holder has ended: fusermount3 -uz MOUNTPOINT",
			 m->mount_point);
	else if (err)
		log_line(LOG_LEVEL_WARNING,
			 "%s stays mounted, as the holder does not unmount it: %s", m->mount_point,
			 strerror(-err));
	else if (fd >= 0)
		close(fd);
}

void mount_stop(struct mount *m)
{
	if (m->workers.threads)
		workers_stop(&m->workers);
	notify_stop(&m->notify);
	handles_destroy(&m->handles);
	memset(&m->handles, 0, sizeof(m->handles));
}

void mount_hand_over(struct mount *m)
{
	workers_stop(&m->workers);
	notify_hand_over(&m->notify);
	handles_destroy(&m->handles);
	memset(&m->handles, 0, sizeof(m->handles));
}

static bool is_gone(int fd)
{
	struct pollfd p = { fd, 0, 0 };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

void mount_free(struct mount *m)
{
	if (!m)
		return;
	if (m->session) {
		/*
		 * libfuse would unmount whatever is at the path by now, unless it sees that
		 * our mount is gone; then it only frees what it remembers of it.
		 */
		if (is_gone(fuse_session_fd(m->session)))
			fuse_session_unmount(m->session);
		fuse_session_destroy(m->session);
	}
	if (m->notify.wake_fd > 0)
		close(m->notify.wake_fd);
	if (m->wake_fd >= 0)
		close(m->wake_fd);
	session_free(m->memory);
	if (m->memory_fd >= 0)
		close(m->memory_fd);
	free(m);
}
