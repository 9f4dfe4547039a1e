// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One moment of several disks, from what is kept of each. Snapshots that were made
 * together have one generation, and so have ticks of kept history, but of a disk that was
 * not written before one none is kept. So of a disk whose newest moment is older than
 * that of another it must be shown that it was not written between.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "groups.h"
#include "snapshots_inner.h"

/*
 * From the kept moment on until the first one that is not before g, or now: only there
 * it can be seen. Whatever cannot be read is taken for written.
 */
static bool was_written(struct disk *d, uint64_t kept, uint64_t g)
{
	struct moment_record from, next = { .generation = UINT64_MAX, .size = disk_size(d) };
	struct version any;
	struct why ignored;
	size_t count = 0;

	if (moment_exactly(d, kept, &from))
		return true;
	history_moment_after(atomic_load(&d->history), g, &next);
	/* What is in the write log only has no version yet. */
	if (from.size != next.size || tandem_settle_disk(d->tandem, d, &ignored))
		return true;
	return versions_between(d->tandem->catalogue, d->number, kept, next.generation, NULL, &any,
				1, &count) ||
	       count;
}

static bool have_all(struct disk *const *disks, size_t count, uint64_t g)
{
	struct moment_record m;
	bool have = true;

	for (size_t i = 0; i < count && have; i++)
		have = !moment_exactly(disks[i], g, &m);
	return have;
}

/* The newest generation up to that one which is kept of all; 0: none. */
static uint64_t newest_of_all(struct disk *const *disks, size_t count, uint64_t g)
{
	struct moment_record m;

	while (!history_moment_seen(atomic_load(&disks[0]->history), g, &m)) {
		if (have_all(disks, count, m.generation))
			return m.generation;
		if (!m.generation)
			break;
		g = m.generation - 1;
	}
	return 0;
}

int group_moment(struct disk *const *disks, const uint64_t *kept, size_t count, uint64_t *g,
		 struct why *why)
{
	uint64_t newest = 0, common;
	size_t i = 0;
	char advice[64];

	for (size_t k = 0; k < count; k++)
		newest = kept[k] > newest ? kept[k] : newest;
	while (i < count && (kept[i] == newest || !was_written(disks[i], kept[i], newest)))
		i++;
	*g = newest;
	if (i == count)
		return 0;
	common = newest_of_all(disks, count, newest);
	snprintf(advice, sizeof(advice), "RestoreTo At=g%" PRIu64, common);
	return refuse_advise(why, -ENOENT, common ? advice : "DeactivateConsistency",
			     "no moment of all disks: %s was written after g%" PRIu64
			     ", and what it was at g%" PRIu64 " is not kept",
			     disks[i]->label, kept[i], newest);
}
