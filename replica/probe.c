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
#include <unistd.h>

#include "notes.h"
#include "program.h"
#include "watch.h"
#include "witness.h"

/* A read lease is only given when nobody has it open for writing. */
static bool lease_is_refused(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return false;
	}
	return errno == EAGAIN;
}

/* Not as a program that we start right now has it, of a descriptor that we have closed. */
static bool open_for_writing(int fd)
{
	if (!lease_is_refused(fd))
		return false;
	program_await_starts();
	return lease_is_refused(fd);
}

void probe_invalid(struct found *f, const char *reason)
{
	f->state = DISK_INVALID;
	snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static void complete(struct image *img, struct found *f)
{
	char reason[IMAGE_REASON];
	int err = image_complete(img, reason);

	if (!err)
		return;
	/*
	 * Who relies on what it holds, as disks built upon it do, reads all of it as it is. Whoever
	 * writes it first, once that is possible, brings it in order.
	 */
	if (err == -EBUSY && !img->format->locks_itself && !(img->notes && notes_exist(img->notes)))
		return;
	if (err == -EBUSY)
		probe_invalid(f, "another program has it open; it lacks the last writes that "
				 "tandemfs had taken");
	else
		snprintf(f->reason, sizeof(f->reason), "its last writes cannot be added: %.150s",
			 reason[0] ? reason : strerror(-err));
	f->state = DISK_INVALID; /* until the next rescan */
}

/* What a guest can write there would have libvhdi read its disk as a VHDX. */
static bool guest_says_vhdx(struct image *img)
{
	char head[8];

	return image_guest_bytes(img->kind, img->size) &&
	       (img->format->read(img, head, sizeof(head), 0, 0) ||
		!memcmp(head, "vhdxfile", sizeof(head)));
}

void probe_witness(struct image *img, char opinion[IMAGE_REASON])
{
	struct witness w;

	opinion[0] = '\0';
	if (witness_knows(img->kind) && !guest_says_vhdx(img) &&
	    !witness_look(file_fd(img->file), &w))
		witness_compare(&w, img, opinion);
}

/* Left so by a daemon that died, or by the machine under it. What others left so stays. */
static bool is_incomplete(const struct tandem *t, const struct image *img)
{
	bool after_crash = !t->was_clean && !t->made_state && !t->serving;

	return (img->notes && notes_exist(img->notes)) || (after_crash && img->unclean);
}

static int open_notes(struct tandem *t, const struct image_name *kind, uint32_t number,
		      struct notes **out)
{
	char name[16];

	*out = NULL;
	if (kind->format->flat)
		return 0;
	snprintf(name, sizeof(name), "%u", number);
	return notes_open(t->notes_dirfd, name, t->boot, out);
}

/* It may come, or be closed. */
static bool lacks_parent(int err)
{
	return err == -ENOENT || err == -EBUSY || err == -EXDEV || err == -ENOLINK;
}

/*
 * Of an image that cannot be used now: what it is built upon is not to be written meanwhile. Read
 * beside whoever has it, so it may not verify, and then nothing is known.
 */
static void find_parents(struct tandem *t, struct pool *p, const struct image_name *kind, int fd,
			 struct found *f)
{
	struct image_around around = { .read_only = true,
				       .parents = &p->parents.base,
				       .guest_bytes = parents_guest_bytes(t, fd) };
	char reason[IMAGE_REASON];
	struct image *img;
	struct file *file;
	int own, err;

	if (kind->format->flat || kind->format->locks_itself)
		return;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return;
	if (file_adopt(own, true, &file)) {
		close(own);
		return;
	}
	err = image_open(file, kind->format, &around, &img, reason);
	f->awaits_parent = lacks_parent(err);
	if (err) {
		file->ops->close(file);
		return;
	}
	parents_of(t, img, &f->ancestry);
	image_close(img);
}

static void open_image(struct tandem *t, struct pool *p, const char *name,
		       const struct image_name *kind, const struct disk_record *r, struct found *f)
{
	struct image_around around = { .read_only = t->read_only,
				       .parents = &p->parents.base,
				       .guest_bytes = r->guest_bytes };
	char reason[IMAGE_REASON] = "";
	struct file_stat st;
	struct file *file;
	int err;

	err = file_open(p->dirfd, name, &around.read_only, &file);
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
		err = open_notes(t, kind, r->notes, &around.notes);
	if (!err)
		err = image_open(file, kind->format, &around, &f->image, reason);
	if (err) {
		watch_own_close(t->watch, p, name);
		file->ops->close(file);
		notes_close(around.notes);
		probe_invalid(f, reason[0] ? reason : strerror(-err));
		f->awaits_parent = lacks_parent(err);
		return;
	}
	probe_witness(f->image, f->warning);
	f->state = f->image->read_only ? DISK_READ_ONLY : DISK_READY;
	if (f->image->read_only_because)
		snprintf(f->reason, sizeof(f->reason), "%s", f->image->read_only_because);
	if (!f->image->read_only && is_incomplete(t, f->image))
		complete(f->image, f);
	if (f->state == DISK_INVALID) {
		parents_of(t, f->image, &f->ancestry);
		watch_own_close(t->watch, p, name);
		image_close(f->image);
		f->image = NULL;
	}
}

void probe_file(struct tandem *t, struct pool *p, const char *name, const struct image_name *kind,
		int fd, const struct disk_record *r, struct found *f)
{
	if (strchr(name, ':')) {
		probe_invalid(f, "a name with ':' reads as POOL:FILE");
	} else if (f->st.st_nlink > 1) {
		probe_invalid(f, "the file has more than one link");
		find_parents(t, p, kind, fd, f);
	} else if (open_for_writing(fd)) {
		probe_invalid(f, "another program has it open for writing");
		find_parents(t, p, kind, fd, f);
		f->written_elsewhere = true;
	} else {
		open_image(t, p, name, kind, r, f);
	}
}
