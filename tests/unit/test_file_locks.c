// SPDX-License-Identifier: GPL-2.0-or-later
/* The locks of formats/file.c: among ourselves, and beside QEMU's own programs. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define SIZE (256u << 10)

static int dirfd_;

static void setup(void)
{
	dirfd_ = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dirfd_, 0);
}

static void teardown(void)
{
	close(dirfd_);
}

static void make(const char *name, off_t size)
{
	int fd = openat(dirfd_, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static struct file *opened(const char *name)
{
	bool ro = false;
	struct file *f;

	ck_assert_int_eq(file_open(dirfd_, name, &ro, &f), 0);
	ck_assert(!ro);
	return f;
}

/* What QEMU's names for bytes 100 to 103 and 200 to 203 are, and what our uses take of them. */
enum {
	READS = 1 << 0,
	WRITES = 1 << 1,
	RESIZES = 1 << 3,
	NO_READ = 1 << 4,
	NO_WRITE = 1 << 5,
	NO_REWRITE = 1 << 6,
	NO_RESIZE = 1 << 7,
	LOCKS_READ = READS | NO_WRITE | NO_RESIZE,
	LOCKS_WRITE = READS | WRITES | RESIZES | NO_READ | NO_WRITE | NO_REWRITE | NO_RESIZE,
};

static int byte_of(int bit)
{
	return bit < 4 ? 100 + bit : 196 + bit;
}

/* Which of these bytes anybody has locked. */
static unsigned locked(const char *name)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_CLOEXEC);
	unsigned set = 0;

	for (int bit = 0; bit < 8; bit++) {
		struct flock l = { .l_type = F_WRLCK, .l_start = byte_of(bit), .l_len = 1 };

		ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &l), 0);
		set |= l.l_type != F_UNLCK ? 1u << bit : 0;
	}
	close(fd);
	return set;
}

/* Another program that says this. */
static int other_with(const char *name, unsigned set)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_CLOEXEC);

	for (int bit = 0; bit < 8; bit++) {
		struct flock l = { .l_type = F_RDLCK, .l_start = byte_of(bit), .l_len = 1 };

		if (set & 1u << bit)
			ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
	}
	return fd;
}

static int lock(struct file *f, enum file_use use)
{
	return f->ops->lock(f, use);
}

START_TEST(each_use_has_its_bytes)
{
	static const struct {
		enum file_use use;
		unsigned bytes;
	} steps[] = {
		{ FILE_READ, LOCKS_READ },   { FILE_READ, LOCKS_READ }, { FILE_WRITE, LOCKS_WRITE },
		{ FILE_WRITE, LOCKS_WRITE }, { FILE_READ, LOCKS_READ }, { FILE_UNUSED, 0 },
		{ FILE_WRITE, LOCKS_WRITE }, { FILE_UNUSED, 0 },        { FILE_UNUSED, 0 },
		{ FILE_READ, LOCKS_READ },
	};
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	ck_assert_uint_eq(locked("a"), 0);
	for (size_t i = 0; i < UNIT_LENGTH(steps); i++) {
		ck_assert_int_eq(lock(f, steps[i].use), 0);
		ck_assert_uint_eq(locked("a"), steps[i].bytes);
	}
	f->ops->close(f);
	ck_assert_uint_eq(locked("a"), 0);
}
END_TEST

START_TEST(two_files_of_ours)
{
	static const enum file_use before[] = { FILE_UNUSED, FILE_READ };
	bool ro = true;
	struct file *f, *g;

	make("a", SIZE);
	f = opened("a");
	ck_assert_int_eq(file_open(dirfd_, "a", &ro, &g), 0);
	for (size_t i = 0; i < UNIT_LENGTH(before); i++) {
		ck_assert_int_eq(lock(g, before[i]), 0);
		ck_assert_int_eq(lock(f, FILE_READ), 0);
		ck_assert_int_eq(lock(g, FILE_READ), 0);
		ck_assert_int_eq(lock(f, FILE_WRITE), -EBUSY);
		ck_assert_int_eq(lock(g, FILE_UNUSED), 0);
		ck_assert_uint_eq(locked("a"), LOCKS_READ);
		ck_assert_int_eq(lock(f, FILE_WRITE), 0);
		ck_assert_int_eq(lock(g, FILE_READ), -EBUSY);
		ck_assert_int_eq(lock(g, FILE_WRITE), -EBUSY);
		ck_assert_int_eq(lock(f, FILE_UNUSED), 0);
		ck_assert_uint_eq(locked("a"), 0);
	}
	f->ops->close(f);
	g->ops->close(g);
}
END_TEST

