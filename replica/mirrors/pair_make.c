// SPDX-License-Identifier: GPL-2.0-or-later
/* How a mirror begins: see pairs_inner.h for what comes before what. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clones_inner.h"
#include "close_wait.h"
#include "names.h"
#include "operations.h"
#include "pairs_inner.h"
#include "snapshots_inner.h"

struct pairing {
	struct tandem *t;
	struct disk *source;
	const struct pair_request *q;
	char target[DISK_LABEL_MAX + 1];
	bool existing;
	struct pair *p; /* NULL: it has no record yet */
};

/* ---- its name ---- */

static bool is_taken(struct tandem *t, const char *name)
{
	struct clone_facts c;

	return pairs_have(t, name) || !clone_named(t, name, &c);
}

/* With discovery held: the first free one of SOURCE-N, or what was asked for. */
static int choose_name(struct pairing *k, char name[SNAPSHOT_NAME_MAX + 1], struct why *why)
{
	char stem[SNAPSHOT_NAME_MAX + 1];

	if (k->q->name) {
		snprintf(name, SNAPSHOT_NAME_MAX + 1, "%s", k->q->name);
		return is_taken(k->t, name)
			       ? refuse(why, -EEXIST, "there is a relationship '%s' already", name)
			       : 0;
	}
	name_stem(k->source->file_name, stem, sizeof(stem) - 12);
	for (unsigned n = 1; n; n++) {
		snprintf(name, SNAPSHOT_NAME_MAX + 1, "%.*s-%u", SNAPSHOT_NAME_MAX - 12, stem, n);
		if (!is_taken(k->t, name))
			break;
	}
	return 0;
}

/* ---- its record ---- */

int pair_make_marks(struct pairs *ps, uint32_t number, uint64_t size, bool outdated,
		    struct marks **out)
{
	struct file *file;
	int err = pairs_open_file(ps, number, O_CREAT, &file);

	if (err)
		return err;
	err = marks_create(file, number, size, outdated, out);
	if (err) {
		file->ops->close(file);
		return err;
	}
	err = outdated ? 0 : marks_set_all(*out);
	if (!err && fsync(ps->dirfd))
		err = -errno;
	if (err)
		marks_close(*out);
	return err;
}

static void drop_file(struct pairs *ps, uint32_t number)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	unlinkat(ps->dirfd, name, 0);
}

/* All of it differs at first, which is too much to be let behind: Adaptive begins synchronous. */
static void record_mode(const struct pair_request *q, struct pair_record *r)
{
	r->adaptive = q->mode == MODE_ADAPTIVE;
	r->mode = r->adaptive ? MODE_SYNCHRONOUS : q->mode;
	if (q->mode != MODE_SYNCHRONOUS)
		r->objective_s = q->objective_s ? q->objective_s : PAIR_OBJECTIVE_S;
	if (r->adaptive)
		r->skew_limit = q->skew_limit ? q->skew_limit : PAIR_SKEW_LIMIT;
}

/* With discovery held, in a transaction: the pair is known, and everything differs. */
static int record(void *arg, struct catalogue_txn *txn, struct disk *target)
{
	struct pairing *k = arg;
	struct pairs *ps = k->t->pairs;
	struct pair_record r = {
		.source = k->source->number,
		.target = target->number,
		.copy_state = k->q->state ? k->q->state : COPY_UNSYNCHRONIZED,
		.priority = k->q->priority,
		.stops_host_io = k->q->stops_host_io,
		.at_flush = k->q->at_flush,
		.manual = k->q->manual,
		.provisioning = k->q->provisioning,
		.moves = k->q->moves,
		.read_only = k->q->read_only,
		.pending = k->q->pending,
		.first = !k->existing, /* else it has its name */
	};
	struct why why = { 0 };
	struct marks *marks;
	int err = choose_name(k, r.name, &why) ?: catalogue_new_number(txn, &r.number);

	record_mode(k->q, &r);
	if (!err)
		err = pair_make_marks(ps, r.number, disk_size(k->source), true, &marks);
	if (err)
		return err;
	err = pair_new(ps, &r, marks, &k->p);
	if (err) {
		marks_close(marks);
		drop_file(ps, r.number);
		return err;
	}
	return pair_put(txn, &r);
}

/* ---- its target ---- */

static int make_target(struct pairing *k, struct why *why)
{
	const struct pair_request *q = k->q;
	struct create_disk create = {
		.name = k->target,
		.format = q->format,
		.size = disk_size(k->source),
		.mode = q->mode_bits,
		.uid = q->uid,
		.gid = q->gid,
		.provisioning = q->provisioning,
		.plan = q->plan,
		.incomplete = true,
		.record = record,
		.arg = k,
	};
	struct disk *made = NULL;
	int err = tandem_create_disk(k->t, &create, &made, why);

	disk_unref(made);
	return err;
}

