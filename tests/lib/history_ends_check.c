// SPDX-License-Identifier: GPL-2.0-or-later
/* What an end left, against what was promised. */
#include "history_ends_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define SECTOR MODEL_SECTOR

static bool wrong(struct life *l, uint64_t generation, uint64_t sector, uint64_t found,
		  uint64_t promised)
{
	return life_fail(l, "generation %llu has %llx in sector %llu and not %llx",
			 (unsigned long long)generation, (unsigned long long)found,
			 (unsigned long long)sector, (unsigned long long)promised);
}

/* Names of all sectors now (0) or then; malloc'd. NULL: it failed, and was said. */
static uint64_t *read_names(struct life *l, uint64_t generation, uint64_t size)
{
	uint64_t *names = malloc(size / SECTOR * sizeof(*names) + 1);
	uint8_t *buf = malloc(size + 1);
	size_t read = size;
	int err = generation ? history_read_at(l->w.h, generation, buf, size, 0)
			     : disk_read(l->w.d, buf, size, 0, 0, &read);

	if (!err && read != size)
		err = -ERANGE;
	for (uint64_t s = 0; !err && s < size / SECTOR; s++)
		names[s] = content_name(buf + s * SECTOR);
	free(buf);
	if (!err)
		return names;
	life_fail(l, "reading generation %llu failed: %s", (unsigned long long)generation,
		  strerror(-err));
	free(names);
	return NULL;
}

/* ---- the present ---- */

static bool compare_present(struct life *l, enum model_end end)
{
	const struct disk_model *m = l->before->model;
	uint64_t size = disk_size(l->w.d), *names;
	bool right = true;
	char text[400];

	if (!model_allows_size(m, end, size))
		return life_fail(l, "its size is %llu", (unsigned long long)size);
	names = read_names(l, 0, size);
	if (!names)
		return false;
	l->model = model_after(m, end, size);
	for (uint64_t s = 0; s < size / SECTOR && right; s++) {
		right = model_allows(m, end, s, names[s]);
		if (right)
			model_found(l->model, end, s, names[s]);
		else
			model_describe(m, end, s, names[s], text, sizeof(text));
	}
	free(names);
	return right || life_fail(l, "%s", text);
}

/* ---- the past ---- */

static const struct promise *promised(const struct life *l, uint64_t generation)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->kept[i].generation == generation)
			return &l->kept[i];
	return NULL;
}

static bool compare_names(struct life *l, const struct promise *p, const uint64_t *names)
{
	for (uint64_t s = 0; s < p->size / SECTOR; s++)
		if (names[s] != p->names[s])
			return wrong(l, p->generation, s, names[s], p->names[s]);
	return true;
}

static bool compare_moment(struct life *l, enum model_end end, const struct moment_record *m)
{
	const struct promise *p = promised(l->before, m->generation);
	uint64_t *names;

	if (!p || p->size != m->size)
		return life_fail(l, "nobody made moment %llu", (unsigned long long)m->generation);
	names = read_names(l, m->generation, m->size);
	if (!names)
		return false;
	if ((end == MODEL_KILL || p->flushed) && !compare_names(l, p, names)) {
		free(names);
		return false;
	}
	l->kept[l->count++] = (struct promise){ .generation = m->generation,
						.size = m->size,
						.names = names,
						.recorded = true,
						.flushed = end == MODEL_POWER_CUT || p->flushed };
	return true;
}

static bool compare_past(struct life *l, enum model_end end)
{
	const struct life *b = l->before;
	struct moment_record *moments;
	size_t count;
	bool right = true;

	if (history_moments(l->w.h, &moments, &count))
		return life_fail(l, "no memory");
	for (size_t i = 0; i < count && right; i++)
		right = moments[i].hidden || compare_moment(l, end, &moments[i]);
	free(moments);
	for (size_t i = 0; i < b->count && right; i++)
		if (b->kept[i].recorded && !b->kept[i].dropping &&
		    !promised(l, b->kept[i].generation))
			return life_fail(l, "moment %llu is gone",
					 (unsigned long long)b->kept[i].generation);
	return right;
}

bool life_compare(struct life *l, enum model_end end)
{
	return compare_present(l, end) && compare_past(l, end);
}

/* ---- within a life ---- */

static int seek(struct life *l, uint64_t g, uint64_t off, int whence, uint64_t *found)
{
	return g ? history_seek_at(l->w.h, g, off, whence, found)
		 : disk_seek(l->w.d, off, whence, found);
}

/* What is called a hole is zeros. names: what is there. */
static bool verify_holes(struct life *l, uint64_t g, uint64_t size, const uint64_t *names)
{
	uint64_t at = 0, hole, data;

	while (at < size) {
		int err = seek(l, g, at, SEEK_HOLE, &hole);

		if (!err && hole >= size)
			return true;
		if (!err)
			err = seek(l, g, hole, SEEK_DATA, &data);
		if (err == -ENXIO)
			data = size;
		else if (err)
			return life_fail(l, "seek failed: %s", strerror(-err));
		for (uint64_t s = (hole + SECTOR - 1) / SECTOR; s < data / SECTOR; s++)
			if (names[s])
				return wrong(l, g, s, 0, names[s]);
		at = data;
	}
	return true;
}

static bool verify_present(struct life *l)
{
	uint64_t size = model_size(l->model), *names;
	bool right = true;

	if (disk_size(l->w.d) != size)
		return life_fail(l, "its size became %llu and not %llu",
				 (unsigned long long)disk_size(l->w.d), (unsigned long long)size);
	names = read_names(l, 0, size);
	if (!names)
		return false;
	for (uint64_t s = 0; s < size / SECTOR && right; s++)
		if (names[s] != model_now(l->model, s))
			right = wrong(l, 0, s, names[s], model_now(l->model, s));
	right = right && verify_holes(l, 0, size, names);
	free(names);
	return right;
}

static bool verify_moment(struct life *l, const struct promise *p)
{
	uint64_t *names = read_names(l, p->generation, p->size);
	bool right = names && compare_names(l, p, names) &&
		     verify_holes(l, p->generation, p->size, names);

	free(names);
	return right;
}

bool life_verify(struct life *l)
{
	bool right = verify_present(l);

	for (size_t i = 0; i < l->count && right; i++)
		right = verify_moment(l, &l->kept[i]);
	return right;
}
