// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The verbs when something fails, and what a power cut leaves. The rule: what
 * was acknowledged before a flush began that succeeded is there afterwards.
 */
#include "disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_file.h"
#include "temp_tandem.h"
#include "unit.h"

#define SIZE (256u << 10)

static struct tandem *t;
static struct file *file;
static struct disk *d;
static uint8_t buf[4096];

static void setup(void)
{
	t = bare_tandem();
	file = fake_file_new(NULL, SIZE);
	d = bare_disk(t, file);
}

static void teardown(void)
{
	disk_unref(d);
	bare_tandem_free(t);
}

/* ---- failures ---- */

START_TEST(a_flush_failure_is_final)
{
	size_t done;

	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	fake_fail(file, FAKE_FLUSH, 1, 1, EIO);
	ck_assert_int_eq(disk_flush(d), -EIO);
	ck_assert_int_eq(disk_state(d), DISK_FAILED);
	ck_assert_ptr_nonnull(strstr(d->reason, "a flush failed"));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(disk_flush(d), -EIO);
		ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -EIO);
		ck_assert_int_eq(disk_zero(d, 0, 512, ZERO_PUNCH), -EIO);
		ck_assert_int_eq(disk_allocate(d, 0, 512, true), -EIO);
		ck_assert_int_eq(disk_resize(d, 2 * SIZE, false), -EIO);
	}
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
	ck_assert_uint_eq(fake_calls(file, FAKE_WRITE), 1);
	ck_assert_uint_eq(bare_events(t, "To=Failed"), 1);
}
END_TEST

START_TEST(any_flush_error_counts)
{
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	fake_fail(file, FAKE_FLUSH, 1, 1, ENOSPC);
	ck_assert_int_eq(disk_flush(d), -ENOSPC);
	ck_assert_int_eq(disk_state(d), DISK_FAILED);
	ck_assert_int_eq(disk_flush(d), -EIO);
}
END_TEST

static void *flusher(void *arg)
{
	*(int *)arg = disk_flush(d);
	return NULL;
}

static bool has_begun_to_fail(void *arg)
{
	return fake_calls(file, FAKE_FLUSH) == 1;
}

/*
 * Linux tells an error of writing back once per descriptor: a second fdatasync
 * beside the one that fails returns 0. The guest whose flush that is must not
 * hear that all is well.
 */
START_TEST(a_flush_beside_one_that_fails)
{
	int first = 0, second;
	pthread_t thread;

	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	fake_fail(file, FAKE_FLUSH, 1, 1, EIO);
	fake_delay_return(file, FAKE_FLUSH, 100000);
	ck_assert_int_eq(pthread_create(&thread, NULL, flusher, &first), 0);
	ck_assert(unit_until(has_begun_to_fail, NULL, 10));
	fake_delay_return(file, FAKE_FLUSH, 0);
	second = disk_flush(d);
	pthread_join(thread, NULL);
	ck_assert_int_eq(first, -EIO);
	ck_assert_int_eq(second, -EIO);
}
END_TEST

/* A write that is durable when it returns flushes too, and that failure is final as any. */
START_TEST(a_durable_write_that_fails)
{
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	fake_fail(file, FAKE_FLUSH, 1, 1, EIO);
	ck_assert_int_eq(disk_write(d, buf, 512, 4096, IO_DSYNC), -EIO);
	ck_assert_int_eq(disk_flush(d), -EIO);
	ck_assert_int_eq(disk_state(d), DISK_FAILED);
}
END_TEST

START_TEST(a_write_that_fails_changes_no_state)
{
	fake_fail(file, FAKE_WRITE, 1, 1, EIO);
	ck_assert_int_eq(disk_write(d, buf, 1024, 0, 0), -EIO);
	ck_assert_int_eq(disk_state(d), DISK_READY);
	ck_assert_int_eq(disk_flush(d), 0);
	/* Half of it is there, so that was a real flush. */
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
	ck_assert_int_eq(disk_flush(d), 0);
	fake_fail(file, FAKE_ZERO, 1, 1, EIO);
	ck_assert_int_eq(disk_zero(d, 0, 512, ZERO_PUNCH), -EIO);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 2);
}
END_TEST