/* Against each thing that another program can say, from each use to each. */
START_TEST(what_was_said_before_stays)
{
	static const unsigned bytes
		[] = { [FILE_UNUSED] = 0, [FILE_READ] = LOCKS_READ, [FILE_WRITE] = LOCKS_WRITE };
	static const unsigned in_the_way[] = { [FILE_UNUSED] = 0,
					       [FILE_READ] = WRITES | RESIZES | NO_READ,
					       [FILE_WRITE] = 0xbf };
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	for (unsigned i = 0; i < 3 * 3 * 8; i++) {
		enum file_use from = i % 3, to = i / 3 % 3;
		unsigned said = 1u << i / 9;
		bool fails = in_the_way[to] & said;
		int other;

		ck_assert_int_eq(lock(f, from), 0);
		other = other_with("a", said);
		ck_assert_int_eq(lock(f, to), fails ? -EBUSY : 0);
		close(other);
		ck_assert_uint_eq(locked("a"), bytes[fails ? from : to]);
		ck_assert_int_eq(lock(f, FILE_UNUSED), 0);
		ck_assert_uint_eq(locked("a"), 0);
	}
	f->ops->close(f);
}
END_TEST

START_TEST(somebody_has_all_for_himself)
{
	struct flock all = { .l_type = F_WRLCK };
	struct file *f;
	int other;

	make("a", SIZE);
	f = opened("a");
	other = openat(dirfd_, "a", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &all), 0);
	ck_assert_int_eq(lock(f, FILE_READ), -EBUSY);
	ck_assert_int_eq(lock(f, FILE_WRITE), -EBUSY);
	ck_assert_int_eq(lock(f, FILE_UNUSED), 0);
	close(other);
	ck_assert_uint_eq(locked("a"), 0);
	f->ops->close(f);
}
END_TEST

