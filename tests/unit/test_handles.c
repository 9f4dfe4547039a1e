// SPDX-License-Identifier: GPL-2.0-or-later
#include "handles.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_file.h"
#include "temp_tandem.h"
#include "unit.h"

static struct handles t;
static struct session *session;
static int memory;

static void setup(void)
{
	ck_assert_int_eq(session_new(&session, &memory), 0);
	handles_init(&t, session);
}

static void teardown(void)
{
	handles_destroy(&t);
	session_free(session);
	close(memory);
}

/* As if this daemon were dead, and another came. */
static void another_daemon(void)
{
	struct why why;

	session_free(session);
	session = NULL;
	ck_assert_int_eq(session_take(memory, &session, &why), 0);
	handles_init(&t, session);
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
	handles_init(&t, session);
	disk_unref(d);
	bare_tandem_free(tandem);
}
END_TEST

static void count_taken(void *arg, struct handle *h)
{
	unsigned *count = arg;

	ck_assert(h->taken_over);
	(*count)++;
}

START_TEST(another_daemon_has_the_same_table)
{
	uint64_t n[3], number;
	struct handle *h[3];
	unsigned count = 0;

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h[i], &n[i]), 0);
		h[i]->seen = 40 + i;
		handle_record(h[i], 100 + i, i, 1000 + i);
	}
	handle_free(&t, n[1]);
	handles_destroy(&t);
	another_daemon();
	ck_assert_int_eq(handles_take_over(&t, count_taken, &count), 0);
	ck_assert_uint_eq(count, 2);
	for (int i = 0; i < 3; i += 2) {
		struct handle *same = handle_get(&t, n[i]);

		ck_assert_ptr_nonnull(same);
		ck_assert_int_eq(same->kind, HANDLE_TREE);
		ck_assert_uint_eq(same->record->ino, 100 + i);
		ck_assert_uint_eq(same->record->flags, i);
		ck_assert_uint_eq(same->seen, 40 + i);
		ck_assert_uint_eq(handles_opened_by(&t, 1000 + i), n[i]);
	}
	/* What was closed stays so, whoever has its place now. */
	ck_assert_ptr_null(handle_get(&t, n[1]));
	ck_assert_uint_eq(handles_opened_by(&t, 1001), 0);
	for (int i = 0; i < 2 * HANDLES_PER_CHUNK; i++) {
		ck_assert_int_eq(handle_new(&t, HANDLE_DIR, &h[0], &number), 0);
		ck_assert(number != n[0] && number != n[1] && number != n[2]);
	}
	ck_assert_ptr_null(handle_get(&t, n[1]));
}
END_TEST

/* One that has a number and no record yet was never answered: it is not there. */
START_TEST(a_death_in_open_and_release)
{
	struct handle *h;
	unsigned count = 0;
	uint64_t n, next;

	ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h, &n), 0);
	handles_destroy(&t);
	another_daemon();
	ck_assert_int_eq(handles_take_over(&t, count_taken, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_ptr_null(handle_get(&t, n));
	/* It died after the record was free, and before the place had another number. */
	ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h, &n), 0);
	handle_record(h, 7, 0, 7);
	atomic_store(&h->record->kind, HANDLE_FREE);
	handles_destroy(&t);
	another_daemon();
	ck_assert_int_eq(handles_take_over(&t, count_taken, &count), 0);
	ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h, &next), 0);
	ck_assert_uint_eq((uint32_t)next, (uint32_t)n);
	ck_assert_uint_ne(next, n);
	ck_assert_ptr_null(handle_get(&t, n));
}
END_TEST

START_TEST(texts_are_known_again)
{
	struct handle *h;
	uint64_t n;

	ck_assert_int_eq(handle_new(&t, HANDLE_TREE, &h, &n), 0);
	handle_record(h, 7, 0, 7);
	text_add(&h->text, "state", 5);
	handle_record_text(h);
	ck_assert(handle_is_recorded_text(h, &h->text));
	h->text.bytes[0] = 'S';
	ck_assert(!handle_is_recorded_text(h, &h->text));
	h->text.bytes[0] = 's';
	text_add(&h->text, ".", 1);
	ck_assert(!handle_is_recorded_text(h, &h->text));
}
END_TEST

START_TEST(commands)
{
	struct wait_for wait = { .any = true, .node = { .row = 3, .object = 9 } };
	struct command_record *c;

	ck_assert_ptr_null(session_command(session, 0));
	ck_assert_ptr_null(session_command(session, 5));
	c = session_command_begin(session, 5);
	ck_assert_ptr_eq(session_command(session, 5), c);
	ck_assert_int_eq(c->state, COMMAND_BEGUN);
	session_command_done(c, 0, "result", 6, &wait, 77);
	another_daemon();
	c = session_command(session, 5);
	ck_assert_int_eq(c->state, COMMAND_DONE);
	ck_assert_int_eq(c->err, 0);
	ck_assert_mem_eq(c->result, "result", 6);
	ck_assert(c->waits && c->wait_row == 3 && c->wait_object == 9 && c->deadline_ns == 77);
	/* What has no answer is never given up, what has one is when there is no other place. */
	for (unsigned i = 1; i < SESSION_COMMANDS; i++)
		ck_assert_ptr_nonnull(session_command_begin(session, 5 + i));
	ck_assert_ptr_null(session_command_begin(session, 3));
	session_command_answered(session_command(session, 5));
	c = session_command_begin(session, 3);
	ck_assert_uint_eq(c->unique, 3);
	ck_assert_ptr_null(session_command(session, 5));
}
END_TEST

START_TEST(of_another_version)
{
	struct session *other = NULL;
	struct why why = { 0 };

	session->version++;
	ck_assert_int_eq(session_take(memory, &other, &why), -EPROTO);
	ck_assert_ptr_null(other);
	ck_assert_ptr_nonnull(strstr(why.message, "version"));
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
	  another_daemon_has_the_same_table, a_death_in_open_and_release, texts_are_known_again,
	  commands, of_another_version, by_many_threads)