START_TEST(errors_are_announced_seldom)
{
	size_t done;

	fake_fail(file, FAKE_READ, 1, 100, EIO);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), -EIO);
	ck_assert_uint_eq(bare_events(t, "Major DiskFailed disks/a.img Operation=read "
					 "Error=Input/output\\040error"),
			  1);
	/* Ten seconds later. */
	atomic_fetch_sub(&d->error_event_ns[0], 10000000000u);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), -EIO);
	ck_assert_uint_eq(bare_events(t, "DiskFailed"), 2);
	ck_assert_uint_eq(d->ops[DISK_OP_READ].errors, 40);
	/* Being full is another story, and told by itself. */
	fake_space(file, 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -ENOSPC);
	ck_assert_uint_eq(bare_events(t, "SpaceLow"), 1);
}
END_TEST

static void *reader(void *arg)
{
	size_t done;

	for (int i = 0; i < 50; i++)
		disk_read(d, buf, 512, 0, 0, &done);
	return NULL;
}

START_TEST(once_by_many_threads_too)
{
	pthread_t threads[8];

	fake_fail(file, FAKE_READ, 1, 1000, EIO);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, NULL), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(bare_events(t, "DiskFailed"), 1);
}
END_TEST

START_TEST(no_space)
{
	fake_space(file, 1);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	ck_assert_int_eq(disk_write(d, buf, 512, 4096, 0), -ENOSPC);
	ck_assert_int_eq(disk_write(d, buf, 512, 1024, 0), 0);
	ck_assert_int_eq(disk_zero(d, 8192, 4096, ZERO_KEEP), -ENOSPC);
	ck_assert_int_eq(disk_allocate(d, 0, SIZE, false), -ENOSPC);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_int_eq(disk_state(d), DISK_READY);
	ck_assert_uint_eq(bare_events(t, "SpaceLow disks/a.img Operation=write"), 1);
	ck_assert_uint_eq(bare_events(t, "DiskFailed"), 0);
	fake_space(file, 10);
	ck_assert_int_eq(disk_write(d, buf, 512, 4096, 0), 0);
}
END_TEST

START_TEST(one_that_is_lost)
{
	uint64_t at;
	size_t done;

	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	atomic_store(&d->lost, true);
	ck_assert_int_eq(disk_read(d, buf, 512, 0, 0, &done), -EIO);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), -EIO);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, IO_DSYNC), -EIO);
	ck_assert_int_eq(disk_flush(d), -EIO);
	ck_assert_int_eq(disk_zero(d, 0, 512, ZERO_PUNCH), -EIO);
	ck_assert_int_eq(disk_seek(d, 0, SEEK_DATA, &at), -EIO);
	ck_assert_int_eq(disk_state(d), DISK_READY);
	/* It came back: what was written before is not forgotten. */
	atomic_store(&d->lost, false);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
}
END_TEST

/* ---- flushes that are passed over ---- */

