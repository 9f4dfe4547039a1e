// SPDX-License-Identifier: GPL-2.0-or-later
#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "notes.h"
#include "work_inner.h"

/* Bytes that one call may read of the file, so that no table is long. */
#define READS ((uint64_t)4 << 20)
/* How many blocks a disk may grow by. */
#define GROW_BLOCKS ((uint64_t)1 << 11)
/* What opening may take besides four times what the file has. */
#define MEMORY_BASE ((size_t)16 << 20)
#define NOTES_NAME "image.notes"

/* ---- open and close ---- */

static bool has_notes(const struct work *w)
{
	return w->prepare || w->script->options & SCRIPT_NOTES;
}

static int open_image(struct work *w, bool trusted)
{
	struct image_around around = {
		.read_only = w->script->options & SCRIPT_READ_ONLY,
		.parents = w->script->options & SCRIPT_NO_PARENTS ? NULL : w->subject->parents,
	};
	struct file *file = memory_file(w->memory, false);
	unsigned changes = memory_changes(w->memory);
	uint64_t size = memory_size(w->memory);
	char reason[IMAGE_REASON];
	size_t largest;
	int err;

	if (has_notes(w))
		MUST(!notes_open(work_directory(), NOTES_NAME, (const uint8_t *)WORK_BOOT,
				 &around.notes),
		     "the notes cannot be opened");
	memory_trust(w->memory, trusted);
	memory_may_read(w->memory, READS);
	work_largest();
	err = image_open(file, w->subject->format, &around, &w->img, reason);
	largest = work_largest();
	MUST(memory_changes(w->memory) == changes, "open changed the file");
	w->changes = changes;
	MUST(largest < MEMORY_BASE || largest - MEMORY_BASE < 4 * size,
	     "%zu bytes of memory for a file of %llu", largest, (unsigned long long)size);
	if (err) {
		w->img = NULL;
		MUST(err < 0 && memchr(reason, '\0', sizeof(reason)), "err %d", err);
		MUST(reason[0] || err == -ENOMEM, "no reason for %d", err);
		file->ops->close(file);
		notes_close(around.notes);
	}
	return err;
}

static bool is_kind(const struct image *img)
{
	for (const char *const *k = img->format->kinds; *k; k++)
		if (*k == img->kind || (img->kind && !strcmp(*k, img->kind)))
			return true;
	return !strcmp(img->kind, "vhd-differencing");
}

static void check_facts(const struct image *img)
{
	MUST(img->kind && is_kind(img), "kind %s", img->kind);
	MUST(img->size && img->size % img->sector_size == 0 && img->size <= INT64_MAX, "size %llu",
	     (unsigned long long)img->size);
	MUST(img->sector_size == 512 || img->sector_size == 4096, "%u", img->sector_size);
	MUST(memchr(img->complaint, '\0', IMAGE_REASON), "a complaint without an end");
	MUST(img->read_only || !img->asked_read_only, "it was opened for reading");
	MUST(img->read_only || !img->read_only_because, "%s", img->read_only_because);
}

struct facts {
	const char *kind;
	uint64_t size;
	uint32_t sector_size, block_size;
	uint8_t identity[16];
	bool read_only, in_doubt, complains;
};

static struct facts facts_of(const struct image *img)
{
	struct facts f = {
		.kind = img->kind,
		.size = img->size,
		.sector_size = img->sector_size,
		.block_size = img->block_size,
		.read_only = img->read_only,
		.in_doubt = img->in_doubt,
		.complains = img->complaint[0],
	};

	memcpy(f.identity, img->identity, sizeof(f.identity));
	return f;
}

static void check_same(const struct work *w, const struct facts *was)
{
	const struct image *img = w->img;

	check_facts(img);
	MUST(!strcmp(img->kind, was->kind), "%s was %s", img->kind, was->kind);
	MUST(img->size == was->size || img->size == w->asked_size, "size %llu was %llu",
	     (unsigned long long)img->size, (unsigned long long)was->size);
	MUST(img->sector_size == was->sector_size && img->block_size == was->block_size,
	     "sector %u, block %u", img->sector_size, img->block_size);
	/* Where a call failed the file may have what was not acknowledged. */
	MUST(w->any_stopped || !memcmp(img->identity, was->identity, 16), "another identity");
	MUST(was->read_only || !img->read_only, "it became read-only: %s", img->complaint);
	MUST(was->in_doubt || !img->in_doubt, "it is in doubt: %s", img->complaint);
	MUST(was->complains || !img->complaint[0], "a new complaint: %s", img->complaint);
}

