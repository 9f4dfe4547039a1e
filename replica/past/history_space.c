// SPDX-License-Identifier: GPL-2.0-or-later
/* What a history has to do with space when that is short. */
#include <sys/statvfs.h>

#include "history_inner.h"

/* A file system smaller than 4 GiB is not there for a log only. */
#define LOG_SHARE 16
#define LOG_LEAST (4ull << 20)

uint64_t history_log_max(const struct tandem *t)
{
	struct statvfs st;
	uint64_t share;

	if (fstatvfs(t->state_dirfd, &st))
		return HISTORY_LOG_MAX;
	share = (uint64_t)st.f_blocks * st.f_frsize / LOG_SHARE;
	if (share > HISTORY_LOG_MAX)
		return HISTORY_LOG_MAX;
	return share > LOG_LEAST ? share : LOG_LEAST;
}

bool history_lacks_space(struct history *h)
{
	return atomic_load(&h->log_starved) || atomic_load(&h->store_starved);
}

bool history_clear(struct history *h)
{
	bool any;

	pthread_mutex_lock(&h->lock);
	any = h->pending.first;
	pthread_mutex_unlock(&h->lock);
	return any && !history_settle(h);
}

/* No replay begins before `recorded`, and no reader is at what is before `keep`. */
bool history_trim(struct history *h)
{
	uint64_t keep, from;

	pthread_mutex_lock(&h->lock);
	keep = h->recorded;
	for (const struct ongoing_read *r = h->reads; r; r = r->next)
		keep = r->begin < keep ? r->begin : keep;
	from = h->trimmed;
	if (from / SEGMENT_SIZE < keep / SEGMENT_SIZE)
		from = keep / SEGMENT_SIZE * SEGMENT_SIZE;
	h->trimmed = keep > from ? keep : from;
	pthread_mutex_unlock(&h->lock);
	segments_drop_before(h->log, keep);
	return from < keep && !segments_free_range(h->log, from, keep);
}
