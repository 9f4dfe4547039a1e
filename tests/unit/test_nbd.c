// SPDX-License-Identifier: GPL-2.0-or-later
#include "nbd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "notes.h"
#include "qemu_disk.h"
#include "unit.h"

#define MIB (1u << 20)
#define THREADS 8

static struct qemu_disk q;
static char reason[IMAGE_REASON];

static void kill_server(int sig)
{
	pid_t pid = qemu_server_of(getpid());

	if (pid)
		kill(pid, sig);
}

static void assert_no_server(void)
{
	pid_t pid;

	ck_assert_uint_eq(qemu_find_server(getpid(), &pid), 0);
}

static void pause_us(uint64_t us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

static _Atomic unsigned done; /* requests */

static void request(uint64_t *seed, uint64_t from, uint64_t to)
{
	qemu_disk_request(&q, seed, from, to);
	done++;
}

/*
 * Kills the server now and then until it is told to stop. In between some
 * requests are done, however slow this machine is.
 */
struct killer {
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned kills;
	uint64_t seed;
};

static void *kill_now_and_then(void *arg)
{
	struct killer *k = arg;
	unsigned last = done;

	while (!k->stop) {
		pid_t pid;

		pause_us(unit_below(&k->seed, 100000));
		if (done - last >= 5 * THREADS && qemu_find_server(getpid(), &pid)) {
			kill(pid, SIGKILL);
			k->kills++;
			last = done;
		}
	}
	return NULL;
}

static void killer_start(struct killer *k)
{
	nbd_limits.deaths = 63;
	nbd_limits.deaths_ms = 1000;
	ck_assert_int_eq(pthread_create(&k->thread, NULL, kill_now_and_then, k), 0);
}

static void killer_stop(struct killer *k)
{
	k->stop = true;
	pthread_join(k->thread, NULL);
}

START_TEST(available)
{
	char text[200];

	if (qemu_missing("nbd"))
		return;
	ck_assert_int_eq(nbd_available(text, sizeof(text)), 0);
	ck_assert(!strncmp(text, "qemu-nbd ", 9) && strstr(text, ", libnbd 1."));
}
END_TEST

static void work(const struct image_format *f, bool notes, unsigned rounds)
{
	uint64_t seed = 7;

	qemu_disk_make(&q, f, 24 * MIB, notes);
	for (unsigned round = 0; round < 2; round++) {
		qemu_disk_open(&q);
		qemu_disk_compare(&q);
		for (unsigned i = 0; i < rounds; i++)
			qemu_disk_request(&q, &seed, 0, q.size);
		qemu_disk_compare(&q);
		qemu_disk_close(&q);
		qemu_disk_verify(&q);
	}
	qemu_disk_free(&q);
}

START_TEST(like_a_twin)
{
	if (qemu_missing("nbd"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++)
		work(qemu_disk_formats[i], true, unit_scaled(300));
}
END_TEST

START_TEST(without_notes)
{
	if (!qemu_missing("nbd"))
		work(&qcow2_format, false, unit_scaled(100));
}
END_TEST

static void work_and_kill(const struct image_format *f, bool notes, unsigned kills)
{
	struct killer k = { .seed = kills };
	uint64_t seed = 3;

	qemu_disk_make(&q, f, 24 * MIB, notes);
	qemu_disk_open(&q);
	killer_start(&k);
	while (k.kills < kills)
		request(&seed, 0, q.size);
	killer_stop(&k);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}

START_TEST(server_dies)
{
	if (qemu_missing("nbd"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++)
		work_and_kill(qemu_disk_formats[i], true, unit_scaled(20));
	work_and_kill(&qcow2_format, false, unit_scaled(20));
}
END_TEST

/* ---- many at a time ---- */

struct worker {
	pthread_t thread;
	uint64_t seed, from, to;
	unsigned rounds;
};

static void *work_in_part(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->rounds; i++)
		request(&w->seed, w->from, w->to);
	return NULL;
}

static void work_together(unsigned rounds)
{
	struct worker workers[THREADS];
	uint64_t part = q.size / THREADS;

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .seed = i + 1,
					      .from = i * part,
					      .to = (i + 1) * part,
					      .rounds = rounds };
		pthread_create(&workers[i].thread, NULL, work_in_part, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

START_TEST(eight_threads)
{
	if (qemu_missing("nbd"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		pid_t server;

		qemu_disk_make(&q, qemu_disk_formats[i], 64 * MIB, true);
		qemu_disk_open(&q);
		server = qemu_server_of(getpid());
		work_together(unit_scaled(100));
		qemu_disk_compare(&q);
		/* It is the same one: QEMU stands what we ask. */
		ck_assert_int_eq(qemu_server_of(getpid()), server);
		qemu_disk_close(&q);
		qemu_disk_verify(&q);
		qemu_disk_free(&q);
	}
}
END_TEST

START_TEST(eight_threads_and_deaths)
{
	struct killer k = { .seed = 5 };

	if (qemu_missing("nbd"))
		return;
	nbd_limits.notes_bytes = 2 * MIB;
	qemu_disk_make(&q, &qcow2_format, 64 * MIB, true);
	qemu_disk_open(&q);
	killer_start(&k);
	while (k.kills < unit_scaled(25))
		work_together(50);
	killer_stop(&k);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

/*
 * A flush that ends before a write is answered must not drop its note. Only
 * what a write allocated can be lost, so all is new; and nothing is flushed
 * after the last writes.
 */
static void *write_part(void *arg)
{
	struct worker *w = arg;

	for (uint64_t off = w->from; off < w->to; off += 65536, done++)
		if (q.format->write(q.img, q.twin + off, 65536, off, 0))
			ck_abort_msg("a write failed");
	return NULL;
}

static void *flush_and_kill(void *arg)
{
	_Atomic bool *stop = arg;
	uint64_t seed = 17;
	unsigned last = done;
	pid_t pid;

	while (!*stop) {
		for (unsigned i = unit_below(&seed, 20); i; i--)
			if (q.format->flush(q.img))
				ck_abort_msg("a flush failed");
		if (done - last >= 2 * THREADS && qemu_find_server(getpid(), &pid)) {
			kill(pid, SIGKILL);
			last = done;
		}
	}
	return NULL;
}

static void write_beside_flushes(void)
{
	struct worker workers[THREADS];
	uint64_t part = q.size / THREADS;
	_Atomic bool stop = false;
	pthread_t flusher;

	ck_assert_int_eq(q.format->zero(q.img, 0, q.size, ZERO_PUNCH), 0);
	ck_assert_int_eq(q.format->flush(q.img), 0);
	pthread_create(&flusher, NULL, flush_and_kill, &stop);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .from = i * part, .to = (i + 1) * part };
		pthread_create(&workers[i].thread, NULL, write_part, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	stop = true;
	pthread_join(flusher, NULL);
	qemu_disk_compare(&q);
}

START_TEST(flushes_beside_writes)
{
	if (qemu_missing("nbd"))
		return;
	nbd_limits.deaths = 63;
	nbd_limits.deaths_ms = 1000;
	qemu_disk_make(&q, &qcow2_format, 32 * MIB, true);
	memset(q.twin, 'w', q.size);
	qemu_disk_open(&q);
	for (unsigned i = 0; i < unit_scaled(10); i++)
		write_beside_flushes();
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

/* ---- the program dies too ---- */

static _Atomic uint64_t *acknowledged; /* in memory that both have */

/* In a child: works until it is killed. */
static void work_for_ever(uint64_t seed)
{
	qemu_disk_open(&q);
	for (;;) {
		qemu_disk_request(&q, &seed, 0, q.size);
		++*acknowledged;
	}
}

/* Either before or after a request that has no answer. */
static void compare_but(uint64_t off, uint64_t len, const uint8_t *before)
{
	uint8_t *buf = malloc(q.size);

	ck_assert_int_eq(q.format->read(q.img, buf, q.size, 0, 0), 0);
	for (uint64_t i = 0; i < q.size; i++)
		if (buf[i] != q.twin[i] && (i < off || i - off >= len || buf[i] != before[i]))
			ck_abort_msg("%s differs at %llu: %02x, %02x; the last was %llu at %llu",
				     q.format->name, (unsigned long long)i, buf[i], q.twin[i],
				     (unsigned long long)len, (unsigned long long)off);
	memcpy(q.twin, buf, q.size);
	free(buf);
}

static void die_once(uint64_t seed, bool server_too)
{
	uint64_t chance = seed, s = seed, off = 0, len = 0;
	uint8_t *before = malloc(q.size);
	pid_t child, server;

	*acknowledged = 0;
	child = fork();
	if (!child)
		work_for_ever(seed);
	server = qemu_server_of(child);
	ck_assert_int_gt(server, 0);
	pause_us(unit_below(&chance, unit_below(&chance, 3) ? 200000 : 20000));
	if (server_too && unit_below(&chance, 2))
		kill(server, SIGKILL);
	kill(child, SIGKILL);
	if (server_too)
		kill(server, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	for (uint64_t i = 0; i < *acknowledged; i++)
		qemu_twin_request(q.twin, &s, 0, q.size, &off, &len);
	/* The next one may have been done or not. */
	memcpy(before, q.twin, q.size);
	qemu_twin_request(q.twin, &s, 0, q.size, &off, &len);
	qemu_disk_open(&q);
	compare_but(off, len, before);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	free(before);
}

static void program_dies(bool server_too)
{
	if (qemu_missing("nbd"))
		return;
	acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		qemu_disk_make(&q, qemu_disk_formats[i], 24 * MIB, true);
		for (unsigned round = 0; round < unit_scaled(6); round++)
			die_once(100 * i + round, server_too);
		qemu_disk_free(&q);
	}
}

START_TEST(both_die)
{
	program_dies(true);
}
END_TEST

/* Its server with it, at whatever moment: one that is left has the image locked. */
START_TEST(only_the_program_dies)
{
	program_dies(false);
}
END_TEST

/* ---- limits ---- */

START_TEST(dies_too_often)
{
	uint8_t buf[512];
	int err = 0;

	if (qemu_missing("nbd"))
		return;
	qemu_disk_make(&q, &qcow2_format, 4 * MIB, true);
	qemu_disk_open(&q);
	memset(q.twin, 'x', sizeof(buf));
	ck_assert_int_eq(q.format->write(q.img, q.twin, sizeof(buf), 0, 0), 0);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_int_eq(q.format->read(q.img, buf, sizeof(buf), 0, 0), 0);
		kill_server(SIGKILL);
	}
	/* It may not be known yet. */
	for (unsigned i = 0; i < 100 && !err; i++)
		err = q.format->read(q.img, buf, sizeof(buf), 0, 0);
	ck_assert_int_eq(err, -EIO);
	ck_assert_int_eq(q.format->write(q.img, buf, sizeof(buf), 0, 0), -EIO);
	ck_assert_int_eq(q.format->flush(q.img), -EIO);
	ck_assert_int_eq(q.format->rest(q.img), -EIO);
	ck_assert_uint_gt(notes_bytes(q.img->notes), 0);
	assert_no_server();
	/* Until somebody uses it again. */
	ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(stuck)
{
	uint64_t begin;

	if (qemu_missing("nbd"))
		return;
	qemu_disk_make(&q, &qcow2_format, 4 * MIB, true);
	qemu_disk_open(&q);
	nbd_limits.answer_ms = nbd_limits.flush_ms = 3000; /* also for the next one's start */
	memset(q.twin, 'y', 4096);
	kill_server(SIGSTOP);
	begin = unit_now_ms();
	ck_assert_int_eq(q.format->write(q.img, q.twin, 4096, 0, 0), 0);
	ck_assert_uint_ge(unit_now_ms() - begin, 2900);
	kill_server(SIGSTOP);
	ck_assert_int_eq(q.format->flush(q.img), 0);
	ck_assert_uint_eq(notes_bytes(q.img->notes), 0);
	qemu_disk_compare(&q);
	/* One that does not want to end. */
	nbd_limits.end_ms = 300;
	ck_assert_int_eq(q.format->write(q.img, q.twin, 4096, 0, 0), 0);
	kill_server(SIGSTOP);
	image_close(q.img);
	assert_no_server();
	qemu_disk_open(&q);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

/* At whatever moment of the next server's start. */
START_TEST(closed_while_mending)
{
	uint64_t seed = 1, begin;

	if (qemu_missing("nbd"))
		return;
	qemu_disk_make(&q, &qcow2_format, 4 * MIB, true);
	for (unsigned i = 0; i < unit_scaled(30); i++) {
		qemu_disk_open(&q);
		memset(q.twin + 512 * i, i + 1, 512);
		ck_assert_int_eq(q.format->write(q.img, q.twin + 512 * i, 512, 512 * i, 0), 0);
		kill_server(SIGKILL);
		pause_us(unit_below(&seed, 20000));
		begin = unit_now_ms();
		image_close(q.img);
		ck_assert_uint_lt(unit_now_ms() - begin, nbd_limits.end_ms / 2);
		assert_no_server();
	}
	qemu_disk_open(&q);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(flushes_drop_notes)
{
	uint8_t *buf = calloc(1, MIB);

	if (qemu_missing("nbd"))
		return;
	nbd_limits.notes_bytes = 4 * MIB;
	qemu_disk_make(&q, &qcow2_format, 64 * MIB, true);
	qemu_disk_open(&q);
	ck_assert_int_eq(q.format->write(q.img, buf, 4096, 0, 0), 0);
	ck_assert_uint_gt(notes_bytes(q.img->notes), 4096);
	ck_assert_int_eq(q.format->flush(q.img), 0);
	ck_assert_uint_eq(notes_bytes(q.img->notes), 0);
	/* And a writer flushes where nobody does. */
	for (unsigned i = 0; i < 64; i++) {
		ck_assert_int_eq(q.format->write(q.img, buf, MIB, i * MIB, 0), 0);
		ck_assert_uint_lt(notes_bytes(q.img->notes), 6 * MIB);
	}
	/* A zeroing of any length is a few notes. */
	ck_assert_int_eq(q.format->flush(q.img), 0);
	ck_assert_int_eq(q.format->zero(q.img, 0, 64 * MIB, ZERO_KEEP), 0);
	ck_assert_uint_lt(notes_bytes(q.img->notes), 1024);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
	free(buf);
}
END_TEST

START_TEST(data_and_holes)
{
	uint64_t at;
	char byte = 'z';

	if (qemu_missing("nbd"))
		return;
	qemu_disk_make(&q, &qcow2_format, 3ull << 30, true);
	qemu_disk_open(&q);
	ck_assert_int_eq(q.format->seek(q.img, 0, SEEK_DATA, &at), -ENXIO);
	ck_assert_int_eq(q.format->seek(q.img, 5, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 5);
	q.twin[(2ull << 30) + 5] = byte;
	ck_assert_int_eq(q.format->write(q.img, &byte, 1, (2ull << 30) + 5, 0), 0);
	ck_assert_int_eq(q.format->seek(q.img, 1, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 2ull << 30);
	ck_assert_int_eq(q.format->seek(q.img, at, SEEK_HOLE, &at), 0);
	ck_assert_uint_gt(at, 2ull << 30);
	ck_assert_uint_le(at, (2ull << 30) + 65536);
	ck_assert_int_eq(q.format->seek(q.img, q.size - 1, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, q.size - 1);
	ck_assert_int_eq(q.format->seek(q.img, q.size, SEEK_HOLE, &at), -ENXIO);
	/* The end is a hole even where data goes up to it. */
	ck_assert_int_eq(q.format->write(q.img, &byte, 1, q.size - 1, 0), 0);
	ck_assert_int_eq(q.format->seek(q.img, q.size - 1, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, q.size);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

/* What has no space gets none: these formats cannot give any back. */
START_TEST(discards_take_no_space)
{
	struct file_stat before, after;

	if (qemu_missing("nbd"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		qemu_disk_make(&q, qemu_disk_formats[i], 256 * MIB, true);
		qemu_disk_open(&q);
		ck_assert_int_eq(q.img->file->ops->stat(q.img->file, &before), 0);
		ck_assert_int_eq(q.format->zero(q.img, 0, q.size, ZERO_PUNCH), 0);
		ck_assert_int_eq(q.format->flush(q.img), 0);
		ck_assert_int_eq(q.img->file->ops->stat(q.img->file, &after), 0);
		ck_assert_uint_le(after.allocated, before.allocated + MIB);
		qemu_disk_close(&q);
		qemu_disk_free(&q);
	}
}
END_TEST

UNIT_MAIN("nbd", NULL, NULL, available, like_a_twin, without_notes, server_dies, eight_threads,
	  eight_threads_and_deaths, flushes_beside_writes, both_die, only_the_program_dies,
	  dies_too_often, stuck, closed_while_mending, flushes_drop_notes, data_and_holes,
	  discards_take_no_space)
