// SPDX-License-Identifier: GPL-2.0-or-later
/* Ends: where they come, and what they leave. */
#include "history_ends.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalogue_inner.h"
#include "fake_dir.h"
#include "history_ends_inner.h"
#include "history_ends_tap.h"
#include "unit.h"

/* Operations on one disk, and of a life after an end. */
#define EPISODE 80
#define AFTER 8

static const char *const work_names[HISTORY_WORKS] = {
	"open",   "write",  "zero", "flush", "snapshot", "tick",   "drop",
	"settle", "resize", "rest", "fill",  "restore",  "refill", "abort",
};

static const char *const file_names[] = { "nothing", "image", "log", "store" };

bool life_fail(struct life *l, const char *format, ...)
{
	char *why = l->rig->why;
	va_list args;
	size_t n;

	if (why[0])
		return false;
	n = snprintf(why, HISTORY_WHY,
		     "seed %llu, blocks of %u: ", (unsigned long long)l->rig->episode,
		     l->rig->c->block_size);
	va_start(args, format);
	n += vsnprintf(why + n, HISTORY_WHY - n, format, args);
	va_end(args);
	for (; l && n < HISTORY_WHY; l = l->before)
		n += snprintf(why + n, HISTORY_WHY - n, "; %s",
			      l->where[0] ? l->where : work_names[l->work]);
	return false;
}

/* ---- the catalogue ---- */

/* As its last commit left it. Nobody is in the midst of one. */
static bool copy_catalogue(struct life *l)
{
	MDB_env *env = l->w.t->catalogue->env;
	MDB_envinfo info;
	struct file_stat st = { 0 };
	int fd;

	mdb_env_info(env, &info);
	if (l->catalogue && info.me_last_txnid == l->commit)
		return true;
	mdb_env_get_fd(env, &fd);
	st.size = lseek(fd, 0, SEEK_END);
	l->catalogue = realloc(l->catalogue, st.size);
	l->catalogue_size = st.size;
	l->commit = info.me_last_txnid;
	return pread(fd, l->catalogue, st.size, 0) == (ssize_t)st.size;
}

