// SPDX-License-Identifier: GPL-2.0-or-later
/* The beginning and the end of a disk; what is in between is in nbd_io.c. */
#include "nbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nbd_inner.h"

/* Of the keeper, which calls nothing deep. */
#define STACK (256u << 10)

struct nbd_limits nbd_limits = {
	.answer_ms = 60000,
	.flush_ms = 300000,
	.lock_ms = 10000,
	.end_ms = 60000,
	.deaths = 5,
	.deaths_ms = 60000,
	.notes_bytes = 64 << 20,
};

int nbd_available(char *buf, size_t size)
{
	const char *const argv[] = { "qemu-nbd", "--version", NULL };
	const char *lib = nbd_client_version();
	char path[PROGRAM_PATH], tail[PROGRAM_TAIL];
	struct program p = { .path = path, .argv = argv };
	const char *version = "";

	if (!lib) {
		snprintf(buf, size, "libnbd is not installed");
		return -EOPNOTSUPP;
	}
	if (program_find(argv[0], path)) {
		snprintf(buf, size, "qemu-nbd is not installed");
		return -EOPNOTSUPP;
	}
	/* "qemu-nbd 7.2.22 (Debian ...)" */
	if (!program_run(&p, tail, nbd_limits.answer_ms) && strchr(tail, ' '))
		version = strchr(tail, ' ') + 1;
	snprintf(buf, size, "qemu-nbd %.*s, libnbd %s", (int)strcspn(version, " \n"), version, lib);
	return 0;
}

/* ---- begin and end ---- */

static void prepare(struct nbd_disk *d, const struct nbd_source *source)
{
	pthread_condattr_t monotonic;

	d->source = *source;
	d->state = NBD_STARTING;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->making_room, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &monotonic);
	pthread_cond_init(&d->idle, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void free_disk(struct nbd_disk *d)
{
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->making_room);
	pthread_cond_destroy(&d->changed);
	pthread_cond_destroy(&d->idle);
	free(d);
}

static int start_keeper(struct nbd_disk *d)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	err = pthread_create(&d->keeper, &attr, nbd_keep, d);
	pthread_attr_destroy(&attr);
	return -err;
}

int nbd_disk_start(const struct nbd_source *source, struct nbd_disk **out,
		   char reason[IMAGE_REASON])
{
	struct nbd_disk *d;
	int err;

	if (!nbd_client_version())
		return image_fail(reason, -EOPNOTSUPP, "it needs libnbd, which is not installed");
	d = calloc(1, sizeof(*d));
	if (!d)
		return image_fail(reason, -ENOMEM, "there is no memory for it");
	prepare(d, source);
	err = start_keeper(d);
	if (err) {
		free_disk(d);
		return image_fail(reason, err, "no thread can be started for it");
	}
	pthread_mutex_lock(&d->lock);
	while (d->state == NBD_STARTING)
		pthread_cond_wait(&d->changed, &d->lock);
	err = d->state == NBD_FAILED ? d->err : 0;
	pthread_mutex_unlock(&d->lock);
	if (err) {
		pthread_join(d->keeper, NULL);
		image_fail(reason, err, "%s", d->reason);
		free_disk(d);
		return err;
	}
	*out = d;
	return 0;
}

/*
 * Closing the connections is what ends a server; the keeper has them while
 * there is none, or a new one. True when it ended by itself.
 */
static bool end(struct nbd_disk *d)
{
	uint64_t until = nbd_now_ms() + nbd_limits.end_ms;
	struct timespec at = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };

	pthread_mutex_lock(&d->lock);
	if (d->state != NBD_SERVING)
		nbd_lose(d);
	for (size_t i = 0; i < NBD_CONNECTIONS && d->state == NBD_SERVING; i++) {
		nbd_client_close(d->connections[i].handle);
		d->connections[i].handle = NULL;
	}
	if (d->state != NBD_FAILED)
		d->state = NBD_ENDING;
	pthread_cond_broadcast(&d->changed);
	while (!d->ended && pthread_cond_timedwait(&d->changed, &d->lock, &at) != ETIMEDOUT)
		;
	nbd_lose(d);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->keeper, NULL);
	return d->clean;
}

int nbd_disk_stop(struct nbd_disk *d, bool *clean)
{
	int err = nbd_disk_flush(d);

	*clean = end(d);
	free_disk(d);
	return err;
}

void nbd_disk_abandon(struct nbd_disk *d)
{
	if (!d)
		return;
	end(d);
	free_disk(d);
}
