// SPDX-License-Identifier: GPL-2.0-or-later
/* Moments and what names them: snapshots, restores, clones and tokens, overlays; and write logs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_inner.h"
#include "enumerations.h"
#include "origins.h"
#include "segment_check.h"
#include "snapshots.h"

bool check_has_moment(struct check *c, uint32_t disk, uint64_t generation)
{
	struct moment_record m;

	return !moment_get(c->catalogue, disk, generation, &m) && !m.dropped;
}

/* ---- overlays: disks that only a snapshot knows ---- */

struct find_overlay {
	uint32_t number;
	bool found;
};

static int match_overlay(void *arg, const struct snapshot_record *s)
{
	struct find_overlay *f = arg;

	f->found = s->overlay == f->number;
	return f->found;
}

static bool is_overlay(struct check *c, uint32_t number)
{
	struct find_overlay f = { .number = number };

	snapshots_each(c->catalogue, match_overlay, &f);
	return f.found;
}

/* The size of its image; -errno. */
static int look_at_overlay(struct check *c, uint32_t number, uint64_t *size)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "overlays/%u", number);
	if (fstatat(c->state_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	*size = st.st_size;
	return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

/* ---- the write log ---- */

struct log {
	struct check *c;
	const char *where;
	uint64_t limit, records, bytes, bad;
};

/* The generation that was recorded is the one that writes go on in after a start. */
static const char *wrong_with(const struct log *l, const struct record *r)
{
	if (r->kind != RECORD_WRITE && r->kind != RECORD_ZERO)
		return "a record that is no write";
	if (r->offset + r->length > l->limit)
		return "a write behind the end of the disk";
	if (!r->generation || r->generation > l->c->next_generation)
		return "a write of a generation that was not reached";
	return NULL;
}

static int count_record(void *arg, uint64_t place, const struct record *r, const void *data)
{
	struct log *l = arg;
	const char *wrong = wrong_with(l, r);

	l->records++;
	l->bytes += r->length;
	if (wrong && !l->bad++)
		report(&l->c->report, FINDING_LOG, l->where,
		       "its write log has %s (segment %llx, offset %llu)", wrong,
		       (unsigned long long)(place / SEGMENT_SIZE),
		       (unsigned long long)(place % SEGMENT_SIZE));
	return 0;
}

static void bad_segment(void *arg, uint64_t number, enum segment_trouble trouble)
{
	struct log *l = arg;

	report(&l->c->report, FINDING_LOG, l->where, "segment %llx of its write log %s",
	       (unsigned long long)number,
	       trouble == SEGMENT_MISSING ? "is not there" : "has no head");
}

static int read_log(struct log *l, struct segments *s, uint64_t settled)
{
	uint64_t end;
	int err = segments_survey(s, settled, bad_segment, l);

	if (!err)
		err = segments_replay(s, settled, count_record, l, &end);
	if (err)
		return err;
	if (end < segments_flushed_before(s))
		report(&l->c->report, FINDING_LOG, l->where,
		       "its write log ends at segment %llx, offset %llu, before what was flushed",
		       (unsigned long long)(end / SEGMENT_SIZE),
		       (unsigned long long)(end % SEGMENT_SIZE));
	else if (segments_is_torn(s, end))
		report(&l->c->report, FINDING_TORN, l->where,
		       "its write log ends with a record that is cut off");
	if (l->records)
		report(&l->c->report, FINDING_UNSETTLED, l->where,
		       "%llu writes of together %llu bytes are in its write log only",
		       (unsigned long long)l->records, (unsigned long long)l->bytes);
	l->c->report.bytes += l->bytes;
	return 0;
}

static void check_log(struct check *c, const char *where, uint64_t settled, uint64_t limit,
		      int dirfd)
{
	struct log l = { .c = c, .where = where, .limit = limit };
	struct segment_dir *dir;
	struct segments *s;
	int err = segment_dir_open_to_read(dirfd, &dir);

	if (err) {
		close(dirfd);
	} else {
		err = segments_open(dir, SEGMENTS_LOG, settled, &s);
		if (err)
			dir->ops->close(dir);
	}
	if (!err) {
		err = read_log(&l, s, settled);
		segments_close(s);
	}
	if (err)
		report(&c->report, FINDING_LOG, where, "its write log cannot be read: %s",
		       strerror(-err));
}

/* ---- the past of a disk ---- */

struct sizes {
	struct check *c;
	const char *where;
	uint64_t largest, time_ms;
};

static int look_at_moment(void *arg, const struct moment_record *m)
{
	struct sizes *s = arg;

	if (m->size > s->largest)
		s->largest = m->size;
	if (m->time_ms < s->time_ms)
		report(&s->c->report, FINDING_MOMENT, s->where,
		       "g%llu has an earlier time than the moment before it",
		       (unsigned long long)m->generation);
	s->time_ms = m->time_ms;
	return 0;
}

static void check_restore(struct check *c, const char *where, uint32_t disk,
			  const struct track_record *t)
{
	if (!t->restore_from && !t->restore_before)
		return;
	if (!check_has_moment(c, disk, t->restore_from))
		report(&c->report, FINDING_RESTORE, where,
		       "it is being restored to g%llu, which is not kept",
		       (unsigned long long)t->restore_from);
	else if (!check_has_moment(c, disk, t->restore_before))
		report(&c->report, FINDING_RESTORE, where,
		       "it is being restored, and g%llu, when that began, is not kept",
		       (unsigned long long)t->restore_before);
	else
		report(&c->report, FINDING_COPYING, where, "it is being restored to g%llu",
		       (unsigned long long)t->restore_from);
}

/* Of its log and its store; -errno: what is there is reported. */
static int open_past(struct check *c, const char *where, uint32_t disk, int *log, int *store)
{
	int past = check_open_dir(c->state_fd, "past"), fd = past;
	char name[16];

	snprintf(name, sizeof(name), "%u", disk);
	if (past >= 0) {
		fd = check_open_dir(past, name);
		close(past);
	}
	*log = *store = fd;
	if (fd >= 0) {
		*log = check_open_dir(fd, "log");
		*store = check_open_dir(fd, "store");
		close(fd);
	}
	if (*log >= 0 && *store >= 0)
		return 0;
	report(&c->report, FINDING_SEGMENT, where, "past/%u/%s: %s", disk,
	       *log < 0 ? "log" : "store", strerror(*log < 0 ? -*log : -*store));
	if (*log >= 0)
		close(*log);
	if (*store >= 0)
		close(*store);
	return -ENOENT;
}

/* What is known of a disk, or of an overlay. false: that number has none. */
static bool find_disk(struct check *c, uint32_t disk, char where[WHERE_MAX], uint64_t *size)
{
	struct check_disk *d = check_disk_numbered(c, disk);
	int err;

	*size = UINT64_MAX;
	snprintf(where, WHERE_MAX, "%s", d ? d->where : "");
	if (d && d->opened && !d->noted)
		*size = d->size;
	if (d)
		return true;
	snprintf(where, WHERE_MAX, "overlays/%u", disk);
	if (!is_overlay(c, disk))
		return false;
	err = look_at_overlay(c, disk, size);
	if (err)
		report(&c->report, FINDING_OVERLAY, where, "its image: %s", strerror(-err));
	return true;
}

static int check_track(void *arg, uint32_t disk, const struct track_record *t)
{
	struct check *c = arg;
	struct sizes sizes = { .c = c };
	struct origin_record o;
	char where[WHERE_MAX];
	uint64_t size, limit;
	int log, store;

	if (!find_disk(c, disk, where, &size)) {
		snprintf(where, sizeof(where), "catalogue/tracks/%u", disk);
		report(&c->report, FINDING_RECORD, where, "is the past of no disk");
		return 0;
	}
	sizes.where = where;
	if (moments_each(c->catalogue, disk, look_at_moment, &sizes))
		return 0; /* that record was reported */
	check_restore(c, where, disk, t);
	if (open_past(c, where, disk, &log, &store))
		return 0;
	limit = size > sizes.largest ? size : sizes.largest;
	if (size != UINT64_MAX && !origin_get(c->catalogue, disk, &o) && o.size > limit)
		limit = o.size;
	check_log(c, where, t->settled, size, log);
	check_store(c, where, disk, t->block_size, limit, store);
	return 0;
}

/* ---- snapshots ---- */

static int check_snapshot(void *arg, const struct snapshot_record *s)
{
	struct check *c = arg;
	struct check_disk *d = check_disk_numbered(c, s->disk);
	char where[WHERE_MAX + 210];
	struct track_record track;
	struct origin_record o;
	uint64_t size;

	snprintf(where, sizeof(where), "replicas/%s@%s", d ? d->where + strlen("disks/") : "?",
		 s->name);
	if (!d)
		report(&c->report, FINDING_SNAPSHOT, where, "disk %u is not there", s->disk);
	if (s->copy_state != SNAPSHOT_SYNCHRONIZED && s->copy_state != SNAPSHOT_BROKEN &&
	    s->copy_state != SNAPSHOT_INACTIVE && s->copy_state != SNAPSHOT_SKEWED)
		report(&c->report, FINDING_SNAPSHOT, where, "is in a state that there is not (%u)",
		       s->copy_state);
	if (s->copy_state == SNAPSHOT_SYNCHRONIZED || s->copy_state == SNAPSHOT_SKEWED) {
		if (!check_has_moment(c, s->disk, s->generation))
			report(&c->report, FINDING_SNAPSHOT, where,
			       "its moment, g%llu, is not kept", (unsigned long long)s->generation);
	} else if (s->copy_state == SNAPSHOT_INACTIVE && s->generation) {
		report(&c->report, FINDING_SNAPSHOT, where, "is Inactive, and has a moment");
	}
	if (s->overlay_failed)
		report(&c->report, FINDING_OVERLAY, where,
		       "a flush failed: what was written to it is in doubt");
	if (!s->overlay)
		return 0;
	if (look_at_overlay(c, s->overlay, &size) || track_get(c->catalogue, s->overlay, &track))
		report(&c->report, FINDING_OVERLAY, where, "what was written to it is not there");
	else if (origin_get(c->catalogue, s->overlay, &o) || o.source != s->disk ||
		 (s->copy_state != SNAPSHOT_BROKEN && o.generation != s->generation))
		report(&c->report, FINDING_OVERLAY, where,
		       "what was written to it is built upon another moment");
	else if (o.size != size)
		report(&c->report, FINDING_OVERLAY, where, "its image has another size");
	return 0;
}

/* ---- clones ---- */

struct find_clone {
	uint32_t target;
	bool found, broken;
};

static int match_clone(void *arg, const struct clone_record *r)
{
	struct find_clone *f = arg;

	f->found = r->target == f->target;
	f->broken = f->found && r->copy_state == COPY_BROKEN;
	return f->found;
}

static int check_origin(void *arg, uint32_t disk, const struct origin_record *o)
{
	struct check *c = arg;
	struct find_clone f = { .target = disk };
	char where[WHERE_MAX];
	uint64_t size;

	if (!find_disk(c, disk, where, &size))
		return 0; /* its past was reported */
	clones_each(c->catalogue, match_clone, &f);
	if (!f.found && !is_overlay(c, disk))
		report(&c->report, FINDING_CLONE, where,
		       "it is not filled, and there is no such clone");
	if (!f.broken && f.found && !check_has_moment(c, o->source, o->generation))
		report(&c->report, FINDING_CLONE, where,
		       "it is not filled, and g%llu of disk %u, which it lacks, is not kept",
		       (unsigned long long)o->generation, o->source);
	return 0;
}

static int match_snapshot(void *arg, const struct snapshot_record *s)
{
	return s->number == *(const uint32_t *)arg;
}

static int check_clone(void *arg, const struct clone_record *r)
{
	struct check *c = arg;
	char where[256];
	struct origin_record o;
	uint32_t replaces = r->replaces;
	int err;

	snprintf(where, sizeof(where), "replicas/%s", r->name);
	if (r->copy_state == COPY_BROKEN) /* by Force, or for want of space; and it says so */
		report(&c->report, FINDING_MISSING, where,
		       "it is Broken: what it lacks of its source is gone");
	else if (!check_disk_numbered(c, r->source))
		report(&c->report, FINDING_CLONE, where, "its source, disk %u, is not there",
		       r->source);
	else if (!check_has_moment(c, r->source, r->generation))
		report(&c->report, FINDING_CLONE, where, "g%llu of its source is not kept",
		       (unsigned long long)r->generation);
	if (!r->target)
		return 0; /* a token */
	err = origin_get(c->catalogue, r->target, &o);
	if (!check_disk_numbered(c, r->target))
		report(&c->report, FINDING_CLONE, where, "its target, disk %u, is not there",
		       r->target);
	else if (err)
		report(&c->report, FINDING_CLONE, where, "nothing says what its target lacks");
	else if (o.source != r->source || o.generation != r->generation || o.size != r->size)
		report(&c->report, FINDING_CLONE, where, "its target lacks another moment");
	else if (r->copy_state != COPY_BROKEN)
		report(&c->report, FINDING_COPYING, where, "its target is not filled yet");
	if (replaces && r->copy_state != COPY_BROKEN &&
	    !snapshots_each(c->catalogue, match_snapshot, &replaces))
		report(&c->report, FINDING_CLONE, where,
		       "the snapshot that it replaces is not there");
	return 0;
}

/* ---- all of it ---- */

static void look_for_past(struct check *c, const char *directory, uint32_t number)
{
	struct track_record track;
	char where[40];

	snprintf(where, sizeof(where), "%s/%u", directory, number);
	/* One that is gone goes with the next start. */
	if (track_get(c->catalogue, number, &track) == -ENOENT &&
	    track_gone(c->catalogue, number - 1) != number)
		report(&c->report, FINDING_LEFT, where, "no disk has that number and a past");
}

static void look_for_overlay(struct check *c, const char *directory, uint32_t number)
{
	char where[40];

	snprintf(where, sizeof(where), "%s/%u", directory, number);
	if (!is_overlay(c, number))
		report(&c->report, FINDING_LEFT, where, "no snapshot has it");
}

void check_past(struct check *c)
{
	int err = tracks_each(c->catalogue, check_track, c);

	err = snapshots_each(c->catalogue, check_snapshot, c) ?: err;
	err = origins_each(c->catalogue, check_origin, c) ?: err;
	err = clones_each(c->catalogue, check_clone, c) ?: err;
	if (err)
		report(&c->report, FINDING_RECORD, "catalogue",
		       "a record cannot be read, and what comes behind it was not checked");
	check_numbers(c, "past", look_for_past);
	check_numbers(c, "overlays", look_for_overlay);
}
