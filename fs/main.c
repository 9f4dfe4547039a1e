// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of the daemon, in order: options, background, images and state,
 * mount, wait, stop. Signals are taken by this thread alone, as a descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "background.h"
#include "check_command.h"
#include "clones.h"
#include "confine.h"
#include "confinement.h"
#include "holder.h"
#include "log.h"
#include "mount.h"
#include "options.h"
#include "watch.h"

struct daemon {
	struct options options;
	struct tandem *tandem;
	struct ctl *ctl;
	struct mount *mount;
	struct held held;
	int signal_fd;
	unsigned stop_signals; /* and held.stops: by both at once is once */
};

static int take_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	/* Inherited by every thread. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signal_fd < 0 ? -errno : 0;
}

/* Two descriptors for each image, and a thousand images. */
static void raise_descriptor_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static void hear_holder(struct daemon *d)
{
	if (d->held.sock < 0 || held_hear(&d->held) != -EPIPE)
		return;
	log_line(LOG_LEVEL_WARNING, "the holder has ended: if the daemon dies, the mount does");
	close(d->held.sock);
	d->held.sock = -1;
	if (d->mount)
		mount_set_restart(d->mount, false);
}

/* A signal other than HUP came. HUP says what it means elsewhere: look again. */
static bool asked_to_stop(struct daemon *d)
{
	struct signalfd_siginfo info;

	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			watch_look(d->tandem->watch); /* this thread waits for no store */
		else
			d->stop_signals++;
	}
	hear_holder(d);
	return d->stop_signals || d->held.stops;
}

static bool insisted(struct daemon *d)
{
	asked_to_stop(d);
	return d->stop_signals > 1 || d->held.stops > 1;
}

/* Until the mount says something, a signal comes, or the time is over. */
static void wait_a_little(struct daemon *d, int ms)
{
	struct pollfd fds[] = { { d->signal_fd, POLLIN, 0 },
				{ d->mount->wake_fd, POLLIN, 0 },
				{ d->held.sock, POLLIN, 0 } };
	uint64_t ignored;

	poll(fds, 3, ms);
	if (fds[1].revents && read(d->mount->wake_fd, &ignored, sizeof(ignored)) < 0)
		log_line(LOG_LEVEL_DEBUG, "eventfd: %s", strerror(errno));
}

/* ---- start ---- */

static int open_tandem(struct daemon *d, struct why *why)
{
	struct options *o = &d->options;
	struct tandem_options t = {
		.disk_dir = o->disk_dir,
		.state_dir = o->state_dir,
		.known = o->settle,
		.read_only = o->read_only,
		.requests_per_disk = o->threads / 2 < WORKERS_PER_DISK ? o->threads / 2
								       : WORKERS_PER_DISK,
		.block_size = o->block_size,
		.stop_timeout_s = o->stop_timeout_s,
		.pool_names = o->pool_names,
		.pool_dirs = o->pool_dirs,
		.pool_count = o->pool_count,
	};

	raise_descriptor_limit();
	return tandem_open(&t, &d->tandem, why);
}

/* The places are those of the mount that there is, not what the command line calls them now. */
static int follow(struct daemon *d, struct why *why)
{
	static char disk_dir[PATH_MAX], state_dir[PATH_MAX];
	struct session *s;
	int err = session_take(d->held.memory_fd, &s, why);

	if (err)
		return err;
	snprintf(disk_dir, sizeof(disk_dir), "%s", s->disk_dir);
	snprintf(state_dir, sizeof(state_dir), "%s", s->state_dir);
	d->options.disk_dir = disk_dir;
	d->options.state_dir = state_dir;
	d->options.pool_count = 0; /* they were recorded */
	session_free(s);
	return 0;
}

