// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the disk was, given to another file without copying it: where the file
 * system can share space between files.
 *
 * The image has what a block held at the end of a kept generation g unless there is a
 * version with last >= g, or a piece of g or before that is not settled. While the
 * settler pauses that stays so: it alone writes blocks that have pieces, and writes
 * that go to the image by themselves are of blocks that have such a version already.
 */
#include <errno.h>
#include <stdlib.h>

#include "history_inner.h"

#define PAGE 256

static bool has_older_piece(struct history *h, uint64_t g, uint64_t block)
{
	struct pending_block *b = pending_find(&h->pending, block);

	for (const struct piece *p = b ? b->first : NULL; p; p = p->block_next)
		if (!p->settled && p->generation <= g)
			return true;
	return false;
}

static bool has_older_pieces(struct history *h, uint64_t g, uint64_t first, uint64_t end)
{
	bool has = false;

	pthread_mutex_lock(&h->lock);
	for (uint64_t b = first; b < end && !has && h->pending.pieces; b++)
		has = has_older_piece(h, g, b);
	pthread_mutex_unlock(&h->lock);
	return has;
}

/* -EOPNOTSUPP: something of it is elsewhere. */
static int check_in_image(struct history *h, uint64_t g, uint64_t first, uint64_t end)
{
	struct version v[PAGE];
	int err = has_older_pieces(h, g, first, end) ? -EOPNOTSUPP : 0;

	for (size_t n; first < end && !err; first += n) {
		n = end - first < PAGE ? end - first : PAGE;
		err = versions_find(h->disk->tandem->catalogue, h->disk->number, first, n, g, v);
		for (size_t i = 0; i < n && !err; i++)
			err = v[i].last ? -EOPNOTSUPP : 0;
	}
	return err;
}

int history_share_at(struct history *h, uint64_t g, struct file *to, uint64_t off, uint64_t len)
{
	uint64_t first = off / h->block_size, end = (off + len - 1) / h->block_size + 1;
	struct moment_record m;
	struct image *img;
	int err;

	if (history_is_unfilled(h))
		return -EOPNOTSUPP;
	/* Copied it can be also from a log that cannot be settled. */
	if (has_older_pieces(h, g, first, end) && history_settle(h))
		return -EOPNOTSUPP;
	history_pause(h);
	pthread_rwlock_rdlock(&h->resizing);
	img = h->disk->image;
	err = !img->format->flat || off + len > img->size ? -EOPNOTSUPP
							  : history_moment_kept(h, g, &m);
	if (!err)
		err = check_in_image(h, g, first, end);
	if (!err)
		err = file_share(img->file, to, off, len);
	pthread_rwlock_unlock(&h->resizing);
	history_resume(h);
	return err;
}
