// SPDX-License-Identifier: GPL-2.0-or-later
/* The order of a check: locks, catalogue, images, past, mirrors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_inner.h"
#include "lock.h"

int check_open_dir(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* 0: it is none. */
static uint32_t number_of(const char *name)
{
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	return name[0] >= '1' && name[0] <= '9' && !*end && n <= UINT32_MAX ? n : 0;
}

void check_numbers(struct check *c, const char *directory,
		   void (*fn)(struct check *c, const char *directory, uint32_t number))
{
	int fd = check_open_dir(c->state_fd, directory);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	char where[NAME_MAX + 32];

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return; /* it was never needed */
	}
	while ((e = readdir(dir))) {
		uint32_t number = number_of(e->d_name);

		if (number)
			fn(c, directory, number);
		else if (e->d_name[0] != '.') {
			snprintf(where, sizeof(where), "%s/%s", directory, e->d_name);
			report(&c->report, FINDING_LEFT, where, "is no file of tandemfs");
		}
	}
	closedir(dir);
}

static int by_number(const void *key, const void *disk)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct check_disk *)disk)->r.number;

	return (a > b) - (a < b);
}

struct check_disk *check_disk_numbered(struct check *c, uint32_t number)
{
	return c->disk_count
		       ? bsearch(&number, c->disks, c->disk_count, sizeof(*c->disks), by_number)
		       : NULL;
}

/* ---- what is there ---- */

static int open_pool(struct check *c, struct check_pool *p, struct why *why)
{
	struct pool_id found;
	int fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	p->dirfd = -1;
	if (fd < 0)
		return refuse(why, -errno, "%s: %s", p->dir, strerror(errno));
	err = lock_refuse_own_kind(fd, p->dir, why);
	if (!err && pool_id_is_known(&p->id) &&
	    (pool_marker_read(fd, &found) || memcmp(&found, &p->id, sizeof(found))))
		err = refuse(why, -ESTALE, "the directory is not this pool: %s", p->dir);
	if (!err)
		err = lock_exclusive(fd, p->dir, why);
	if (err)
		close(fd);
	else
		p->dirfd = fd;
	return err;
}

static struct check_pool *new_pool(struct check *c)
{
	struct check_pool *more = realloc(c->pools, (c->pool_count + 1) * sizeof(*more));

	if (!more)
		return NULL;
	c->pools = more;
	memset(&more[c->pool_count], 0, sizeof(*more));
	return &more[c->pool_count++];
}

static int open_disk_dir(struct check *c, struct why *why)
{
	struct check_pool *p = new_pool(c);

	if (!p)
		return refuse(why, -ENOMEM, "out of memory");
	p->dirfd = -1;
	if (!realpath(c->o->disk_dir, c->disk_dir))
		return refuse(why, -errno, "%s: %s", c->o->disk_dir, strerror(errno));
	snprintf(p->dir, sizeof(p->dir), "%s", c->disk_dir);
	return open_pool(c, p, why);
}

/* -ENOENT, with no reason: there is no state. */
static int open_state(struct check *c, struct why *why)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s%s", c->o->state_dir ? c->o->state_dir : c->disk_dir,
		 c->o->state_dir ? "" : "/.tandem");
	if (!realpath(path, c->state_dir))
		return errno == ENOENT && !c->o->state_dir
			       ? -ENOENT
			       : refuse(why, -EIO, "%s: %s", path, strerror(errno));
	c->state_fd = open(c->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->state_fd < 0)
		return refuse(why, -EIO, "%s: %s", c->state_dir, strerror(errno));
	c->lock_fd = openat(c->state_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (c->lock_fd < 0)
		return refuse(why, -EIO, "%s/lock: %s: this is no state of tandemfs", c->state_dir,
			      strerror(errno));
	return lock_exclusive(c->lock_fd, c->state_dir, why);
}

static int add_pool(void *arg, const struct pool_record *r)
{
	struct check *c = arg;
	struct check_pool *p = new_pool(c);

	if (!p)
		return -ENOMEM;
	p->number = r->number;
	p->id = r->id;
	p->dirfd = -1;
	memcpy(p->name, r->name, sizeof(p->name));
	memcpy(p->dir, r->dir, sizeof(p->dir));
	return 0;
}