static bool put_catalogue(const struct life *from, const struct world *to)
{
	char path[PATH_MAX + 32];
	int fd;
	bool right;

	snprintf(path, sizeof(path), "%s/catalogue", to->dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/catalogue/lock.mdb", to->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/catalogue/data.mdb", to->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	right = write(fd, from->catalogue, from->catalogue_size) == (ssize_t)from->catalogue_size;
	return !close(fd) && right;
}

/* What a container noted, of the same boot, or of one before. */
static void copy_notes(const struct life *l, struct life *left, enum model_end end)
{
	int in = openat(l->w.dirfd, "notes", O_RDONLY | O_CLOEXEC), out;
	struct world *to = &l->rig->worlds[left->depth];
	char buf[16384];
	ssize_t n;

	unlinkat(to->dirfd, "notes", 0);
	memcpy(to->boot, l->w.boot, sizeof(to->boot));
	to->boot[0] += end == MODEL_POWER_CUT;
	if (in < 0)
		return;
	out = openat(to->dirfd, "notes", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	while ((n = read(in, buf, sizeof(buf))) > 0 && write(out, buf, n) == n)
		;
	close(out);
	close(in);
}

/* ---- lives ---- */

/* Nothing happens to it: what ends leave of it is what it was. */
static int open_source(struct life *l)
{
	struct rig *rig = l->rig;
	struct world w = { .t = l->w.t };
	int err = world_open_disk(&w, 2, fake_twin(rig->source), fake_dir_new(), fake_dir_new(),
				  rig->c->block_size);

	if (!err && !rig->generation)
		err = world_snapshot(&w, &rig->generation);
	l->source = l->w.source = w.d;
	l->w.generation = rig->generation;
	return err;
}

bool life_open(struct life *l)
{
	int err;

	l->w = l->rig->worlds[l->depth];
	l->work = HISTORY_OPEN;
	err = world_open_catalogue(&l->w);
	if (!err && l->rig->c->is_clone)
		err = open_source(l);
	if (!err)
		err = world_open_disk(&l->w, 1, tap_image(l), tap_log(l), tap_store(l),
				      l->rig->c->block_size);
	if (!err)
		world_without_settler(&l->w);
	return !err || life_fail(l, "open failed: %s", strerror(-err));
}

void life_close(struct life *l)
{
	l->over = true;
	disk_unref(l->source);
	world_abandon(&l->w);
	while (l->count)
		promise_drop(l, l->count - 1);
	if (l->model)
		model_free(l->model);
	free(l->catalogue);
}

/* What is left is completed, and worked on. */
static bool go_on(struct life *l)
{
	int err = history_settle(l->w.h);

	if (err)
		return life_fail(l, "it cannot be completed: %s", strerror(-err));
	if (!life_drop_hidden(l))
		return false;
	if (!life_verify(l))
		return false;
	if (!unit_below(&l->seed, 2))
		return true;
	return life_work(l, 1 + unit_below(&l->seed, AFTER)) && life_verify(l);
}

/* ---- ends ---- */

static void describe(const struct life *l, enum model_end end, enum history_file file,
		     const struct tap_call *call, char *buf, size_t len)
{
	static const char *const calls[FAKE_CALLS] = {
		[FAKE_WRITE] = "write",       [FAKE_FLUSH] = "flush",   [FAKE_ZERO] = "zero",
		[FAKE_ALLOCATE] = "allocate", [FAKE_RESIZE] = "resize",
	};

	snprintf(buf, len, "%s at point %u of depth %u, in %s, %s %s of %s (%llu+%llu)",
		 end == MODEL_KILL ? "kill" : "power cut", l->points, l->depth, work_names[l->work],
		 call->after ? "after" : "before", calls[call->call] ? calls[call->call] : "a name",
		 file_names[file], (unsigned long long)call->off, (unsigned long long)call->len);
}

/* A kill in a write leaves some pages of it written. */
static void write_some(struct file *f, const struct tap_call *call, uint64_t *seed)
{
	uint64_t first = 4096 - call->off % 4096, pages = (call->len + 4095) / 4096;
	uint64_t len = first + 4096 * unit_below(seed, pages);

	if (f && len < call->len)
		f->ops->write(f, call->buf, len, call->off, 0);
}

static void leave(struct life *l, struct life *left, enum model_end end, const char *name,
		  enum history_file file, const struct tap_call *call)
{
	struct file *f;

	if (end == MODEL_POWER_CUT) {
		left->image = fake_crashed(l->image, unit_random(&left->seed));
		left->log = fake_dir_crashed(l->log, unit_random(&left->seed));
		left->store = fake_dir_crashed(l->store, unit_random(&left->seed));
		return;
	}
	left->image = fake_twin(l->image);
	left->log = fake_dir_twin(l->log);
	left->store = fake_dir_twin(l->store);
	if (call->after || call->call != FAKE_WRITE)
		return;
	f = file == HISTORY_IMAGE
		    ? left->image
		    : fake_dir_file(file == HISTORY_LOG ? left->log : left->store, name);
	write_some(f, call, &left->seed);
}

static void end_here(struct life *l, enum model_end end, const char *name, enum history_file file,
		     const struct tap_call *call)
{
	struct life *left = calloc(1, sizeof(*left));

	*left = (struct life){ .rig = l->rig,
			       .before = l,
			       .depth = l->depth + 1,
			       .seed = unit_random(&l->seed) };
	describe(l, end, file, call, left->where, sizeof(left->where));
	l->rig->ends++;
	leave(l, left, end, name, file, call);
	if (!copy_catalogue(l) || !put_catalogue(l, &l->rig->worlds[left->depth]))
		life_fail(left, "no copy of the catalogue");
	copy_notes(l, left, end);
	if (life_open(left) && life_compare(left, end))
		go_on(left);
	life_close(left);
	free(left);
}

/* In the midst of completing what an end left, more often than else. */
static bool ends_here(struct life *l)
{
	if (l->rig->why[0] || l->rig->ends >= l->rig->wanted || !l->model || l->over)
		return false;
	if (!l->depth)
		return true;
	return l->depth <= HISTORY_DEPTH &&
	       !unit_below(&l->seed, l->work == HISTORY_OPEN ? 12 : 60);
}

bool life_point(struct life *l, const char *name, enum history_file file,
		const struct tap_call *call)
{
	const struct history_case *c = l->rig->c;

	l->points++;
	if (ends_here(l))
		end_here(l, MODEL_POWER_CUT, name, file, call);
	/* After a call and before the next is one moment for who kills, but for the catalogue. */
	if (ends_here(l) && !(call->after && unit_below(&l->seed, 2)))
		end_here(l, MODEL_KILL, name, file, call);
	if (call->call != FAKE_FLUSH || call->after || file != c->lose || l->work != c->lose_in)
		return true;
	l->rig->flushes_lost++;
	return false;
}

/* ---- episodes ---- */

static struct file *new_image(const struct history_case *c)
{
	const struct image_create create = { .kind = c->kind,
					     .size = c->size,
					     .block_size = c->unit };
	struct file *f = fake_file_new(NULL, c->format ? 0 : c->size);
	char reason[IMAGE_REASON];

	if (c->format && (c->format->create(f, &create, reason) || f->ops->flush(f)))
		ck_abort_msg("create: %s", reason);
	return f;
}

/* As the source's file has it. */
static struct file *new_source(const struct history_case *c)
{
	struct file *f = fake_file_new(NULL, c->size);
	uint8_t buf[MODEL_SECTOR];

	for (uint64_t s = 0; s < c->size / MODEL_SECTOR; s++) {
		if (s / 8 % 5 == 4)
			continue; /* a hole */
		content_fill(buf, s * MODEL_SECTOR, MODEL_SECTOR, content_of_op(0, s));
		f->ops->write(f, buf, MODEL_SECTOR, s * MODEL_SECTOR, 0);
	}
	return f;
}

static struct disk_model *new_model(const struct history_case *c)
{
	struct disk_model *m = model_new(c->size, c->max);
	uint32_t op = model_begin(m);
	uint64_t mark;

	for (uint64_t s = 0; c->is_clone && s < c->size / MODEL_SECTOR; s++)
		if (s / 8 % 5 != 4)
			model_set(m, op, s, content_of_op(0, s));
	model_done(m, op);
	mark = model_flush_begin(m);
	model_flush_end(m, mark);
	return m;
}

static bool episode(struct rig *rig)
{
	struct life *l = &rig->first;
	char path[PATH_MAX + 32];
	bool right;

	snprintf(path, sizeof(path), "%s/catalogue/data.mdb", rig->worlds[0].dir);
	unlink(path);
	unlinkat(rig->worlds[0].dirfd, "notes", 0);
	*l = (struct life){ .rig = rig, .seed = rig->episode };
	l->image = new_image(rig->c);
	l->log = fake_dir_new();
	l->store = fake_dir_new();
	rig->generation = 0;
	if (rig->c->is_clone)
		rig->source = new_source(rig->c);
	right = life_open(l);
	l->model = new_model(rig->c);
	right = right && life_work(l, EPISODE) && life_verify(l);
	life_close(l);
	if (rig->source)
		rig->source->ops->close(rig->source);
	rig->source = NULL;
	return right;
}

bool history_ends(const struct history_case *c, uint64_t seed, unsigned ends, char why[HISTORY_WHY])
{
	const char *s = getenv("TANDEMFS_SEED");
	struct rig *rig = calloc(1, sizeof(*rig));
	bool right = true;

	*rig = (struct rig){ .c = c,
			     .wanted = ends,
			     .why = why,
			     .episode = s ? strtoull(s, NULL, 10) : seed };
	why[0] = '\0';
	for (size_t i = 0; i < UNIT_LENGTH(rig->worlds); i++)
		world_new(&rig->worlds[i]);
	for (size_t i = 0; i < UNIT_LENGTH(rig->worlds); i++)
		rig->worlds[i].format = c->format;
	for (; right && rig->ends < ends; rig->episode++)
		right = episode(rig);
	for (size_t i = 0; i < UNIT_LENGTH(rig->worlds); i++)
		world_free(&rig->worlds[i]);
	free(rig);
	return right;
}
