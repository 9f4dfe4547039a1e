// SPDX-License-Identifier: GPL-2.0-or-later
/* Opening, closing, and the moments that are kept of a disk. */
#include "history.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_inner.h"

/* So many bits are made again at an open, no more: the others cost a look each. */
#define DIRECT_AT_OPEN (1u << 20)

/* ---- moments, under lock ---- */

/* The first with a generation >= g. */
static size_t moment_index(const struct history *h, uint64_t g)
{
	size_t low = 0, high = h->moment_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (h->moments[middle].generation < g)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct moment_record *moment_named(const struct history *h, uint64_t g)
{
	size_t i = moment_index(h, g);

	return i < h->moment_count && h->moments[i].generation == g ? &h->moments[i] : NULL;
}

/* So that moment_add cannot fail. */
int history_moment_room(struct history *h)
{
	size_t room = h->moment_room ? 2 * h->moment_room : 16;
	struct moment_record *more;

	if (h->moment_count < h->moment_room)
		return 0;
	more = realloc(h->moments, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	h->moments = more;
	h->moment_room = room;
	return 0;
}

void history_moment_add(struct history *h, const struct moment_record *m)
{
	assert(h->moment_count < h->moment_room);
	assert(!h->moment_count || h->moments[h->moment_count - 1].generation < m->generation);
	h->moments[h->moment_count++] = *m;
	h->newest = m->generation;
	h->written = false;
}

static void moment_remove(struct history *h, struct moment_record *m)
{
	size_t after = h->moments + h->moment_count - (m + 1);

	/* The one before may be older than what was written before this one. */
	if (!after)
		h->written = true;
	memmove(m, m + 1, after * sizeof(*m));
	h->moment_count--;
	/* Since the one that is the newest then: nobody knows. */
	h->written = h->written || !after;
	h->newest = h->moment_count ? h->moments[h->moment_count - 1].generation : 0;
}

/* ---- moments ---- */

int history_moments(struct history *h, struct moment_record **out, size_t *count)
{
	struct moment_record *copy;

	pthread_mutex_lock(&h->lock);
	copy = malloc((h->moment_count + 1) * sizeof(*copy));
	if (copy) {
		if (h->moment_count)
			memcpy(copy, h->moments, h->moment_count * sizeof(*copy));
		*out = copy;
		*count = h->moment_count;
	}
	pthread_mutex_unlock(&h->lock);
	return copy ? 0 : -ENOMEM;
}

int history_moment(struct history *h, uint64_t g, struct moment_record *out)
{
	size_t i;

	pthread_mutex_lock(&h->lock);
	i = g == UINT64_MAX ? h->moment_count : moment_index(h, g + 1);
	if (i)
		*out = h->moments[i - 1];
	pthread_mutex_unlock(&h->lock);
	return i ? 0 : -ENOENT;
}

/* Under lock: the newest of the first n that is not hidden. */
static bool newest_seen(const struct history *h, size_t n, struct moment_record *out)
{
	while (n && h->moments[n - 1].hidden)
		n--;
	if (n)
		*out = h->moments[n - 1];
	return n;
}

int history_moment_seen(struct history *h, uint64_t g, struct moment_record *out)
{
	bool found;

	pthread_mutex_lock(&h->lock);
	found = newest_seen(h, g == UINT64_MAX ? h->moment_count : moment_index(h, g + 1), out);
	pthread_mutex_unlock(&h->lock);
	return found ? 0 : -ENOENT;
}

int history_moment_kept(struct history *h, uint64_t g, struct moment_record *out)
{
	int err = history_moment(h, g, out);

	return err == -ENOENT || (!err && out->generation != g) ? -ESTALE : err;
}

int history_moment_after(struct history *h, uint64_t g, struct moment_record *out)
{
	bool found;
	size_t i;

	pthread_mutex_lock(&h->lock);
	i = moment_index(h, g);
	found = i < h->moment_count;
	if (found)
		*out = h->moments[i];
	pthread_mutex_unlock(&h->lock);
	return found ? 0 : -ENOENT;
}

/* The clock of a moment never goes back, so that they are in the order of their times too. */
int history_moment_before(struct history *h, uint64_t time_ms, struct moment_record *out)
{
	size_t low = 0, high;
	bool found;

	pthread_mutex_lock(&h->lock);
	high = h->moment_count;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (h->moments[middle].time_ms <= time_ms)
			low = middle + 1;
		else
			high = middle;
	}
	found = newest_seen(h, low, out);
	pthread_mutex_unlock(&h->lock);
	return found ? 0 : -ENOENT;
}

int history_change_moment(struct history *h, const struct moment_record *m)
{
	struct moment_record *known;

	pthread_mutex_lock(&h->lock);
	known = moment_named(h, m->generation);
	if (known && m->dropped)
		moment_remove(h, known);
	else if (known)
		*known = *m;
	pthread_mutex_unlock(&h->lock);
	return known ? 0 : -ENOENT;
}

void history_show(struct history *h, uint64_t shown, uint64_t seen)
{
	atomic_store(&h->shown, shown);
	atomic_store(&h->seen, seen);
}

uint64_t history_seen(struct history *h)
{
	return atomic_load(&h->seen);
}

uint64_t history_shown(struct history *h)
{
	return atomic_load(&h->shown);
}

/* ---- pins ---- */

static struct pin *pin_of(const struct history *h, uint64_t g)
{
	for (size_t i = 0; i < h->pin_count; i++)
		if (h->pins[i].generation == g)
			return &h->pins[i];
	return NULL;
}

static int pin_add(struct history *h, uint64_t g)
{
	struct pin *pin = pin_of(h, g);

	if (!pin && h->pin_count == h->pin_room) {
		size_t room = h->pin_room ? 2 * h->pin_room : 8;
		struct pin *more = realloc(h->pins, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		h->pins = more;
		h->pin_room = room;
	}
	if (!pin) {
		pin = &h->pins[h->pin_count++];
		*pin = (struct pin){ .generation = g };
	}
	pin->count++;
	return 0;
}

int history_pin(struct history *h, uint64_t g)
{
	int err;

	pthread_mutex_lock(&h->lock);
	err = moment_named(h, g) ? pin_add(h, g) : -ENOENT;
	pthread_mutex_unlock(&h->lock);
	if (!err)
		history_await(h, g);
	return err;
}

void history_unpin(struct history *h, uint64_t g)
{
	struct pin *pin;

	pthread_mutex_lock(&h->lock);
	pin = pin_of(h, g);
	assert(pin);
	if (!--pin->count)
		*pin = h->pins[--h->pin_count];
	pthread_mutex_unlock(&h->lock);
}

void history_lend(struct history *h, uint64_t g, bool lend)
{
	struct pin *pin;

	pthread_mutex_lock(&h->lock);
	pin = pin_of(h, g);
	assert(pin && (lend || pin->lent));
	pin->lent += lend ? 1 : -1;
	pthread_mutex_unlock(&h->lock);
}

bool history_is_needed(struct history *h, uint64_t g)
{
	const struct pin *pin;
	bool needed;

	pthread_mutex_lock(&h->lock);
	pin = pin_of(h, g);
	needed = pin && pin->count > pin->lent;
	pthread_mutex_unlock(&h->lock);
	return needed;
}

bool history_is_pinned(struct history *h, uint64_t g)
{
	bool pinned;

	pthread_mutex_lock(&h->lock);
	pinned = pin_of(h, g);
	pthread_mutex_unlock(&h->lock);
	return pinned;
}

/* ---- settings, facts ---- */

struct history_window history_window(struct history *h)
{
	struct history_window w;

	pthread_mutex_lock(&h->lock);
	w = h->window;
	pthread_mutex_unlock(&h->lock);
	return w;
}

void history_set_window(struct history *h, const struct history_window *w)
{
	pthread_mutex_lock(&h->lock);
	h->window = *w;
	pthread_mutex_unlock(&h->lock);
}

bool history_is_swept(struct history *h)
{
	bool swept;

	pthread_mutex_lock(&h->lock);
	swept = h->swept == catalogue_crashes(h->disk->tandem->catalogue);
	pthread_mutex_unlock(&h->lock);
	return swept;
}

void history_set_swept(struct history *h)
{
	pthread_mutex_lock(&h->lock);
	h->swept = catalogue_crashes(h->disk->tandem->catalogue);
	pthread_mutex_unlock(&h->lock);
}

void history_record(struct history *h, struct track_record *out)
{
	pthread_mutex_lock(&h->lock);
	*out = (struct track_record){
		.block_size = h->block_size,
		.settled = h->settled,
		.window_s = h->window.window_s,
		.granularity_ms = h->window.granularity_ms,
		.limit = h->window.limit,
		.restore_from = h->restore.from,
		.restore_before = h->restore.before,
		.swept = h->swept,
	};
	pthread_mutex_unlock(&h->lock);
}

uint32_t history_block_size(const struct history *h)
{
	return h->block_size;
}

struct segments *history_store(struct history *h)
{
	return h->store;
}

void history_facts(struct history *h, struct history_facts *out)
{
	*out = (struct history_facts){ 0 };
	pthread_mutex_lock(&h->lock);
	out->unsettled = h->pending.bytes;
	for (size_t i = 0; i < h->moment_count; i++) {
		out->moments += !h->moments[i].hidden;
		out->ticks += h->moments[i].tick;
	}
	out->settle_error = h->settle_error;
	pthread_mutex_unlock(&h->lock);
	out->log_bytes = segments_allocated(h->log);
	out->bytes = segments_allocated(h->store);
}

void history_note_growth(struct history *h)
{
	uint64_t bytes = segments_allocated(h->store);

	pthread_mutex_lock(&h->lock);
	growth_note(&h->growth, monotonic_ns(), bytes);
	pthread_mutex_unlock(&h->lock);
}

bool history_growth(struct history *h, uint64_t bytes, uint64_t at_least_ns,
		    struct growth_rate *out)
{
	bool known;

	pthread_mutex_lock(&h->lock);
	known = growth_rate(&h->growth, monotonic_ns(), bytes, at_least_ns, out);
	pthread_mutex_unlock(&h->lock);
	return known;
}

/* ---- open ---- */

void history_close(struct history *h)
{
	if (!h)
		return;
	assert(!h->settler_runs && !h->writes && !h->reads && !h->batches);
	origin_free(h);
	settle_free_arenas(h);
	segments_close(h->log);
	segments_close(h->store);
	free(h->moments);
	free(h->pins);
	direct_free(&h->direct);
	pending_free(&h->pending);
	pthread_mutex_destroy(&h->lock);
	for (size_t i = 0; i < SETTLE_STAGES; i++)
		pthread_mutex_destroy(&h->stages[i]);
	pthread_rwlock_destroy(&h->resizing);
	pthread_cond_destroy(&h->ended);
	pthread_cond_destroy(&h->room);
	pthread_cond_destroy(&h->changed);
	free(h);
}

static struct history *allocate(struct disk *d, uint32_t block_size)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->disk = d;
	h->block_size = block_size;
	h->batch_blocks = SETTLE_ARENA / block_size;
	if (h->batch_blocks > SETTLE_BLOCKS_MAX)
		h->batch_blocks = SETTLE_BLOCKS_MAX;
	h->log_max = history_log_max(d->tandem);
	pthread_mutex_init(&h->lock, NULL);
	for (size_t i = 0; i < SETTLE_STAGES; i++)
		pthread_mutex_init(&h->stages[i], NULL);
	pthread_rwlock_init(&h->resizing, NULL);
	pthread_cond_init(&h->ended, NULL);
	pthread_cond_init(&h->room, NULL);
	pthread_cond_init(&h->changed, NULL);
	if (!pending_init(&h->pending))
		return h;
	history_close(h);
	return NULL;
}

static int add_moment(void *arg, const struct moment_record *m)
{
	struct history *h = arg;
	int err = m->dropped ? 0 : history_moment_room(h);

	if (!err && !m->dropped)
		history_moment_add(h, m);
	return err;
}

static int add_record(void *arg, uint64_t place, const struct record *r, const void *data)
{
	struct history *h = arg;
	struct piece *pieces;

	if (r->kind != RECORD_WRITE && r->kind != RECORD_ZERO)
		return -EIO;
	pieces = pending_make(r->offset, r->length, h->block_size, r->kind == RECORD_ZERO);
	if (!pieces)
		return -ENOMEM;
	pending_join(&h->pending, pieces, place, r->generation);
	h->oldest_ns = monotonic_ns();
	return 0;
}

/* Blocks that have a version of the newest moment were written since then. */
static int find_direct(struct history *h)
{
	struct version v[256];
	const struct version *after = NULL;
	uint64_t done = 0;
	size_t count;

	while (h->newest && !h->pending.pieces && done < DIRECT_AT_OPEN) {
		int err = versions_between(h->disk->tandem->catalogue, h->disk->number, h->newest,
					   UINT64_MAX, after, v, 256, &count);

		if (err || !count)
			return err;
		for (size_t i = 0; i < count; i++)
			direct_add(&h->direct, v[i].block, h->newest);
		done += count;
		v[0] = v[count - 1];
		after = &v[0];
	}
	return 0;
}

static int load(struct history *h, struct segment_dir *log, struct segment_dir *store)
{
	struct catalogue *c = h->disk->tandem->catalogue;
	uint64_t end;
	int err = segments_open(log, SEGMENTS_LOG, h->settled, &h->log);

	if (!err)
		err = moments_each(c, h->disk->number, add_moment, h);
	if (!err)
		err = segments_replay(h->log, h->settled, add_record, h, &end);
	if (!err)
		err = find_direct(h);
	if (!err)
		err = segments_open(store, SEGMENTS_STORE, 0, &h->store);
	return err;
}

int history_open(struct disk *d, struct segment_dir *log, struct segment_dir *store,
		 struct history **out)
{
	struct track_record track;
	struct history *h;
	int err = track_get(d->tandem->catalogue, d->number, &track);

	if (err)
		return err;
	h = allocate(d, track.block_size);
	if (!h)
		return -ENOMEM;
	h->settled = h->recorded = track.settled;
	h->window = (struct history_window){ track.window_s, track.granularity_ms, track.limit };
	h->restore = (struct history_restore){ track.restore_from, track.restore_before };
	h->swept = track.swept;
	/* What was written since the newest moment, and when, nobody knows: perhaps something. */
	err = load(h, log, store);
	h->written = true;
	if (err) {
		/* The directories are still the caller's. */
		if (h->log)
			segments_release(h->log);
		h->log = NULL;
		history_close(h);
		return err;
	}
	*out = h;
	return 0;
}

int history_new(struct disk *d, uint32_t block_size, struct segment_dir *log,
		struct segment_dir *store, struct history **out)
{
	struct history *h = allocate(d, block_size);
	int err = h ? segments_open(log, SEGMENTS_LOG, 0, &h->log) : -ENOMEM;

	if (!err) {
		err = segments_open(store, SEGMENTS_STORE, 0, &h->store);
		if (err) {
			segments_release(h->log);
			h->log = NULL;
		}
	}
	if (err) {
		history_close(h);
		return err;
	}
	h->settled = h->recorded = segments_end(h->log);
	h->swept = catalogue_crashes(d->tandem->catalogue);
	h->written = true;
	history_note_growth(h);
	*out = h;
	return 0;
}
