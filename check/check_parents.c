// SPDX-License-Identifier: GPL-2.0-or-later
/* Parents, where the daemon looks for them too: in DISKDIR and the pools, by the names of its rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_inner.h"
#include "parents.h"

static const struct check_pool *pool_at(const struct check *c, const char *dir)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].dirfd >= 0 && !strcmp(c->pools[i].dir, dir))
			return &c->pools[i];
	return NULL;
}

static int open_parent(const struct check_parents *child, const struct check_pool *pool,
		       const char *name, struct image **out, char reason[IMAGE_REASON])
{
	const struct image_format *format = image_name_classify(name).format;
	struct check_parents own;
	struct image_around around = { .read_only = true, .parents = &own.base };
	char inner[IMAGE_REASON] = "";
	const struct check_disk *d;
	bool read_only = true;
	struct file *file;
	int err;

	check_parents_init(&own, child->c, pool);
	own.depth = child->depth + 1;
	own.opened = child->opened;
	if (own.depth > IMAGE_PARENTS_MAX)
		return image_fail(reason, -ELOOP, "it has more than %d parents, or is its own",
				  IMAGE_PARENTS_MAX);
	if (++*own.opened > IMAGE_PARENTS_OPENED_MAX)
		return image_fail(reason, -ELOOP,
				  "the names of its parents lead to too many files");
	if (!format || format->locks_itself)
		return image_fail(reason, -EINVAL, "its parent %s is no image of that kind", name);
	err = file_open(pool->dirfd, name, &read_only, &file);
	if (err)
		return err;
	d = check_disk_of_file(child->c, file_fd(file));
	around.guest_bytes = d ? d->r.guest_bytes : 0;
	err = image_open(file, format, &around, out, inner);
	if (!err) {
		(*out)->parents = NULL;
		return 0;
	}
	file->ops->close(file);
	return image_fail(reason, -EINVAL, "its parent %.60s: %.100s", name,
			  inner[0] ? inner : strerror(-err));
}

/* -ENOENT: there is nothing where that leads to, or nobody may look there. */
static int open_path(const struct check_parents *p, const char *path, struct image **out,
		     char reason[IMAGE_REASON])
{
	const struct check_pool *pool;
	char *dir = malloc(PATH_MAX);
	const char *name;
	int err = dir ? -ENOENT : -ENOMEM;

	if (dir && parents_split(path, dir, PATH_MAX, &name)) {
		pool = pool_at(p->c, dir);
		err = pool ? open_parent(p, pool, name, out, reason) : -ENOENT;
	}
	free(dir);
	return err;
}

static int open_by_name(const struct image_parents *base, const struct parent_name *name,
			struct image **out, char reason[IMAGE_REASON])
{
	struct check_parents p = *(const struct check_parents *)base;
	unsigned opened = 0;
	const char *shown = name->relative ? name->relative : name->absolute;
	char *path = malloc(2 * PATH_MAX);
	int err = path ? -ENOENT : -ENOMEM;

	reason[0] = '\0';
	if (!p.opened)
		p.opened = &opened;
	if (path && !name->relative) {
		err = open_path(&p, name->absolute, out, reason);
	} else if (path && name->relative[0] != '/') {
		snprintf(path, 2 * PATH_MAX, "%s/%s", p.pool->dir, name->relative);
		err = open_path(&p, path, out, reason);
	}
	free(path);
	if (err && !reason[0])
		image_fail(reason, err, "its parent %.120s: %.60s", shown,
			   err == -ENOENT ? "it is missing" : strerror(-err));
	return err;
}

void check_parents_init(struct check_parents *p, struct check *c, const struct check_pool *pool)
{
	*p = (struct check_parents){ .base.open = open_by_name, .c = c, .pool = pool };
}
