/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that qemu-nbd reads and writes for us.
 *
 * qemu-nbd may die at any moment, and so may we. Nothing that was acknowledged
 * is lost by either (a power cut loses what was not flushed, as ever):
 *
 *   1. a write or zeroing is noted, in the page cache, before it is sent
 *   2. the notes of what was acknowledged before a flush go when it is done
 *   3. when qemu-nbd is dead and gone (reaped: nothing of it can land later), a
 *      new one is started, the notes are done again, then the requests that
 *      had no answer are sent again. Their callers notice a delay.
 *   4. a start does again what an earlier process noted
 *
 * Without notes each write is flushed before it is acknowledged.
 *
 * A request that has no answer in nbd_limits.answer_ms, a flush in
 * nbd_limits.flush_ms, has the server killed and is sent again, a few times.
 * A server that waits for its disk cannot be killed: that lasts as long as the
 * disk takes, as with any other image. One that dies too often is given up:
 * everything is -EIO until the next start.
 */
#ifndef TANDEMFS_NBD_H
#define TANDEMFS_NBD_H

#include "image.h"

struct nbd_disk;

/* What to open, and how. */
struct nbd_source {
	const char *driver; /* QEMU's name of the format */
	int fd;             /* of the image; open as long as this lives */
	bool read_only;
	bool one_at_a_time;  /* QEMU's driver does not stand more */
	uint64_t size;       /* which it must have */
	struct notes *notes; /* or NULL; they stay the caller's */
	uint8_t binding[32]; /* of the notes */
	/* Before each start of a server, in any thread: may it be? NULL: it may. */
	int (*before)(void *arg, char reason[IMAGE_REASON]);
	void *arg;
};

/* Tests change them, while there is no disk. */
extern struct nbd_limits {
	unsigned answer_ms; /* of reads, writes, zeroings: 60 s */
	unsigned flush_ms;  /* and of starting, which may repair the image: 300 s */
	unsigned lock_ms;   /* how long a dead server may hold its locks: 10 s; others a tenth */
	unsigned end_ms;    /* how long a server may take to end: 60 s */
	unsigned deaths, deaths_ms; /* 5 in 60 s are too many */
	uint64_t notes_bytes;       /* then a writer flushes: 64 MiB */
} nbd_limits;

/*
 * "qemu-nbd 7.2.22, libnbd 1.14.2" and 0, or why not and -EOPNOTSUPP. Runs
 * qemu-nbd --version each time.
 */
int nbd_available(char *buf, size_t size);

/* Starts a server. -errno and a reason. */
int nbd_disk_start(const struct nbd_source *source, struct nbd_disk **out,
		   char reason[IMAGE_REASON]);
/*
 * Flushes and ends it, frees it in any case. 0: everything is in the image, and
 * the notes can go. *clean: the server closed the image by itself. Nothing else
 * runs.
 */
int nbd_disk_stop(struct nbd_disk *d, bool *clean);
/* Ends it without promises; the notes stay. NULL is fine. */
void nbd_disk_abandon(struct nbd_disk *d);

/* As the members of struct image_format; any thread. NULL: nobody started it, -EIO. */
int nbd_disk_read(struct nbd_disk *d, void *buf, size_t len, uint64_t off);
int nbd_disk_write(struct nbd_disk *d, const void *buf, size_t len, uint64_t off);
int nbd_disk_zero(struct nbd_disk *d, uint64_t off, uint64_t len, enum zero_mode mode);
int nbd_disk_flush(struct nbd_disk *d);
int nbd_disk_seek(struct nbd_disk *d, uint64_t off, int whence, uint64_t *found);

#endif
