// SPDX-License-Identifier: GPL-2.0-or-later
#include "history_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_inner.h"
#include "notes.h"
#include "origins.h"
#include "temp_tandem.h"
#include "unit.h"

void world_new(struct world *w)
{
	*w = (struct world){ .t = bare_tandem() };
	snprintf(w->dir, sizeof(w->dir), "%s", unit_dir());
	w->dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(w->dirfd, 0);
}

void world_free(struct world *w)
{
	bare_tandem_free(w->t);
	close(w->dirfd);
}

/* ---- opening ---- */

static int record_track(struct world *w)
{
	struct catalogue_txn *txn;
	struct track_record track;
	int err = catalogue_begin(w->t->catalogue, &txn);

	if (err)
		return err;
	history_record(w->h, &track);
	track_put(txn, w->d->number, &track);
	return catalogue_commit(txn);
}

/* A new one begins to be a clone, another goes on to be one. */
static int attach_origin(struct world *w, bool fresh)
{
	struct origin_record o = { w->source->number, w->generation, 0, 0 };
	struct catalogue_txn *txn;
	struct moment_record m;
	int err;

	if (fresh) {
		err = history_moment(atomic_load(&w->source->history), w->generation, &m);
		o.size = m.size;
		if (!err)
			err = catalogue_begin(w->t->catalogue, &txn);
		if (err)
			return err;
		origin_put(txn, w->d->number, &o);
		err = catalogue_commit(txn);
		if (err)
			return err;
	}
	err = origin_get(w->t->catalogue, w->d->number, &o);
	if (err)
		return err == -ENOENT ? 0 : err;
	return history_set_origin(w->h, w->source, &o);
}

static int open_past(struct world *w, struct segment_dir *log, struct segment_dir *store,
		     uint32_t block_size)
{
	int err = history_open(w->d, log, store, &w->h);
	bool fresh = err == -ENOENT;

	if (fresh) {
		err = history_new(w->d, block_size, log, store, &w->h);
		if (!err)
			err = record_track(w);
	}
	if (err && !w->h) {
		log->ops->close(log);
		store->ops->close(store);
	}
	atomic_store(&w->d->history, w->h);
	return !err && w->source ? attach_origin(w, fresh) : err;
}

/* As the scan does. Takes over the file. */
static int open_image(struct world *w, struct file *file, struct image **img)
{
	struct image_around around = { 0 };
	char reason[IMAGE_REASON];
	int err = notes_open(w->dirfd, "notes", w->boot, &around.notes);

	if (!err)
		err = image_open(file, w->format, &around, img, reason);
	if (err) {
		notes_close(around.notes);
		file->ops->close(file);
	}
	return err;
}

static int open_container(struct world *w, struct file *file)
{
	const uint8_t id[16] = { 1 };
	struct image *img;
	struct pool *p;
	int err = open_image(w, file, &img);

	if (err)
		return err;
	ck_assert_int_eq(pool_new(0, "", "/nowhere", &p), 0);
	ck_assert_int_eq(disk_new(w->t, p, "a.img", 1, id, img, &w->d), 0);
	pool_unref(p);
	w->d->state = DISK_READY;
	w->d->listed = true;
	return 0;
}

int world_open_disk(struct world *w, uint32_t number, struct file *image, struct segment_dir *log,
		    struct segment_dir *store, uint32_t block_size)
{
	int err;

	w->d = NULL;
	w->h = NULL;
	if (!w->format)
		w->d = bare_disk(w->t, image);
	err = w->format ? open_container(w, image) : 0;
	if (err) {
		log->ops->close(log);
		store->ops->close(store);
		return err;
	}
	w->d->number = number;
	err = open_past(w, log, store, block_size);
	return err ? err : disk_open(w->d, true);
}

int world_open_catalogue(struct world *w)
{
	struct why why = { 0 };
	bool clean;
	int err = catalogue_open(w->dir, &w->t->catalogue, &clean, &why);

	return err ? err : generation_load(w->t);
}

int world_open(struct world *w, struct file *image, struct segment_dir *log,
	       struct segment_dir *store, uint32_t block_size)
{
	int err = world_open_catalogue(w);

	if (!err)
		return world_open_disk(w, 1, image, log, store, block_size);
	image->ops->close(image);
	log->ops->close(log);
	store->ops->close(store);
	return err;
}