static bool is_zero(const char *bytes, size_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/* -EPERM: it holds something. The disk is open. */
static int look_for_data(struct disk *d, char *buf, size_t room)
{
	uint64_t off = 0;
	size_t done;
	int err;

	for (;;) {
		err = disk_seek(d, off, SEEK_DATA, &off);
		if (err)
			return err == -ENXIO ? 0 : err;
		err = disk_read(d, buf, room, off, IO_DIRECT, &done);
		if (!err && !is_zero(buf, done))
			err = -EPERM;
		if (err || !done)
			return err;
		off += done;
	}
}

static int check_empty(struct disk *d, struct why *why)
{
	const size_t room = 1 << 20;
	void *buf = NULL;
	int err = posix_memalign(&buf, 4096, room) ? -ENOMEM : disk_open(d, false);

	if (!err) {
		err = look_for_data(d, buf, room);
		disk_close(d);
	}
	free(buf);
	if (err == -EPERM)
		return refuse_advise(why, err, "Force", "%s holds something, which would be lost",
				     d->label);
	return err ? refuse(why, err, "%s: %s", d->label, strerror(-err)) : 0;
}

/* An image that is there stays what it is. */
static int check_provisioning(struct pairing *k, struct disk *d, struct why *why)
{
	const char *kind = d->image->kind;
	bool fixed = image_kind_is_fixed(kind);

	if (k->q->provisioning == PROVISION_THIN && fixed)
		return refuse_advise(why, -EINVAL, "TargetElementSupplier=2",
				     "%s is %s, which has all of its space", d->label, kind);
	if (k->q->provisioning != PROVISION_FULL)
		return 0;
	if (!d->format->flat && !fixed)
		return refuse_advise(why, -EINVAL, "TargetElementSupplier=2",
				     "%s is %s, which takes space as it is written", d->label,
				     kind);
	return file_has_space(d->image->file)
		       ? 0
		       : refuse_advise(why, -EINVAL, "fallocate, or TargetElementSupplier=2",
				       "%s has not all of its space", d->label);
}

static int check_existing(struct pairing *k, struct disk *d, struct why *why)
{
	if (!d || !disk_is_served(d))
		return refuse(why, -ENOENT, "there is no disk '%s' that is served", k->target);
	if (d == k->source)
		return refuse(why, -EINVAL, "%s cannot be its own mirror", d->label);
	if (disk_is_open(d))
		return refuse_advise(while_open(d, why), -EBUSY, "close it first", "%s is open",
				     d->label);
	if (atomic_load(&d->children))
		return refuse(why, -EBUSY, "%s is the parent of others", d->label);
	if (disk_is_paired(d))
		return refuse_advise(why, -EBUSY, "Detach", "%s is in a mirror", d->label);
	if (disk_is_clone(d))
		return refuse_advise(why, -EBUSY, "wait until it is filled",
				     "%s is a clone that is not filled yet", d->label);
	if (d->image->read_only || d->want_read_only)
		return refuse(why, -EROFS, "%s is read-only", d->label);
	if (k->q->moves && atomic_load(&d->history))
		return refuse_advise(why, -EBUSY, "a new file", "%s has, or had, a past of its own",
				     d->label);
	/* What is longer can be cut off of a flat one. */
	if (k->q->moves && (disk_size(d) < disk_size(k->source) ||
			    (disk_size(d) > disk_size(k->source) && !d->format->flat)))
		return refuse(why, -EINVAL, "%s has not the size of %s", d->label,
			      k->source->label);
	return check_provisioning(k, d, why);
}

/* With discovery held. */
static int record_existing(struct pairing *k, struct disk *d, struct why *why)
{
	struct catalogue_txn *txn;
	int err = tandem_txn(k->t, &txn);

	if (!err) {
		err = record(k, txn, d);
		err = tandem_commit(k->t) ?: err;
	}
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}

/* Nobody writes it from here on, so what is found stays. */
static int claim_existing(struct pairing *k, struct disk **out, struct why *why)
{
	struct disk *d;
	int err;

	pthread_mutex_lock(&k->t->discovery);
	d = tandem_disk_called(k->t, k->target);
	err = check_existing(k, d, why);
	/* Who claims it lets go of it, if it comes to nothing: that would be the other one's. */
	if (!err && atomic_load(&d->target_use) != TARGET_FREE)
		err = refuse(why, -EBUSY, "%s is about to be the target of another mirror",
			     d->label);
	if (!err && disk_set_target_use(d, TARGET_READS))
		err = refuse(while_open(d, why), -EBUSY, "%s is open", d->label);
	pthread_mutex_unlock(&k->t->discovery);
	if (err)
		disk_unref(d);
	else
		*out = d;
	return err;
}

static int take_existing(struct pairing *k, struct why *why)
{
	struct disk *d;
	int err = claim_existing(k, &d, why);

	if (err)
		return err;
	err = k->q->force ? 0 : check_empty(d, why);
	pthread_mutex_lock(&k->t->discovery);
	if (!err) /* somebody else may have been faster */
		err = check_existing(k, d, why);
	if (!err && !k->q->plan)
		err = record_existing(k, d, why);
	if (!err && !k->q->plan)
		err = pair_attach_target(k->p, &k->p->r, d);
	if (err || k->q->plan)
		disk_set_target_use(d, TARGET_FREE);
	pthread_mutex_unlock(&k->t->discovery);
	disk_unref(d);
	return err;
}

/* ---- the operation ---- */

/* From here on what is written is marked; until now everything was. */
static int attach_source(struct pairing *k, struct why *why)
{
	struct leg *leg = &k->p->leg;
	int err;

	leg->writes = pair_writes(&k->p->r) && !pair_is_async(&k->p->r);
	err = mirror_add(k->source, leg);
	if (err == -EBUSY)
		return refuse(why, err, "%s has %u mirrors already", k->source->label,
			      MIRROR_LEGS_MAX);
	return err ? refuse(why, err, "it cannot be marked: %s", strerror(-err)) : 0;
}

static int check(struct pairing *k, struct why *why)
{
	struct mirror *m = atomic_load(&k->source->mirror);
	struct pair_facts f;
	int err = k->t->read_only ? refuse(why, -EROFS, "the mount is read-only")
				  : past_check_disk(k->source, why);

	if (!err && is_target_of_async(k->source))
		err = refuse_advise(why, -EBUSY, "a mirror of its source",
				    "%s is the target of an asynchronous mirror", k->source->label);
	if (!err && k->q->name)
		err = name_check(k->q->name, why);
	if (!err && k->q->name && is_taken(k->t, k->q->name))
		err = refuse(why, -EEXIST, "there is a relationship '%s' already", k->q->name);
	if (!err && k->q->moves && !pair_moving(k->source, &f))
		err = refuse_advise(why, -EBUSY, "CancelIo", "%s is being mirrored to %s",
				    k->source->label, f.target);
	if (!err && m && m->count == MIRROR_LEGS_MAX)
		err = refuse(why, -EBUSY, "%s has %u mirrors already", k->source->label,
			     MIRROR_LEGS_MAX);
	if (err)
		return err;
	return k->q->target ? clone_name_target(k->t, k->q->target, k->target, why)
			    : clone_make_up_target(k->source, k->q->pool, k->q->after, k->q->format,
						   k->target, why);
}

static bool is_there(const struct pairing *k)
{
	struct disk *d = tandem_disk_called(k->t, k->target);

	disk_unref(d);
	return d;
}

int tandem_mirror(struct tandem *t, struct disk *source, const struct pair_request *q,
		  struct pair_facts *out, struct why *why)
{
	struct pairing k = { .t = t, .source = source, .q = q };
	int err = check(&k, why);

	k.existing = q->existing || (!err && q->either && is_there(&k));
	if (!err)
		err = k.existing ? take_existing(&k, why) : make_target(&k, why);
	if (!err && !q->plan)
		err = attach_source(&k, why);
	if (err && k.p)
		pair_abandon(k.p);
	if (!err && q->plan) {
		*out = (struct pair_facts){ .first = !k.existing };
		memcpy(out->target, k.target, sizeof(k.target));
	}
	if (err || q->plan)
		return err;
	pair_announce(k.p, "-", enum_name(copy_states, k.p->r.copy_state));
	keeper_start(k.p);
	return pair_numbered(t, k.p->number, out);
}

/* ---- several of them, all or none ---- */

/* With changing of all. */
static int finish_all(struct pair *const *pairs, size_t count)
{
	struct pair_step *steps = calloc(count + 1, sizeof(*steps));
	size_t n = 0;
	int err = steps ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && !err; i++) {
		struct pair_record r = pair_record_of(pairs[i]);

		if (pair_is_gone(pairs[i]) || !r.pending)
			continue;
		r.pending = false;
		steps[n++] = (struct pair_step){ .p = pairs[i], .from = r.copy_state, .r = r };
	}
	if (n && !err)
		err = pair_record_steps(steps, n);
	free(steps);
	return err;
}

int pairs_finish(struct tandem *t, const uint32_t *numbers, size_t count, struct why *why)
{
	struct pair **pairs = calloc(count + 1, sizeof(struct pair *));
	int err = pairs ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && !err; i++) {
		pairs[i] = pair_of_number(t->pairs, numbers[i]);
		err = pairs[i] ? 0 : -ENOENT;
	}
	if (!err) {
		for (size_t i = 0; i < count; i++)
			pthread_mutex_lock(&pairs[i]->changing);
		err = finish_all(pairs, count);
		for (size_t i = count; i-- > 0;)
			pthread_mutex_unlock(&pairs[i]->changing);
	}
	free(pairs);
	return err ? refuse(why, err, "it cannot be recorded: %s", strerror(-err)) : 0;
}
