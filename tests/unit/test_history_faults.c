// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls that fail below a disk with a past. Whoever asked is told why; of what
 * failed each byte is old or new, and stays so; nothing else is lost, at once,
 * after the settler tried again, and after a death.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_dir.h"
#include "history_inner.h"
#include "history_model.h"
#include "unit.h"

#define BS 16384u
#define SIZE (12 * BS + 1500)
#define MAX (16 * BS)
#define MOMENTS 5

static struct world w;
static struct history_model m;
static struct file *image;
static struct segment_dir *logs, *store;
static uint64_t seed;
static int fault; /* what is injected now; 0: nothing */
/* What failed as the disk did: a death may bring it. */
static struct {
	uint64_t off, len;
	uint8_t *new;
} doubt;

static uint64_t below(uint64_t bound)
{
	return unit_below(&seed, bound);
}

static void open_world(void)
{
	int err = world_open(&w, image, logs, store, BS);

	ck_assert_msg(!err, "seed step %llu: open: %s", (unsigned long long)m.step, strerror(-err));
	world_without_settler(&w);
}

static void begin(void)
{
	image = fake_file_new(NULL, SIZE);
	logs = fake_dir_new();
	store = fake_dir_new();
	world_new(&w);
	copies_new(&m, SIZE, MAX);
	open_world();
}

static void end(void)
{
	world_abandon(&w);
	world_free(&w);
	copies_free(&m);
}

/* An error is the one that was injected, or, after a flush that failed, EIO. */
static bool failed(int err)
{
	if (!err)
		return false;
	ck_assert_msg(fault && (err == -fault || (err == -EIO && atomic_load(&w.d->broken_flush))),
		      "step %llu (%s): %s, and not %s", (unsigned long long)m.step, m.doing,
		      strerror(-err), strerror(fault));
	return true;
}

/* ---- faults ---- */

static struct file *segment_of(struct segments *s, struct segment_dir *dir)
{
	char name[17];

	snprintf(name, sizeof(name), "%016llx",
		 (unsigned long long)(segments_end(s) / SEGMENT_SIZE));
	return fake_dir_file(dir, name);
}

static const enum fake_call calls[] = { FAKE_WRITE, FAKE_FLUSH, FAKE_ZERO,  FAKE_ALLOCATE,
					FAKE_READ,  FAKE_SEEK,  FAKE_RESIZE };

static void fail_file(struct file *f, unsigned nth, unsigned times)
{
	if (f)
		fake_fail(f, calls[below(UNIT_LENGTH(calls))], nth, times, fault);
}

static void inject(void)
{
	unsigned nth = 1 + below(4), times = below(2) ? 1 : 1000;
	struct segment_dir *dir = below(2) ? logs : store;
	struct segments *s = dir == logs ? w.h->log : w.h->store;

	fault = below(2) ? EIO : ENOSPC;
	switch (below(4)) {
	case 0:
		return fail_file(image, nth, times);
	case 1:
		fake_dir_fail(dir, below(FAKE_DIR_CALLS), 1, times, fault);
		return fake_dir_fail_new(dir, calls[below(UNIT_LENGTH(calls))], nth, times, fault);
	default:
		return fail_file(segment_of(s, dir), nth, times);
	}
}

/* ---- operations that may fail ---- */

/* Each byte of the range is what it was, or `new`; what it is is taken. */
static void adopt(uint64_t off, uint64_t len, const uint8_t *new)
{
	uint8_t *found = malloc(len + 1);
	size_t read = 0;
	int err = -1;

	if (atomic_load(&w.d->broken_flush) && !doubt.new) {
		doubt.off = off;
		doubt.len = len;
		doubt.new = malloc(len + 1);
		memcpy(doubt.new, new, len);
	}

	/* Reading may fail, too, for a while. */
	for (unsigned i = 0; i < 1000 && err; i++)
		err = disk_read(w.d, found, len, off, 0, &read);
	if (err) {
		fault = -err;
		free(found);
		return;
	}
	for (uint64_t i = 0; i < read; i++) {
		if (found[i] != m.now[off + i] && found[i] != new[i])
			ck_abort_msg("step %llu (%s): byte %llu is neither old nor new",
				     (unsigned long long)m.step, m.doing,
				     (unsigned long long)(off + i));
		m.now[off + i] = found[i];
	}
	free(found);
}

static void choose(uint64_t end_of, uint64_t *off, uint64_t *len)
{
	*off = below(end_of);
	if (below(2))
		*off -= *off % BS;
	*len = below(3) ? 1 + below(BS) : (1 + below(3)) * BS;
	if (*len > end_of - *off)
		*len = end_of - *off;
}

static void adopt_size(void)
{
	uint64_t size = disk_size(w.d);

	ck_assert(size <= MAX);
	copies_resize(&m, size);
}