void world_without_settler(struct world *w)
{
	w->h->settler_runs = true;
}

/* ---- the end ---- */

void world_stop_settler(struct world *w)
{
	struct history *h = w->h;
	bool runs;

	pthread_mutex_lock(&h->lock);
	runs = h->settler_runs && h->settler;
	h->settler_stop = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	if (runs)
		pthread_join(h->settler, NULL);
	h->settler = 0;
	h->settler_runs = false;
}

void world_abandon(struct world *w)
{
	if (w->h)
		world_stop_settler(w);
	disk_unref(w->d);
	catalogue_close(w->t->catalogue);
	w->t->catalogue = NULL;
	w->d = NULL;
	w->h = NULL;
}

int world_close(struct world *w)
{
	bool failed;

	if (!w->h->settler)
		w->h->settler_runs = false;
	disk_close(w->d);
	failed = atomic_load(&w->d->broken_flush);
	world_abandon(w);
	return failed ? -EIO : 0;
}

/* ---- moments ---- */

int world_record_moment(struct world *w, uint64_t g)
{
	struct catalogue_txn *txn;
	struct track_record track;
	struct moment_record m;
	int err = history_moment(w->h, g, &m);

	if (!err)
		err = catalogue_begin(w->t->catalogue, &txn);
	if (err)
		return err;
	history_record(w->h, &track);
	moment_put(txn, w->d->number, &m);
	track_put(txn, w->d->number, &track);
	return catalogue_commit(txn);
}

int world_snapshot(struct world *w, uint64_t *g)
{
	int err = generation_close(w->t, &w->h, 1, MOMENT_NAMED, unit_now_ms(), NULL, g);

	if (err)
		return err;
	history_await(w->h, *g);
	err = disk_flush(w->d);
	return err ? err : world_record_moment(w, *g);
}

int world_tick(struct world *w, uint64_t *g)
{
	bool kept;
	int err = generation_close(w->t, &w->h, 1, MOMENT_TICK, unit_now_ms(), &kept, g);

	if (err)
		return err;
	if (kept)
		return world_record_moment(w, *g);
	*g = 0;
	return 0;
}

/* ---- the collector ---- */

static bool is_needed(const struct version *v, uint64_t before, const struct moment_record *kept,
		      size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (kept[i].generation > before && kept[i].generation <= v->last)
			return true;
	return false;
}

static int collect_some(struct world *w, const struct version *v, size_t count,
			struct version *last, const struct moment_record *kept, size_t kept_count)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(w->t->catalogue, &txn);

	for (size_t i = 0; i < count && !err; i++) {
		uint64_t before = last->last && last->block == v[i].block ? last->last : 0;

		*last = v[i];
		if (!is_needed(&v[i], before, kept, kept_count))
			err = version_del(txn, w->d->number, v[i].block, v[i].last);
	}
	err = err ? (catalogue_abort(txn), err) : catalogue_commit(txn);
	return err;
}

/* Goes through all versions: there are not many. */
static int collect(struct world *w)
{
	struct version v[256], last = { 0 }, after = { 0 };
	struct moment_record *kept;
	size_t kept_count, count;
	int err = history_moments(w->h, &kept, &kept_count);

	for (bool first = true; !err; first = false) {
		err = versions_of_blocks(w->t->catalogue, w->d->number, 0, first ? NULL : &after, v,
					 UNIT_LENGTH(v), &count);
		if (err || !count)
			break;
		after = v[count - 1];
		err = collect_some(w, v, count, &last, kept, kept_count);
	}
	free(kept);
	return err;
}

int world_drop(struct world *w, uint64_t g)
{
	struct catalogue_txn *txn;
	struct moment_record m;
	int err = history_moment(w->h, g, &m);

	if (!err)
		err = catalogue_begin(w->t->catalogue, &txn);
	if (err)
		return err;
	m.dropped = true;
	moment_put(txn, w->d->number, &m);
	err = catalogue_commit(txn);
	if (!err)
		err = history_change_moment(w->h, &m);
	if (err)
		return err;
	history_barrier(w->h);
	err = collect(w);
	if (!err)
		err = catalogue_begin(w->t->catalogue, &txn);
	if (err)
		return err;
	moment_del(txn, w->d->number, g);
	return catalogue_commit(txn);
}
