// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clones against whole copies of them: random work on a disk, on a clone of it,
 * and on a clone of that, while they are filled, with restarts and kills; and all
 * at once. Broken on purpose, each was found here:
 *
 *   a fill does not wait for pieces of a block     the place passes what a moment needs
 *   a fill of blocks that have pieces              all_at_once
 *   the settler, or the past, reads the image      at once
 *   what is lacking is asked after the image       all_at_once
 *   holes are those of the image                   at once
 *
 * Not found: pieces asked for after what is lacking (the window is a few instructions).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"
#include "fake_dir.h"
#include "history_inner.h"
#include "history_model.h"
#include "origins.h"
#include "unit.h"

#define MOMENTS 6
#define DISKS 3

struct one {
	struct world w;
	struct history_model m;
	struct file *image; /* fakes, which the world owns */
	struct segment_dir *log, *store;
	uint64_t needed; /* the moment that the next one is filled from; 0 */
};

struct work {
	struct world w; /* of the tandem and its catalogue only */
	struct one disks[DISKS], *at;
	size_t count; /* of disks that are there */
	uint32_t bs;
	uint64_t seed, max;
	uint8_t *buf;
};

static uint64_t below(struct work *k, uint64_t bound)
{
	return unit_below(&k->seed, bound);
}

/* ---- disks come and go ---- */

static void open_disk(struct work *k, size_t i)
{
	struct one *o = &k->disks[i];

	o->w = (struct world){ .t = k->w.t };
	if (i) {
		o->w.source = k->disks[i - 1].w.d;
		o->w.generation = k->disks[i - 1].needed;
	}
	ck_assert_int_eq(world_open_disk(&o->w, i + 1, o->image, o->log, o->store, k->bs), 0);
}

static void make(struct work *k, uint64_t size)
{
	struct one *o = &k->disks[k->count];

	*o = (struct one){ .image = fake_file_new(NULL, size),
			   .log = fake_dir_new(),
			   .store = fake_dir_new() };
	copies_new(&o->m, size, k->max);
	open_disk(k, k->count++);
}

static void open_catalogue(struct work *k)
{
	struct why why = { 0 };
	bool clean;

	ck_assert_int_eq(catalogue_open(k->w.dir, &k->w.t->catalogue, &clean, &why), 0);
	ck_assert_int_eq(generation_load(k->w.t), 0);
}

static void begin(struct work *k, uint32_t bs, uint64_t size, uint64_t max, uint64_t seed)
{
	*k = (struct work){ .bs = bs, .seed = seed, .max = max };
	k->buf = malloc(max);
	world_new(&k->w);
	open_catalogue(k);
	make(k, size);
	k->at = &k->disks[0];
}

/* What it says that it lacks are the blocks that do; the settler may be about to change both. */
static void check_lacking(struct work *k, struct history *h)
{
	uint64_t said, lacking;

	do {
		said = history_lacking(h);
		lacking = 0;
		for (uint64_t b = 0; b <= k->max / k->bs + 1; b++)
			lacking += origin_lacks(h, b) * k->bs;
	} while (said != history_lacking(h));
	ck_assert_uint_le(said, lacking);
	ck_assert_uint_gt(said + k->bs, lacking); /* the last one may be shorter */
}

static void check_all(struct work *k)
{
	for (size_t i = 0; i < k->count; i++) {
		copies_check_all(&k->disks[i].m, &k->disks[i].w);
		check_lacking(k, k->disks[i].w.h);
	}
}

static void abandon(struct work *k)
{
	for (size_t i = k->count; i-- > 0;) {
		struct one *o = &k->disks[i];

		if (!o->w.d->openers)
			ck_assert(!o->w.h->pending.first);
		disk_unref(o->w.d);
	}
	catalogue_close(k->w.t->catalogue);
	k->w.t->catalogue = NULL;
}

static void end(struct work *k)
{
	check_all(k);
	for (size_t i = k->count; i-- > 0;)
		disk_close(k->disks[i].w.d);
	for (size_t i = 0; i < k->count; i++)
		copies_free(&k->disks[i].m);
	abandon(k);
	world_free(&k->w);
	free(k->buf);
}

/* ---- work ---- */

static void choose(struct work *k, bool grow, uint64_t *off, uint64_t *len)
{
	const uint32_t units[] = { 1, 512, 4096, k->bs };
	uint64_t unit = units[below(k, 4)], end = grow ? k->max : k->at->m.size, most;

	*off = below(k, end) / unit * unit;
	most = below(k, 4) ? k->bs : 5 * (uint64_t)k->bs;
	*len = (1 + below(k, most)) / unit * unit;
	if (!*len)
		*len = unit;
	if (*len > end - *off)
		*len = end - *off;
}

