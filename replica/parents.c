// SPDX-License-Identifier: GPL-2.0-or-later
#include "parents.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tandem.h"
#include "watch.h"

static int open_by_name(const struct image_parents *base, const struct parent_name *name,
			struct image **out, char reason[IMAGE_REASON]);

void parents_init(struct parents *p, struct tandem *t, const struct pool *pool)
{
	*p = (struct parents){ .base.open = open_by_name, .tandem = t, .pool = pool };
}

/* ---- names ---- */

/* Takes ".", ".." and empty names out of a path, by its text alone. */
static bool normalise(const char *path, char *out, size_t size)
{
	size_t len = 0;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			if (len + 1 + n >= size)
				return false;
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n + (path[n] == '/');
	}
	out[len] = '\0';
	return true;
}

bool parents_split(const char *path, char *dir, size_t size, const char **name)
{
	char *slash;

	if (path[0] != '/' || !normalise(path, dir, size))
		return false;
	slash = strrchr(dir, '/');
	if (!slash || !slash[1])
		return false;
	*name = slash + 1;
	/* "/x" lies in "/": the name moves so that both end. */
	if (slash == dir) {
		if (strlen(dir) + 2 > size)
			return false;
		memmove(dir + 2, dir + 1, strlen(dir + 1) + 1);
		*name = dir + 2;
		dir[1] = '\0';
	} else {
		*slash = '\0';
	}
	return true;
}

/* The pool whose directory this is; a reference. */
static struct pool *pool_at(struct tandem *t, const char *dir)
{
	size_t count;
	struct pool **pools = tandem_pools(t, &count), *found = NULL;

	for (size_t i = 0; i < count && !found; i++)
		if (!strcmp(pools[i]->dir, dir))
			found = pool_ref(pools[i]);
	pools_free(pools, count);
	return found;
}

/* ---- opening ---- */

uint64_t parents_guest_bytes(const struct tandem *t, int fd)
{
	struct disk_record r;
	struct identity id;

	if (identity_of(fd, &id) || catalogue_disk_by_identity(t->catalogue, &id, &r))
		return 0;
	return r.guest_bytes;
}

static int open_image(const struct parents *child, struct pool *pool, const char *name,
		      struct image **out, char reason[IMAGE_REASON])
{
	const struct image_format *format = image_name_classify(name).format;
	struct parents own = { .base.open = open_by_name,
			       .tandem = child->tandem,
			       .pool = pool,
			       .depth = child->depth + 1,
			       .opened = child->opened };
	struct image_around around = { .read_only = true, .parents = &own.base };
	char inner[IMAGE_REASON];
	bool read_only = true;
	struct file *file;
	int err;

	if (own.depth > IMAGE_PARENTS_MAX)
		return image_fail(reason, -ELOOP, "it has more than %d parents, or is its own",
				  IMAGE_PARENTS_MAX);
	if (++*own.opened > IMAGE_PARENTS_OPENED_MAX)
		return image_fail(reason, -ELOOP,
				  "the names of its parents lead to too many files");
	if (!format || format->locks_itself)
		return image_fail(reason, -EINVAL, "its parent %s is no image of that kind", name);
	err = file_open(pool->dirfd, name, &read_only, &file);
	if (err == -ENOENT)
		return err;
	if (err)
		return image_fail(reason, err, "its parent %s: %s", name, strerror(-err));
	around.guest_bytes = parents_guest_bytes(child->tandem, file_fd(file));
	err = file->ops->lock(file, FILE_READ);
	if (err)
		image_fail(reason, err, "its parent %s is open for writing", name);
	else
		err = image_open(file, format, &around, out, inner);
	if (err == -ELOOP)
		image_fail(reason, err, "%s", inner); /* as it is, from however deep it comes */
	else if (err && !reason[0])
		image_fail(reason, err, "its parent %s: %s", name,
			   inner[0] ? inner : strerror(-err));
	if (err)
		file->ops->close(file);
	else
		(*out)->parents = NULL;
	/* This one is there: its other names would lead to the same. */
	return err == -ENOENT || err == -EXDEV ? -ENOLINK : err;
}

/* Paths are long and chains are deep: not on the stack. */
struct search {
	const struct parents *child;
	char path[2 * PATH_MAX], dir[PATH_MAX];
};

/* -ENOENT when there is nothing, or -EXDEV when it may not be looked at. */
static int open_path(struct search *s, struct image **out, char reason[IMAGE_REASON])
{
	const char *name;
	struct pool *pool;
	int err;

	if (!parents_split(s->path, s->dir, sizeof(s->dir), &name))
		return -ENOENT;
	pool = pool_at(s->child->tandem, s->dir);
	if (!pool)
		return -EXDEV;
	err = pool->dirfd < 0 ? -ENOENT : open_image(s->child, pool, name, out, reason);
	pool_unref(pool);
	return err;
}

static int search(struct search *s, const struct parent_name *name, struct image **out,
		  char reason[IMAGE_REASON])
{
	if (!name->relative)
		snprintf(s->path, sizeof(s->path), "%s", name->absolute);
	else if (name->relative[0] == '/')
		return -ENOENT;
	else
		snprintf(s->path, sizeof(s->path), "%s/%s", s->child->pool->dir, name->relative);
	return open_path(s, out, reason);
}

static int open_by_name(const struct image_parents *base, const struct parent_name *name,
			struct image **out, char reason[IMAGE_REASON])
{
	const char *shown = name->relative ? name->relative : name->absolute;
	struct parents child = *(const struct parents *)base;
	unsigned opened = 0;
	struct search *s = malloc(sizeof(*s));
	int err = s ? 0 : -ENOMEM;

