// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Batches, by the settler's thread, or by whoever waits for them, with help of the
 * crew. One goes through the stages while the next is a stage behind it: a stage's
 * lock is taken before that of the one before is let go of. Batches have no block in
 * common, so they may end in any order; a block that gets more pieces meanwhile
 * waits for the end of its batch.
 */
#include "settle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crew.h"

/* So long may a little wait for more. */
#define PATIENCE_NS 3000000000ull
/* The settler tries again after an error. */
#define RETRY_NS 1000000000ull

/* ---- choosing ---- */

/* Under lock. A write of an older generation may still come, and belongs before. */
static uint64_t oldest_generation(const struct history *h)
{
	uint64_t g = UINT64_MAX;

	for (const struct ongoing_write *w = h->writes; w; w = w->next)
		g = w->generation < g ? w->generation : g;
	return g;
}

static bool may_settle(const struct piece *p, uint64_t generation)
{
	return !p->settled && p->generation <= generation;
}

/* By generation; those of one stay in the order of their places. */
static int take_pieces(struct settle_item *item, const struct pending_block *block, uint64_t g)
{
	size_t count = 0;

	for (const struct piece *p = block->first; p; p = p->block_next)
		count += may_settle(p, g);
	item->number = block->number;
	item->io = IO_DIRECT;
	item->pieces = malloc(count * sizeof(struct piece *));
	item->needed = malloc(count * sizeof(uint64_t));
	item->spans = malloc((count + 1) * sizeof(*item->spans));
	if (!item->pieces || !item->needed || !item->spans)
		return -ENOMEM;
	for (struct piece *p = block->first; p; p = p->block_next) {
		size_t at = item->count;

		if (!may_settle(p, g))
			continue;
		for (; at && item->pieces[at - 1]->generation > p->generation; at--)
			item->pieces[at] = item->pieces[at - 1];
		item->pieces[at] = p;
		item->count++;
		item->io &= p->zero ? IO_DIRECT : p->io;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct settle_item *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Under lock. */
static int take_blocks(struct settle_batch *b)
{
	struct history *h = b->h;
	uint64_t g = oldest_generation(h);
	int err = 0;

	for (struct piece *p = h->pending.first; p && b->count < b->room && !err; p = p->next) {
		if (p->block->chosen || !may_settle(p, g))
			continue;
		if (!b->count)
			b->begin = p->place;
		p->block->chosen = true;
		err = take_pieces(&b->items[b->count++], p->block, g);
	}
	b->holds_blocks = b->count;
	h->batches += b->holds_blocks;
	return err;
}

/* Under lock. The batch has ended, well or not: while it holds them, they have unsettled pieces. */
static void release_blocks(struct settle_batch *b)
{
	struct history *h = b->h;

	for (size_t i = 0; i < b->count && b->holds_blocks; i++)
		pending_find(&h->pending, b->items[i].number)->chosen = false;
	h->batches -= b->holds_blocks;
	b->holds_blocks = false;
}

/* By mmap: what malloc once gave back of this size it keeps from then on. */
static void free_arena(char *arena)
{
	munmap(arena, SETTLE_ARENA);
}

static char *take_arena(struct history *h)
{
	void *arena = NULL;

	pthread_mutex_lock(&h->lock);
	if (h->arena_count)
		arena = h->arenas[--h->arena_count];
	pthread_mutex_unlock(&h->lock);
	if (!arena)
		arena = mmap(NULL, SETTLE_ARENA, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return arena == MAP_FAILED ? NULL : arena;
}

/* Under lock. */
void settle_free_arenas(struct history *h)
{
	while (h->arena_count)
		free_arena(h->arenas[--h->arena_count]);
}

/*
 * Kept for the next batch, for a new one is thousands of page faults; but no longer than there is
 * something to settle: there may be many disks at rest.
 */
static void put_arena(struct history *h, char *arena)
{
	pthread_mutex_lock(&h->lock);
	if (h->arena_count < SETTLE_STAGES && h->pending.bytes) {
		h->arenas[h->arena_count++] = arena;
		arena = NULL;
	}
	if (!h->pending.bytes)
		settle_free_arenas(h);
	pthread_mutex_unlock(&h->lock);
	if (arena)
		free_arena(arena);
}

static int copy_moments(struct settle_batch *b)
{
	const struct history *h = b->h;

	b->kept = malloc((h->moment_count + 1) * sizeof(*b->kept));
	if (!b->kept)
		return -ENOMEM;
	b->kept_count = h->moment_count;
	for (size_t i = 0; i < h->moment_count; i++)
		b->kept[i] = h->moments[i].generation;
	return 0;
}

int settle_choose(struct settle_batch *b)
{
	struct history *h = b->h;
	int err;

	b->items = calloc(b->room, sizeof(*b->items));
	if (!b->items)
		return -ENOMEM;
	pthread_mutex_lock(&h->lock);
	err = take_blocks(b);
	if (!err)
		err = copy_moments(b);
	pthread_mutex_unlock(&h->lock);
	if (!err && !b->count)
		return -ENOENT;
	if (!err)
		b->arena = take_arena(h);
	if (!err && !b->arena)
		err = -ENOMEM;
	if (err)
		return err;
	qsort(b->items, b->count, sizeof(*b->items), by_number);
	for (size_t i = 0; i < b->count; i++)
		b->items[i].content = b->arena + i * h->block_size;
	return 0;
}

void settle_free(struct settle_batch *b)
{
	pthread_mutex_lock(&b->h->lock);
	release_blocks(b);
	pthread_mutex_unlock(&b->h->lock);
	for (size_t i = 0; i < b->count; i++) {
		free(b->items[i].pieces);
		free(b->items[i].needed);
		free(b->items[i].spans);
	}
	free(b->items);
	if (b->arena)
		put_arena(b->h, b->arena);
	free(b->kept);
	free(b->versions);
}

/* ---- the catalogue ---- */

/* Those of the batch that a clone lacked: the log has all of each. Ascending; NULL: no memory. */
static uint64_t *lacking_blocks(const struct settle_batch *b)
{
	uint64_t *blocks = malloc((b->lacking + 1) * sizeof(*blocks));
	size_t n = 0;

	for (size_t i = 0; i < b->count && blocks; i++)
		if (b->items[i].lacking)
			blocks[n++] = b->items[i].number;
	return blocks;
}

static int put_marks(const struct settle_batch *b, struct catalogue_txn *txn)
{
	uint64_t *blocks = b->lacking ? lacking_blocks(b) : NULL;
	int err = b->lacking ? blocks ? 0 : -ENOMEM : 0;

	if (!err && b->lacking)
		err = origin_put_marks(b->h, txn, blocks, b->lacking);
	free(blocks);
	return err;
}

/* Only now: a reader of the past who finds a block filled finds its version, too. */
static void set_marks(const struct settle_batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].lacking)
			origin_set_mark(b->h, b->items[i].number);
}

/* The new versions, and up to where the batches before have brought the image. b may be NULL. */
static int record(struct history *h, const struct settle_batch *b)
{
	struct disk *d = h->disk;
	struct catalogue_txn *txn;
	struct track_record track;
	size_t more = b ? b->version_count + b->lacking : 0;
	int err = more ? catalogue_begin_growing(d->tandem->catalogue, more, &txn)
		       : catalogue_begin(d->tandem->catalogue, &txn);

	if (err)
		return err;
	history_record(h, &track);
	for (size_t i = 0; b && i < b->version_count && !err; i++) {
		err = version_put(txn, d->number, &b->versions[i]);
		/* One that is there is right: this one comes from a replay. */
		if (err == -EEXIST)
			err = 0;
	}
	if (!err && b)
		err = put_marks(b, txn);
	if (!err)
		err = track_put(txn, d->number, &track);
	if (err) {
		catalogue_abort(txn);
		return err;
	}
	err = catalogue_commit(txn);
	if (err)
		return err;
	if (b && b->lacking)
		set_marks(b);
	pthread_mutex_lock(&h->lock);
	if (h->recorded < track.settled)
		h->recorded = track.settled;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

/* No replay brings them again: they leave, and their blocks are direct. */
static void let_leave(struct history *h)
{
	uint64_t keep;

	pthread_mutex_lock(&h->lock);
	keep = h->recorded;
	while (h->pending.first && h->pending.first->settled && h->pending.first->place < keep) {
		struct piece *p = h->pending.first;
		uint64_t number = p->block->number, generation = p->generation;
		bool last = p->block->last == p;

		pending_leave(&h->pending);
		if (last && h->newest && generation > h->newest)
			direct_add(&h->direct, number, h->newest);
	}
	for (const struct ongoing_read *r = h->reads; r; r = r->next)
		keep = r->begin < keep ? r->begin : keep;
	if (!h->pending.bytes)
		h->oldest_ns = 0;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	if (h->log_max < HISTORY_LOG_MAX)
		history_trim(h);
	else
		segments_drop_before(h->log, keep); /* space only: the next one drops it too */
}

/* Under lock. Every record before this place is in the image. */
static uint64_t settled_place(const struct history *h)
{
	uint64_t place = segments_end(h->log);

	for (const struct ongoing_write *w = h->writes; w; w = w->next)
		place = w->begin < place ? w->begin : place;
	for (const struct piece *p = h->pending.first; p; p = p->next)
		if (!p->settled)
			return p->place < place ? p->place : place;
	return place;
}

/* Under lock. */
static void measure(struct settle_batch *b, uint64_t bytes)
{
	struct history *h = b->h;
	uint64_t now = monotonic_ns(),
		 since = h->marked_ns > b->begun_ns ? h->marked_ns : b->begun_ns;
	uint64_t pace;

	h->marked_ns = now;
	if (bytes < 1u << 20)
		return; /* that took as long as a flush, and tells nothing of much */
	pace = (now - since) * (1u << 20) / bytes;
	h->ns_per_mib = h->ns_per_mib ? (3 * h->ns_per_mib + pace) / 4 : pace;
}

static void mark_settled(struct settle_batch *b)
{
	struct history *h = b->h;
	uint64_t before;

	pthread_mutex_lock(&h->lock);
	before = h->pending.bytes;
	for (size_t i = 0; i < b->count; i++)
		for (size_t k = 0; k < b->items[i].count; k++)
			pending_settle(&h->pending, b->items[i].pieces[k]);
	measure(b, before - h->pending.bytes);
	release_blocks(b);
	h->settled = settled_place(h);
	pthread_cond_broadcast(&h->changed);
	pthread_cond_broadcast(&h->room);
	pthread_mutex_unlock(&h->lock);
}

/* ---- a batch ---- */

/* Nothing is to be done: what was done last is recorded. */
static int rest_a_while(struct history *h)
{
	bool behind;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	h->settled = settled_place(h);
	behind = !h->batches && h->pending.first && h->recorded != h->settled;
	pthread_mutex_unlock(&h->lock);
	if (behind)
		err = record(h, NULL);
	if (!err && behind)
		let_leave(h);
	return err;
}

/* What has found no space is to take none. */
static void give_back(struct settle_batch *b)
{
	atomic_store(&b->h->store_starved, true);
	segments_free_range(b->h->store, b->store_from, b->store_to);
}

static int load(struct settle_batch *b)
{
	int err = settle_choose(b);

	if (err)
		return err == -ENOENT ? rest_a_while(b->h) ?: err : err;
	return settle_load(b);
}

static int save(struct settle_batch *b)
{
	int err = segments_flush(b->h->log);

	if (err)
		disk_flush_failed(b->h->disk, err); /* what was acknowledged is in doubt */
	if (err)
		return err;
	b->store_from = segments_end(b->h->store);
	err = settle_save(b);
	b->store_to = segments_end(b->h->store);
	if (lacks_space(err))
		give_back(b);
	return err;
}

static int flush_store(struct settle_batch *b)
{
	return b->version_count ? segments_flush(b->h->store) : 0;
}

static int record_versions(struct settle_batch *b)
{
	int err = record(b->h, b);

	if (lacks_space(err))
		give_back(b);
	if (err)
		return err;
	atomic_store(&b->h->store_starved, false);
	let_leave(b->h);
	return 0;
}

static int bring_into_image(struct settle_batch *b)
{
	int err = settle_image(b);

	if (!err)
		mark_settled(b);
	return err;
}

static int run_stages(struct settle_batch *b)
{
	struct history *h = b->h;
	static int (*const work[SETTLE_STAGES])(struct settle_batch * b) = {
		[SETTLE_LOAD] = load,
		[SETTLE_SAVE] = save,
		[SETTLE_FLUSH] = flush_store,
		[SETTLE_RECORD] = record_versions,
		[SETTLE_IMAGE] = bring_into_image,
	};
	size_t stage = 0;
	int err;

	pthread_mutex_lock(&h->stages[0]);
	while (!(err = work[stage](b)) && stage + 1 < SETTLE_STAGES) {
		pthread_mutex_lock(&h->stages[stage + 1]);
		pthread_mutex_unlock(&h->stages[stage++]);
	}
	pthread_mutex_unlock(&h->stages[stage]);
	return err;
}

/* An error stays until that batch's oldest piece is settled. */
static void tell(struct history *h, const struct settle_batch *b, int err)
{
	bool news;

	pthread_mutex_lock(&h->lock);
	if (err == -ENOENT || (!err && h->settle_error && h->settled <= h->err_place))
		err = h->pending.bytes ? h->settle_error : 0;
	else if (err)
		h->err_place = b->begin;
	news = h->settle_error != err;
	h->settle_error = err;
	pthread_cond_broadcast(&h->changed);
	if (err)
		pthread_cond_broadcast(&h->room);
	pthread_mutex_unlock(&h->lock);
	if (news)
		tandem_changed(h->disk->tandem, h->disk);
}

/* -ENOENT: nothing could be done. */
static int batch(struct history *h)
{
	struct settle_batch b = { .h = h, .room = h->batch_blocks, .begun_ns = monotonic_ns() };
	int err = run_stages(&b);

	tell(h, &b, err);
	settle_free(&b);
	return err;
}

void history_pause(struct history *h)
{
	for (size_t i = 0; i < SETTLE_STAGES; i++)
		pthread_mutex_lock(&h->stages[i]);
}

void history_resume(struct history *h)
{
	for (size_t i = SETTLE_STAGES; i-- > 0;)
		pthread_mutex_unlock(&h->stages[i]);
}

void history_barrier(struct history *h)
{
	history_pause(h);
	history_resume(h);
}

/* ---- who runs them ---- */

static void wait_changed(struct history *h, uint64_t ns)
{
	clock_wait(&h->changed, &h->lock, monotonic_ns() + ns);
}

struct settling {
	struct history *h;
	uint64_t target; /* what lies before this place in the log */
};

/* Under lock. */
static bool is_done(const struct settling *s)
{
	return !s->h->pending.first || s->h->pending.first->place >= s->target;
}

static int settle_on(void *arg, size_t i)
{
	const struct settling *s = arg;
	bool done;
	int err = 0;

	while (!err) {
		pthread_mutex_lock(&s->h->lock);
		done = is_done(s);
		pthread_mutex_unlock(&s->h->lock);
		err = done ? -ENOENT : batch(s->h);
	}
	return err == -ENOENT ? 0 : err;
}

/* As far as batches can be made now. */
static int settle_what_can_be(struct settling *s)
{
	bool much;

	pthread_mutex_lock(&s->h->lock);
	much = s->h->pending.blocks > s->h->batch_blocks;
	pthread_mutex_unlock(&s->h->lock);
	return crew_run(s->h->disk->tandem->crew, much ? SETTLE_STAGES : 1, settle_on, s);
}

int history_settle(struct history *h)
{
	struct settling s = { h, segments_end(h->log) };
	int err = 0;

	for (bool first = true; !err; first = false) {
		bool done;

		pthread_mutex_lock(&h->lock);
		done = is_done(&s);
		/* Another's batch, or an older write, is under way: it ends soon, or the store is stuck. */
		if (!done && !first)
			wait_changed(h, 10000000);
		pthread_mutex_unlock(&h->lock);
		if (done)
			break;
		err = settle_what_can_be(&s);
	}
	return err;
}

/* Under lock: how long there is no need to begin. */
static uint64_t leisure(const struct history *h)
{
	uint64_t age, now = monotonic_ns();

	if (h->settler_stop || !h->oldest_ns)
		return PATIENCE_NS;
	if (h->settler_hurry || h->pending.bytes > h->log_max / 2)
		return 0;
	age = now - h->oldest_ns;
	return age >= PATIENCE_NS ? 0 : PATIENCE_NS - age;
}

static void *settler(void *arg)
{
	struct history *h = arg;
	struct settling all = { h, UINT64_MAX };
	bool stop = false;

	crew_give_way();

	while (!stop) {
		uint64_t wait;
		int err = 0;

		pthread_mutex_lock(&h->lock);
		while (!h->settler_stop && (wait = leisure(h)))
			wait_changed(h, wait);
		stop = h->settler_stop;
		h->settler_hurry = false;
		pthread_mutex_unlock(&h->lock);
		if (!stop)
			err = settle_what_can_be(&all);
		pthread_mutex_lock(&h->lock);
		/* Who stops it has told that once, perhaps while it worked. */
		if (!h->settler_stop && (err || h->pending.bytes))
			wait_changed(h, err ? RETRY_NS : 10000000);
		pthread_mutex_unlock(&h->lock);
	}
	return NULL;
}

void settler_wake(struct history *h, bool hurry)
{
	if (!h->settler_runs) {
		h->settler_stop = false;
		h->settler_runs = !pthread_create(&h->settler, NULL, settler, h);
	}
	if (hurry)
		h->settler_hurry = true;
	if (hurry || h->pending.bytes > h->log_max / 2)
		pthread_cond_broadcast(&h->changed);
}

static void stop_settler(struct history *h)
{
	bool runs;

	pthread_mutex_lock(&h->lock);
	runs = h->settler_runs;
	h->settler_stop = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	if (runs)
		pthread_join(h->settler, NULL);
	h->settler_runs = false;
}

int history_rest(struct history *h)
{
	/* After a flush that failed nothing more is written: it stays in the log. */
	int err = atomic_load(&h->disk->broken_flush) ? 0 : history_settle(h);

	stop_settler(h);
	return err;
}

/* A batch that failed lets go of its blocks after its last stage: what was paused may still do that. */
void history_abandon(struct history *h)
{
	struct piece *p;

	pthread_mutex_lock(&h->lock);
	while (h->batches)
		wait_changed(h, 10000000);
	while ((p = h->pending.first)) {
		if (!p->settled)
			pending_settle(&h->pending, p);
		pending_leave(&h->pending);
	}
	h->settled = h->recorded = segments_end(h->log);
	h->oldest_ns = 0;
	h->settle_error = 0;
	pthread_mutex_unlock(&h->lock);
	origin_drop(h);
}