static int start(struct daemon *d, struct why *why)
{
	struct options *o = &d->options;
	bool follows = d->held.fuse_fd >= 0;
	char resolved[PATH_MAX];
	int err;

	why->message[0] = '\0';
	if (o->confine && !confine_holds())
		return refuse(why, -EPERM, "the daemon was to be confined, and is not");
	/* Before anything is made in DISKDIR. */
	err = follows ? follow(d, why) : mount_check(o->mount_point, resolved, why);
	if (err)
		return err;
	err = take_signals(d);
	if (err)
		return refuse(why, err, "signals: %s", strerror(-err));
	err = open_tandem(d, why);
	if (err)
		return err;
	err = ctl_new(d->tandem, &d->ctl);
	if (err)
		return refuse(why, err, "out of memory");
	ctl_set_log_level_hook(d->ctl, log_set_level);
	if (follows)
		err = mount_take_over(o, d->tandem, d->ctl, &d->held, &d->mount, why);
	else
		err = mount_start(o, d->tandem, d->ctl, &d->held, &d->mount, why);
	if (err)
		return err;
	return tandem_start(d->tandem, why);
}

/* The mount answers once the kernel's first request was. */
static int wait_until_ready(struct daemon *d, struct why *why)
{
	while (!atomic_load(&d->mount->ready)) {
		if (atomic_load(&d->mount->ended))
			return refuse(why, -EIO, "the kernel ended the mount at once");
		if (asked_to_stop(d))
			return refuse(why, -EINTR, "stopped by a signal while starting");
		wait_a_little(d, 1000);
	}
	return 0;
}

/* ---- stop ---- */

static void announce_stop(struct daemon *d, unsigned open)
{
	events_emit(d->tandem->events, EVENT_INFORMATION, "Stopping", "daemon", "Open=%u", open);
	if (open)
		log_line(
			LOG_LEVEL_WARNING,
			"%u disks are open: waiting for them for up to %us; a second signal stops now",
			open, tandem_get_settings(d->tandem).stop_timeout_s);
}

/* Guests may still have disks open: they get time, unless somebody insists. */
static void wait_for_guests(struct daemon *d)
{
	uint64_t until = monotonic_ns() +
			 tandem_get_settings(d->tandem).stop_timeout_s * 1000000000ull;

	/* Its threads have disks open, too; and go on at the next start. */
	tandem_stop_copying(d->tandem);
	announce_stop(d, atomic_load(&d->tandem->openers));
	while (atomic_load(&d->tandem->openers) && !atomic_load(&d->mount->ended)) {
		if (insisted(d) || monotonic_ns() >= until) {
			log_line(LOG_LEVEL_WARNING, "stopping with %u disks open",
				 atomic_load(&d->tandem->openers));
			return;
		}
		wait_a_little(d, 100);
	}
}

static void say(struct daemon *d, enum held_word word, const char *text)
{
	if (d->held.sock >= 0)
		held_send(d->held.sock, word, text, strlen(text), NULL, 0);
}

static void close_all(struct daemon *d)
{
	tandem_close(d->tandem);
	ctl_free(d->ctl);
	mount_free(d->mount);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
}

static void stop(struct daemon *d)
{
	if (d->mount) {
		say(d, HELD_STOPPING, "");
		mount_detach(d->mount);
		mount_stop(d->mount);
	}
	close_all(d);
}

/* ---- with a holder ---- */

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return !strncmp(path, top, len) && (!path[len] || path[len] == '/' || len == 1);
}

/* A descriptor of the directory itself, with none of the locks of ours. */
static void keep_directory(struct daemon *d, const char *path, int fd)
{
	char link[32];
	int other;

	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	other = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (other < 0)
		return;
	held_send(d->held.sock, HELD_DIRECTORY, path, strlen(path), &other, 1);
	close(other);
}