/* From now on fcntl's OFD locks fail in this process. */
static bool break_locks(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, F_OFD_GETLK, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, F_OFD_SETLKW, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { UNIT_LENGTH(code), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void with_broken_locks(int err, int expected)
{
	struct file *f;

	make("a", SIZE);
	f = opened("a");
	if (!break_locks(err)) {
		printf("SKIP: broken locks: %s\n", strerror(errno));
		return;
	}
	ck_assert_int_eq(lock(f, FILE_READ), expected);
	ck_assert_int_eq(lock(f, FILE_WRITE), expected);
	ck_assert_int_eq(lock(f, FILE_UNUSED), 0);
	f->ops->close(f);
}

START_TEST(no_locks_there)
{
	with_broken_locks(EOPNOTSUPP, 0);
}
END_TEST

START_TEST(no_locks_left)
{
	with_broken_locks(ENOLCK, 0);
}
END_TEST

START_TEST(locks_fail)
{
	with_broken_locks(EIO, -EIO);
}
END_TEST

/* ---- QEMU ---- */

struct qemu {
	pid_t pid;
	int in, out;
};

/* argv[0] in our directory, with pipes. */
static struct qemu qemu_start(const char *const argv[])
{
	int in[2], out[2];
	struct qemu q;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	q.pid = fork();
	ck_assert_int_ge(q.pid, 0);
	if (!q.pid) {
		if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0 ||
		    fchdir(dirfd_))
			_exit(126);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	q.in = in[1];
	q.out = out[0];
	return q;
}

/* Its exit status, once it has read all that we said. */
static int qemu_end(struct qemu *q)
{
	char rest[4096];
	int status;

	close(q->in);
	while (read(q->out, rest, sizeof(rest)) > 0)
		;
	close(q->out);
	ck_assert_int_eq(waitpid(q->pid, &status, 0), q->pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Until it says this; false when it ends before. */
static bool qemu_says(struct qemu *q, const char *what)
{
	char said[4096];
	size_t len = 0;
	ssize_t n;

	said[0] = 0;
	while (!strstr(said, what)) {
		n = read(q->out, said + len, sizeof(said) - 1 - len);
		if (n <= 0)
			return false;
		len += n;
		said[len] = 0;
	}
	return true;
}

#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static bool run(const char *const argv[])
{
	struct qemu q = qemu_start(argv);
	int status = qemu_end(&q);

	ck_assert_int_lt(status, 126);
	return !status;
}

/* NULL: it may be written. */
static bool qemu_io_opens(struct qemu *q, const char *option, const char *format, const char *name)
{
	*q = qemu_start(
		option ? (const char *const[]){ "qemu-io", option, "-f", format, name, NULL }
		       : (const char *const[]){ "qemu-io", "-f", format, name, NULL });
	if (qemu_says(q, "qemu-io> "))
		return true;
	ck_assert_int_eq(qemu_end(q), 1);
	return false;
}

static bool qemu_is_here(void)
{
	struct qemu q = qemu_start((const char *const[]){ "qemu-io", "--version", NULL });

	if (qemu_end(&q) == 0)
		return true;
	printf("SKIP: qemu-io is not installed\n");
	return false;
}

static void beside_qemu(const char *format, const char *name)
{
	struct file *f = opened(name);
	struct qemu q, r;

	ck_assert(qemu_io_opens(&q, NULL, format, name));
	ck_assert_int_eq(lock(f, FILE_READ), -EBUSY);
	ck_assert_int_eq(lock(f, FILE_WRITE), -EBUSY);
	ck_assert_int_eq(qemu_end(&q), 0);
	ck_assert_uint_eq(locked(name), 0);

	ck_assert_int_eq(lock(f, FILE_WRITE), 0);
	ck_assert(!qemu_io_opens(&q, NULL, format, name));
	ck_assert(!qemu_io_opens(&q, "-r", format, name));
	ck_assert(RUN("qemu-img", "info", "-U", "-f", format, name));
	/* Of a raw image it wants to know nothing that a writer could change. */
	ck_assert(RUN("qemu-img", "info", "-f", format, name) == !strcmp(format, "raw"));

	ck_assert_int_eq(lock(f, FILE_READ), 0);
	ck_assert(!qemu_io_opens(&q, NULL, format, name));
	ck_assert(RUN("qemu-img", "info", "-f", format, name));
	ck_assert(qemu_io_opens(&q, "-r", format, name));
	ck_assert(qemu_io_opens(&r, "-r", format, name));
	ck_assert_int_eq(lock(f, FILE_WRITE), -EBUSY);
	ck_assert_int_eq(lock(f, FILE_UNUSED), 0);
	ck_assert_int_eq(lock(f, FILE_WRITE), -EBUSY);
	ck_assert_int_eq(lock(f, FILE_READ), 0);
	ck_assert_int_eq(qemu_end(&q), 0);
	ck_assert_int_eq(qemu_end(&r), 0);
	ck_assert_int_eq(lock(f, FILE_WRITE), 0);
	f->ops->close(f);
	ck_assert(qemu_io_opens(&q, NULL, format, name));
	ck_assert_int_eq(qemu_end(&q), 0);
}

START_TEST(beside_qemu_raw)
{
	make("a", SIZE);
	if (qemu_is_here())
		beside_qemu("raw", "a");
}
END_TEST

START_TEST(beside_qemu_vhd)
{
	if (!qemu_is_here())
		return;
	ck_assert(RUN("qemu-img", "create", "-f", "vpc", "a.vhd", "10M"));
	beside_qemu("vpc", "a.vhd");
}
END_TEST

START_TEST(beside_qemu_vhdx)
{
	if (!qemu_is_here())
		return;
	ck_assert(RUN("qemu-img", "create", "-f", "vhdx", "a.vhdx", "10M"));
	beside_qemu("vhdx", "a.vhdx");
}
END_TEST

UNIT_MAIN("file locks", setup, teardown, each_use_has_its_bytes, two_files_of_ours,
	  what_was_said_before_stays, somebody_has_all_for_himself, no_locks_there, no_locks_left,
	  locks_fail, beside_qemu_raw, beside_qemu_vhd, beside_qemu_vhdx)
