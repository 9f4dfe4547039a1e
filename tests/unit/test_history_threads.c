// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many threads on a disk with a past. Writers put growing numbers into pages that
 * are theirs (blocks are not); a number that is divisible by 8 is zeros. A moment
 * has of each page a number that was not replaced before the moment began, and
 * that was begun before the moment was there, and it stays that one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"
#include "fake_dir.h"
#include "history_inner.h"
#include "history_world.h"
#include "unit.h"

#define PAGE 4096u
#define BS (4 * PAGE)
#define PAGES 90u /* the last block is not whole */
#define WRITERS 3
#define READERS 2
#define MOMENTS 6

struct moment {
	uint64_t generation; /* 0: none */
	uint64_t low[PAGES], high[PAGES];
	_Atomic uint64_t seen[PAGES]; /* the number + 1 */
};

static struct world w;
static _Atomic uint64_t begun[PAGES], done[PAGES];
static struct moment moments[MOMENTS];
static pthread_rwlock_t moments_lock = PTHREAD_RWLOCK_INITIALIZER;
static atomic_bool stop;
static atomic_uint wrong; /* threads that found something; Check's asserts are not for them */

static struct file *image;
static struct segment_dir *logs, *store;

static void setup(void)
{
	image = fake_file_new(NULL, PAGES * PAGE);
	logs = fake_dir_new();
	store = fake_dir_new();
	world_new(&w);
	ck_assert_int_eq(crew_new(6, &w.t->crew), 0);
	ck_assert_int_eq(world_open(&w, image, logs, store, BS), 0);
	w.h->batch_blocks = 4; /* several at once */
}

static void teardown(void)
{
	ck_assert_int_eq(world_close(&w), 0);
	world_free(&w);
}

static void complain(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	if (!atomic_fetch_add(&wrong, 1))
		fprintf(stderr, "%s: %llu %llu %llu\n", what, (unsigned long long)a,
			(unsigned long long)b, (unsigned long long)c);
	atomic_store(&stop, true);
}

static void fill(uint8_t *page, uint64_t number)
{
	for (size_t i = 0; i < PAGE; i += 8)
		memcpy(page + i, &number, 8);
}

/* Its number; UINT64_MAX: it has more than one. */
static uint64_t number_of(const uint8_t *page)
{
	uint64_t number;

	memcpy(&number, page, 8);
	return memcmp(page, page + 8, PAGE - 8) ? UINT64_MAX : number;
}

/* ---- writers ---- */

static int write_pages(uint8_t *buf, unsigned first, unsigned count, uint64_t number, bool direct)
{
	if (number % 8 == 0)
		return disk_zero(w.d, first * PAGE, count * PAGE,
				 number % 16 ? ZERO_PUNCH : ZERO_KEEP);
	for (unsigned i = 0; i < count; i++)
		fill(buf + i * PAGE, number);
	return disk_write(w.d, buf, count * PAGE, first * PAGE, direct ? IO_DIRECT : 0);
}

static void *writer(void *arg)
{
	unsigned mine = (uintptr_t)arg, first = mine * PAGES / WRITERS;
	unsigned own = (mine + 1) * PAGES / WRITERS - first;
	uint8_t *buf = malloc(PAGES * PAGE);
	uint64_t seed = mine;

	for (uint64_t number = 1; !atomic_load(&stop); number++) {
		unsigned at = unit_below(&seed, own), count = 1 + unit_below(&seed, own - at);
		int err;

		if (unit_below(&seed, 4))
			count = 1 + count % 5 % (own - at);
		at += first;
		for (unsigned p = at; p < at + count; p++)
			atomic_store(&begun[p], number);
		err = write_pages(buf, at, count, number, number % 3 == 0);
		if (err)
			complain("write", -err, 0, 0);
		for (unsigned p = at; p < at + count; p++)
			atomic_store(&done[p], number);
		if (number % 64 == 0)
			disk_flush(w.d);
	}
	free(buf);
	return NULL;
}

/* ---- readers ---- */

/* Is it one that may be there? Zeros are any number that is divisible by 8. */
static bool may_be(uint64_t number, uint64_t low, uint64_t high)
{
	return number ? number >= low && number <= high : low / 8 * 8 == low || low / 8 < high / 8;
}