/* Closes and opens it; what it is then must be what it was. Unless `promised`, not its contents. */
static void open_again(struct work *w, bool promised)
{
	struct facts was = facts_of(w->img);

	image_close(w->img);
	MUST(!open_image(w, true), "it cannot be opened again");
	memory_trust(w->memory, false);
	check_same(w, &was);
	if (promised)
		samples_check(w, 0, UINT64_MAX);
	else
		samples_take(w);
}

/* A failed flush stays failed: only another file can be used. What notes have is there. */
static void leave_broken(struct work *w)
{
	if (memory_broken(w->memory))
		open_again(w, has_notes(w) || w->img->read_only);
}

/* ---- operations ---- */

/* An error has its reason in the file. */
static void check_error(struct work *w, int err, const char *what)
{
	bool stopped = memory_stopped(w->memory);

	w->any_stopped |= stopped;
	/* A VHD has 2 TiB at most. */
	MUST(!err || stopped || err == -EFBIG, "%s: error %d", what, err);
}

/* It was written and rests. */
static void check_whole(struct work *w)
{
	const char *wrong = w->subject->wrong(w->memory);

	if (!w->any_stopped && memory_changes(w->memory) != w->changes)
		MUST(!wrong, "%s", wrong);
}

static int rest(struct work *w)
{
	int err = w->img->format->rest ? w->img->format->rest(w->img) : 0;

	check_error(w, err, "rest");
	if (!err)
		check_whole(w);
	return err;
}

static void op_data(struct work *w, const struct script_op *op, const struct span *at)
{
	const struct image_format *f = w->img->format;
	unsigned io = op->mode & MODE_DIRECT ? IO_DIRECT : 0;
	enum zero_mode mode = op->kind == OP_ZERO ? ZERO_PUNCH : ZERO_KEEP;
	bool is_write = op->kind == OP_WRITE;
	uint8_t *buf = is_write ? malloc(at->len) : NULL;
	int err;

	w->seed++;
	for (size_t i = 0; is_write && i < at->len; i++)
		buf[i] = span_byte(w->seed, at->off + i);
	err = is_write ? f->write(w->img, buf, at->len, at->off, io)
		       : f->zero(w->img, at->off, at->len, mode);
	free(buf);
	check_error(w, err, is_write ? "write" : "zero");
	if (err)
		samples_either(w, at, is_write ? w->seed : 0);
	else
		samples_set(w, at, is_write ? w->seed : 0);
	samples_check(w, at->off, at->len);
}

static void op_read(struct work *w, const struct script_op *op, const struct span *at)
{
	uint8_t *buf = malloc(at->len);
	int err = w->img->format->read(w->img, buf, at->len, at->off,
				       op->mode & MODE_DIRECT ? IO_DIRECT : 0);

	check_error(w, err, "read");
	free(buf);
}

static void op_seek(struct work *w, const struct script_op *op, const struct span *at)
{
	int whence = op->length % 2 ? SEEK_DATA : SEEK_HOLE;
	uint64_t found = UINT64_MAX;
	int err = w->img->format->seek(w->img, at->off, whence, &found);

	if (err == -ENXIO && whence == SEEK_DATA) {
		found = w->img->size;
		err = 0;
	}
	check_error(w, err, "seek");
	if (err)
		return;
	MUST(found >= at->off && found <= w->img->size, "seek %llu found %llu",
	     (unsigned long long)at->off, (unsigned long long)found);
	if (whence == SEEK_DATA && found > at->off)
		samples_zero(w, at->off, found - at->off);
}

static void op_grow(struct work *w, const struct script_op *op, const struct span *at)
{
	static const uint64_t units[] = { 512, 4096, 1 << 20, 1 << 30 };
	uint64_t old = w->img->size, more = op->length * units[op->mode & 3] / 512 * 512;
	uint64_t block = w->img->block_size ? w->img->block_size : 1 << 20;
	uint64_t size = old + (more < GROW_BLOCKS * block ? more : GROW_BLOCKS * block);
	struct span new = { .off = old, .len = size - old };
	int err;

	if (!w->img->format->resize)
		return;
	err = w->img->format->resize(w->img, size);
	if (err != -EOPNOTSUPP && err != -E2BIG && err != -EINVAL)
		check_error(w, err, "resize");
	MUST(w->img->size == (err ? old : size) || (err && w->img->size == size),
	     "resize: error %d, size %llu", err, (unsigned long long)w->img->size);
	if (err)
		w->asked_size = size;
	if (w->img->size > old) {
		samples_add(w, old, true);
		samples_set(w, &new, 0);
	}
	samples_check(w, 0, UINT64_MAX);
}