static void write_some(struct work *k)
{
	struct one *o = k->at;
	uint64_t off, len;

	choose(k, !below(k, 100), &off, &len);
	for (uint64_t i = 0; i < len; i++)
		k->buf[i] = unit_random(&k->seed);
	if (!below(k, 8))
		memset(k->buf, 0, len);
	ck_assert_int_eq(disk_write(o->w.d, k->buf, len, off, 0), 0);
	copies_write(&o->m, k->buf, len, off);
}

static void zero_some(struct work *k)
{
	enum zero_mode mode = below(k, 2) ? ZERO_PUNCH : ZERO_KEEP;
	struct one *o = k->at;
	uint64_t off, len;

	choose(k, false, &off, &len);
	if (!below(k, 20))
		len += below(k, k->max);
	ck_assert_int_eq(disk_zero(o->w.d, off, len, mode), 0);
	copies_zero(&o->m, len, off);
}

static void resize_some(struct work *k)
{
	struct one *o = k->at;
	uint64_t size = 1 + below(k, k->max);

	ck_assert_int_eq(disk_resize(o->w.d, size, true), 0);
	copies_resize(&o->m, size);
}

static void read_some(struct work *k)
{
	struct one *o = k->at;
	uint64_t off, len;

	choose(k, false, &off, &len);
	copies_check(&o->m, &o->w, below(k, o->m.count + 1), off, len);
	if (!below(k, 10))
		copies_check_holes(&o->m, &o->w, below(k, o->m.count + 1));
}

static void read_now(struct work *k)
{
	uint64_t off, len;

	choose(k, false, &off, &len);
	copies_check(&k->at->m, &k->at->w, k->at->m.count, off, len);
}

/* What it holds by now is what it has to hold. */
static void read_back(struct one *o)
{
	size_t done;

	ck_assert_int_eq(disk_read(o->w.d, o->m.now, o->m.size, 0, 0, &done), 0);
}

static void drop_some(struct work *k)
{
	struct one *o = k->at;
	size_t i;

	if (!o->m.count)
		return;
	i = below(k, o->m.count);
	if (o->m.kept[i].generation == o->needed)
		return;
	ck_assert_int_eq(world_drop(&o->w, o->m.kept[i].generation), 0);
	copies_drop(&o->m, i);
}

static void moment(struct work *k, bool tick)
{
	struct one *o = k->at;
	uint64_t g;

	while (o->m.count >= MOMENTS)
		drop_some(k);
	ck_assert_int_eq(tick ? world_tick(&o->w, &g) : world_snapshot(&o->w, &g), 0);
	if (g)
		copies_keep(&o->m, g);
}

static void snapshot(struct work *k)
{
	moment(k, false);
}

static void tick(struct work *k)
{
	moment(k, true);
}

static void flush(struct work *k)
{
	ck_assert_int_eq(disk_flush(k->at->w.d), 0);
}

static void settle(struct work *k)
{
	ck_assert_int_eq(history_settle(k->at->w.h), 0);
}

static void hurry(struct work *k)
{
	struct history *h = k->at->w.h;

	pthread_mutex_lock(&h->lock);
	settler_wake(h, true);
	pthread_mutex_unlock(&h->lock);
}

/* Of the last disk, as it is or was. */
static void clone_some(struct work *k)
{
	struct one *from = &k->disks[k->count - 1], *to;
	const struct history_copy *kept;

	if (k->count == DISKS || !from->m.count)
		return;
	kept = &from->m.kept[below(k, from->m.count)];
	from->needed = kept->generation;
	make(k, kept->size);
	to = &k->disks[k->count - 1];
	memcpy(to->m.now, kept->content, kept->size);
	copies_check_all(&to->m, &to->w);
}

static void let_go(struct work *k, struct one *o)
{
	struct catalogue_txn *txn;

	ck_assert_int_eq(catalogue_begin(k->w.t->catalogue, &txn), 0);
	origin_forget(txn, o->w.d->number);
	ck_assert_int_eq(catalogue_commit(txn), 0);
	history_end_origin(o->w.h);
	(o - 1)->needed = 0;
}

static void fill_some(struct work *k)
{
	struct one *o = k->at;
	int err;

	if (!history_has_origin(o->w.h))
		return;
	err = history_fill_step(o->w.h, 1 + below(k, below(k, 3) ? 6 * k->bs : k->max),
				below(k, 2));
	if (err == -ENOENT) {
		copies_check_all(&o->m, &o->w);
		if (!below(k, 4))
			let_go(k, o);
	} else {
		ck_assert_int_eq(err, 0);
	}
}

