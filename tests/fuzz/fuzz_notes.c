// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Notes that somebody else wrote: by themselves, against a model, and beside an
 * image that they change when it is opened. Patches are records, or change bytes
 * of the notes' file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_inner.h"
#include "bytes.h"
#include "crc32c.h"
#include "notes_inner.h"
#include "notes_play.h"
#include "target.h"

enum {
	/* A record: its kind (8 bits), what is wrong with it (8), its length if not 0 (32). */
	SPACE_RECORD = 4,
	SPACE_NOTES = 5, /* bytes of the file */
};
enum { WRONG_CRC = 1, WRONG_DATA = 2, WRONG_POSITION = 4 };
/* Further options of the script. */
enum { BESIDE_IMAGE = 1 << 6, BESIDE_VHDX = 1 << 7 };
enum { LEAVE_HEAD = 1 << 7 };

#define FILE_MAX 65536

static struct subject subjects[2];

/* ---- the file ---- */

static size_t put_record(uint8_t *file, size_t at, const struct notes_head *h,
			 const struct script_patch *p)
{
	unsigned wrong = p->at >> 8 & 0xff;
	uint32_t length = p->at >> 16;
	size_t footprint = notes_footprint(p->length);
	struct notes_record r = {
		.len = length ? length : p->length,
		.kind = p->at & 0xff,
		.position = h->base + (at - NOTES_FIRST) + (wrong & WRONG_POSITION ? 8 : 0),
	};

	if (at + footprint > FILE_MAX)
		return at;
	memset(file + at, 0, footprint);
	memcpy(file + at + sizeof(r), p->bytes, p->length);
	/* As far as there are zeros behind it. */
	if (r.len <= FILE_MAX - at - sizeof(r))
		r.data_crc = crc32c(0, file + at + sizeof(r), r.len);
	r.data_crc ^= wrong & WRONG_DATA;
	r.crc = crc32c(0, &r.data_crc, sizeof(r) - sizeof(r.crc)) ^ (wrong & WRONG_CRC);
	memcpy(file + at, &r, sizeof(r));
	return at + footprint;
}

static void write_notes(const struct script *s, const uint8_t binding[NOTES_BINDING], int dirfd,
			const char *name)
{
	static uint8_t file[FILE_MAX];
	struct notes_head h = { .magic = NOTES_MAGIC };
	size_t end = NOTES_FIRST;
	int fd;

	memset(file, 0, sizeof(file));
	memcpy(h.boot, WORK_BOOT, sizeof(h.boot));
	memcpy(h.binding, binding, sizeof(h.binding));
	for (unsigned i = 0; i < s->patch_count; i++)
		if (s->patches[i].space == SPACE_RECORD)
			end = put_record(file, end, &h, &s->patches[i]);
	memcpy(file, &h, sizeof(h));
	for (unsigned i = 0; i < s->patch_count; i++) {
		const struct script_patch *p = &s->patches[i];

		if (p->space == SPACE_NOTES && p->at <= FILE_MAX - p->length)
			memcpy(file + p->at, p->bytes, p->length);
		if (p->space == SPACE_NOTES && p->at + p->length > end && p->at < FILE_MAX)
			end = p->at + p->length < FILE_MAX ? p->at + p->length : FILE_MAX;
	}
	if (!(s->unsealed & LEAVE_HEAD)) {
		memcpy(&h, file, sizeof(h));
		h.crc = crc32c(0, &h, offsetof(struct notes_head, crc));
		memcpy(file, &h, sizeof(h));
	}
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	MUST(fd >= 0 && write(fd, file, end) == (ssize_t)end, "the notes cannot be written");
	close(fd);
}

/* ---- beside an image ---- */

/* What the image says that its notes are bound to. */
static void beside(const struct subject *s, const struct script *script, struct memory *m,
		   int dirfd, const char *name)
{
	struct image_around around = { .read_only = true, .parents = s->parents };
	uint8_t binding[NOTES_BINDING] = { 0 };
	struct file *f = memory_file(m, false);
	char reason[IMAGE_REASON];
	struct image *img;

	memory_may_read(m, (uint64_t)4 << 20);
	if (image_open(f, s->format, &around, &img, reason)) {
		f->ops->close(f);
	} else {
		/* A fixed VHD has no map. */
		if (img->block_size)
			s->tables->binding(img, binding);
		image_close(img);
	}
	write_notes(script, binding, dirfd, name);
}

static const struct subject *subject_of(const struct script *s)
{
	return &subjects[s->options & BESIDE_VHDX ? 1 : 0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t binding[NOTES_BINDING] = "by themselves";
	struct script s;

	script_read(&s, data, size);
	if (s.options & BESIDE_IMAGE) {
		work(subject_of(&s), &s, beside);
		return 0;
	}
	write_notes(&s, binding, work_directory(), PLAY_NAME);
	notes_play(&s, binding);
	return 0;
}

/* ---- mutations ---- */

static void invent(struct script_patch *p, uint8_t bytes[SCRIPT_LENGTH], uint64_t *random)
{
	uint64_t n = fuzz_random(random), unit = n & 1 ? 4096 : 1 << 20;

	memset(bytes, 0, 32);
	p->space = SPACE_RECORD;
	p->at = n >> 8 & 15 ? NOTE_ENTRY + (n >> 16 & 1) : fuzz_random(random) & 0xffff;
	p->length = 16;
	put_le64(bytes, fuzz_random(random) >> 32 & 15);
	if ((p->at & 0xff) == NOTE_BITS) {
		put_le32(bytes + 8, fuzz_random(random) >> 32 & 127);
		put_le32(bytes + 12, fuzz_random(random) >> 32 & 63);
	} else {
		put_le64(bytes + 8,
			 (fuzz_random(random) >> 32 & 63) * unit + (fuzz_random(random) >> 32 & 3));
		/* What was before it: nothing, or a place; or it is of an earlier version. */
		if (n >> 20 & 3)
			p->length = 24;
		if (n >> 22 & 1)
			put_le64(bytes + 16, (fuzz_random(random) >> 32 & 63) * unit + 2);
	}
}

static const struct hot_field notes_hot[] = {
	{ .space = SPACE_NOTES, .at = 0, .width = 8 },
	{ .space = SPACE_NOTES, .at = 8, .width = 16 },
	{ .space = SPACE_NOTES, .at = 24, .width = 8, .count = 4, .stride = 8 },
	{ .space = SPACE_NOTES, .at = 56, .width = 8, .count = 2, .stride = 8 },
	{ .space = SPACE_NOTES, .at = NOTES_FIRST, .width = 8, .count = 16, .stride = 8 },
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	subjects[0] = vhd_subject;
	subjects[1] = vhdx_subject;
	for (int i = 0; i < 2; i++)
		subjects[i].invent = invent;
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	struct subject s;
	struct script script;

	script_read(&script, data, size);
	s = *subject_of(&script);
	if (!(script.options & BESIDE_IMAGE) || seed % 4 == 0) {
		s.big_endian = false;
		s.hot = notes_hot;
		s.hot_count = sizeof(notes_hot) / sizeof(*notes_hot);
	}
	return subject_mutate(&s, data, size, room, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed)
{
	return subject_cross(a, a_size, b, b_size, out, room, seed);
}
