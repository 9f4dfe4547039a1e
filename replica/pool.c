// SPDX-License-Identifier: GPL-2.0-or-later
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "confine.h"
#include "directory.h"
#include "lock.h"

int pool_new(uint32_t number, const char *name, const char *dir, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->number = number;
	p->dirfd = p->watch = -1;
	atomic_store(&p->remembered, 1); /* by those who have references */
	atomic_store(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->dir, sizeof(p->dir), "%s", dir);
	*out = p;
	return 0;
}

struct pool *pool_ref(struct pool *p)
{
	atomic_fetch_add(&p->refs, 1);
	return p;
}

void pool_unref(struct pool *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	if (p->dirfd >= 0)
		close(atomic_exchange(&p->dirfd, -1));
	pool_forget(p);
}

void pool_remember(struct pool *p)
{
	atomic_fetch_add(&p->remembered, 1);
}

void pool_forget(struct pool *p)
{
	if (atomic_fetch_sub(&p->remembered, 1) != 1)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pool_sample(struct pool *p)
{
	struct statvfs st;
	struct stat attributes;
	bool known = p->dirfd >= 0 && !fstatvfs(p->dirfd, &st) && !fstat(p->dirfd, &attributes);

	pthread_mutex_lock(&p->lock);
	p->status.space_known = known;
	if (known) {
		p->status.attributes = attributes;
		p->status.space = st;
	}
	p->status.size = known ? st.f_blocks * st.f_frsize : 0;
	p->status.free = known ? st.f_bavail * st.f_frsize : 0;
	pthread_mutex_unlock(&p->lock);
}

void pool_status(struct pool *p, struct pool_status *out)
{
	pthread_mutex_lock(&p->lock);
	*out = p->status;
	pthread_mutex_unlock(&p->lock);
}

static void set_problem(struct pool *p, const char *problem)
{
	pthread_mutex_lock(&p->lock);
	p->status.ready = !problem[0];
	snprintf(p->status.problem, sizeof(p->status.problem), "%.199s", problem);
	pthread_mutex_unlock(&p->lock);
}

static int refuse_to_open(const struct pool *p, int err, struct why *why)
{
	if (err == -EACCES && confine_forbids(p->dir))
		return refuse_advise(why, err,
				     "mount it below DISKDIR, or name it with --pool at the start",
				     "%s is out of reach of this daemon, which is confined",
				     p->dir);
	return refuse(why, err, err == -ENOTDIR ? "%s is not a directory" : "%s: %s", p->dir,
		      err == -ENOENT ? "no such directory" : strerror(-err));
}

int pool_is_another(const struct pool *p, struct why *why)
{
	return refuse(why, -ESTALE,
		      "the directory is not this pool: mount its file system, then Rescan: %s",
		      p->dir);
}

static int check_identity(const struct pool *p, int fd, struct why *why)
{
	struct pool_id id;

	if (!pool_id_is_known(&p->id) ||
	    (!pool_marker_read(fd, &id) && !memcmp(&id, &p->id, sizeof(id))))
		return 0;
	return pool_is_another(p, why);
}

static int open_locked(struct pool *p, struct why *why)
{
	int fd = directory_open(p->dir), err;

	if (fd < 0)
		return refuse_to_open(p, -errno, why);
	err = lock_refuse_own_kind(fd, p->dir, why);
	if (!err)
		err = check_identity(p, fd, why) ?: lock_exclusive(fd, p->dir, why);
	if (err) {
		close(fd);
		return err;
	}
	p->dirfd = fd;
	return 0;
}

int pool_open(struct pool *p, struct why *why)
{
	int err = open_locked(p, why);

	set_problem(p, err ? why->message : "");
	if (!err)
		pool_sample(p);
	return err;
}

void pool_close(struct pool *p, const char *problem)
{
	if (p->dirfd >= 0)
		close(atomic_exchange(&p->dirfd, -1));
	set_problem(p, problem);
	pool_sample(p);
}
