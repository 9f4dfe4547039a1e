/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is noted of a disk that another program writes for us: every write with
 * its bytes, and every zeroing, before it is sent. When that program dies, what
 * it acknowledged and had not flushed is done again.
 *
 * Doing again writes every byte at most once, with what it had last. So no byte
 * ever goes back to what it was before, not even for a moment: that moment
 * could be a power cut, after a flush.
 */
#ifndef TANDEMFS_NBD_NOTES_H
#define TANDEMFS_NBD_NOTES_H

#include "notes.h"

/* What one write may have at most. */
#define NBD_NOTE_MAX (1u << 20)

/* Any thread. -errno: nothing was noted. */
int nbd_note_write(struct notes *n, uint64_t off, const void *buf, size_t len);
int nbd_note_zero(struct notes *n, uint64_t off, uint64_t len, bool keep);
/* The last note of exactly this range failed, and nobody was told that it was done. */
int nbd_note_void(struct notes *n, uint64_t off, uint64_t len);

/* What does it again. 0 or -errno, which ends it. */
struct nbd_replay {
	int (*write)(void *arg, const void *buf, size_t len, uint64_t off);
	int (*zero)(void *arg, uint64_t off, uint64_t len, bool keep);
	void *arg;
};

/*
 * `size` is the disk's. *any: there were some. -ESTALE: they are of another
 * binding; -EINVAL: they are not such notes. Nobody uses the notes meanwhile;
 * after a failure they can only be replayed again.
 */
int nbd_notes_replay(struct notes *n, const uint8_t binding[NOTES_BINDING], uint64_t size,
		     const struct nbd_replay *to, bool *any);

#endif
