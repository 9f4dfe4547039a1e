/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A second opinion on a VHD or VHDX that our own reader has accepted: libvhdi's,
 * which shares no code with ours. It is asked what the image is, never for data.
 *
 * It is not always right. It checks no sums, so of a VHDX with one bad header it
 * may believe that one; it refuses an image when one copy of something is bad
 * that the format keeps twice; it replays no log. So a difference is a reason
 * for people to look, and nothing more. It is also no parser for what was made to
 * harm: our own reader goes first.
 *
 * Not thread-safe: of witness_look one call at a time in the whole program. Prints
 * nothing.
 */
#ifndef TANDEMFS_WITNESS_H
#define TANDEMFS_WITNESS_H

#include "image.h"

enum witness_kind { WITNESS_OTHER, WITNESS_FIXED, WITNESS_DYNAMIC, WITNESS_DIFFERENCING };

struct witness {
	bool opened; /* if not, only why is set */
	bool vhdx;   /* or VHD */
	bool has_identity;
	bool size_at_creation; /* size is the one that a VHD was made with */
	enum witness_kind kind;
	uint64_t size;        /* of the disk */
	uint8_t identity[16]; /* as it is in the file: VHD's unique id, VHDX's data write GUID */
	char why[80];         /* it did not open */
};

/*
 * Looks at the file behind fd: any descriptor of it, also an O_PATH one; its
 * offset stays, and so do its locks. The file is opened once more for reading, and
 * closed. About a millisecond, whatever the size. 0 also when libvhdi does not
 * open it, -ENOMEM.
 */
int witness_look(int fd, struct witness *out);

/* Images of this kind are what it is asked about. Others are nothing for its parser. */
bool witness_knows(const char *kind);

/*
 * What of it differs from the image, as a sentence; empty when nothing does, or
 * when it is no VHD or VHDX. Pure. Uses the image's kind, size and identity.
 */
void witness_compare(const struct witness *w, const struct image *img, char opinion[IMAGE_REASON]);

#endif