START_TEST(only_when_there_is_something)
{
	/* The first is real: who knows what was written before we came. */
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 1);
	ck_assert_int_eq(disk_write(d, buf, 512, 0, 0), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_int_eq(disk_zero(d, 0, 512, ZERO_KEEP), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_int_eq(disk_allocate(d, 0, 512, false), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_int_eq(disk_resize(d, 2 * SIZE, false), 0);
	ck_assert_int_eq(disk_flush(d), 0);
	ck_assert_uint_eq(fake_calls(file, FAKE_FLUSH), 5);
}
END_TEST

/* ---- a model, one thread: any content since the last good flush, sector by sector ---- */

#define SECTORS 64
#define VERSIONS 400

/* Every write of the model fills whole sectors with its number. */
struct model {
	uint16_t old[SECTORS]; /* durable for sure */
	uint16_t since[SECTORS][VERSIONS];
	unsigned count[SECTORS];
};

static void model_write(struct model *m, uint64_t first, uint64_t n, uint16_t stamp)
{
	for (uint64_t s = first; s < first + n; s++)
		m->since[s][m->count[s]++] = stamp;
}

static void model_flush(struct model *m)
{
	for (int s = 0; s < SECTORS; s++)
		if (m->count[s]) {
			m->old[s] = m->since[s][m->count[s] - 1];
			m->count[s] = 0;
		}
}

static bool model_allows(const struct model *m, int s, uint16_t stamp)
{
	bool is = m->old[s] == stamp;

	for (unsigned i = 0; i < m->count[s]; i++)
		is |= m->since[s][i] == stamp;
	return is;
}

static void model_check(const struct model *m, uint64_t seed)
{
	uint64_t size;
	uint8_t *image = fake_crash(file, seed, &size);

	for (int s = 0; s < SECTORS; s++) {
		const uint16_t *words = (const uint16_t *)(image + s * 512);

		if (memcmp(words, words + 1, 510) || !model_allows(m, s, words[0]))
			ck_abort_msg("sector %d has %d", s, words[0]);
	}
	free(image);
}

static void model_step(struct model *m, uint64_t *seed, uint16_t stamp)
{
	static uint16_t words[8 * 256];
	uint64_t first = unit_below(seed, SECTORS - 8), n = 1 + unit_below(seed, 8);

	switch (unit_below(seed, 8)) {
	case 0:
		ck_assert_int_eq(disk_flush(d), 0);
		model_flush(m);
		break;
	case 1:
		ck_assert_int_eq(disk_zero(d, first * 512, n * 512, unit_below(seed, 2)), 0);
		model_write(m, first, n, 0);
		break;
	default:
		for (size_t i = 0; i < UNIT_LENGTH(words); i++)
			words[i] = stamp;
		ck_assert_int_eq(disk_write(d, words, n * 512, first * 512, 0), 0);
		model_write(m, first, n, stamp);
	}
}

START_TEST(flushed_is_there_after_a_crash)
{
	for (unsigned round = 0; round < unit_scaled(100); round++) {
		struct model *m = calloc(1, sizeof(*m));
		uint64_t seed = round;

		for (uint16_t stamp = 1; stamp < VERSIONS; stamp++) {
			model_step(m, &seed, stamp);
			if (stamp % 20 == 0)
				model_check(m, seed);
		}
		free(m);
		/* The next round begins with zeros that are durable. */
		ck_assert_int_eq(disk_zero(d, 0, SIZE, ZERO_PUNCH), 0);
		ck_assert_int_eq(disk_flush(d), 0);
	}
}
END_TEST

/* ---- the same with threads ---- */

#define WRITERS 4
#define FLUSHERS 3
#define SLOTS_EACH 8
#define SLOTS (WRITERS * SLOTS_EACH)

/* Versions of each slot; a slot is one sector that one thread writes. */
static _Atomic uint64_t begun[SLOTS], acknowledged[SLOTS], flushed[SLOTS];
static _Atomic bool stop;
static _Atomic unsigned failures, flushes;

/* Writers' slots lie side by side in the same pages. */
static uint64_t offset_of(unsigned slot)
{
	return (uint64_t)slot * 512;
}

static void *slot_writer(void *arg)
{
	uint64_t sector[64], seed = (uintptr_t)arg, version = 0;

	while (!atomic_load(&stop)) {
		unsigned slot = unit_below(&seed, SLOTS_EACH) * WRITERS + (uintptr_t)arg;

		version++;
		for (int i = 0; i < 64; i++)
			sector[i] = version;
		atomic_store(&begun[slot], version);
		if (disk_write(d, sector, sizeof(sector), offset_of(slot),
			       unit_below(&seed, 50) ? 0 : IO_DSYNC))
			atomic_fetch_add(&failures, 1);
		atomic_store(&acknowledged[slot], version);
	}
	return NULL;
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
	uint64_t old = atomic_load(v);

	while (old < to && !atomic_compare_exchange_weak(v, &old, to))
		;
}

static void *slot_flusher(void *arg)
{
	uint64_t seed = 100 + (uintptr_t)arg, before[SLOTS];

	while (!atomic_load(&stop)) {
		for (int i = 0; i < SLOTS; i++)
			before[i] = atomic_load(&acknowledged[i]);
		if (disk_flush(d))
			atomic_fetch_add(&failures, 1);
		atomic_fetch_add(&flushes, 1);
		for (int i = 0; i < SLOTS; i++)
			raise_to(&flushed[i], before[i]);
		usleep(unit_below(&seed, 300));
	}
	return NULL;
}

static void check_slots(uint64_t seed)
{
	uint64_t least[SLOTS], size;
	uint8_t *image;

	for (int i = 0; i < SLOTS; i++)
		least[i] = atomic_load(&flushed[i]);
	image = fake_crash(file, seed, &size);
	for (int i = 0; i < SLOTS; i++) {
		uint64_t got[64];

		memcpy(got, image + offset_of(i), sizeof(got));
		ck_assert_msg(got[0] == got[63], "slot %d is torn", i);
		ck_assert_msg(got[0] >= least[i], "slot %d has %llu, flushed was %llu", i,
			      (unsigned long long)got[0], (unsigned long long)least[i]);
		ck_assert_uint_le(got[0], atomic_load(&begun[i]));
	}
	free(image);
}

START_TEST(flushed_by_others_is_there_after_a_crash)
{
	pthread_t threads[WRITERS + FLUSHERS];
	uint64_t end;
	unsigned crashes = 0;

	fake_delay(file, FAKE_WRITE, 50);
	fake_delay(file, FAKE_FLUSH, 200);
	for (uintptr_t i = 0; i < WRITERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, slot_writer, (void *)i), 0);
	for (uintptr_t i = WRITERS; i < UNIT_LENGTH(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, slot_flusher, (void *)i), 0);
	end = unit_now_ms() + unit_scaled(3000);
	while (unit_now_ms() < end) {
		check_slots(++crashes);
		usleep(500);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < UNIT_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 50; i++)
		check_slots(++crashes);
	ck_assert_uint_eq(atomic_load(&failures), 0);
	ck_assert_uint_gt(atomic_load(&flushes), 0);
}
END_TEST

/* ---- whole writes: with a range lock, no reader sees half of one ---- */

#define PAGES 5
#define THREE_PAGES 12288

static void *page_writer(void *arg)
{
	uint8_t page[THREE_PAGES];
	uint64_t seed = (uintptr_t)arg;

	for (unsigned i = 0; i < unit_scaled(300); i++) {
		memset(page, (int)unit_random(&seed), sizeof(page));
		if (disk_write(d, page, sizeof(page), unit_below(&seed, PAGES - 2) * 4096, 0))
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static int split_write(struct image *img, const void *b, size_t len, uint64_t off, unsigned io)
{
	int err = img->file->ops->write(img->file, b, len / 2, off, io);

	usleep(20);
	return err ? err
		   : img->file->ops->write(img->file, (const char *)b + len / 2, len - len / 2,
					   off + len / 2, io);
}

static void *page_reader(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	uint8_t page[4096];
	size_t done;

	for (unsigned i = 0; i < unit_scaled(300); i++) {
		uint64_t off = unit_below(&seed, PAGES) * 4096;

		if (disk_read(d, page, sizeof(page), off, 0, &done) || page[0] != page[4095])
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

START_TEST(all_of_a_write_or_nothing)
{
	struct image_format halves = *d->image->format;
	const struct image_format *whole = d->image->format;
	pthread_t threads[8];

	/* In two halves of a page and a half each, were it not for the lock. */
	halves.write = split_write;
	d->image->format = &halves;
	for (uintptr_t i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
						i < 4 ? page_writer : page_reader, (void *)(i + 1)),
				 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < PAGES; i++) {
		size_t done;

		ck_assert_int_eq(disk_read(d, buf, 4096, i * 4096, 0, &done), 0);
		ck_assert_int_eq(buf[0], buf[4095]);
	}
	d->image->format = whole;
	ck_assert_uint_eq(atomic_load(&failures), 0);
}
END_TEST

/* Growing from many sides at once: the size is the largest end, and nothing is lost. */
static void *grower(void *arg)
{
	uint64_t sector[64];

	for (uint64_t i = 0; i < unit_scaled(200); i++) {
		uint64_t slot = i * 8 + (uintptr_t)arg;

		for (int k = 0; k < 64; k++)
			sector[k] = slot;
		if (disk_write(d, sector, sizeof(sector), SIZE + slot * 512, 0))
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

START_TEST(grown_by_many_threads)
{
	uint64_t sector[64], slots = (uint64_t)unit_scaled(200) * 8;
	pthread_t threads[8];
	size_t done;

	for (uintptr_t i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, grower, (void *)i), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&failures), 0);
	ck_assert_uint_eq(disk_size(d), SIZE + slots * 512);
	for (uint64_t slot = 0; slot < slots; slot++) {
		ck_assert_int_eq(disk_read(d, sector, sizeof(sector), SIZE + slot * 512, 0, &done),
				 0);
		ck_assert(done == sizeof(sector) && sector[0] == slot && sector[63] == slot);
	}
}
END_TEST

UNIT_MAIN("disk i/o", setup, teardown, a_flush_failure_is_final, any_flush_error_counts,
	  a_flush_beside_one_that_fails, a_durable_write_that_fails,
	  a_write_that_fails_changes_no_state, errors_are_announced_seldom,
	  once_by_many_threads_too, no_space, one_that_is_lost, only_when_there_is_something,
	  flushed_is_there_after_a_crash, flushed_by_others_is_there_after_a_crash,
	  all_of_a_write_or_nothing, grown_by_many_threads)
