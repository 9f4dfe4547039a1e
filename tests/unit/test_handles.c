// SPDX-License-Identifier: GPL-2.0-or-later
#include "handles.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fake_file.h"
#include "temp_tandem.h"
#include "unit.h"

static struct handles t;

static void setup(void)
{
	handles_init(&t);
}

static void teardown(void)
{
	handles_destroy(&t);
}

START_TEST(numbers)
{
	uint64_t n[3 * HANDLES_PER_CHUNK];
	struct handle *h[UNIT_LENGTH(n)];

	for (size_t i = 0; i < UNIT_LENGTH(n); i++) {
		ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h[i], &n[i]), 0);
		ck_assert_uint_ne(n[i], 0);
		ck_assert_ptr_eq(handle_get(&t, n[i]), h[i]);
		h[i]->seen = i;
	}
	for (size_t i = 0; i < UNIT_LENGTH(n); i++) {
		ck_assert_ptr_eq(handle_get(&t, n[i]), h[i]);
		ck_assert_uint_eq(h[i]->seen, i);
		ck_assert_int_eq(h[i]->kind, HANDLE_TREE);
	}
	ck_assert_uint_eq(t.chunk_count, 3);
	for (size_t i = 0; i < UNIT_LENGTH(n); i++)
		handle_free(&t, n[i]);
	/* The same places again, as new. */
	for (size_t i = 0; i < UNIT_LENGTH(n); i++) {
		ck_assert_int_eq(handle_new(&t, HANDLE_DIR, &h[i], &n[i]), 0);
		ck_assert_int_eq(h[i]->kind, HANDLE_DIR);
		ck_assert(!h[i]->disk && !h[i]->seen && !h[i]->commanded && !h[i]->rendered &&
			  !h[i]->base);
	}
	ck_assert_uint_eq(t.chunk_count, 3);
}
END_TEST

START_TEST(not_more_than_a_million)
{
	uint64_t n = 7;
	struct handle *h = NULL;

	t.chunk_count = HANDLES_CHUNKS;
	ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h, &n), -ENFILE);
	ck_assert_uint_eq(n, 7);
	ck_assert_ptr_null(h);
	t.chunk_count = 0;
}
END_TEST

START_TEST(a_disks_handle_is_an_opener)
{
	struct tandem *tandem = bare_tandem();
	struct disk *d = bare_disk(tandem, fake_file_new(NULL, 4096));
	struct handle *h;
	uint64_t n;

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(handle_new(&t, HANDLE_DISK, &h, &n), 0);
		ck_assert_int_eq(disk_open(d, true), 0);
		h->disk = disk_ref(d);
	}
	ck_assert_uint_eq(d->openers, 3);
	handle_free(&t, n);
	ck_assert_uint_eq(d->openers, 2);
	ck_assert_uint_eq(atomic_load(&d->refs), 3);
	/* One that failed to open has no disk. */
	ck_assert_int_eq(handle_new(&t, HANDLE_DISK, &h, &n), 0);
	handle_free(&t, n);
	handles_destroy(&t);
	ck_assert_uint_eq(d->openers, 0);
	ck_assert_uint_eq(atomic_load(&d->refs), 1);
	ck_assert_uint_eq(atomic_load(&tandem->openers), 0);
	handles_init(&t);
	disk_unref(d);
	bare_tandem_free(tandem);
}
END_TEST

static atomic_uint wrong;

static void *open_and_close(void *arg)
{
	unsigned rounds = unit_scaled(20000);
	uint64_t seed = (uintptr_t)arg, n[100] = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t *slot = &n[unit_below(&seed, UNIT_LENGTH(n))];
		struct handle *h;

		if (*slot) {
			h = handle_get(&t, *slot);
			atomic_fetch_add(&wrong, h->seen != (uintptr_t)arg);
			handle_free(&t, *slot);
			*slot = 0;
		} else {
			if (handle_new(&t, HANDLE_TREE, &h, slot))
				abort();
			atomic_fetch_add(&wrong, h->seen != 0);
			h->seen = (uintptr_t)arg;
		}
	}
	return NULL;
}

START_TEST(by_many_threads)
{
	pthread_t threads[8];

	for (uintptr_t i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, (void *)(i + 1)),
				 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
}
END_TEST

UNIT_MAIN("handles", setup, teardown, numbers, not_more_than_a_million, a_disks_handle_is_an_opener,
	  by_many_threads)
