// SPDX-License-Identifier: GPL-2.0-or-later
#include "notes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc32c.h"
#include "unit.h"

/* Of the file: head and header of a record. */
#define FIRST 128
#define HEADER 24
/* In the head: base, start, checksum. */
#define HEAD_BASE 56

static const uint8_t boot[16] = "this boot", other_boot[16] = "another";
static const uint8_t binding[NOTES_BINDING] = "image", other_binding[NOTES_BINDING] = "changed";
static const char *dir;
static int dirfd_;
static struct notes *n;
static uint8_t *big;

static struct notes *opened(const uint8_t *of_boot)
{
	struct notes *notes;

	ck_assert_int_eq(notes_open(dirfd_, "7", of_boot, &notes), 0);
	return notes;
}

static void setup(void)
{
	dir = unit_dir();
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dirfd_, 0);
	big = calloc(1, NOTES_RECORD_MAX + 1);
	n = opened(boot);
	ck_assert_int_eq(notes_begin(n, binding), 0);
}

static void teardown(void)
{
	notes_close(n);
	close(dirfd_);
	free(big);
}

static off_t file_size(void)
{
	struct stat st;

	return fstatat(dirfd_, "7", &st, 0) ? -errno : st.st_size;
}

/* ---- records that say which they are ---- */

struct numbered {
	uint64_t number, len; /* then bytes that follow from the number */
};

static void add_numbered(struct notes *notes, uint64_t number, size_t len)
{
	struct numbered head = { number, len };

	memset(big, (int)number, len);
	ck_assert_int_eq(notes_add(notes, 1, &head, sizeof(head), big, len), 0);
}

struct seen {
	uint64_t count, first, last;
};

static int see(void *arg, uint32_t kind, const void *data, size_t len)
{
	const struct numbered *r = data;
	const uint8_t *bytes = (const uint8_t *)(r + 1);
	struct seen *s = arg;

	ck_assert_uint_eq(kind, 1);
	ck_assert_uint_eq((uintptr_t)data % 8, 0);
	ck_assert_uint_ge(len, sizeof(*r));
	ck_assert_uint_eq(len, sizeof(*r) + r->len);
	ck_assert(!r->len ||
		  (bytes[0] == (uint8_t)r->number && !memcmp(bytes, bytes + 1, r->len - 1)));
	if (s->count)
		ck_assert_uint_eq(r->number, s->last + 1);
	else
		s->first = r->number;
	s->last = r->number;
	s->count++;
	return 0;
}

static struct seen replayed(struct notes *notes)
{
	struct seen s = { 0 };
	bool foreign = true;

	ck_assert_int_eq(notes_replay(notes, binding, see, &s, &foreign), 0);
	ck_assert(!foreign);
	return s;
}

static void reopen(void)
{
	notes_close(n);
	n = opened(boot);
}

static size_t content(uint8_t *buf, size_t room)
{
	int fd = openat(dirfd_, "7", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, buf, room);

	ck_assert_int_ge(len, 0);
	close(fd);
	return len;
}

static void put_content(const uint8_t *buf, size_t len)
{
	int fd = openat(dirfd_, "7", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, buf, len), len);
	close(fd);
}

/* ---- one program ---- */

