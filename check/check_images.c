// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The images of the pools: each that is called like a disk is opened as the daemon does, but for
 * reading only, and by what its file says alone, without what notes have beyond it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_inner.h"
#include "names.h"
#include "pair_records.h"

/* ---- which disks matter ---- */

static int need_track(void *arg, uint32_t disk, const struct track_record *t)
{
	struct check_disk *d = check_disk_numbered(arg, disk);

	if (d)
		d->needed = true;
	return 0;
}

static int need_pair(void *arg, const struct pair_record *r)
{
	need_track(arg, r->source, NULL);
	need_track(arg, r->target, NULL);
	return 0;
}

static int need_member(void *arg, uint32_t group, uint32_t disk)
{
	need_track(arg, disk, NULL);
	return 0;
}

/* What cannot be read is told by who looks at these. */
static void find_needed(struct check *c)
{
	tracks_each(c->catalogue, need_track, c);
	pairs_each(c->catalogue, need_pair, c);
	catalogue_each_member(c->catalogue, need_member, c);
}

static void find_noted(struct check *c, const char *directory, uint32_t number)
{
	char where[40];

	for (size_t i = 0; i < c->disk_count; i++) {
		if (c->disks[i].r.notes == number) {
			c->disks[i].noted = true;
			return;
		}
	}
	snprintf(where, sizeof(where), "%s/%u", directory, number);
	report(&c->report, FINDING_LEFT, where, "no disk has that number");
}

/* ---- one file ---- */

struct check_disk *check_disk_of_file(const struct check *c, int fd)
{
	struct identity id;

	if (identity_of(fd, &id) || !id.len)
		return NULL;
	for (size_t i = 0; i < c->disk_count; i++)
		if (identity_equal(&c->disks[i].r.identity, &id))
			return &c->disks[i];
	return NULL;
}

/* Only a clean stop left something to compare with. */
static bool changed_since_stop(const struct disk_record *r, const struct stat *st)
{
	return !r->gone && r->stopped.mtime.tv_sec &&
	       ((uint64_t)st->st_size != r->stopped.size ||
		st->st_mtim.tv_sec != r->stopped.mtime.tv_sec ||
		st->st_mtim.tv_nsec != r->stopped.mtime.tv_nsec);
}

static void look_at_record(struct check *c, struct check_disk *d, const struct stat *st)
{
	struct track_record track;

	if (d->found) {
		report(&c->report, FINDING_DISK, d->where, "two files have its identity");
		return;
	}
	d->found = true;
	if (d->r.failed)
		report(&c->report, FINDING_DISK, d->where,
		       "a flush failed: what was written before it is in doubt");
	if ((d->r.changed || changed_since_stop(&d->r, st)) &&
	    !track_get(c->catalogue, d->r.number, &track))
		report(&c->report, FINDING_DISK, d->where,
		       "another program changed the image: its moments do not fit it");
}

static void look_at_image(struct check *c, struct check_disk *d, const char *where,
			  struct image *img)
{
	bool noted = d && d->noted;
	char reason[IMAGE_REASON];

	if (d) {
		d->opened = true;
		d->size = img->size;
	}
	if (img->complaint[0])
		report(&c->report, noted ? FINDING_NOTED : FINDING_IMAGE, where, "%s",
		       img->complaint);
	/* Who died may have left one of two copies half written. */
	if (img->format->copies && !img->format->copies(img, reason))
		report(&c->report,
		       noted || img->unclean || !c->clean ? FINDING_COPY : FINDING_IMAGE, where,
		       "%s", reason);
	if (img->unclean && !noted)
		report(&c->report, FINDING_NOTED, where, "its last writer did not close it");
}

static void open_image(struct check *c, struct check_pool *p, const char *name,
		       const struct image_format *format, struct check_disk *d, const char *where)
{
	struct check_parents parents;
	struct image_around around = { .read_only = true,
				       .parents = &parents.base,
				       .guest_bytes = d ? d->r.guest_bytes : 0 };
	char reason[IMAGE_REASON] = "";
	bool read_only = true;
	struct image *img;
	struct file *file;
	int err = file_open(p->dirfd, name, &read_only, &file);

	check_parents_init(&parents, c, p);
	if (!err) {
		err = image_open(file, format, &around, &img, reason);
		if (err)
			file->ops->close(file);
	}
	if (err) {
		report(&c->report, d && d->noted ? FINDING_NOTED : FINDING_IMAGE, where, "%s",
		       reason[0]        ? reason
		       : err == -EMLINK ? "the file has more than one link"
					: strerror(-err));
		return;
	}
	c->report.images++;
	look_at_image(c, d, where, img);
	image_close(img);
}

static void look_at_file(struct check *c, struct check_pool *p, const char *name)
{
	char whole[NAME_MAX + 1], where[WHERE_MAX];
	bool incomplete = name_whole(name, whole);
	struct image_name kind = image_name_classify(whole);
	struct check_disk *d;
	struct stat st;
	int fd;

	if (!kind.format)
		return;
	fd = openat(p->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	d = check_disk_of_file(c, fd);
	close(fd);
	if (!d && kind.needs_sectors && (!st.st_size || st.st_size % 512))
		return; /* no disk */
	snprintf(where, sizeof(where), "disks/%s%s%s", p->name, p->name[0] ? ":" : "", name);
	if (d)
		look_at_record(c, d, &st);
	if (incomplete && !(d && d->needed))
		report(&c->report, FINDING_LEFT, where, "nobody completes it any more");
	open_image(c, p, name, kind.format, d, d ? d->where : where);
}

/* ---- all of them ---- */

static void look_at_pool(struct check *c, struct check_pool *p)
{
	int fd = p->dirfd < 0 ? -1 : openat(p->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		look_at_file(c, p, e->d_name);
	closedir(dir);
}

void check_images(struct check *c)
{
	find_needed(c);
	check_numbers(c, "notes", find_noted);
	for (size_t i = 0; i < c->pool_count; i++)
		look_at_pool(c, &c->pools[i]);
	for (size_t i = 0; i < c->disk_count; i++) {
		struct check_disk *d = &c->disks[i];

		if (!d->found && d->needed)
			report(&c->report, FINDING_MISSING, d->where, "its image is not there");
		if (d->noted)
			report(&c->report, FINDING_NOTED, d->where,
			       "writes that were acknowledged are not in its image yet");
	}
}
