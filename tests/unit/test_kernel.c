// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define EXTENDED (1u << 30)
#define ALLOW_MMAP (1u << 4)
#define RESEND (1u << 7)
#define PARALLEL (1u << 6)

/* INIT as Linux 6.9 asks: 104 bytes. */
struct request {
	struct fuse_in_header head;
	uint32_t body[16];
};
_Static_assert(sizeof(struct request) == 104, "as the kernel sends it");

static struct request init_of(uint32_t minor, uint32_t flags, uint32_t flags2)
{
	return (struct request){ .head = { .len = 104, .opcode = FUSE_INIT },
				 .body = { 7, minor, 1 << 20, flags, flags2 } };
}

START_TEST(which_request_is_init)
{
	struct request r = init_of(41, 0, 0);

	ck_assert(kernel_is_init(&r, sizeof(r)));
	ck_assert(kernel_is_init(&r, sizeof(r.head)));
	ck_assert(!kernel_is_init(&r, sizeof(r.head) - 1));
	ck_assert(!kernel_is_init(&r, 0));
	r.head.opcode = FUSE_WRITE;
	ck_assert(!kernel_is_init(&r, sizeof(r)));
}
END_TEST

START_TEST(which_request_is_sent_again)
{
	struct request r = { .head = { .opcode = FUSE_READ, .unique = 34 } };

	ck_assert_uint_eq(kernel_unique(&r, sizeof(r)), 34);
	ck_assert(!kernel_is_resent(&r, sizeof(r)));
	r.head.unique |= UINT64_C(1) << 63;
	ck_assert_uint_eq(kernel_unique(&r, sizeof(r)), 34);
	ck_assert(kernel_is_resent(&r, sizeof(r)));
	ck_assert(!kernel_is_resent(&r, 39));
	ck_assert_uint_eq(kernel_unique(&r, 39), 0);
}
END_TEST

START_TEST(what_a_poll_waits_for)
{
	struct {
		struct fuse_in_header head;
		struct fuse_poll_in in;
	} r = { { .opcode = FUSE_POLL }, { .kh = 77, .flags = FUSE_POLL_SCHEDULE_NOTIFY } };

	ck_assert_uint_eq(kernel_poll_handle(&r, sizeof(r)), 77);
	ck_assert_uint_eq(kernel_poll_handle(&r, sizeof(r) - 1), 0);
	r.in.flags = 0;
	ck_assert_uint_eq(kernel_poll_handle(&r, sizeof(r)), 0);
	r.in.flags = FUSE_POLL_SCHEDULE_NOTIFY;
	r.head.opcode = FUSE_READ;
	ck_assert_uint_eq(kernel_poll_handle(&r, sizeof(r)), 0);
}
END_TEST

/* What is told to the kernel, as bytes. */
START_TEST(what_it_is_told)
{
	char name[] = "/tmp/test_kernel.XXXXXX";
	uint32_t got[6] = { 0 };
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	unlink(name);
	ck_assert_int_eq(kernel_ask_again(fd), 0);
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), 16);
	ck_assert(got[0] == 16 && got[1] == 7 && !got[2] && !got[3]);
	ck_assert_int_eq(kernel_wake_poll(fd, 77), 0);
	ck_assert_int_eq(pread(fd, got, sizeof(got), 16), 24);
	ck_assert(got[0] == 24 && got[1] == FUSE_NOTIFY_POLL && !got[2] && !got[3] &&
		  got[4] == 77 && !got[5]);
	close(fd);
	ck_assert_int_eq(kernel_ask_again(fd), -EBADF);
}
END_TEST

START_TEST(what_it_offers)
{
	// clang-format off
	static const struct {
		uint32_t minor, flags, flags2;
		size_t len;
		bool parallel, mmap, resend;
	} list[] = {
		{ 41, EXTENDED | 5, ALLOW_MMAP | RESEND, 104, true, true, true },
		{ 40, EXTENDED, RESEND, 104, true, false, true },
		{ 39, EXTENDED, ALLOW_MMAP, 104, true, true, false },
		{ 38, EXTENDED, 0, 104, true, false, false },
		{ 37, EXTENDED, ~0u, 104, false, true, true },
		/* Without the bit that says so, what is there is not flags2. */
		{ 41, ~EXTENDED, ~0u, 104, true, false, false },
		/* Short: an older kernel's, or none of it. */
		{ 31, EXTENDED, ~0u, 40 + 16, false, false, false },
		{ 41, EXTENDED, ~0u, 40 + 19, true, false, false },
		{ 41, EXTENDED, ~0u, 40 + 20, true, true, true },
		{ 41, EXTENDED, ~0u, 40 + 15, false, false, false },
		{ 41, EXTENDED, ~0u, 40, false, false, false },
	};
	// clang-format on

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		struct request r = init_of(list[i].minor, list[i].flags, list[i].flags2);
		struct kernel k = kernel_offers(&r, list[i].len);

		ck_assert_msg(k.parallel_direct_writes == list[i].parallel, "row %zu", i);
		ck_assert_msg(k.shared_mmap == list[i].mmap, "row %zu", i);
		ck_assert_msg(k.resend == list[i].resend, "row %zu", i);
		ck_assert_uint_eq(k.minor, list[i].len >= 56 ? list[i].minor : 0);
		ck_assert_uint_eq(k.major, list[i].len >= 56 ? 7 : 0);
	}
}
END_TEST