static void write_some(void)
{
	uint64_t off, len;
	uint8_t *buf;

	choose(below(20) ? m.size : MAX, &off, &len);
	buf = malloc(len);
	for (uint64_t i = 0; i < len; i++)
		buf[i] = 1 + below(255);
	if (!failed(disk_write(w.d, buf, len, off, 0))) {
		copies_write(&m, buf, len, off);
	} else {
		if (disk_size(w.d) != m.size && disk_size(w.d) == off + len)
			adopt_size();
		adopt(off, len, buf);
	}
	free(buf);
}

static void zero_some(void)
{
	uint64_t off, len;
	uint8_t *zeros;

	choose(m.size, &off, &len);
	zeros = calloc(1, len);
	if (!failed(disk_zero(w.d, off, len, below(2) ? ZERO_PUNCH : ZERO_KEEP)))
		copies_zero(&m, len, off);
	else
		adopt(off, len, zeros);
	free(zeros);
}

static void resize_some(void)
{
	uint64_t old = m.size, size = 1 + below(MAX);
	uint8_t *zeros = calloc(1, MAX);
	int err = disk_resize(w.d, size, true);

	if (!failed(err)) {
		copies_resize(&m, size);
	} else if (disk_size(w.d) != m.size) {
		ck_assert_uint_eq(disk_size(w.d), size);
		adopt_size();
	} else if (size < old) {
		adopt(size, old - size, zeros);
	}
	free(zeros);
}

static void flush_some(void)
{
	failed(disk_flush(w.d));
}

static void settle(void)
{
	failed(history_settle(w.h));
}

static void drop_some(void)
{
	size_t i;

	if (!m.count)
		return;
	i = below(m.count);
	/* What the catalogue is asked for does not fail here. */
	ck_assert_int_eq(world_drop(&w, m.kept[i].generation), 0);
	copies_drop(&m, i);
}

/* One that could not be recorded is not kept. */
static void moment(void)
{
	struct moment_record made;
	uint64_t g;

	if (m.count == MOMENTS)
		drop_some();
	if (below(2)) {
		ck_assert_int_eq(world_tick(&w, &g), 0);
	} else if (failed(world_snapshot(&w, &g))) {
		ck_assert_int_eq(history_moment(w.h, g, &made), 0);
		made.dropped = true;
		ck_assert_int_eq(history_change_moment(w.h, &made), 0);
		g = 0;
	}
	if (g)
		copies_keep(&m, g);
}

static const struct {
	const char *name;
	void (*fn)(void);
	unsigned weight;
} works[] = { { "write", write_some, 50 }, { "zero", zero_some, 14 }, { "flush", flush_some, 6 },
	      { "settle", settle, 14 },    { "moment", moment, 12 },  { "drop", drop_some, 4 },
	      { "resize", resize_some, 3 } };

static void work(unsigned n)
{
	while (n--) {
		unsigned sum = 0, what = 0, at;

		for (size_t i = 0; i < UNIT_LENGTH(works); i++)
			sum += works[i].weight;
		for (at = below(sum); at >= works[what].weight; what++)
			at -= works[what].weight;
		m.doing = works[what].name;
		works[what].fn();
	}
}

/* ---- afterwards ---- */

static void no_more_faults(struct file *f)
{
	for (size_t i = 0; f && i < FAKE_CALLS; i++)
		fake_fail(f, i, 1, 0, 0);
}

static void all_is_well(const char *doing)
{
	no_more_faults(image);
	no_more_faults(segment_of(w.h->log, logs));
	no_more_faults(segment_of(w.h->store, store));
	for (int i = 0; i < FAKE_DIR_CALLS; i++) {
		fake_dir_fail(logs, i, 1, 0, 0);
		fake_dir_fail(store, i, 1, 0, 0);
	}
	m.doing = doing;
	copies_check_all(&m, &w);
}

static void die(void)
{
	struct file *image_left = fake_twin(image);
	struct segment_dir *log_left = fake_dir_twin(logs), *store_left = fake_dir_twin(store);

	world_abandon(&w);
	image = image_left;
	logs = log_left;
	store = store_left;
	fault = 0;
	open_world();
	if (doubt.new)
		adopt(doubt.off, doubt.len, doubt.new);
	free(doubt.new);
	doubt.new = NULL;
	all_is_well("death");
	ck_assert_int_eq(history_settle(w.h), 0);
	all_is_well("settled after death");
}

START_TEST(whatever_fails)
{
	for (unsigned i = 0; i < unit_scaled(6000); i++) {
		seed = m.step = i;
		begin();
		m.step = i;
		work(10 + below(20));
		inject();
		work(5 + below(15));
		if (below(2))
			all_is_well("after the fault");
		die();
		work(5);
		all_is_well("after more work");
		end();
	}
}
END_TEST

