// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of the daemon, in order: options, background, images and state,
 * mount, wait, stop. Signals are taken by this thread alone, as a descriptor.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "background.h"
#include "clones.h"
#include "log.h"
#include "mount.h"
#include "options.h"
#include "watch.h"

struct daemon {
	struct options options;
	struct tandem *tandem;
	struct ctl *ctl;
	struct mount *mount;
	int signal_fd;
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

/* A signal other than HUP came. HUP says what it means elsewhere: look again. */
static bool asked_to_stop(struct daemon *d)
{
	struct signalfd_siginfo info;
	bool stop = false;

	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			watch_look(d->tandem->watch); /* this thread waits for no store */
		else
			stop = true;
	}
	return stop;
}

/* Until the mount says something, a signal comes, or the time is over. */
static void wait_a_little(struct daemon *d, int ms)
{
	struct pollfd fds[] = { { d->signal_fd, POLLIN, 0 }, { d->mount->wake_fd, POLLIN, 0 } };
	uint64_t ignored;

	poll(fds, 2, ms);
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

static int start(struct daemon *d, struct why *why)
{
	struct options *o = &d->options;
	char resolved[PATH_MAX];
	int err;

	why->message[0] = '\0';
	/* Before anything is made in DISKDIR. */
	err = mount_check(o->mount_point, resolved, why);
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
	err = mount_start(o, d->tandem, d->ctl, &d->mount, why);
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
		if (asked_to_stop(d) || monotonic_ns() >= until) {
			log_line(LOG_LEVEL_WARNING, "stopping with %u disks open",
				 atomic_load(&d->tandem->openers));
			return;
		}
		wait_a_little(d, 100);
	}
}

static void stop(struct daemon *d)
{
	if (d->mount) {
		mount_detach(d->mount);
		mount_stop(d->mount);
	}
	tandem_close(d->tandem);
	ctl_free(d->ctl);
	mount_free(d->mount);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
}

/* Offline: everything that the images lack gets into them, and to the disk. */
static int settle(struct daemon *d)
{
	struct why why = { 0 };
	int err = open_tandem(d, &why);

	if (!err)
		err = tandem_settle(d->tandem, &why);
	tandem_close(d->tandem);
	if (err)
		fprintf(stderr, "tandemfs: %s\n", why.message);
	return err ? 1 : 0;
}

static int serve(struct daemon *d)
{
	struct why why;
	int err = start(d, &why);

	if (!err)
		err = wait_until_ready(d, &why);
	if (err) {
		stop(d);
		background_failed(why.message);
		return 1;
	}
	if (!d->options.foreground)
		log_to_syslog();
	background_ready();
	log_line(LOG_LEVEL_INFO, "serving %s at %s", d->tandem->disk_dir, d->mount->mount_point);
	while (!atomic_load(&d->mount->ended)) {
		if (asked_to_stop(d)) {
			wait_for_guests(d);
			break;
		}
		wait_a_little(d, -1);
	}
	if (atomic_load(&d->mount->ended))
		announce_stop(d, 0);
	stop(d);
	log_line(LOG_LEVEL_INFO, "stopped");
	return 0;
}

int main(int argc, char **argv)
{
	struct daemon d = { .signal_fd = -1 };
	char error[256];
	int err;

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
	if (!d.options.foreground && (err = background_begin())) {
		fprintf(stderr, "tandemfs: cannot go to the background: %s\n", strerror(-err));
		return 1;
	}
	return serve(&d);
}
