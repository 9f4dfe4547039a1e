/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel's FUSE can do and the oldest supported libfuse (3.14, Debian
 * 12) has no field for. The messages are the kernel's ABI, so looking at them
 * works with every libfuse; newer ones set the same bits themselves, which does
 * no harm.
 */
#ifndef TANDEMFS_KERNEL_H
#define TANDEMFS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct kernel {
	uint32_t major, minor;       /* of the protocol */
	bool parallel_direct_writes; /* Linux 6.2 */
	bool shared_mmap;            /* of files with direct I/O; Linux 6.6 */
	bool resend;                 /* Linux 6.9 */
};

/* A request as it was read from /dev/fuse. */
bool kernel_is_init(const void *request, size_t len);
/* How the kernel calls a request, whether it sends it for the first time or again. */
uint64_t kernel_unique(const void *request, size_t len);
/* It was read before, by a daemon that did not answer it. */
bool kernel_is_resent(const void *request, size_t len);
/* What a POLL asks to be told with when there is news; 0: nothing, or another request. */
uint64_t kernel_poll_handle(const void *request, size_t len);
/* From the INIT request. */
struct kernel kernel_offers(const void *init, size_t len);
/* Turns on in the INIT reply what is offered. iov as libfuse writes it. */
void kernel_patch_init_reply(const struct kernel *k, struct iovec *iov, int count);
/* Allows parallel direct writes in the reply to OPEN or CREATE. */
void kernel_patch_open_reply(const struct kernel *k, struct iovec *iov, int count);
/* Asks for the requests that were read from /dev/fuse and not answered. 0 or -errno. */
int kernel_ask_again(int fuse_fd);
/* Tells who polls that there is news. 0 or -errno. */
int kernel_wake_poll(int fuse_fd, uint64_t poll_handle);

#endif
