/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a VHDX file: changes of its tables that are whole or not there at
 * all. An entry is a head with descriptors, then for each changed page its bytes.
 * The entries from the newest one's tail up to itself are what may not be in
 * place yet; all else in the log says nothing.
 *
 * Reading takes whatever sequences others write. Ours are simpler. Entries lie in
 * turn in the two halves of the first MiB, and each is its own tail:
 *
 *   D(what the entry before wrote in place) -> entry -> D -> in place
 *
 * so the last durable entry is never written over, and never too old.
 */
#ifndef TANDEMFS_VHDX_LOG_H
#define TANDEMFS_VHDX_LOG_H

#include "vhdx_layout.h"

/*
 * What the log's valid entries write; none when the header says that there are
 * none. *lost: the header says that there are some, but none is whole. Changes
 * nothing. `o` knows the file's size.
 */
int vhdx_log_replay(struct file *file, const struct vhdx_header *h, struct vhdx_overlay *o,
		    bool *lost, char reason[IMAGE_REASON]);

/* Pages of one entry of ours. */
#define VHDX_LOG_PAGES 126
/* What of the log ours need. */
#define VHDX_LOG_USED VHDX_MIB

struct vhdx_log {
	struct file *file;
	uint64_t at; /* in the file */
	uint8_t guid[16];
	uint64_t sequence;
	unsigned half; /* where the next entry goes */
	/* An entry is durable and what it says may not be in place. */
	bool in_place_due;
	size_t count;
	uint64_t where[VHDX_LOG_PAGES];
	uint8_t *buf; /* a head, then the pages */
};

/*
 * A new log with a guid of its own, and in it one durable entry that changes
 * nothing, so that the header may name it. file_size is durable with it.
 */
int vhdx_log_start(struct vhdx_log *log, struct file *file, uint64_t at, uint64_t file_size);
/* Frees what start got; also when it was never called. */
void vhdx_log_end(struct vhdx_log *log);
/*
 * Begins an entry. What an earlier one could not write in place comes there first,
 * durably. Before the first page, and after a failure.
 */
int vhdx_log_begin(struct vhdx_log *log);
/*
 * The entry changes the page at `at`, a multiple of 4096: *page is a copy of
 * it to work on. Pages are given in any order, the same one twice is the same.
 * -E2BIG: the entry is full.
 */
int vhdx_log_page(struct vhdx_log *log, uint64_t at, uint8_t **page);
/*
 * Writes the entry, makes it durable, and then writes the pages in place. What
 * earlier entries wrote in place must be durable. `flushed` of the file is durable
 * already; `last` is its size now. 0 once the entry is durable, even when the pages
 * could not be written in place: vhdx_log_begin does it, or fails. Another entry
 * may begin then.
 */
int vhdx_log_commit(struct vhdx_log *log, uint64_t flushed, uint64_t last);

/* As on disk. */
struct vhdx_log_head {
	char signature[4];
	uint32_t checksum, length, tail;
	uint64_t sequence;
	uint32_t count, reserved;
	uint8_t guid[16];
	uint64_t flushed, last;
};

struct vhdx_log_descriptor {
	char signature[4]; /* "desc" or "zero" */
	uint32_t trailing; /* the page's last bytes */
	uint64_t leading;  /* its first ones, or how much is zeroed */
	uint64_t at, sequence;
};

#endif
