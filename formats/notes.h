/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes beside an image: what was acknowledged and is not in the image's own
 * metadata yet. A record is in the page cache when notes_add returns, so it
 * outlives this program; nothing here is ever flushed, so it need not outlive
 * the machine: records count only on the same boot. What nobody flushed was not
 * promised for longer.
 *
 * One file, that exists only from the first record on until all are cleared.
 *
 * The binding says what the image was when the records were made, in bytes of
 * the format's choice; records for anything else are not applied.
 *
 * notes_add, notes_mark, notes_drop and notes_bytes may be called by any thread
 * at any time; nothing runs beside the others.
 */
#ifndef TANDEMFS_NOTES_H
#define TANDEMFS_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOTES_BINDING 32
#define NOTES_RECORD_MAX (2u << 20)

struct notes;

/*
 * `name` in the directory dirfd, which stays the caller's and outlives the notes.
 * `boot` are 16 bytes that differ after each boot (notes_boot). No file is made
 * yet. -ELOOP, -EINVAL: something there is called so and is no regular file.
 */
int notes_open(int dirfd, const char *name, const uint8_t boot[16], struct notes **out);
/* What there is stays there. NULL is fine. */
void notes_close(struct notes *n);
/* The running kernel's. */
int notes_boot(uint8_t boot[16]);

/*
 * Calls fn for the records in order, up to the first that is cut off or wrong;
 * data is aligned to 8 bytes. None when they are of another boot. *foreign: of
 * this boot, but of another binding (somebody else changed the image), or of
 * something that cannot be read; no call is made. Without records nothing is
 * foreign. A negative return of fn ends it and is returned. Before the first
 * notes_add, or again later: then the same records come.
 */
int notes_replay(struct notes *n, const uint8_t binding[NOTES_BINDING],
		 int (*fn)(void *arg, uint32_t kind, const void *data, size_t len), void *arg,
		 bool *foreign);
/* Drops what there is; the records from now on are of this binding. */
int notes_begin(struct notes *n, const uint8_t binding[NOTES_BINDING]);
/*
 * Appends a record of head and then data (either may be empty), together at most
 * NOTES_RECORD_MAX, else -EMSGSIZE. After notes_begin or a notes_replay that was
 * not foreign (whose binding goes on). On failure nothing was added.
 */
int notes_add(struct notes *n, uint32_t kind, const void *head, size_t head_len, const void *data,
	      size_t len);
/* The end of the records now. Marks only go up while the notes are open. */
uint64_t notes_mark(struct notes *n);
/*
 * The records before that mark are in the image, durably: they go, and their
 * space, 64 KiB at a time. A mark before what was dropped already is fine. After a
 * failure they, or their space, may still be there until the next call.
 */
int notes_drop(struct notes *n, uint64_t mark);
/* All go, foreign ones too, and the file. notes_add may go on if it could before. */
int notes_clear(struct notes *n);
/* There is a file, perhaps without records: whoever made it did not clear it. */
bool notes_exist(struct notes *n);
/* Bytes of records that were not dropped; before notes_replay it is not known: 0. */
uint64_t notes_bytes(struct notes *n);

#endif
