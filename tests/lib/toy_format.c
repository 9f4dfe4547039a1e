// SPDX-License-Identifier: GPL-2.0-or-later
#include "toy_format.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "notes.h"

#define BLOCK 4096u
#define TABLE_AT 512
#define BLOCKS 512
#define PLACES 4096

struct head {
	char magic[8];
	uint64_t size;
	uint8_t zeros[496];
};

struct toy {
	pthread_mutex_t lock;
	uint32_t table[BLOCKS];
	/* FREED: the file's table may still name it. */
	enum { FREE, FREED, USED } places[PLACES];
	bool started;
};

struct note {
	uint32_t block, place;
};

enum toy_mistake toy_mistake;

static const uint8_t binding[NOTES_BINDING] = "toy";
static const char *const toy_kinds[] = { "toy", NULL };
static const char *const toy_endings[] = { "toy", NULL };

static struct toy *toy_of(const struct image *img)
{
	return img->private;
}

static bool is_wrong(enum toy_mistake m)
{
	return toy_mistake == m;
}

static uint64_t offset_of(uint32_t place, uint64_t off)
{
	return (uint64_t)place * BLOCK + off % BLOCK;
}

/* ---- open and close ---- */

static int replay(void *arg, uint32_t kind, const void *data, size_t len)
{
	struct toy *t = arg;
	const struct note *n = data;

	if (len != sizeof(*n) || n->block >= BLOCKS || n->place >= PLACES)
		return -EILSEQ;
	t->table[n->block] = n->place;
	return 0;
}

static void use_places(struct toy *t)
{
	for (size_t b = 0; b < BLOCKS; b++)
		if (t->table[b])
			t->places[t->table[b]] = USED;
}

static int toy_open(struct image *img, char reason[IMAGE_REASON])
{
	struct toy *t = calloc(1, sizeof(*t));
	struct head head;
	bool foreign;
	int err;

	pthread_mutex_init(&t->lock, NULL);
	img->private = t;
	err = img->file->ops->read(img->file, &head, sizeof(head), 0, 0);
	if (!err)
		err = img->file->ops->read(img->file, t->table, sizeof(t->table), TABLE_AT, 0);
	if (err || memcmp(head.magic, "toy disk", 8) || head.size > BLOCKS * BLOCK)
		return image_fail(reason, err ? err : -EINVAL, "not a toy");
	img->kind = toy_kinds[0];
	img->size = head.size;
	img->sector_size = 512;
	img->block_size = BLOCK;
	t->places[0] = USED;
	use_places(t);
	err = img->notes ? notes_replay(img->notes, binding, replay, t, &foreign) : 0;
	use_places(t);
	return err;
}