static int add_disk(void *arg, const struct disk_record *r)
{
	struct check *c = arg;
	struct check_disk *more;

	if (!(c->disk_count & (c->disk_count + 1))) { /* full at 2^n - 1 */
		more = realloc(c->disks, 2 * (c->disk_count + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		c->disks = more;
	}
	more = &c->disks[c->disk_count++];
	memset(more, 0, sizeof(*more));
	more->r = *r;
	return 0;
}

static void name_disks(struct check *c)
{
	for (size_t i = 0; i < c->disk_count; i++) {
		struct check_disk *d = &c->disks[i];
		const char *pool = "";

		for (size_t p = 0; p < c->pool_count; p++)
			if (c->pools[p].number == d->r.pool)
				pool = c->pools[p].name;
		snprintf(d->where, sizeof(d->where), "disks/%s%s%s", pool, pool[0] ? ":" : "",
			 d->r.file_name);
	}
	c->report.disks = c->disk_count;
}

/* One that is gone is a fact; one that somebody serves is a reason to wait. */
static int open_pools(struct check *c, struct why *why)
{
	for (size_t i = 1; i < c->pool_count; i++) {
		char where[256];
		int err = open_pool(c, &c->pools[i], why);

		if (err == -EBUSY)
			return err;
		snprintf(where, sizeof(where), "pools/%s", c->pools[i].name);
		if (err)
			report(&c->report, FINDING_MISSING, where, "%s", why->message);
	}
	why->message[0] = '\0';
	return 0;
}

static int load(struct check *c, struct why *why)
{
	int err = catalogue_each_pool(c->catalogue, add_pool, c);

	if (!err)
		err = catalogue_each_disk(c->catalogue, add_disk, c);
	if (!err) {
		c->next_generation = UINT64_MAX;
		catalogue_get_setting(c->catalogue, "Generation", &c->next_generation);
		name_disks(c);
		err = open_pools(c, why);
	}
	return err;
}

/* ---- the whole of it ---- */

static void check_all(struct check *c)
{
	if (!c->clean)
		report(&c->report, FINDING_UNCLEAN, "catalogue",
		       "the last daemon did not stop, it died");
	check_images(c);
	check_past(c);
	check_pairs(c);
	check_groups(c);
}

/* What is not wrong, but a reason why nothing can be said, is in why. */
static int check_with_locks(struct check *c, struct why *why)
{
	int err = open_disk_dir(c, why);

	if (!err)
		err = open_state(c, why);
	if (err == -ENOENT && !why->message[0])
		return 0;
	if (err)
		return err;
	err = catalogue_open_to_read(c->state_dir, &c->catalogue, &c->clean, why);
	if (err == -EPROTO || err == -ENOMEM || err == -EACCES)
		return err;
	if (err == -ENOENT) {
		/* Events are begun once it is there: the first daemon may have died before. */
		if (faccessat(c->state_fd, "events", F_OK, 0))
			report(&c->report, FINDING_UNCLEAN, "catalogue", "there is none yet");
		else
			report(&c->report, FINDING_CATALOGUE, "catalogue", "it is not there");
		why->message[0] = '\0';
		return 0;
	}
	if (err) {
		report(&c->report, FINDING_CATALOGUE, "catalogue", "%s", why->message);
		why->message[0] = '\0';
		return 0;
	}
	if (!check_catalogue(c)) {
		err = load(c, why);
		if (why->message[0])
			return err;
		if (!err)
			check_all(c);
		else
			report(&c->report, FINDING_CATALOGUE, "catalogue",
			       "its disks and pools cannot be read: the rest was not checked");
	}
	return 0;
}

static void close_all(struct check *c)
{
	catalogue_close(c->catalogue);
	for (size_t i = 0; i < c->pool_count; i++)
		if (c->pools[i].dirfd >= 0)
			close(c->pools[i].dirfd);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	if (c->state_fd >= 0)
		close(c->state_fd);
	free(c->pools);
	free(c->disks);
}

static enum check_result result_of(const struct check_report *r)
{
	if (r->count[SEVERITY_FAULT])
		return CHECK_FAULTS;
	return r->count[SEVERITY_PENDING] ? CHECK_PENDING : CHECK_CLEAN;
}

enum check_result state_check(const struct state_check_options *o, FILE *out, FILE *err)
{
	struct check *c = calloc(1, sizeof(*c));
	enum check_result result = CHECK_IMPOSSIBLE;
	struct why why = { 0 };
	int failed;

	if (!c) {
		fprintf(err, "tandemfs: out of memory\n");
		return result;
	}
	c->o = o;
	c->report = (struct check_report){ .out = out, .quiet = o->quiet, .json = o->json };
	c->state_fd = c->lock_fd = -1;
	report_begin(&c->report);
	failed = check_with_locks(c, &why);
	if (failed)
		fprintf(err, "tandemfs: %s\n", why.message[0] ? why.message : strerror(-failed));
	else
		result = result_of(&c->report);
	if (!report_end(&c->report, result))
		result = CHECK_IMPOSSIBLE;
	close_all(c);
	free(c);
	return result;
}