START_TEST(in_order)
{
	static const size_t lens[] = { 0,
				       1,
				       7,
				       8,
				       9,
				       471,
				       472,
				       473,
				       4096,
				       70000,
				       NOTES_RECORD_MAX - sizeof(struct numbered),
				       3 };
	struct seen s;
	struct stat st;

	ck_assert_int_eq(file_size(), -ENOENT);
	for (size_t i = 0; i < UNIT_LENGTH(lens); i++)
		add_numbered(n, i, lens[i]);
	ck_assert_int_eq(fstatat(dirfd_, "7", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	ck_assert_uint_eq(notes_bytes(n), st.st_size - FIRST);
	reopen();
	ck_assert_uint_eq(notes_bytes(n), 0);
	for (int twice = 0; twice < 2; twice++) {
		s = replayed(n);
		ck_assert_uint_eq(s.count, UNIT_LENGTH(lens));
		ck_assert_uint_eq(s.first, 0);
		ck_assert_uint_eq(notes_bytes(n), st.st_size - FIRST);
	}
	add_numbered(n, s.count, 5);
	reopen();
	ck_assert_uint_eq(replayed(n).count, s.count + 1);
	ck_assert_int_eq(notes_clear(n), 0);
	ck_assert_int_eq(file_size(), -ENOENT);
	add_numbered(n, 0, 5);
	ck_assert_uint_eq(replayed(n).count, 1);
}
END_TEST

static int stop_at_two(void *arg, uint32_t kind, const void *data, size_t len)
{
	return ++*(int *)arg == 2 ? -EILSEQ : 0;
}

START_TEST(sizes_and_stops)
{
	bool foreign = true;
	int calls = 0;

	ck_assert_int_eq(notes_add(n, 1, NULL, 0, big, NOTES_RECORD_MAX + 1), -EMSGSIZE);
	ck_assert_int_eq(notes_add(n, 1, big, 1, big, NOTES_RECORD_MAX), -EMSGSIZE);
	ck_assert_int_eq(notes_add(n, 1, big, SIZE_MAX, big, 2), -EMSGSIZE);
	ck_assert_int_eq(file_size(), -ENOENT);
	ck_assert_int_eq(notes_add(n, 1, NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(notes_add(n, 2, NULL, 0, big, NOTES_RECORD_MAX), 0);
	ck_assert_int_eq(notes_add(n, 3, big, NOTES_RECORD_MAX, NULL, 0), 0);
	ck_assert_int_eq(notes_replay(n, binding, stop_at_two, &calls, &foreign), -EILSEQ);
	ck_assert_int_eq(calls, 2);
	ck_assert_msg(foreign, "outputs are set on success only");
	calls = 2;
	ck_assert_int_eq(notes_replay(n, binding, stop_at_two, &calls, &foreign), 0);
	ck_assert_int_eq(calls, 5);
}
END_TEST

START_TEST(cut_at_every_length)
{
	uint8_t bytes[1024];
	uint64_t two;
	size_t len;

	add_numbered(n, 1, 30);
	add_numbered(n, 2, 40);
	two = FIRST + notes_bytes(n);
	add_numbered(n, 3, 200);
	len = content(bytes, sizeof(bytes));
	for (size_t cut = 0; cut < len; cut++) {
		struct seen s;

		put_content(bytes, cut);
		reopen();
		s = replayed(n);
		if (cut >= two)
			ck_assert(s.first == 1 && s.last == 2);
		ck_assert_uint_lt(s.count, 3);
		add_numbered(n, s.last + 1, 1);
		ck_assert_uint_eq(file_size(), FIRST + notes_bytes(n));
		reopen();
		ck_assert_uint_eq(replayed(n).last, s.last + 1);
	}
}
END_TEST

/* Whatever flips: what comes is right, and a prefix of what was added. */
START_TEST(flipped_bits)
{
	uint8_t bytes[1024];
	size_t len;

	for (int i = 1; i <= 3; i++)
		add_numbered(n, i, 24); /* no padding behind it */
	len = content(bytes, sizeof(bytes));
	for (size_t bit = 0; bit < len * 8; bit++) {
		struct seen s = { 0 };
		bool foreign;

		bytes[bit / 8] ^= 1 << bit % 8;
		put_content(bytes, len);
		bytes[bit / 8] ^= 1 << bit % 8;
		reopen();
		ck_assert_int_eq(notes_replay(n, binding, see, &s, &foreign), 0);
		/* The head's 80 bytes; those of the boot id are its second 8 to 24. */
		if (bit < 76 * 8)
			ck_assert(!s.count && foreign == !(bit >= 8 * 8 && bit < 24 * 8));
		else if (bit >= FIRST * 8)
			ck_assert_uint_le(s.count, (bit / 8 - FIRST) / (HEADER + 16 + 24));
		ck_assert(!s.count || s.first == 1);
	}
}
END_TEST

START_TEST(of_another_boot)
{
	add_numbered(n, 1, 1000);
	notes_close(n);
	n = opened(other_boot);
	ck_assert_uint_eq(replayed(n).count, 0);
	ck_assert_uint_eq(notes_bytes(n), 0);
	add_numbered(n, 5, 10);
	ck_assert_int_eq(file_size(), FIRST + notes_bytes(n));
	reopen();
	ck_assert_uint_eq(replayed(n).count, 0);
	notes_close(n);
	n = opened(other_boot);
	ck_assert_uint_eq(replayed(n).first, 5);
	reopen();
	ck_assert_uint_eq(replayed(n).count, 0);
	ck_assert_int_eq(notes_clear(n), 0);
	ck_assert_int_eq(file_size(), -ENOENT);
}
END_TEST

START_TEST(of_another_binding)
{
	struct seen s = { 0 };
	bool foreign = false;

	add_numbered(n, 1, 10);
	reopen();
	ck_assert_int_eq(notes_replay(n, other_binding, see, &s, &foreign), 0);
	ck_assert(foreign && !s.count);
	ck_assert_uint_eq(notes_bytes(n), 0);
	ck_assert_uint_eq(replayed(n).count, 1);
	ck_assert_int_eq(notes_replay(n, other_binding, see, &s, &foreign), 0);
	ck_assert_int_eq(notes_begin(n, other_binding), 0);
	ck_assert_int_eq(file_size(), -ENOENT);
	add_numbered(n, 2, 10);
	reopen();
	ck_assert_int_eq(notes_replay(n, other_binding, see, &s, &foreign), 0);
	ck_assert(!foreign && s.count == 1 && s.first == 2);
}
END_TEST

/* What has no records cannot miss in an image. */
START_TEST(of_another_binding_but_empty)
{
	struct seen s = { 0 };
	bool foreign = true;

	add_numbered(n, 1, 10);
	ck_assert_int_eq(notes_drop(n, notes_mark(n)), 0);
	ck_assert_int_eq(file_size(), FIRST);
	reopen();
	ck_assert_int_eq(notes_replay(n, other_binding, see, &s, &foreign), 0);
	ck_assert(!foreign && !s.count);
	add_numbered(n, 2, 10);
	ck_assert_int_eq(file_size(), FIRST + notes_bytes(n));
	reopen();
	ck_assert_int_eq(notes_replay(n, binding, see, &s, &foreign), 0);
	ck_assert(foreign && !s.count);
	ck_assert_int_eq(notes_replay(n, other_binding, see, &s, &foreign), 0);
	ck_assert(!foreign && s.count == 1 && s.first == 2);
}
END_TEST

START_TEST(something_else_is_called_so)
{
	struct notes *out = NULL;

	ck_assert_int_eq(symlinkat("elsewhere", dirfd_, "link"), 0);
	ck_assert_int_eq(mkdirat(dirfd_, "dir", 0700), 0);
	ck_assert_int_eq(mkfifoat(dirfd_, "fifo", 0600), 0);
	ck_assert_int_eq(notes_open(dirfd_, "link", boot, &out), -ELOOP);
	ck_assert_int_eq(notes_open(dirfd_, "dir", boot, &out), -EINVAL);
	ck_assert_int_eq(notes_open(dirfd_, "fifo", boot, &out), -EINVAL);
	ck_assert_ptr_null(out);
	notes_close(NULL);
}
END_TEST

START_TEST(the_running_boot)
{
	uint8_t one[16], two[16] = { 0 };

	ck_assert_int_eq(notes_boot(one), 0);
	ck_assert(memcmp(one, two, 16));
	ck_assert_int_eq(notes_boot(two), 0);
	ck_assert(!memcmp(one, two, 16));
}
END_TEST

/* ---- dropping ---- */

START_TEST(drops_the_oldest)
{
	struct stat before, after;
	uint64_t mark, bytes;

	for (int i = 0; i < 100; i++)
		add_numbered(n, i, 10000);
	mark = notes_mark(n);
	add_numbered(n, 100, 10);
	bytes = notes_bytes(n);
	ck_assert_int_eq(fstatat(dirfd_, "7", &before, 0), 0);
	ck_assert_int_eq(notes_drop(n, mark), 0);
	ck_assert_int_eq(fstatat(dirfd_, "7", &after, 0), 0);
	ck_assert_int_eq(after.st_size, before.st_size);
	ck_assert_int_le(after.st_blocks, before.st_blocks - (900000 - 2 * 65536) / 512);
	ck_assert_uint_eq(notes_bytes(n), 56);
	ck_assert_uint_lt(notes_bytes(n), bytes);
	ck_assert_int_eq(notes_drop(n, mark), 0);
	ck_assert_int_eq(notes_drop(n, 0), 0);
	add_numbered(n, 101, 10);
	reopen();
	ck_assert_uint_eq(replayed(n).first, 100);
	ck_assert_uint_eq(replayed(n).last, 101);
	ck_assert_int_eq(notes_drop(n, notes_mark(n)), 0);
	ck_assert_int_eq(file_size(), FIRST);
	ck_assert_uint_eq(notes_bytes(n), 0);
	mark = notes_mark(n);
	add_numbered(n, 102, 10);
	ck_assert_uint_gt(notes_mark(n), mark);
	ck_assert_int_eq(notes_drop(n, mark), 0);
	reopen();
	ck_assert_uint_eq(replayed(n).first, 102);
}
END_TEST

/* Killed between the two steps of dropping all: the old records are behind the new head. */
START_TEST(old_records_never_come_back)
{
	uint8_t before[1024], after[1024];
	size_t len;

	for (int i = 1; i <= 5; i++)
		add_numbered(n, i, 8);
	len = content(before, sizeof(before));
	ck_assert_int_eq(notes_drop(n, notes_mark(n)), 0);
	ck_assert_uint_eq(content(after, sizeof(after)), FIRST);
	memcpy(after + FIRST, before + FIRST, len - FIRST);
	put_content(after, len);
	reopen();
	ck_assert_uint_eq(replayed(n).count, 0);
	/* One in the place of the first: those behind it would go on from it. */
	add_numbered(n, 9, 8);
	reopen();
	ck_assert_uint_eq(replayed(n).first, 9);
	ck_assert_uint_eq(replayed(n).count, 1);
	/* The same when the head is new and the first record too, but nothing was cut. */
	content(after, sizeof(after));
	memcpy(after + FIRST + 48, before + FIRST + 48, len - FIRST - 48);
	put_content(after, len);
	reopen();
	ck_assert_uint_eq(replayed(n).count, 1);
}
END_TEST

/* A file without records, whose head has these positions; or else. */
static void put_head(uint64_t base, uint64_t start)
{
	uint8_t head[FIRST];
	uint32_t crc;

	add_numbered(n, 1, 8);
	ck_assert_int_eq(notes_drop(n, notes_mark(n)), 0);
	ck_assert_uint_eq(content(head, sizeof(head)), FIRST);
	memcpy(head + HEAD_BASE, &base, sizeof(base));
	memcpy(head + HEAD_BASE + 8, &start, sizeof(start));
	crc = crc32c(0, head, HEAD_BASE + 16);
	memcpy(head + HEAD_BASE + 16, &crc, sizeof(crc));
	put_content(head, sizeof(head));
	reopen();
}

START_TEST(positions_wrap_around)
{
	uint64_t old;

	put_head(-100, -100);
	ck_assert_uint_eq(replayed(n).count, 0);
	for (int i = 1; i <= 5; i++)
		add_numbered(n, i, 8);
	old = notes_mark(n);
	ck_assert_uint_lt(old, 1000);
	add_numbered(n, 6, 8);
	ck_assert_int_eq(notes_drop(n, -100), 0);
	ck_assert_uint_eq(replayed(n).count, 6);
	ck_assert_int_eq(notes_drop(n, old), 0);
	ck_assert_uint_eq(replayed(n).first, 6);
	ck_assert_int_eq(notes_drop(n, -40), 0);
	ck_assert_uint_eq(replayed(n).count, 1);
	reopen();
	ck_assert_uint_eq(replayed(n).first, 6);
	ck_assert_int_eq(notes_drop(n, notes_mark(n)), 0);
	ck_assert_uint_eq(notes_bytes(n), 0);
	ck_assert_uint_eq(replayed(n).count, 0);
}
END_TEST

/* What counts can begin nowhere else than in the file. */
START_TEST(a_start_outside_of_the_file)
{
	const uint64_t starts[] = { 999, 1001, 1000 + (1ull << 50), 1ull << 63, -1 };
	struct seen s = { 0 };
	bool foreign;

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		put_head(1000, starts[i]);
		foreign = false;
		ck_assert_int_eq(notes_replay(n, binding, see, &s, &foreign), 0);
		ck_assert(foreign && !s.count);
		ck_assert_int_eq(notes_begin(n, binding), 0);
	}
}
END_TEST

/* ---- threads ---- */

#define THREADS 4

struct threaded {
	uint32_t thread, number;
};

static unsigned each;

static void *adder(void *arg)
{
	struct threaded r = { .thread = (uintptr_t)arg };
	uint64_t seed = r.thread;

	for (r.number = 0; r.number < each; r.number++)
		ck_assert_int_eq(notes_add(n, r.thread, &r, sizeof(r), big, unit_below(&seed, 900)),
				 0);
	return NULL;
}

/* Where each thread's next record is; UINT32_MAX: any. */
static int see_threads(void *arg, uint32_t kind, const void *data, size_t len)
{
	const struct threaded *r = data;
	uint32_t *next = arg;

	ck_assert_uint_lt(kind, THREADS);
	ck_assert_uint_eq(r->thread, kind);
	if (next[kind] != UINT32_MAX)
		ck_assert_uint_eq(r->number, next[kind]);
	next[kind] = r->number + 1;
	return 0;
}

static void run_adders(bool drop)
{
	pthread_t threads[THREADS];
	bool foreign;
	uint32_t next[THREADS] = { 0 };

	each = unit_scaled(5000);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, adder, (void *)i), 0);
	for (unsigned i = 0; drop && i < unit_scaled(2000); i++) {
		uint64_t mark = notes_mark(n);

		/* All that there is, or a part: others may have added. */
		if (i % 3 == 1)
			sched_yield();
		ck_assert_int_eq(notes_drop(n, mark), 0);
		ck_assert_uint_le(mark, notes_mark(n));
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	memset(next, drop ? 0xff : 0, sizeof(next));
	reopen();
	ck_assert_int_eq(notes_replay(n, binding, see_threads, next, &foreign), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert(next[i] == each || (drop && next[i] == UINT32_MAX));
}

START_TEST(many_threads)
{
	run_adders(false);
}
END_TEST

START_TEST(dropped_while_others_add)
{
	run_adders(true);
}
END_TEST

/* ---- killed ---- */

/* What the child tells, each in one write. */
enum { TOLD_ADDED, TOLD_WILL_DROP, TOLD_DROPPED };
struct told {
	uint64_t what;
	uint64_t number; /* added, or the first that stays */
};

static void tell(int fd, uint64_t what, uint64_t number)
{
	struct told t = { what, number };

	if (write(fd, &t, sizeof(t)) != sizeof(t))
		_exit(1);
}

static void child(int fd, uint64_t number, uint64_t seed)
{
	uint64_t mark = notes_mark(n), marked = number;

	for (;; number++) {
		unsigned dice = unit_below(&seed, 100);

		add_numbered(n, number, dice < 5 ? 1 << 20 : unit_below(&seed, 2000));
		tell(fd, TOLD_ADDED, number);
		if (dice % 10 == 1) {
			mark = notes_mark(n);
			marked = number + 1;
		} else if (dice % 10 == 2) {
			tell(fd, TOLD_WILL_DROP, marked);
			if (notes_drop(n, mark))
				_exit(2);
			tell(fd, TOLD_DROPPED, marked);
		} else if (dice % 10 == 3) {
			tell(fd, TOLD_WILL_DROP, number + 1);
			if (notes_drop(n, notes_mark(n)))
				_exit(3);
			tell(fd, TOLD_DROPPED, number + 1);
		}
	}
}

/* What must be there: [first, first_most] is the first of them, last the last acknowledged. */
struct expected {
	uint64_t first, first_most, last;
};

static void hear(struct expected *e, const struct told *t)
{
	if (t->what == TOLD_ADDED)
		e->last = t->number;
	else if (t->what == TOLD_WILL_DROP && t->number > e->first_most)
		e->first_most = t->number;
	else if (t->what == TOLD_DROPPED && t->number > e->first)
		e->first = t->number;
}

static void kill_one(struct expected *e, uint64_t *seed)
{
	unsigned patience = unit_below(seed, 60);
	int pipe_[2], status;
	struct told t;
	pid_t pid;

	ck_assert_int_eq(pipe2(pipe_, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		close(pipe_[0]);
		child(pipe_[1], e->last + 1, unit_random(seed));
	}
	close(pipe_[1]);
	for (unsigned i = 0; read(pipe_[0], &t, sizeof(t)) == sizeof(t); i++) {
		hear(e, &t);
		if (i == patience) {
			/* Not always just after it has told something. */
			for (volatile unsigned spin = unit_below(seed, 30000); spin; spin--)
				;
			kill(pid, SIGKILL);
		}
	}
	close(pipe_[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(killed_at_any_moment)
{
	struct expected e = { .first = 1, .first_most = 1 };
	uint64_t seed = 1;

	for (unsigned i = 0; i < unit_scaled(300); i++) {
		struct seen s;

		kill_one(&e, &seed);
		reopen();
		s = replayed(n);
		if (s.count) {
			ck_assert_uint_ge(s.first, e.first);
			ck_assert_uint_le(s.first, e.first_most);
			/* One more may be there that nobody was told of. */
			ck_assert(s.last == e.last || s.last == e.last + 1);
			e.last = s.last;
		} else {
			ck_assert_uint_eq(e.first_most, e.last + 1);
		}
		e.first = e.first_most = s.count ? s.first : e.last + 1;
	}
}
END_TEST

/* ---- full ---- */

START_TEST(no_space)
{
	uint64_t number = 0, bytes, end;

	/* The mount goes with this process, whatever happens. */
	if (unshare(CLONE_NEWNS) || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256k")) {
		printf("SKIP: no_space: cannot mount a tmpfs: %s\n", strerror(errno));
		return;
	}
	close(dirfd_);
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	reopen();
	ck_assert_int_eq(notes_begin(n, binding), 0);
	/* Larger than all that there is: a part of it is written, and goes. */
	ck_assert_int_eq(notes_add(n, 1, NULL, 0, big, 1 << 20), -ENOSPC);
	ck_assert_int_eq(file_size(), FIRST);
	do {
		bytes = notes_bytes(n);
		end = notes_mark(n);
		add_numbered(n, number++, 1000);
	} while (notes_bytes(n) < 200000);
	ck_assert_int_eq(notes_add(n, 1, NULL, 0, big, 100000), -ENOSPC);
	ck_assert_uint_eq(notes_bytes(n), bytes + 1040);
	ck_assert_uint_eq(notes_mark(n), end + 1040);
	ck_assert_int_eq(file_size(), FIRST + notes_bytes(n));
	add_numbered(n, number++, 10);
	reopen();
	ck_assert_uint_eq(replayed(n).count, number);
	/* The space of what is dropped can be used. */
	end = notes_mark(n);
	add_numbered(n, number, 10);
	ck_assert_int_eq(notes_drop(n, end), 0);
	ck_assert_int_eq(notes_add(n, 1, NULL, 0, big, 100000), 0);
	ck_assert_int_eq(notes_clear(n), 0);
	/* Not even a file can be made. */
	ck_assert_int_eq(mount("none", dir, "none", MS_REMOUNT, "size=4k,nr_inodes=1"), 0);
	ck_assert_int_eq(notes_add(n, 1, NULL, 0, big, 1), -ENOSPC);
	ck_assert_uint_eq(notes_bytes(n), 0);
}
END_TEST

UNIT_MAIN("notes", setup, teardown, in_order, sizes_and_stops, cut_at_every_length, flipped_bits,
	  of_another_boot, of_another_binding, of_another_binding_but_empty,
	  something_else_is_called_so, the_running_boot, drops_the_oldest,
	  old_records_never_come_back, positions_wrap_around, a_start_outside_of_the_file,
	  many_threads, dropped_while_others_add, killed_at_any_moment, no_space)
