// SPDX-License-Identifier: GPL-2.0-or-later
#include "notes_play.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "work.h"

/* More than one input can have. */
#define RECORDS 4096
#define LONG ((size_t)20000)

struct seen {
	uint32_t kind, sum;
	size_t len;
};

struct play {
	struct notes *notes;
	const uint8_t *binding;
	/* What must be replayed: [start, count). */
	struct seen list[RECORDS];
	size_t start, count;
	uint64_t mark;
	size_t marked; /* records before it */
	/* What is replayed now. */
	struct seen now[RECORDS];
	size_t now_count;
};

static int take(void *arg, uint32_t kind, const void *data, size_t len)
{
	struct play *p = arg;

	MUST(len <= NOTES_RECORD_MAX && (uintptr_t)data % 8 == 0, "%zu bytes at %p", len, data);
	MUST(p->now_count < RECORDS, "too many records");
	p->now[p->now_count++] = (struct seen){ kind, crc32c(0, data, len), len };
	return 0;
}

static int refuse_all(void *arg, uint32_t kind, const void *data, size_t len)
{
	return -EILSEQ;
}

static void open_notes(struct play *p)
{
	int err = notes_open(work_directory(), PLAY_NAME, (const uint8_t *)WORK_BOOT, &p->notes);

	MUST(!err, "error %d", err);
}

static int replay(struct play *p, bool *foreign)
{
	int err;

	p->now_count = 0;
	err = notes_replay(p->notes, p->binding, take, p, foreign);
	if (!err && *foreign)
		MUST(!p->now_count, "records of somebody else");
	return err;
}

static void check_replay(struct play *p)
{
	bool foreign = true;
	int err = replay(p, &foreign);

	MUST(!err && !foreign, "error %d, foreign %d", err, foreign);
	MUST(p->now_count == p->count - p->start, "%zu records, not %zu", p->now_count,
	     p->count - p->start);
	MUST(!memcmp(p->now, p->list + p->start, p->now_count * sizeof(*p->now)), "other records");
}

static void add(struct play *p, const struct script_op *op)
{
	size_t len = op->mode & 1 ? op->length % LONG : op->length % 64;
	uint64_t head[2] = { op->position, op->length };
	size_t head_len = op->mode & 2 ? sizeof(head) : 0;
	uint8_t *data = malloc(len + 1);
	int err;

	for (size_t i = 0; i < len; i++)
		data[i] = op->position + i;
	err = notes_add(p->notes, op->kind, head, head_len, data, len);
	MUST(!err, "error %d", err);
	p->list[p->count++] = (struct seen){ op->kind, crc32c(crc32c(0, head, head_len), data, len),
					     head_len + len };
	free(data);
}

static void drop(struct play *p)
{
	MUST(!notes_drop(p->notes, p->mark), "they cannot be dropped");
	if (p->marked > p->start)
		p->start = p->marked;
}

static void kill_and_open(struct play *p)
{
	notes_close(p->notes);
	open_notes(p);
	check_replay(p);
	/* Marks are of one opening. */
	p->mark = notes_mark(p->notes);
	p->marked = p->count;
}

static void do_op(struct play *p, const struct script_op *op)
{
	switch (op->kind % OP_KINDS) {
	case OP_WRITE:
	case OP_READ:
	case OP_GROW:
		add(p, op);
		break;
	case OP_SEEK:
		p->mark = notes_mark(p->notes);
		p->marked = p->count;
		break;
	case OP_FLUSH:
		drop(p);
		break;
	case OP_REST:
		MUST(!notes_clear(p->notes), "they cannot be cleared");
		p->start = p->marked = p->count;
		p->mark = notes_mark(p->notes);
		break;
	case OP_RELOAD:
		check_replay(p);
		break;
	default:
		kill_and_open(p);
	}
	MUST((notes_bytes(p->notes) > 0) == (p->count > p->start), "%llu bytes of %zu records",
	     (unsigned long long)notes_bytes(p->notes), p->count - p->start);
}

/* What a file of anything gives; then it can be used. */
static void begin(struct play *p)
{
	bool foreign = false;
	int err = replay(p, &foreign);

	if (!err && !foreign) {
		memcpy(p->list, p->now, p->now_count * sizeof(*p->now));
		p->count = p->now_count;
		check_replay(p);
		err = notes_replay(p->notes, p->binding, refuse_all, NULL, &foreign);
		MUST(err == (p->count ? -EILSEQ : 0), "error %d", err);
		check_replay(p);
	} else {
		MUST(!notes_begin(p->notes, p->binding), "they cannot begin");
	}
	p->mark = notes_mark(p->notes);
	p->marked = p->count;
}

void notes_play(const struct script *s, const uint8_t binding[NOTES_BINDING])
{
	static struct play p;

	p = (struct play){ .binding = binding };
	open_notes(&p);
	begin(&p);
	for (unsigned i = 0; i < s->op_count; i++)
		do_op(&p, &s->ops[i]);
	notes_close(p.notes);
	unlinkat(work_directory(), PLAY_NAME, 0);
}
