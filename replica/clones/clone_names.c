// SPDX-License-Identifier: GPL-2.0-or-later
/* How the file of a clone is called. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "clones_inner.h"
#include "names.h"
#include "parents.h"

/* So many names are tried before somebody has to choose one. */
#define NAMES_MAX 1000u

int clone_name_target(struct tandem *t, const char *target, char name[DISK_LABEL_MAX + 1],
		      struct why *why)
{
	char dir[PATH_MAX];
	const char *file = NULL;
	struct pool **pools;
	size_t count;

	if (target[0] != '/') {
		if (strlen(target) > DISK_LABEL_MAX)
			return refuse(why, -EINVAL, "the target's name is too long");
		snprintf(name, DISK_LABEL_MAX + 1, "%s", target);
		return 0;
	}
	name[0] = '\0';
	if (!parents_split(target, dir, sizeof(dir), &file) || strlen(file) > NAME_MAX)
		return refuse(why, -EINVAL, "%.100s is no path of a file", target);
	pools = tandem_pools(t, &count);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(pools[i]->dir, dir))
			snprintf(name, DISK_LABEL_MAX + 1, "%s%s%.*s", pools[i]->name,
				 pools[i]->name[0] ? ":" : "", NAME_MAX, file);
	pools_free(pools, count);
	return name[0] ? 0
		       : refuse(why, -EACCES, "%.100s is not in DISKDIR, nor in a pool", target);
}

/* ---- made-up names ---- */

/* STEM of STEM.ENDING, and the ending with its dot, or "". */
struct parts {
	char stem[NAME_MAX + 1], ending[32];
};

/* A container that is built upon another one is called so; what is cloned from it is not. */
static void choose_ending(const struct image_name *own, const char *dot, const char *format,
			  struct parts *p)
{
	const char *kind;
	const struct image_format *f = format ? image_format_named(format, &kind) : own->format;

	if (!f || (f == own->format && f->flat))
		snprintf(p->ending, sizeof(p->ending), "%s", dot ? dot : "");
	else
		snprintf(p->ending, sizeof(p->ending), ".%s", f->endings[0]);
}

static void split(struct disk *source, const char *format, struct parts *p)
{
	struct image_name own;
	char *dot;

	pthread_mutex_lock(&source->lock);
	name_whole(source->file_name, p->stem);
	pthread_mutex_unlock(&source->lock);
	own = image_name_classify(p->stem);
	dot = own.needs_sectors ? NULL : strrchr(p->stem, '.');
	choose_ending(&own, dot, format, p);
	if (dot)
		*dot = '\0';
}

/* Room is left for what an incomplete one has behind it. */
static void join(const struct parts *p, const char *after, unsigned n, char file[NAME_MAX + 1])
{
	char tail[SNAPSHOT_NAME_MAX + 48] = "";
	int room;

	if (after && n > 1)
		snprintf(tail, sizeof(tail), "-%s-%u%s", after, n, p->ending);
	else if (after)
		snprintf(tail, sizeof(tail), "-%s%s", after, p->ending);
	else
		snprintf(tail, sizeof(tail), "-%u%s", n, p->ending);
	room = NAME_MAX - (int)(sizeof(INCOMPLETE) - 1) - (int)strlen(tail);
	snprintf(file, NAME_MAX + 1, "%.*s%s", room > 0 ? room : 0, p->stem, tail);
}

static bool is_free(struct tandem *t, const struct pool *pool, const char *file)
{
	struct disk *d = tandem_disk_of_file(t, pool, file);
	char incomplete[NAME_MAX + sizeof(INCOMPLETE)];
	struct stat st;

	disk_unref(d);
	snprintf(incomplete, sizeof(incomplete), "%s" INCOMPLETE, file);
	return !d && fstatat(pool->dirfd, file, &st, AT_SYMLINK_NOFOLLOW) &&
	       fstatat(pool->dirfd, incomplete, &st, AT_SYMLINK_NOFOLLOW);
}

int clone_make_up_target(struct disk *source, const char *pool, const char *after,
			 const char *format, char name[DISK_LABEL_MAX + 1], struct why *why)
{
	struct tandem *t = source->tandem;
	struct pool *p = tandem_pool_named(t, pool ? pool : source->pool->name);
	char file[NAME_MAX + 1];
	struct parts parts;
	unsigned n = 1;
	int err = 0;

	if (!p)
		return refuse(why, -ENOENT, "there is no pool '%.200s'", pool ? pool : "");
	split(source, format, &parts);
	do
		join(&parts, after, n, file);
	while (!is_free(t, p, file) && n++ < NAMES_MAX);
	if (n > NAMES_MAX)
		err = refuse_advise(why, -EEXIST,
				    "TargetStorageVolume=", "there are disks up to '%s' already",
				    file);
	else
		snprintf(name, DISK_LABEL_MAX + 1, "%s%s%s", p->name, p->name[0] ? ":" : "", file);
	pool_unref(p);
	return err;
}
