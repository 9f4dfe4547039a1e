// SPDX-License-Identifier: GPL-2.0-or-later
#include "rings.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * Requests under way in a ring: with 32 the settler waited for its reads (ext4 on a virtual disk,
 * first writes after a snapshot: 20k a second with 32, 24k with 64, 25k with 128); with more, others
 * wait longer.
 */
#define DEPTH 64

/* One is used by one thread at a time. */
struct ring {
	struct io_uring uring;
	struct ring *next; /* idle */
};

struct rings {
	pthread_mutex_t lock;
	struct ring *idle;
	int keeps_open;
};

static int begin_ring(struct io_uring *uring)
{
	/* Completions wait until their thread comes for them, instead of interrupting it. */
	int err = io_uring_queue_init(DEPTH, uring, IORING_SETUP_COOP_TASKRUN);

	return err == -EINVAL ? io_uring_queue_init(DEPTH, uring, 0) : err;
}

static int new_ring(int keeps_open, struct ring **out)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	int err = ring ? begin_ring(&ring->uring) : -ENOMEM;

	if (err) {
		free(ring);
		return err;
	}
	if (keeps_open >= 0)
		err = io_uring_register_files(&ring->uring, &keeps_open, 1);
	if (err) {
		io_uring_queue_exit(&ring->uring);
		free(ring);
		return err;
	}
	*out = ring;
	return 0;
}

int rings_new(int keeps_open, struct rings **out)
{
	const char *said = getenv("TANDEMFS_IO_URING");
	struct rings *r;
	int err;

	/* For tools that do not see what the kernel writes so, such as valgrind. */
	if (said && !strcmp(said, "off"))
		return -ENOSYS;
	r = calloc(1, sizeof(*r));
	err = r ? new_ring(keeps_open, &r->idle) : -ENOMEM;

	if (err) {
		free(r);
		return err;
	}
	r->keeps_open = keeps_open;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

void rings_free(struct rings *r)
{
	struct ring *ring;

	if (!r)
		return;
	while ((ring = r->idle)) {
		r->idle = ring->next;
		/* The kernel takes its time to end a ring, and nothing is under way in this one. */
		if (r->keeps_open >= 0)
			io_uring_unregister_files(&ring->uring);
		io_uring_queue_exit(&ring->uring);
		free(ring);
	}
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* As many as there are threads that use one at the same time; NULL: there are no more. */
static struct ring *take(struct rings *r)
{
	struct ring *ring;

	pthread_mutex_lock(&r->lock);
	ring = r->idle;
	if (ring)
		r->idle = ring->next;
	pthread_mutex_unlock(&r->lock);
	if (!ring && new_ring(r->keeps_open, &ring))
		return NULL;
	return ring;
}

static void put(struct rings *r, struct ring *ring)
{
	pthread_mutex_lock(&r->lock);
	ring->next = r->idle;
	r->idle = ring;
	pthread_mutex_unlock(&r->lock);
}

/* ---- requests ---- */

static void do_alone(struct image_request *q)
{
	const struct image_format *format = q->image->format;

	if (!q->write)
		q->err = format->read(q->image, q->buf, q->len, q->off, q->io);
	else if (q->buf)
		q->err = format->write(q->image, q->buf, q->len, q->off, q->io);
	else
		q->err = image_zero(q->image, q->off, q->len, ZERO_PUNCH);
}

static int descriptor(const struct image_request *q)
{
	const struct image *img = q->image;

	if (!q->buf || !img->format->flat || q->off + q->len > img->size)
		return -1;
	return file_direct_fd(img->file, q->buf, q->len, q->off, q->io);
}

bool rings_take(const struct rings *r, const struct image_request *q)
{
	return r && descriptor(q) >= 0;
}

static bool submit(struct io_uring *uring, struct image_request *q)
{
	int fd = descriptor(q);
	struct io_uring_sqe *sqe = fd >= 0 ? io_uring_get_sqe(uring) : NULL;

	if (!sqe)
		return false;
	if (q->write)
		io_uring_prep_write(sqe, fd, q->buf, q->len, q->off);
	else
		io_uring_prep_read(sqe, fd, q->buf, q->len, q->off);
	io_uring_sqe_set_data(sqe, q);
	return true;
}

/* What the kernel ended; what it did not do in full is done again, or fails again. */
static size_t reap(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	io_uring_for_each_cqe(uring, head, cqe)
	{
		struct image_request *q = io_uring_cqe_get_data(cqe);

		q->err = 0;
		if (cqe->res != (int)q->len)
			do_alone(q);
		seen++;
	}
	io_uring_cq_advance(uring, seen);
	return seen;
}

/* The kernel has our buffers until they have ended: there is no way out of here before. */
static void do_together(struct io_uring *uring, struct image_request *requests, size_t count)
{
	size_t next = 0, under_way = 0;

	while (next < count || under_way) {
		size_t wanted;

		while (next < count && under_way < DEPTH) {
			if (submit(uring, &requests[next]))
				under_way++;
			else
				do_alone(&requests[next]);
			next++;
		}
		/* Woken for each that ends, we would do little else. */
		wanted = next < count ? (under_way + 3) / 4 : under_way;
		/* It has not begun, for want of memory: nobody but the kernel can make some. */
		if (under_way && io_uring_submit_and_wait(uring, wanted) < 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		under_way -= reap(uring);
	}
}

void rings_do(struct rings *r, struct image_request *requests, size_t count)
{
	struct ring *ring = r && count ? take(r) : NULL;

	if (ring) {
		do_together(&ring->uring, requests, count);
		put(r, ring);
		return;
	}
	for (size_t i = 0; i < count; i++)
		do_alone(&requests[i]);
}