static void read_present(uint8_t *page, uint64_t *seed)
{
	unsigned p = unit_below(seed, PAGES);
	uint64_t low = atomic_load(&done[p]), number;
	size_t read;
	int err = disk_read(w.d, page, PAGE, p * PAGE, 0, &read);

	if (err)
		complain("read", -err, 0, 0);
	number = number_of(page);
	if (!may_be(number, low, atomic_load(&begun[p])))
		complain("present", number, low, atomic_load(&begun[p]));
}

static void compare_page(struct moment *m, unsigned p, const uint8_t *page)
{
	uint64_t number = number_of(page), before = 0;

	if (!may_be(number, m->low[p], m->high[p]))
		complain("moment", number, m->low[p], m->high[p]);
	if (!atomic_compare_exchange_strong(&m->seen[p], &before, number + 1) &&
	    before != number + 1)
		complain("another number in the moment", number, before - 1, p);
}

static void read_moment(uint8_t *buf, uint64_t *seed)
{
	unsigned p = unit_below(seed, PAGES), count = 1 + unit_below(seed, PAGES - p);
	struct moment *m;
	uint64_t found;
	int err;

	pthread_rwlock_rdlock(&moments_lock);
	m = &moments[unit_below(seed, MOMENTS)];
	err = m->generation ? history_pin(w.h, m->generation) : -ENOENT;
	if (!err) {
		err = history_read_at(w.h, m->generation, buf, count * PAGE, p * PAGE);
		if (err)
			complain("reading a moment", -err, m->generation, 0);
		for (unsigned i = 0; i < count && !err; i++)
			compare_page(m, p + i, buf + i * PAGE);
		/* A page that had a number at that moment is in no hole. */
		err = history_seek_at(w.h, m->generation, p * PAGE, SEEK_HOLE, &found);
		if (!err && found / PAGE < PAGES && found % PAGE == 0 &&
		    atomic_load(&m->seen[found / PAGE]) > 1)
			complain("a hole", found, atomic_load(&m->seen[found / PAGE]), 0);
		history_unpin(w.h, m->generation);
	}
	pthread_rwlock_unlock(&moments_lock);
}

static void *reader(void *arg)
{
	uint64_t seed = 100 + (uintptr_t)arg;
	uint8_t *buf = malloc(PAGES * PAGE);

	while (!atomic_load(&stop)) {
		read_present(buf, &seed);
		read_moment(buf, &seed);
	}
	free(buf);
	return NULL;
}

/* ---- moments ---- */

static void slow_segment(struct segments *s, struct segment_dir *dir, enum fake_call call,
			 uint64_t *seed)
{
	char name[17];
	struct file *f;

	snprintf(name, sizeof(name), "%016llx",
		 (unsigned long long)(segments_end(s) / SEGMENT_SIZE));
	f = fake_dir_file(dir, name);
	if (f)
		fake_delay(f, call, unit_below(seed, 2) ? 0 : unit_below(seed, 1000));
}

/* The settler never sleeps, and now this takes long, and now that. */
static void *hurry(void *arg)
{
	uint64_t seed = 7;

	while (!atomic_load(&stop)) {
		fake_delay(image, FAKE_WRITE, unit_below(&seed, 2) ? 0 : unit_below(&seed, 300));
		fake_delay(image, FAKE_READ, unit_below(&seed, 2) ? 0 : unit_below(&seed, 300));
		slow_segment(w.h->log, logs, FAKE_WRITE, &seed);
		slow_segment(w.h->store, store, FAKE_FLUSH, &seed);
		pthread_mutex_lock(&w.h->lock);
		settler_wake(w.h, true);
		pthread_mutex_unlock(&w.h->lock);
		usleep(300);
	}
	return NULL;
}

static void drop(struct moment *m)
{
	int err;

	pthread_rwlock_wrlock(&moments_lock);
	err = m->generation ? world_drop(&w, m->generation) : 0;
	m->generation = 0;
	pthread_rwlock_unlock(&moments_lock);
	if (err)
		complain("drop", -err, 0, 0);
}

static void make_moment(struct moment *m, bool tick)
{
	static struct moment made;
	uint64_t g;
	int err;

	for (unsigned p = 0; p < PAGES; p++)
		made.low[p] = atomic_load(&done[p]);
	err = tick ? world_tick(&w, &g) : world_snapshot(&w, &g);
	if (err)
		complain("moment", -err, tick, 0);
	if (err || !g)
		return;
	for (unsigned p = 0; p < PAGES; p++)
		made.high[p] = atomic_load(&begun[p]);
	pthread_rwlock_wrlock(&moments_lock);
	memcpy(m, &made, sizeof(made));
	m->generation = g;
	pthread_rwlock_unlock(&moments_lock);
}