/* All that another daemon needs, if the kernel can do with another one. */
static void give_to_holder(struct daemon *d)
{
	struct mount *m = d->mount;
	struct tandem *t = d->tandem;
	char text[HELD_TEXT];
	size_t count, len = strlen(t->disk_dir) + 1;
	struct pool **pools;

	if (d->held.fuse_fd >= 0)
		mount_set_restart(m, true);
	if (d->held.sock < 0 || d->held.fuse_fd >= 0)
		return;
	if (!m->kernel.resend) {
		log_line(
			LOG_LEVEL_WARNING,
			"this kernel cannot send requests again (Linux 6.9 can): if the daemon dies, "
			"the mount does");
		return;
	}
	pools = tandem_pools(t, &count);
	/* DISKDIR with its lock; other pools may be removed, and then be somebody else's. */
	held_send(d->held.sock, HELD_DIRECTORY, t->disk_dir, strlen(t->disk_dir),
		  (int[]){ pools[0]->dirfd }, 1);
	for (size_t i = 1; i < count; i++)
		if (is_below(pools[i]->dir, m->mount_point))
			keep_directory(d, pools[i]->dir, pools[i]->dirfd);
	pools_free(pools, count);
	keep_directory(d, t->state_dir, t->state_dirfd);
	memcpy(text, t->disk_dir, len);
	memcpy(text + len, m->mount_point, strlen(m->mount_point) + 1);
	if (!held_send(d->held.sock, HELD_KEEP, text, len + strlen(m->mount_point) + 1,
		       (int[]){ fuse_session_fd(m->session), m->memory_fd }, HELD_FDS))
		mount_set_restart(m, true);
}

/*
 * What has to be on disk goes there while everything is served, so that little is left for the
 * time when nobody is.
 */
static void flush_all(struct daemon *d)
{
	size_t count;
	struct disk **disks = tandem_disks(d->tandem, &count);

	for (size_t i = 0; i < count; i++)
		if (disks[i]->image && !disks[i]->image->read_only)
			disk_flush(disks[i]);
	disks_free(disks, count);
}

static void leave(struct daemon *d)
{
	if (d->mount)
		mount_hand_over(d->mount);
	close_all(d);
}

static void hand_over(struct daemon *d)
{
	tandem_stop_copying(d->tandem);
	events_emit(d->tandem->events, EVENT_INFORMATION, "Stopping", "daemon", "Open=%u",
		    atomic_load(&d->tandem->openers));
	flush_all(d);
	flush_all(d);
	leave(d);
	say(d, HELD_OVER, "");
	log_line(LOG_LEVEL_INFO, "handed over");
}

static void print_line(void *arg, const char *text)
{
	fprintf(arg, "%s\n", text);
}

/* Offline: everything that the images lack gets into them, and to the disk. */
static int settle(struct daemon *d)
{
	enum { WHOLE = 0, FAILED = 1, NOT_ALL_WHOLE = 3 } status = WHOLE;
	struct why why = { 0 };

	if (open_tandem(d, &why) || tandem_complete(d->tandem, &why)) {
		fprintf(stderr, "tandemfs: %s\n", why.message);
		status = FAILED;
	} else if (tandem_tell_incomplete(d->tandem, print_line, stdout)) {
		status = NOT_ALL_WHOLE;
	}
	tandem_close(d->tandem);
	return status;
}

static void failed(struct daemon *d, const char *why)
{
	say(d, HELD_FAILED, why);
	/* The holder says it, but in the foreground, and of one that follows. */
	if (d->held.sock < 0 || d->options.foreground)
		background_failed(why);
	else if (d->held.fuse_fd >= 0)
		log_line(LOG_LEVEL_ERROR, "cannot go on: %s", why);
}

/* They are recorded, and nobody has named them to the holder. */
static void tell_of_missing_pools(struct daemon *d)
{
	size_t count;
	struct pool **pools = tandem_pools(d->tandem, &count);

	for (size_t i = 0; i < count; i++) {
		struct pool_status status;

		pool_status(pools[i], &status);
		if (!status.ready)
			log_line(LOG_LEVEL_WARNING, "pool %s: %s", pools[i]->name, status.problem);
	}
	pools_free(pools, count);
}

