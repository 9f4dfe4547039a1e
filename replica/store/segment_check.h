/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is to be known of segments as a whole, by who checks them. Nothing is changed. 0 or -errno. */
#ifndef TANDEMFS_SEGMENT_CHECK_H
#define TANDEMFS_SEGMENT_CHECK_H

#include "segments.h"

enum segment_trouble {
	SEGMENT_MISSING, /* the one behind it says that it was there, and nobody let go of it */
	SEGMENT_HEADLESS,
};

/*
 * Calls bad for each segment that is not as it should be, of those that have records from place
 * `from` on. Of a log: in a store any may be gone.
 */
int segments_survey(struct segments *s, uint64_t from,
		    void (*bad)(void *arg, uint64_t number, enum segment_trouble trouble),
		    void *arg);
/* All before this place was flushed, as the newest file says; 0: nothing is known. */
uint64_t segments_flushed_before(struct segments *s);
/* Its head is one, and its own. */
int segments_has_head(struct segments *s, uint64_t number, bool *has);
/* Whole pages between these two offsets of a segment that take space. */
int segments_taken(struct segments *s, uint64_t number, uint64_t from, uint64_t to,
		   uint64_t *bytes);

/* The first offset of a segment at or behind `from` that takes space; -ENXIO: none does. */
int segments_next_taken(struct segments *s, uint64_t number, uint64_t from, uint64_t *found);
/* Something was being appended there, and it is no record, or has not its data. */
bool segments_is_torn(struct segments *s, uint64_t place);

#endif