/* The daemon dies, or stops; and comes again. */
static void restart(struct work *k, bool die)
{
	for (size_t i = k->count; i-- > 0 && !die;)
		disk_close(k->disks[i].w.d);
	for (size_t i = 0; i < k->count; i++)
		world_stop_settler(&k->disks[i].w);
	for (size_t i = 0; i < k->count; i++) {
		struct one *o = &k->disks[i];

		o->image = fake_twin(o->image);
		o->log = fake_dir_twin(o->log);
		o->store = fake_dir_twin(o->store);
	}
	abandon(k);
	open_catalogue(k);
	for (size_t i = 0; i < k->count; i++)
		open_disk(k, i);
}

static void stop(struct work *k)
{
	restart(k, false);
}

static void die(struct work *k)
{
	restart(k, true);
}

static const struct {
	const char *name;
	void (*fn)(struct work *k);
	unsigned weight;
} works[] = {
	{ "write", write_some, 420 }, { "zero", zero_some, 120 },   { "read", read_some, 240 },
	{ "flush", flush, 40 },       { "snapshot", snapshot, 30 }, { "tick", tick, 40 },
	{ "drop", drop_some, 20 },    { "settle", settle, 40 },     { "hurry", hurry, 30 },
	{ "clone", clone_some, 8 },   { "fill", fill_some, 16 },    { "resize", resize_some, 4 },
	{ "stop", stop, 4 },          { "death", die, 6 },
};

static void work_once(struct work *k)
{
	unsigned sum = 0, what = 0, at;

	for (size_t i = 0; i < UNIT_LENGTH(works); i++)
		sum += works[i].weight;
	for (at = below(k, sum); at >= works[what].weight; what++)
		at -= works[what].weight;
	k->at = &k->disks[below(k, k->count)];
	for (size_t i = 0; i < k->count; i++) {
		k->disks[i].m.doing = works[what].name;
		k->disks[i].m.step++;
	}
	works[what].fn(k);
}

static void work(uint32_t bs, uint64_t size, uint64_t max, unsigned steps, unsigned every)
{
	static struct work k;
	unsigned rounds = 1 + steps / 1500;

	for (unsigned i = 0; i < rounds; i++) {
		begin(&k, bs, size, max, i + bs);
		for (unsigned n = 0; n < steps / rounds; n++) {
			work_once(&k);
			if (n % every == 0)
				check_all(&k);
		}
		end(&k);
	}
}

START_TEST(blocks_of_4k)
{
	work(4096, 64 * 4096, 64 * 4096, unit_scaled(10000), 10);
	work(4096, 63 * 4096 + 1537, 70 * 4096 + 100, unit_scaled(10000), 10);
}
END_TEST

START_TEST(blocks_of_16k)
{
	work(16384, 13 * 16384 + 5000, 17 * 16384 + 512, unit_scaled(10000), 10);
}
END_TEST

START_TEST(blocks_of_64k)
{
	work(65536, 41 << 20, 41 << 20, unit_scaled(800), 100);
}
END_TEST

/* Where the source has nothing, a discard has nothing to do; where it has, zeros take its place. */
START_TEST(discards_of_holes)
{
	static struct work k;
	struct one *c;
	struct history *h;

	begin(&k, 4096, 1000 * 4096, 1000 * 4096, 2);
	k.at = &k.disks[0];
	memset(k.buf, 7, 4096);
	ck_assert_int_eq(disk_write(k.at->w.d, k.buf, 4096, 500 * 4096, 0), 0);
	copies_write(&k.at->m, k.buf, 4096, 500 * 4096);
	snapshot(&k);
	clone_some(&k);
	k.at = c = &k.disks[1];
	h = c->w.h;
	ck_assert_uint_eq(history_lacking(h), 1000 * 4096);
	ck_assert_int_eq(disk_write(c->w.d, k.buf, 100, 100 * 4096, 0), 0);
	copies_write(&c->m, k.buf, 100, 100 * 4096);
	snapshot(&k);
	ck_assert_int_eq(disk_zero(c->w.d, 10, 999 * 4096, ZERO_PUNCH), 0);
	copies_zero(&c->m, 999 * 4096, 10);
	ck_assert_uint_le(h->pending.pieces, 3); /* what was written, and zeros over two blocks */
	check_all(&k);
	ck_assert_int_eq(history_settle(h), 0);
	ck_assert_uint_eq(history_lacking(h), 998 * 4096);
	end(&k);
}
END_TEST