struct reply {
	struct fuse_out_header head;
	uint32_t body[16 + 4]; /* four spare ones that nobody may touch */
	struct iovec iov[3];
};

static void init_reply(struct reply *r, size_t body)
{
	memset(r, 0, sizeof(*r));
	r->iov[0] = (struct iovec){ &r->head, sizeof(r->head) };
	r->iov[1] = (struct iovec){ r->body, body };
}

static bool is_untouched(const struct reply *r)
{
	static const uint32_t zeros[20];

	return !memcmp(r->body, zeros, sizeof(zeros));
}

START_TEST(init_reply_gets_the_bit)
{
	struct kernel k = { .shared_mmap = true, .resend = true, .parallel_direct_writes = true };
	struct reply r;

	init_reply(&r, 64);
	r.body[3] = 3;
	r.body[8] = 1;
	kernel_patch_init_reply(&k, r.iov, 2);
	ck_assert_uint_eq(r.body[3], EXTENDED | 3);
	ck_assert_uint_eq(r.body[8], ALLOW_MMAP | 1);
	r.body[3] = r.body[8] = 0;
	ck_assert(is_untouched(&r));
}
END_TEST

START_TEST(init_reply_stays_as_it_is)
{
	struct kernel k = { .shared_mmap = true }, none = { .resend = true };
	struct reply r;

	init_reply(&r, 64);
	kernel_patch_init_reply(&none, r.iov, 2);
	kernel_patch_init_reply(&k, r.iov, 1);
	kernel_patch_init_reply(&k, r.iov, 3);
	r.head.error = -22;
	kernel_patch_init_reply(&k, r.iov, 2);
	ck_assert(is_untouched(&r));
	init_reply(&r, 24); /* the old, short one has no flags2 */
	kernel_patch_init_reply(&k, r.iov, 2);
	init_reply(&r, 35);
	kernel_patch_init_reply(&k, r.iov, 2);
	ck_assert(is_untouched(&r));
}
END_TEST

START_TEST(open_and_create)
{
	struct kernel k = { .parallel_direct_writes = true }, none = { .shared_mmap = true };
	size_t entry = sizeof(struct fuse_entry_out), open = sizeof(struct fuse_open_out);
	struct {
		struct fuse_out_header head;
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} create = { 0 };
	struct iovec iov[] = { { &create.head, sizeof(create.head) },
			       { &create.entry, entry + open } };
	struct reply r;

	init_reply(&r, open);
	kernel_patch_open_reply(&none, r.iov, 2);
	kernel_patch_open_reply(&k, r.iov, 1);
	r.head.error = -2;
	kernel_patch_open_reply(&k, r.iov, 2);
	r.head.error = 0;
	r.iov[1].iov_len = open - 1;
	kernel_patch_open_reply(&k, r.iov, 2);
	ck_assert(is_untouched(&r));
	r.iov[1].iov_len = open;
	kernel_patch_open_reply(&k, r.iov, 2);
	ck_assert_uint_eq(r.body[2], PARALLEL);
	create.open.open_flags = 1;
	kernel_patch_open_reply(&k, iov, 2);
	ck_assert_uint_eq(create.open.open_flags, PARALLEL | 1);
	ck_assert_uint_eq(create.open.fh, 0);
	ck_assert_uint_eq(create.entry.attr.flags, 0);
}
END_TEST

UNIT_MAIN("kernel", NULL, NULL, which_request_is_init, which_request_is_sent_again,
	  what_a_poll_waits_for, what_it_is_told, what_it_offers, init_reply_gets_the_bit,
	  init_reply_stays_as_it_is, open_and_create)