	reason[0] = '\0';
	if (!child.opened)
		child.opened = &opened;
	if (!err) {
		s->child = &child;
		err = search(s, name, out, reason);
	}
	free(s);
	if (err == -ENOENT)
		return image_fail(reason, err, "its parent %.120s is missing", shown);
	if (err == -EXDEV)
		return image_fail(reason, err,
				  "its parent %.100s lies outside of the disk directory and pools",
				  shown);
	return err;
}

/* ---- children ---- */

/* What some disks are built upon. */
struct ancestor {
	uint64_t dev, ino;
	uint8_t identity[16];
	char label[DISK_LABEL_MAX + 1]; /* of a parent; of a parent's parent "" */
};

struct ancestors {
	struct ancestor *list;
	size_t count, room;
};

static bool add_ancestors(struct ancestors *a, struct disk *d)
{
	bool known = true;

	pthread_mutex_lock(&d->lock);
	if (a->count + d->about.ancestry.count > a->room) {
		size_t room = 2 * (a->room + IMAGE_PARENTS_MAX);
		void *more = realloc(a->list, room * sizeof(*a->list));

		known = more != NULL;
		if (more) {
			a->list = more;
			a->room = room;
		}
	}
	for (unsigned i = 0; known && i < d->about.ancestry.count; i++, a->count++) {
		struct ancestor *to = &a->list[a->count];

		to->dev = d->about.ancestry.list[i].dev;
		to->ino = d->about.ancestry.list[i].ino;
		memcpy(to->identity, d->about.ancestry.list[i].identity, sizeof(to->identity));
		snprintf(to->label, sizeof(to->label), "%s", i ? "" : d->about.ancestry.parent);
	}
	pthread_mutex_unlock(&d->lock);
	return known;
}

/* How many of them are this disk's image. */
static unsigned count_children(const struct ancestors *a, struct disk *d)
{
	unsigned children = 0;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; d->image && i < a->count; i++)
		/* The same disk under the same name: a copy took the file's place. */
		children += (a->list[i].dev == d->known.dev && a->list[i].ino == d->known.ino) ||
			    (!strcmp(a->list[i].label, d->label) &&
			     !memcmp(a->list[i].identity, d->image->identity, 16));
	pthread_mutex_unlock(&d->lock);
	return children;
}

static void set_children(struct disk *d, unsigned children)
{
	bool same = atomic_exchange(&d->children, children) == children, has_reason;
	enum disk_state state = disk_state(d);
	char reason[IMAGE_REASON] = "";

	pthread_mutex_lock(&d->lock);
	has_reason = d->reason[0];
	pthread_mutex_unlock(&d->lock);
	if (state == DISK_MISSING && !same && !children)
		watch_poke(d->tandem->watch); /* nobody needs it any more */
	if ((same && (has_reason || !children)) || (state != DISK_READY && state != DISK_READ_ONLY))
		return;
	if (d->image->read_only_because)
		snprintf(reason, sizeof(reason), "%s", d->image->read_only_because);
	if (children)
		snprintf(reason, sizeof(reason), "%u disk%s built upon it", children,
			 children == 1 ? " is" : "s are");
	disk_set_state(d, disk_natural_state(d), reason);
}

bool parents_needed_elsewhere(struct tandem *t, struct disk *parent)
{
	struct ancestors a = { 0 };
	struct disk **disks;
	size_t count;
	bool needed;

	if (!atomic_load(&parent->children))
		return false;
	disks = tandem_disks(t, &count);
	for (size_t i = 0; i < count; i++)
		if (disks[i]->pool != parent->pool)
			add_ancestors(&a, disks[i]);
	needed = count_children(&a, parent);
	free(a.list);
	disks_free(disks, count);
	return needed;
}

void parents_label(struct tandem *t, const struct image *img, char *label)
{
	char link[40], path[PATH_MAX], dir[PATH_MAX];
	struct pool *pool;
	const char *name;
	ssize_t len;

	label[0] = '\0';
	if (!img->parent)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file_fd(img->parent->file));
	len = readlink(link, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = '\0';
	if (!parents_split(path, dir, sizeof(dir), &name))
		return;
	pool = pool_at(t, dir);
	snprintf(label, DISK_LABEL_MAX + 1, "%s%s%.*s", pool ? pool->name : "",
		 pool && pool->name[0] ? ":" : "", NAME_MAX, name);
	pool_unref(pool);
}

void parents_of(struct tandem *t, const struct image *img, struct disk_ancestry *out)
{
	struct file_stat st;

	memset(out, 0, sizeof(*out));
	for (const struct image *p = img->parent; p && out->count < IMAGE_PARENTS_MAX;
	     p = p->parent) {
		struct disk_ancestor *a = &out->list[out->count];

		if (p->file->ops->stat(p->file, &st))
			continue;
		a->dev = st.dev;
		a->ino = st.ino;
		memcpy(a->identity, p->identity, sizeof(a->identity));
		out->count++;
	}
	parents_label(t, img, out->parent);
}

void parents_settle(struct tandem *t)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	struct ancestors a = { 0 };
	bool known = true;

	for (size_t i = 0; i < count; i++)
		known &= add_ancestors(&a, disks[i]);
	for (size_t i = 0; i < count && known && (a.count || t->had_children); i++)
		if (disks[i]->image)
			set_children(disks[i], count_children(&a, disks[i]));
	t->had_children = a.count > 0;
	free(a.list);
	disks_free(disks, count);
}
