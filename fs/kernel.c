// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

/* Debian 12's headers are of Linux 6.1. */
#define OPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#define INIT_EXTENDED (1u << 30)
#define INIT2_DIRECT_IO_ALLOW_MMAP (1u << (36 - 32))
#define INIT2_HAS_RESEND (1u << (39 - 32))
#define MINOR_OF_PARALLEL_DIRECT_WRITES 38
#define UNIQUE_RESENT (UINT64_C(1) << 63)
#define NOTIFY_RESEND 7

/* struct fuse_init_in and fuse_init_out have grown; these are where flags2 is in both. */
#define INIT_IN_FLAGS 12
#define INIT_IN_FLAGS2 16
#define INIT_OUT_FLAGS 12
#define INIT_OUT_FLAGS2 32

static uint32_t get32(const void *base, size_t offset)
{
	uint32_t v;

	memcpy(&v, (const char *)base + offset, sizeof(v));
	return v;
}

static void or32(void *base, size_t offset, uint32_t bits)
{
	uint32_t v = get32(base, offset) | bits;

	memcpy((char *)base + offset, &v, sizeof(v));
}

bool kernel_is_init(const void *request, size_t len)
{
	return len >= sizeof(struct fuse_in_header) &&
	       get32(request, offsetof(struct fuse_in_header, opcode)) == FUSE_INIT;
}

static uint64_t get64(const void *base, size_t offset)
{
	uint64_t v;

	memcpy(&v, (const char *)base + offset, sizeof(v));
	return v;
}

static uint64_t whole_unique(const void *request, size_t len)
{
	if (len < sizeof(struct fuse_in_header))
		return 0;
	return get64(request, offsetof(struct fuse_in_header, unique));
}

uint64_t kernel_unique(const void *request, size_t len)
{
	return whole_unique(request, len) & ~UNIQUE_RESENT;
}

bool kernel_is_resent(const void *request, size_t len)
{
	return whole_unique(request, len) & UNIQUE_RESENT;
}

uint64_t kernel_poll_handle(const void *request, size_t len)
{
	const char *in = (const char *)request + sizeof(struct fuse_in_header);

	if (len < sizeof(struct fuse_in_header) + sizeof(struct fuse_poll_in) ||
	    get32(request, offsetof(struct fuse_in_header, opcode)) != FUSE_POLL ||
	    !(get32(in, offsetof(struct fuse_poll_in, flags)) & FUSE_POLL_SCHEDULE_NOTIFY))
		return 0;
	return get64(in, offsetof(struct fuse_poll_in, kh));
}

struct kernel kernel_offers(const void *init, size_t len)
{
	const char *in = (const char *)init + sizeof(struct fuse_in_header);
	size_t left = len - sizeof(struct fuse_in_header);
	struct kernel k = { 0 };
	uint32_t flags, flags2 = 0;

	if (left < INIT_IN_FLAGS + 4)
		return k;
	k.major = get32(in, 0);
	k.minor = get32(in, 4);
	flags = get32(in, INIT_IN_FLAGS);
	if (flags & INIT_EXTENDED && left >= INIT_IN_FLAGS2 + 4)
		flags2 = get32(in, INIT_IN_FLAGS2);
	k.parallel_direct_writes = k.minor >= MINOR_OF_PARALLEL_DIRECT_WRITES;
	k.shared_mmap = flags2 & INIT2_DIRECT_IO_ALLOW_MMAP;
	k.resend = flags2 & INIT2_HAS_RESEND;
	return k;
}

static bool is_success(const struct iovec *iov, int count, size_t body)
{
	return count == 2 && iov[0].iov_len == sizeof(struct fuse_out_header) &&
	       get32(iov[0].iov_base, offsetof(struct fuse_out_header, error)) == 0 &&
	       iov[1].iov_len >= body;
}

void kernel_patch_init_reply(const struct kernel *k, struct iovec *iov, int count)
{
	if (!k->shared_mmap || !is_success(iov, count, INIT_OUT_FLAGS2 + 4))
		return;
	or32(iov[1].iov_base, INIT_OUT_FLAGS, INIT_EXTENDED);
	or32(iov[1].iov_base, INIT_OUT_FLAGS2, INIT2_DIRECT_IO_ALLOW_MMAP);
}

void kernel_patch_open_reply(const struct kernel *k, struct iovec *iov, int count)
{
	/* CREATE answers with an entry, then what OPEN answers with. */
	size_t at;

	if (!k->parallel_direct_writes || !is_success(iov, count, sizeof(struct fuse_open_out)))
		return;
	at = iov[1].iov_len - sizeof(struct fuse_open_out);
	or32(iov[1].iov_base, at + offsetof(struct fuse_open_out, open_flags),
	     OPEN_PARALLEL_DIRECT_WRITES);
}

static int tell(int fuse_fd, int what, void *body, size_t len)
{
	struct fuse_out_header head = { .len = sizeof(head) + len, .error = what };
	struct iovec iov[] = { { &head, sizeof(head) }, { body, len } };

	return writev(fuse_fd, iov, len ? 2 : 1) < 0 ? -errno : 0;
}

int kernel_ask_again(int fuse_fd)
{
	return tell(fuse_fd, NOTIFY_RESEND, NULL, 0);
}

int kernel_wake_poll(int fuse_fd, uint64_t poll_handle)
{
	struct fuse_notify_poll_wakeup_out out = { .kh = poll_handle };

	return tell(fuse_fd, FUSE_NOTIFY_POLL, &out, sizeof(out));
}
