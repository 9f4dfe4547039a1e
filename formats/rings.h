/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to images that go to the kernel together (io_uring), by one thread. Measured on ext4
 * over a virtio disk with two processors: a direct request costs 3 us of CPU time so, and 8 to 11
 * by a thread of its own, most of it to switch to that thread and back; and two requests at once
 * take as long as the slower one, where handing one on to a thread takes as long as both.
 *
 * Only what needs nothing but the file goes there: a direct request inside of a raw image. All
 * else, and what the kernel did not do in full, is done by the image's own functions, one after
 * the other. Without io_uring that is everything.
 */
#ifndef TANDEMFS_RINGS_H
#define TANDEMFS_RINGS_H

#include "image.h"

struct rings;

struct image_request {
	struct image *image;
	void *buf; /* only read from, if it is a write; NULL then: a hole */
	size_t len;
	uint64_t off;
	unsigned io;
	bool write;
	int err; /* the result */
};

/*
 * keeps_open: the descriptor stays open in the kernel until the last request has ended, however
 * this process ends; so what is locked through it is locked until then. -1: none. -ENOSYS,
 * -EPERM, ...: there is no io_uring here.
 */
int rings_new(int keeps_open, struct rings **out);
/* Nobody uses them any more. NULL is fine. */
void rings_free(struct rings *r);
/*
 * All of them, each with its own result. Ranges of one image do not overlap, unless all of them
 * are reads. r may be NULL. Any thread.
 */
void rings_do(struct rings *r, struct image_request *requests, size_t count);
/* Whether the kernel takes this one, so that it goes with others. */
bool rings_take(const struct rings *r, const struct image_request *q);

#endif
