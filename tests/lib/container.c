// SPDX-License-Identifier: GPL-2.0-or-later
/* New disks, one after the other, each with some work until there were enough ends. */
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container_inner.h"
#include "unit.h"

/* Operations on one disk. */
#define EPISODE 60

/* ---- parents ---- */

static bool no_change(void *arg, const struct tap_call *call)
{
	return container_fail(arg, "the parent is changed");
}

static int open_parent(const struct image_parents *p, const struct parent_name *name,
		       struct image **out, char reason[IMAGE_REASON])
{
	struct rig *rig = (struct rig *)((char *)p - offsetof(struct rig, parents));
	const struct image_around around = { .read_only = true };
	const char *slash = name->relative ? strrchr(name->relative, '/') : NULL;
	struct file *file;
	int err;

	if (!rig->parent_file || !name->relative ||
	    strcmp(slash ? slash + 1 : name->relative, "parent") != 0)
		return -ENOENT;
	file = tap_file_new(fake_twin(rig->parent_file), no_change, &rig->first);
	err = image_open(file, rig->c->format, &around, out, reason);
	if (err)
		file->ops->close(file);
	return err;
}

/* Of every third sector, and nothing in some units. */
static bool has_content(const struct container_case *c, uint64_t sector)
{
	return sector * MODEL_SECTOR < c->parent_size && sector % 3 == 0 &&
	       sector * MODEL_SECTOR / c->unit % 4 != 1;
}

static int fill_parent(struct image *img, const struct container_case *c)
{
	uint8_t buf[MODEL_SECTOR];
	int err = 0;

	for (uint64_t s = 0; s * MODEL_SECTOR < c->parent_size && !err; s++)
		if (has_content(c, s)) {
			content_fill(buf, 0, sizeof(buf), content_of_op(0, s));
			err = c->format->write(img, buf, sizeof(buf), s * MODEL_SECTOR, 0);
		}
	return err;
}

static bool make_parent(struct rig *rig)
{
	const struct container_case *c = rig->c;
	const struct image_create create = { .kind = c->parent,
					     .size = c->parent_size,
					     .block_size = c->block_size };
	const struct image_around around = { 0 };
	struct file *file = fake_file_new(NULL, 0);
	char reason[IMAGE_REASON] = "";
	struct image *img;
	int err = c->format->create(file, &create, reason);

	if (!err)
		err = image_open(file, c->format, &around, &img, reason);
	if (err) {
		file->ops->close(file);
		return container_fail(&rig->first, "no parent: %s (%s)", strerror(-err), reason);
	}
	if (c->format->start)
		err = c->format->start(img, reason);
	if (!err)
		err = fill_parent(img, c);
	if (!err && c->format->rest)
		err = c->format->rest(img);
	if (!err)
		rig->parent_file = fake_twin(file);
	image_close(img);
	return !err || container_fail(&rig->first, "no parent: %s (%s)", strerror(-err), reason);
}

/* ---- disks ---- */

static int create_disk(struct rig *rig, struct file *file, char reason[IMAGE_REASON])
{
	const struct container_case *c = rig->c;
	struct image_create create = { .kind = c->kind,
				       .size = c->size,
				       .block_size = c->block_size,
				       .sector_size = c->sector_size };
	const struct parent_name name = { .relative = "parent" };
	struct image *parent = NULL;
	int err = 0;

	if (c->parent) {
		create.parent_at = name;
		err = open_parent(&rig->parents, &name, &parent, reason);
		create.parent = parent;
	}
	if (!err)
		err = c->format->create(file, &create, reason);
	image_close(parent);
	return err ? err : file->ops->flush(file);
}

static struct disk_model *new_model(const struct container_case *c)
{
	struct disk_model *m = model_new(c->size, c->max > c->size ? c->max : c->size);

	for (uint64_t s = 0; c->parent && s * MODEL_SECTOR < c->size; s++)
		if (has_content(c, s))
			model_found(m, MODEL_POWER_CUT, s, content_of_op(0, s));
	return m;
}

static bool episode(struct rig *rig)
{
	struct run *r = &rig->first;
	char reason[IMAGE_REASON] = "";
	bool right;
	int err;

	*r = (struct run){ .seed = rig->episode, .boot = "this boot" };
	container_run(rig, r);
	r->disk = fake_file_new(NULL, 0);
	if (rig->c->ordered)
		fake_ordered(r->disk);
	err = create_disk(rig, r->disk, reason);
	if (err)
		container_fail(r, "create failed: %s (%s)", strerror(-err), reason);
	r->model = new_model(rig->c);
	right = !err && container_open(r) && container_verify(r);
	if (right && rig->c->together)
		work_together_begin(r);
	right = right && work_start(r) && work_some(r, EPISODE);
	work_together_end(r);
	right = right && work_rest(r) && container_verify(r);
	container_close(r);
	return right;
}

static uint64_t first_seed(uint64_t seed)
{
	const char *s = getenv("TANDEMFS_SEED");

	return s ? strtoull(s, NULL, 10) : seed;
}

static bool run(const struct container_case *c, enum model_end end, uint64_t seed, unsigned ends,
		char why[CONTAINER_WHY])
{
	struct rig rig = { .c = c,
			   .end = end,
			   .parents = { .open = open_parent },
			   .wanted = ends,
			   .episode = first_seed(seed),
			   .why = why };
	bool right;

	why[0] = '\0';
	rig.first.rig = &rig;
	rig.dirfd = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(rig.dirfd, 0);
	right = !c->parent || make_parent(&rig);
	for (; right && rig.ends < ends; rig.episode++)
		right = episode(&rig);
	if (rig.parent_file)
		rig.parent_file->ops->close(rig.parent_file);
	close(rig.dirfd);
	return right;
}

bool container_power_cuts(const struct container_case *c, uint64_t seed, unsigned cuts,
			  char why[CONTAINER_WHY])
{
	return run(c, MODEL_POWER_CUT, seed, cuts, why);
}

bool container_kills(const struct container_case *c, uint64_t seed, unsigned kills,
		     char why[CONTAINER_WHY])
{
	return run(c, MODEL_KILL, seed, kills, why);
}