START_TEST(moments_among_writers)
{
	pthread_t threads[WRITERS + READERS + 1];
	uint64_t seed = 1;
	unsigned n = 0;

	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&threads[n++], NULL, writer, (void *)i);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&threads[n++], NULL, reader, (void *)i);
	pthread_create(&threads[n++], NULL, hurry, NULL);
	for (unsigned i = 0; i < unit_scaled(200) && !atomic_load(&stop); i++) {
		struct moment *m = &moments[unit_below(&seed, MOMENTS)];

		drop(m);
		make_moment(m, unit_below(&seed, 2));
		usleep(unit_below(&seed, 4) ? unit_below(&seed, 300) : unit_below(&seed, 5000));
	}
	atomic_store(&stop, true);
	while (n--)
		pthread_join(threads[n], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
}
END_TEST

/* ---- two disks ---- */

static struct world other;

/* Number n goes to a page of the disks in turn. */
static struct world *disk_of(uint64_t n)
{
	return n % 2 ? &other : &w;
}

static uint64_t page_of(uint64_t n)
{
	return n / 2 * 7 % PAGES;
}

static void *in_turn(void *arg)
{
	uint8_t *page = malloc(PAGE);

	for (uint64_t n = 2; !atomic_load(&stop); n++) {
		fill(page, n);
		if (disk_write(disk_of(n)->d, page, PAGE, page_of(n) * PAGE, 0))
			complain("write", n, 0, 0);
	}
	free(page);
	return NULL;
}

static uint64_t read_numbers(struct world *of, uint64_t g, uint64_t numbers[PAGES])
{
	uint8_t *buf = malloc(PAGES * PAGE);
	uint64_t most = 0;

	if (history_pin(of->h, g) || history_read_at(of->h, g, buf, PAGES * PAGE, 0))
		complain("read", g, 0, 0);
	history_unpin(of->h, g);
	for (unsigned p = 0; p < PAGES; p++) {
		numbers[p] = number_of(buf + p * PAGE);
		most = numbers[p] > most ? numbers[p] : most;
	}
	free(buf);
	return most;
}

/* Up to the greatest number of both, nothing is missing. */
static void check_both(uint64_t g)
{
	uint64_t numbers[2][PAGES];
	uint64_t a = read_numbers(&w, g, numbers[0]), b = read_numbers(&other, g, numbers[1]);
	uint64_t most = a > b ? a : b;

	for (uint64_t n = most; n > 1 && n + 2 * PAGES > most; n--)
		if (numbers[n % 2][page_of(n)] != n)
			complain("missing in both", n, most, numbers[n % 2][page_of(n)]);
}

static uint64_t both_at_once(void)
{
	struct history *hs[] = { other.h, w.h };
	uint64_t g = 0;

	if (generation_close(w.t, hs, 2, MOMENT_NAMED, unit_now_ms(), NULL, &g))
		complain("close", 0, 0, 0);
	if (world_record_moment(&w, g) || world_record_moment(&other, g))
		complain("record", g, 0, 0);
	return g;
}

START_TEST(two_disks_at_one_moment)
{
	uint64_t made[MOMENTS] = { 0 };
	pthread_t threads[2];

	other = w;
	ck_assert_int_eq(world_open_disk(&other, 2, fake_file_new(NULL, PAGES * PAGE),
					 fake_dir_new(), fake_dir_new(), BS),
			 0);
	other.h->batch_blocks = 4;
	pthread_create(&threads[0], NULL, in_turn, NULL);
	pthread_create(&threads[1], NULL, hurry, NULL);
	for (unsigned i = 0; i < unit_scaled(200) && !atomic_load(&stop); i++) {
		uint64_t *g = &made[i % MOMENTS];

		if (*g)
			check_both(*g);
		if (*g && (world_drop(&w, *g) || world_drop(&other, *g)))
			complain("drop", *g, 0, 0);
		*g = both_at_once();
		check_both(*g);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	disk_close(other.d);
	disk_unref(other.d);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { moments_among_writers, two_disks_at_one_moment };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("history threads", setup, teardown, tests, UNIT_LENGTH(tests));
}