static void ready(struct daemon *d)
{
	if (!d->options.foreground)
		log_to_syslog();
	tell_of_missing_pools(d);
	if (d->held.sock < 0) {
		background_ready();
		background_notify();
		return;
	}
	give_to_holder(d);
	if (!d->options.foreground)
		background_let_go();
	say(d, HELD_READY, "");
}

static int serve(struct daemon *d)
{
	struct why why;
	int err;

	if (!d->options.log_level || strcasecmp(d->options.log_level, "debug"))
		confinement_hide_memory();
	err = start(d, &why);
	if (!err)
		err = wait_until_ready(d, &why);
	if (err) {
		if (d->held.fuse_fd >= 0)
			leave(d); /* the mount is there for the next try */
		else
			stop(d);
		failed(d, why.message);
		return 1;
	}
	ready(d);
	log_line(LOG_LEVEL_INFO, "serving %s at %s", d->tandem->disk_dir, d->mount->mount_point);
	while (!atomic_load(&d->mount->ended)) {
		if (asked_to_stop(d)) {
			wait_for_guests(d);
			break;
		}
		if (d->held.hand_over && d->held.sock >= 0) {
			hand_over(d);
			return 0;
		}
		wait_a_little(d, -1);
	}
	if (atomic_load(&d->mount->ended))
		announce_stop(d, 0);
	stop(d);
	log_line(LOG_LEVEL_INFO, "stopped");
	return 0;
}

/* To the background, and below a holder, as it is asked for; here goes on who serves. */
static int take_place(struct daemon *d, char **argv, struct why *why)
{
	struct options *o = &d->options;
	bool held = o->restart == RESTART_YES ||
		    (o->restart == RESTART_USUAL && (!o->foreground || o->confine));
	int err = held_begin(&d->held);

	if (err)
		return refuse(why, err, "the holder: %s", strerror(-err));
	if (d->held.sock >= 0) {
		if (!o->foreground)
			log_to_syslog();
		return 0;
	}
	err = o->foreground ? 0 : background_begin();
	if (err)
		return refuse(why, err, "cannot go to the background: %s", strerror(-err));
	return held ? holder_begin(argv, o, &d->held, why) : 0;
}

/* Options are split in place; a daemon that follows gets them whole. */
static char **copy_of(int argc, char **argv)
{
	char **copy = calloc(argc + 1, sizeof(*copy));

	for (int i = 0; copy && i < argc; i++)
		if (!(copy[i] = strdup(argv[i])))
			return NULL;
	return copy;
}

int main(int argc, char **argv)
{
	static char **whole; /* for life */
	struct daemon d = { .held = HELD_NONE, .signal_fd = -1 };
	struct why why;
	char error[256];
	int err;

	if (argc > 1 && !strcmp(argv[1], "check"))
		return check_command(argc - 1, argv + 1);
	whole = copy_of(argc, argv);
	if (!whole) {
		fprintf(stderr, "tandemfs: out of memory\n");
		return 1;
	}
	if (!options_parse(argc, argv, &d.options, error, sizeof(error))) {
		fprintf(stderr, "tandemfs: %s\n", error);
		return 2;
	}
	if (d.options.help) {
		options_print_help();
		return 0;
	}
	if (d.options.version) {
		printf("tandemfs %s\n", TANDEMFS_VERSION);
		return 0;
	}
	if (d.options.log_level)
		log_set_level(d.options.log_level);
	if (d.options.settle)
		return settle(&d);
	if (d.options.replace)
		return holder_replace(d.options.disk_dir);
	if (d.options.ask_status)
		return holder_status(d.options.disk_dir);
	err = take_place(&d, whole, &why);
	if (err) {
		background_failed(why.message);
		return 1;
	}
	return serve(&d);
}