static void op_complete(struct work *w)
{
	char reason[IMAGE_REASON];
	int err;

	if (w->img->read_only)
		return;
	err = image_complete(w->img, reason);
	check_error(w, err, "complete");
	if (!err)
		check_whole(w);
	samples_check(w, 0, UINT64_MAX);
}

static void op_again(struct work *w, const struct script_op *op)
{
	char reason[IMAGE_REASON];
	struct facts was;

	if (op->kind == OP_KILL) {
		if (has_notes(w))
			open_again(w, true);
		return;
	}
	if (rest(w)) {
		samples_check(w, 0, UINT64_MAX);
		return;
	}
	if (op->kind == OP_REOPEN) {
		open_again(w, true);
		return;
	}
	was = facts_of(w->img);
	if (op->kind == OP_RELOAD) {
		memory_trust(w->memory, true);
		MUST(!image_reload(w->img, reason), "it cannot be reloaded: %s", reason);
		memory_trust(w->memory, false);
	}
	check_same(w, &was);
	samples_check(w, 0, UINT64_MAX);
}

static void do_op(struct work *w, const struct script_op *op)
{
	struct span at;
	int err;

	span_of(w, op, &at);
	memory_may_read(w->memory, READS);
	memory_stopped(w->memory);
	switch (op->kind % OP_KINDS) {
	case OP_WRITE:
	case OP_ZERO:
	case OP_ZERO_KEEP:
		if (!w->img->read_only)
			op_data(w, op, &at);
		break;
	case OP_GROW:
		if (!w->img->read_only)
			op_grow(w, op, &at);
		break;
	case OP_READ:
		op_read(w, op, &at);
		break;
	case OP_SEEK:
		op_seek(w, op, &at);
		break;
	case OP_COMPLETE:
		op_complete(w);
		break;
	case OP_FLUSH:
		err = w->img->read_only ? 0 : w->img->format->flush(w->img);
		check_error(w, err, "flush");
		samples_check(w, 0, UINT64_MAX);
		break;
	default:
		op_again(w, op);
	}
	leave_broken(w);
}

/* ---- all ---- */

static void start(struct work *w)
{
	char reason[IMAGE_REASON] = "";

	check_facts(w->img);
	samples_begin(w);
	if (w->img->format->start)
		MUST(!w->img->format->start(w->img, reason), "start: %s", reason);
}

static void end(struct work *w)
{
	unsigned changes = memory_changes(w->memory);
	int err;

	memory_trust(w->memory, true);
	err = rest(w);
	/* There may be no place for a footer behind the longest file: then notes keep what they have. */
	MUST(!err || err == -EFBIG, "it cannot rest: error %d", err);
	if (w->img->read_only)
		MUST(memory_changes(w->memory) == changes, "rest changed what is read-only");
	samples_check(w, 0, UINT64_MAX);
	/* Nothing is left in the notes: the image is whole without them. */
	if (!err && !w->img->read_only)
		unlinkat(work_directory(), NOTES_NAME, 0);
	open_again(w, true);
	image_close(w->img);
}

void work(const struct subject *s, const struct script *script, work_notes *notes)
{
	static struct work w;

	w = (struct work){ .subject = s, .script = script, .prepare = notes };
	w.memory = subject_make(s, script);
	if (has_notes(&w))
		unlinkat(work_directory(), NOTES_NAME, 0);
	if (notes)
		notes(s, script, w.memory, work_directory(), NOTES_NAME);
	fuzz_steady(100);
	memory_fail(w.memory, script->fail_call % MEMORY_CALLS, script->fail_nth,
		    script->fail_times);
	if (!open_image(&w, false)) {
		start(&w);
		for (unsigned i = 0; i < script->op_count; i++)
			do_op(&w, &script->ops[i]);
		end(&w);
	}
	memory_free(w.memory);
}
