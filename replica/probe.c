// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A file becomes a disk when it is called like one, is a regular file with one
 * link that nobody else is writing, and verifies. It is opened for writing only
 * once all else is known: closing a descriptor that could write would be heard
 * as a change, and lead to the next look.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Somebody has it open for writing: a read lease is only given when nobody has. */
static bool open_for_writing(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return false;
	}
	return errno == EAGAIN;
}

void probe_invalid(struct found *f, const char *reason)
{
	f->state = DISK_INVALID;
	snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static void open_image(struct pool *p, const char *name, const struct image_name *kind,
		       bool read_only, struct found *f)
{
	const char *reason = "";
	struct file_stat st;
	struct file *file;
	int err;

	err = file_open(p->dirfd, name, &read_only, &file);
	if (err) {
		probe_invalid(f,
			      err == -EMLINK ? "the file has more than one link" : strerror(-err));
		return;
	}
	err = file->ops->stat(file, &st);
	if (!err && st.ino != f->st.st_ino) {
		file->ops->close(file);
		probe_invalid(f, "the file was replaced while it was looked at");
		f->written_elsewhere = true; /* look again */
		return;
	}
	if (!err)
		err = image_open(file, kind->format, read_only, &f->image, &reason);
	if (err) {
		file->ops->close(file);
		probe_invalid(f, reason[0] ? reason : strerror(-err));
		return;
	}
	f->state = read_only ? DISK_READ_ONLY : DISK_READY;
}

void probe_file(struct tandem *t, struct pool *p, const char *name, const struct image_name *kind,
		int fd, struct found *f)
{
	if (strchr(name, ':')) {
		probe_invalid(f, "a name with ':' reads as POOL:FILE");
	} else if (f->st.st_nlink > 1) {
		probe_invalid(f, "the file has more than one link");
	} else if (open_for_writing(fd)) {
		probe_invalid(f, "another program has it open for writing");
		f->written_elsewhere = true;
	} else if (!kind->format) {
		snprintf(f->reason, sizeof(f->reason), "this tandemfs does not serve %s images",
			 kind->ending);
		f->state = DISK_INVALID;
	} else {
		open_image(p, name, kind, t->read_only, f);
	}
}