/* Blocks that are filled by the log wait for room in it, also where no moment is kept. */
START_TEST(a_full_log)
{
	static struct work k;
	struct history *h;

	begin(&k, 4096, 16 * 4096, 16 * 4096, 1);
	write_some(&k);
	snapshot(&k);
	clone_some(&k);
	h = k.disks[1].w.h;
	pthread_mutex_lock(&h->lock);
	h->pending.bytes += HISTORY_LOG_MAX;
	h->settle_error = -EIO; /* so that nobody waits for long */
	pthread_mutex_unlock(&h->lock);
	ck_assert_int_eq(disk_write(k.disks[1].w.d, k.buf, 100, 5000, 0), -EIO);
	pthread_mutex_lock(&h->lock);
	h->pending.bytes -= HISTORY_LOG_MAX;
	h->settle_error = 0;
	pthread_mutex_unlock(&h->lock);
	end(&k);
}
END_TEST

/* ---- all at once ---- */

struct crowd {
	struct work k;
	_Atomic bool over;
};

static void *write_source(void *arg)
{
	struct crowd *c = arg;
	uint64_t seed = 1, size = c->k.disks[0].m.size;
	uint8_t buf[8192];

	while (!atomic_load(&c->over)) {
		memset(buf, unit_random(&seed), sizeof(buf));
		ck_assert_int_eq(disk_write(c->k.disks[0].w.d, buf, sizeof(buf),
					    unit_below(&seed, size - sizeof(buf)), 0),
				 0);
	}
	return NULL;
}

static void *read_past(void *arg)
{
	struct crowd *c = arg;
	struct one *o = &c->k.disks[1];
	uint64_t seed = 2, size = o->m.kept[0].size;

	while (!atomic_load(&c->over))
		copies_check(&o->m, &o->w, 0, unit_below(&seed, size),
			     1 + unit_below(&seed, 30000));
	return NULL;
}

/* And now this takes long, and now that. */
static void *settle_often(void *arg)
{
	struct crowd *c = arg;
	uint64_t seed = 3;

	while (!atomic_load(&c->over)) {
		fake_delay(c->k.disks[0].image, FAKE_READ, unit_below(&seed, 2) * 400);
		fake_delay_return(c->k.disks[1].image, FAKE_READ, unit_below(&seed, 2) * 400);
		fake_delay(c->k.disks[1].image, FAKE_WRITE, unit_below(&seed, 2) * 200);
		ck_assert_int_eq(history_settle(c->k.disks[1].w.h), 0);
	}
	for (int i = 0; i < 2; i++) {
		fake_delay(c->k.disks[i].image, FAKE_READ, 0);
		fake_delay_return(c->k.disks[i].image, FAKE_READ, 0);
		fake_delay(c->k.disks[i].image, FAKE_WRITE, 0);
	}
	return NULL;
}

static void *fill_it(void *arg)
{
	struct crowd *c = arg;
	struct one *o = &c->k.disks[1];
	int err = 0;

	while (!err)
		err = history_fill_step(o->w.h, 2ull * c->k.bs, true);
	ck_assert_int_eq(err, -ENOENT);
	let_go(&c->k, o);
	atomic_store(&c->over, true);
	return NULL;
}

static void write_until_filled(struct crowd *c)
{
	static void *(*const threads[])(void *) = { write_source, read_past, settle_often,
						    fill_it };
	pthread_t thread[UNIT_LENGTH(threads)];

	for (size_t i = 0; i < UNIT_LENGTH(threads); i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, threads[i], c), 0);
	while (!atomic_load(&c->over)) {
		write_some(&c->k);
		read_now(&c->k);
	}
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++)
		pthread_join(thread[i], NULL);
}

START_TEST(all_at_once)
{
	static struct crowd c;

	for (unsigned i = 0; i < unit_scaled(12); i++) {
		atomic_store(&c.over, false);
		begin(&c.k, 4096, 150 * 4096 + 700, 150 * 4096 + 700, i);
		ck_assert_int_eq(crew_new(6, &c.k.w.t->crew), 0);
		for (unsigned n = 0; n < 60; n++)
			write_some(&c.k);
		snapshot(&c.k);
		clone_some(&c.k);
		c.k.at = &c.k.disks[1];
		for (size_t d = 0; d < c.k.count; d++)
			c.k.disks[d].w.h->batch_blocks = 4; /* several at once */
		snapshot(&c.k);
		write_until_filled(&c);
		/* What its writer did nobody has kept. */
		copies_check_all(&c.k.disks[1].m, &c.k.disks[1].w);
		read_back(&c.k.disks[0]);
		end(&c.k);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { blocks_of_4k, blocks_of_16k,     blocks_of_64k,
				       a_full_log,   discards_of_holes, all_at_once };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("clones", NULL, NULL, tests, UNIT_LENGTH(tests));
}
