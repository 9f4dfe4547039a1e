// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a daemon says to its holder. It may be one that an image has got to say what it likes: then
 * what becomes of its own mount is all that it decides.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "background.h"
#include "disk.h"
#include "holder_inner.h"
#include "log.h"
#include "mount.h"

/* More than there is to say; who never ends does not keep us from what else there is to do. */
#define WORDS_AT_ONCE 1000

static void keep_directory(struct holder *h, const char *path, int *fd)
{
	char *copy;

	if (*fd < 0 || h->kept || h->directory_count == HOLDER_DIRECTORIES)
		return;
	copy = strdup(path);
	if (!copy)
		return;
	h->directories[h->directory_count].path = copy;
	h->directories[h->directory_count++].fd = *fd;
	*fd = -1;
}

static void keep(struct holder *h, int fds[HELD_FDS])
{
	if (h->kept || fds[0] < 0 || fds[1] < 0 || !h->disk_dir[0] || !h->mount_point[0])
		return;
	if (h->ruleset >= 0 && h->fuse_fd < 0)
		return; /* of a mount that we have not made */
	if (h->fuse_fd < 0) {
		h->fuse_fd = fds[0];
		fds[0] = -1;
	}
	h->memory_fd = fds[1];
	fds[1] = -1;
	h->kept = true;
}

/* Only for one that cannot do it, and there it once. */
static void make_mount(struct holder *h)
{
	struct why why = { 0 };
	int err;

	if (h->ruleset < 0 || h->fuse_fd >= 0 || !h->mount_point[0])
		err = refuse(&why, -EPERM, "there is nothing for the holder to mount");
	else
		err = mount_make(h->options, h->disk_dir, h->mount_point, &h->fuse_fd, &why);
	if (!err) {
		h->mounted = true;
		h->mount_id = mount_id_at(h->mount_point);
	}
	held_offer(h->sock, HELD_MOUNT, err ? why.message : "", err ? -1 : h->fuse_fd);
}

void holder_tell_to_stop(struct holder *h)
{
	held_offer(h->sock, HELD_STOP, "", -1);
	h->told_to_stop = true;
}

/* The file that it is, for when its path is that of another one. */
static void note_program(struct holder *h)
{
	if (h->started < 0)
		return;
	if (h->program.fd >= 0)
		close(h->program.fd);
	h->program.fd = h->started;
	h->started = -1;
}

static void daemon_is_ready(struct holder *h)
{
	bool first = !h->served;

	if (h->ready)
		return;
	h->ready = h->served = true;
	h->ready_ns = monotonic_ns();
	note_program(h);
	if (first && !h->options->foreground) {
		log_to_syslog();
		background_ready();
	}
	if (first && h->ruleset >= 0)
		log_line(LOG_LEVEL_INFO, "the daemon is confined");
	if (first)
		background_notify();
	holder_answer(h, true, "");
	if (h->asked_to_stop && !h->told_to_stop)
		holder_tell_to_stop(h);
}

/* It is shown on terminals. */
static void note_reason(struct holder *h, const char *text)
{
	snprintf(h->reason, sizeof(h->reason), "%.500s", text);
	for (char *s = h->reason; *s; s++)
		if (iscntrl((unsigned char)*s))
			*s = '?';
}

static void take_word(struct holder *h, enum held_word word, const char *text, int fds[HELD_FDS])
{
	switch (word) {
	case HELD_DIRECTORY:
		keep_directory(h, text, &fds[0]);
		break;
	case HELD_KEEP:
		keep(h, fds);
		break;
	case HELD_READY:
		daemon_is_ready(h);
		break;
	case HELD_FAILED:
		note_reason(h, text);
		break;
	case HELD_STOPPING:
		h->stopping = true;
		holder_deaf(h); /* the next one may come */
		break;
	case HELD_MOUNT:
		make_mount(h);
		break;
	case HELD_UNMOUNT:
		holder_unmount(h);
		held_offer(h->sock, HELD_UNMOUNT, "", -1);
		break;
	case HELD_OVER:
		h->over = h->asked_over;
		break;
	default:
		log_line(LOG_LEVEL_DEBUG, "the daemon says %#x", word);
	}
}

void holder_hear_daemon(struct holder *h)
{
	static char text[HELD_TEXT + 1];
	enum held_word word;
	int fds[HELD_FDS];

	for (int i = 0; i < WORDS_AT_ONCE && h->sock >= 0; i++) {
		if (held_receive(h->sock, false, &word, text, fds))
			return;
		take_word(h, word, text, fds);
		held_close(fds);
	}
}