/* The old content has no place at the last close: nothing is lost, nothing in doubt. */
START_TEST(a_close_without_space)
{
	static uint8_t content[BS];
	uint64_t g;

	begin();
	for (int i = 1; i <= 2; i++) {
		memset(content, i, sizeof(content));
		ck_assert_int_eq(disk_write(w.d, content, BS, BS, 0), 0);
		copies_write(&m, content, BS, BS);
		if (i == 2)
			break;
		ck_assert_int_eq(world_snapshot(&w, &g), 0);
		copies_keep(&m, g);
	}
	fake_dir_fail(store, FAKE_DIR_CREATE, 1, 1000, ENOSPC);
	w.h->settler_runs = false;
	disk_close(w.d);
	ck_assert(!atomic_load(&w.d->broken_flush));
	ck_assert_int_eq(disk_state(w.d), DISK_READY);
	ck_assert_int_eq(w.h->pending.bytes, BS);
	ck_assert_int_eq(w.h->settle_error, -ENOSPC);
	ck_assert_int_eq(disk_open(w.d, true), 0);
	copies_check_all(&m, &w);
	fake_dir_fail(store, FAKE_DIR_CREATE, 1, 0, ENOSPC);
	ck_assert_int_eq(history_settle(w.h), 0);
	ck_assert_int_eq(w.h->settle_error, 0);
	copies_check_all(&m, &w);
	end();
}
END_TEST

/*
 * What found no space takes none: a batch that is tried again and again, at last without the moment
 * that it saved something for.
 */
START_TEST(a_store_without_space)
{
	static uint8_t content[BS];
	uint64_t g;

	begin();
	for (int i = 1; i <= 2; i++) {
		for (uint64_t b = 0; b < SIZE / BS; b++) {
			memset(content, 10 * i + b, sizeof(content));
			ck_assert_int_eq(disk_write(w.d, content, BS, b * BS, 0), 0);
			copies_write(&m, content, BS, b * BS);
		}
		if (i == 1) {
			ck_assert_int_eq(world_snapshot(&w, &g), 0);
			copies_keep(&m, g);
			ck_assert_int_eq(history_settle(w.h), 0);
		}
	}
	fake_dir_fail_new(store, FAKE_ALLOCATE, 1, 1000, ENOSPC);
	fake_dir_fail_new(store, FAKE_WRITE, 4, 1000, ENOSPC);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(history_settle(w.h), -ENOSPC);
		ck_assert(history_lacks_space(w.h));
		/* But for the page with the head, and the last one. */
		ck_assert_uint_le(segments_allocated(w.h->store), 2 * 4096);
		copies_check_all(&m, &w);
	}
	ck_assert_int_eq(world_drop(&w, g), 0);
	copies_drop(&m, 0);
	ck_assert_int_eq(history_settle(w.h), 0);
	ck_assert(!history_lacks_space(w.h));
	ck_assert_uint_eq(w.h->pending.bytes, 0);
	/* The log gives its space back, but for the page with its head and the last one. */
	ck_assert(history_trim(w.h));
	ck_assert(!history_trim(w.h));
	all_is_well("without its moment");
	die();
	end();
}
END_TEST

/* ---- between a record and its pieces ---- */

static void (*appended)(uint64_t place); /* called once, when a record is in the log */

int __wrap_segments_append(struct segments *s, const struct record *r, const void *data,
			   uint64_t *place);
int __real_segments_append(struct segments *s, const struct record *r, const void *data,
			   uint64_t *place);

int __wrap_segments_append(struct segments *s, const struct record *r, const void *data,
			   uint64_t *place)
{
	int err = __real_segments_append(s, r, data, place);
	void (*told)(uint64_t) = appended;

	if (err || !told || s != w.h->log)
		return err;
	appended = NULL;
	told(*place);
	return 0;
}

static pthread_t settling;

static void *settle_all(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)history_settle(w.h);
}

static bool is_settled(void *arg)
{
	bool settled;

	(void)arg;
	pthread_mutex_lock(&w.h->lock);
	settled = !w.h->pending.bytes && w.h->recorded == w.h->settled;
	pthread_mutex_unlock(&w.h->lock);
	return settled;
}

static void settle_the_others(uint64_t place)
{
	struct track_record track;

	ck_assert_int_eq(pthread_create(&settling, NULL, settle_all, NULL), 0);
	ck_assert(unit_until(is_settled, NULL, 10));
	ck_assert_uint_le(w.h->settled, place);
	ck_assert_int_eq(track_get(w.t->catalogue, w.d->number, &track), 0);
	ck_assert_uint_le(track.settled, place);
}

/* Replay begins with it, however much else is settled before its pieces are there. */
START_TEST(a_record_without_its_pieces)
{
	static uint8_t content[BS];
	void *err;
	uint64_t g;

	begin();
	ck_assert_int_eq(world_snapshot(&w, &g), 0);
	copies_keep(&m, g);
	for (int b = 0; b < 2; b++) {
		memset(content, b + 1, BS);
		appended = b ? settle_the_others : NULL;
		ck_assert_int_eq(disk_write(w.d, content, BS, b * BS, 0), 0);
		copies_write(&m, content, BS, b * BS);
	}
	ck_assert_ptr_null(appended);
	ck_assert_int_eq(pthread_join(settling, &err), 0);
	ck_assert_ptr_null(err);
	all_is_well("settled");
	die();
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { whatever_fails, a_close_without_space, a_store_without_space,
				       a_record_without_its_pieces };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("history faults", NULL, NULL, tests, UNIT_LENGTH(tests));
}