static void toy_close(struct image *img)
{
	struct toy *t = toy_of(img);

	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- requests ---- */

/* What is read is what is durable from then on: no place is free that the table names. */
static int start_writing(struct image *img)
{
	struct toy *t = toy_of(img);
	int err = 0;

	if (!t->started && !is_wrong(TOY_NO_D_AT_START))
		err = img->file->ops->flush(img->file);
	t->started |= !err;
	return err;
}

static int note(struct image *img, uint32_t block)
{
	const struct note n = { block, toy_of(img)->table[block] };

	return img->notes && !is_wrong(TOY_NO_NOTES)
		       ? notes_add(img->notes, 1, &n, sizeof(n), NULL, 0)
		       : 0;
}

static int take_place(struct image *img, uint32_t *out)
{
	struct toy *t = toy_of(img);
	uint32_t place = 0;
	struct file_stat st;
	int err;

	while (place < PLACES && t->places[place] != FREE &&
	       !(is_wrong(TOY_PLACE_TOO_EARLY) && t->places[place] == FREED))
		place++;
	if (place == PLACES)
		return -ENOSPC;
	err = img->file->ops->stat(img->file, &st);
	if (!err && st.size < offset_of(place + 1, 0))
		err = img->file->ops->resize(img->file, offset_of(place + 1, 0));
	if (!err && !is_wrong(TOY_PLACE_NOT_CLEAN))
		err = img->file->ops->zero(img->file, offset_of(place, 0), BLOCK, ZERO_PUNCH);
	if (!err)
		t->places[place] = USED;
	*out = place;
	return err;
}

static int place_of(struct image *img, uint32_t block, bool whole, uint32_t *place)
{
	struct toy *t = toy_of(img);
	uint32_t old;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	err = start_writing(img);
	old = t->table[block];
	if (!err && (!old || (whole && is_wrong(TOY_TORN)))) {
		err = take_place(img, &t->table[block]);
		if (!err)
			err = note(img, block);
		if (old)
			t->places[old] = FREED;
	}
	*place = t->table[block];
	pthread_mutex_unlock(&t->lock);
	return err;
}

static size_t piece(size_t len, uint64_t off)
{
	size_t left = BLOCK - off % BLOCK;

	return len < left ? len : left;
}

static int toy_read(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct toy *t = toy_of(img);
	int err = 0;

	for (size_t n; len && !err; buf = (char *)buf + n, len -= n, off += n) {
		uint32_t place;

		n = piece(len, off);
		pthread_mutex_lock(&t->lock);
		place = t->table[off / BLOCK];
		pthread_mutex_unlock(&t->lock);
		if (place)
			err = img->file->ops->read(img->file, buf, n, offset_of(place, off), io);
		else
			memset(buf, 0, n);
	}
	return err;
}

static int toy_write(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io)
{
	int err = 0;

	for (size_t n; len && !err; buf = (const char *)buf + n, len -= n, off += n) {
		uint32_t place;

		n = piece(len, off);
		err = place_of(img, off / BLOCK, n == BLOCK, &place);
		if (!err)
			err = img->file->ops->write(img->file, buf, n, offset_of(place, off), io);
	}
	return err;
}

static int discard(struct image *img, uint32_t block)
{
	struct toy *t = toy_of(img);
	int err;

	pthread_mutex_lock(&t->lock);
	err = start_writing(img);
	if (!err && t->table[block]) {
		t->places[t->table[block]] = FREED;
		t->table[block] = 0;
		err = note(img, block);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int toy_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	static const uint8_t zeros[BLOCK];
	int err = 0;

	for (size_t n; len && !err; len -= n, off += n) {
		n = piece(len, off);
		if (n == BLOCK && mode == ZERO_PUNCH)
			err = discard(img, off / BLOCK);
		else
			err = toy_write(img, zeros, n, off, 0);
	}
	return err;
}

/* ---- flush ---- */

/* What is acknowledged now. */
static struct toy *copy_of(struct toy *t)
{
	struct toy *copy = malloc(sizeof(*copy));

	pthread_mutex_lock(&t->lock);
	memcpy(copy->table, t->table, sizeof(t->table));
	memcpy(copy->places, t->places, sizeof(t->places));
	pthread_mutex_unlock(&t->lock);
	return copy;
}

static void free_places(struct toy *t, const struct toy *saved)
{
	pthread_mutex_lock(&t->lock);
	for (size_t p = 0; p < PLACES; p++)
		if (saved->places[p] == FREED)
			t->places[p] = FREE;
	pthread_mutex_unlock(&t->lock);
}

static int save(struct file *f, const struct toy *t)
{
	int err = is_wrong(TOY_TABLE_FIRST) || is_wrong(TOY_TABLE_LATE) ? 0 : f->ops->flush(f);

	if (!err)
		err = f->ops->write(f, t->table, sizeof(t->table), TABLE_AT, 0);
	return err || is_wrong(TOY_TABLE_NOT_FLUSHED) ? err : f->ops->flush(f);
}

static int toy_flush(struct image *img)
{
	uint64_t mark = img->notes ? notes_mark(img->notes) : 0;
	struct toy *t = toy_of(img), *saved;
	int err = 0;

	if (is_wrong(TOY_NOTES_DROPPED_EARLY) && img->notes)
		err = notes_drop(img->notes, mark);
	if (!err && is_wrong(TOY_TABLE_LATE))
		err = img->file->ops->flush(img->file);
	saved = copy_of(t);
	if (!err)
		err = save(img->file, saved);
	if (!err)
		free_places(t, saved);
	free(saved);
	return !err && img->notes ? notes_drop(img->notes, mark) : err;
}

static int toy_rest(struct image *img)
{
	int err = toy_flush(img);

	if (!err && img->notes)
		err = notes_clear(img->notes);
	return err;
}

/* ---- the rest ---- */

static int toy_seek(struct image *img, uint64_t off, int whence, uint64_t *found)
{
	if (off >= img->size)
		return -ENXIO;
	*found = whence == SEEK_DATA ? off : (uint64_t)img->size;
	return 0;
}

static int write_head(struct file *f, uint64_t size)
{
	const struct head head = { .magic = "toy disk", .size = size };

	return f->ops->write(f, &head, sizeof(head), 0, 0);
}

/* A larger disk of before a power cut may have left something behind the end. */
static int clear_rest(struct image *img)
{
	uint64_t size = img->size;
	uint32_t place = toy_of(img)->table[size / BLOCK];
	int err = 0;

	if (!place || size % BLOCK == 0 || is_wrong(TOY_END_NOT_CLEAN))
		return 0;
	err = img->file->ops->zero(img->file, offset_of(place, size), BLOCK - size % BLOCK,
				   ZERO_PUNCH);
	return err || is_wrong(TOY_END_NOT_DURABLE) ? err : img->file->ops->flush(img->file);
}

static int toy_resize(struct image *img, uint64_t size)
{
	int err = clear_rest(img);

	if (!err && !is_wrong(TOY_SIZE_NOT_WRITTEN))
		err = write_head(img->file, size);
	if (!err)
		img->size = size;
	return err;
}

static int toy_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON])
{
	int err = file->ops->resize(file, BLOCK);

	return err ? err : write_head(file, c->size);
}

const struct image_format toy_format = {
	.name = "toy",
	.kinds = toy_kinds,
	.endings = toy_endings,
	.open = toy_open,
	.close = toy_close,
	.rest = toy_rest,
	.read = toy_read,
	.write = toy_write,
	.flush = toy_flush,
	.zero = toy_zero,
	.seek = toy_seek,
	.resize = toy_resize,
	.create = toy_create,
};
