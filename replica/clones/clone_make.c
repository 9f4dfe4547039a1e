// SPDX-License-Identifier: GPL-2.0-or-later
/* What an administrator does with clones: see clones.h for what comes before what. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clones_inner.h"
#include "jobs.h"
#include "mirror.h"
#include "names.h"
#include "pairs.h"

/* A clone that is being made. */
struct cloning {
	struct tandem *t;
	struct disk *source;
	const struct clone_request *q;
	struct clone *c; /* NULL: its name is not taken yet */
	struct making m; /* of its moment, if that is now */
	struct moment_record moment;
	uint32_t number;
	bool pinned, token, detaches; /* detaches: the snapshot whose place it takes knows of it */
	struct snapshot_facts replaced; /* number 0: none */
	char target[DISK_LABEL_MAX + 1];
};

/* ---- names ---- */

/* Under lock. */
static bool is_taken(const struct clones *cs, const char *name)
{
	for (const struct clone *c = cs->list; c; c = c->next)
		if (!c->filled && !strcmp(c->r.name, name))
			return true;
	return pairs_have(cs->s->t, name);
}

/* Under lock: the first free one of SOURCE-N. */
static void make_up(struct cloning *k, char name[SNAPSHOT_NAME_MAX + 1])
{
	char stem[SNAPSHOT_NAME_MAX + 1], file[NAME_MAX + 1];
	unsigned n = 1;

	pthread_mutex_lock(&k->source->lock);
	name_whole(k->source->file_name, file);
	pthread_mutex_unlock(&k->source->lock);
	name_stem(file, stem, sizeof(stem) - 12);
	do
		snprintf(name, SNAPSHOT_NAME_MAX + 1, "%.*s-%u", SNAPSHOT_NAME_MAX - 12, stem, n++);
	while (is_taken(k->t->snapshots->clones, name));
}

/* Nobody can guess it. */
static void make_token(char name[SNAPSHOT_NAME_MAX + 1])
{
	uint64_t random[2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort(); /* cannot fail for so few bytes once the kernel is up */
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "token-%016llx%016llx", (unsigned long long)random[0],
		 (unsigned long long)random[1]);
}

/* Under changing: from here on its moment stays. */
static int reserve(struct cloning *k, struct why *why)
{
	struct clones *cs = k->t->snapshots->clones;
	struct clone *c = calloc(1, sizeof(*c));
	int err = c ? past_check_disk(k->source, why) : -ENOMEM;

	if (!err && moment_exactly(k->source, k->moment.generation, &k->moment))
		err = refuse(why, -ENOENT, "g%llu is not kept any more",
			     (unsigned long long)k->moment.generation);
	if (!err && k->q->replaces) {
		err = snapshot_detach_begin(k->t, k->q->replaces, k->moment.generation, false, why);
		k->detaches = !err;
	}
	if (err) {
		free(c);
		return err;
	}
	c->of = cs;
	c->r = (struct clone_record){
		.source = k->source->number,
		.generation = k->moment.generation,
		.time_ms = k->moment.time_ms,
		.size = k->moment.size,
		.copy_state = k->token ? COPY_PREPARED : COPY_UNSYNCHRONIZED,
		.priority = k->q->priority,
		.methodology = k->q->methodology,
		/* Space that is shared is not its own. */
		.share = k->q->share && k->q->provisioning != PROVISION_FULL,
		.replaces = k->q->replaces,
	};
	pthread_mutex_lock(&cs->lock);
	if (k->q->name)
		snprintf(c->r.name, sizeof(c->r.name), "%s", k->q->name);
	else if (k->token)
		make_token(c->r.name);
	else
		make_up(k, c->r.name);
	if (k->q->name && is_taken(cs, c->r.name)) {
		err = -EEXIST;
	} else {
		c->next = cs->list;
		cs->list = c;
	}
	pthread_mutex_unlock(&cs->lock);
	if (err) {
		free(c);
		return refuse(why, err, "there is a relationship '%s' already", k->q->name);
	}
	k->c = c;
	return 0;
}

static void give_up(struct cloning *k)
{
	pthread_mutex_lock(&k->c->of->lock);
	k->c->filled = true; /* one without a number: of nobody */
	k->c->r.number = 0;
	pthread_mutex_unlock(&k->c->of->lock);
}

/* ---- its moment ---- */

/* One that is kept has a tick's luck: what it holds may be in the page cache only. */
static int take_kept(struct cloning *k, struct why *why)
{
	int err = moment_pin(k->source, k->q->generation);

	k->pinned = !err;
	if (err)
		return refuse(why, err, "g%llu is not kept", (unsigned long long)k->q->generation);
	err = past_flush(k->source);
	if (err)
		return refuse(why, err, "%s cannot be flushed: %s", k->source->label,
			      strerror(-err));
	k->moment.generation = k->q->generation;
	return 0;
}

static int take_now(struct cloning *k, struct why *why)
{
	int err = making_init(&k->m, k->t, &k->source, 1);

	if (err)
		return refuse(why, err, "%s", strerror(-err));
	mirror_arrive(k->source);
	err = making_take(&k->m, why);
	k->moment = k->m.moments[0];
	return err;
}

/* ---- the records ---- */

/* The relationship, and that its moment is kept. */
static int put_clone(struct cloning *k, struct catalogue_txn *txn, uint32_t target)
{
	struct moment_record m = k->moment;
	struct track_record source;
	struct clone_record r;
	int err = catalogue_new_number(txn, &k->number);

	moment_exactly(k->source, m.generation, &m);
	m.names = table_names(k->t->snapshots, k->source->number, m.generation, NULL);
	history_record(atomic_load(&k->source->history), &source);
	pthread_mutex_lock(&k->c->of->lock);
	k->c->r.number = k->number;
	k->c->r.target = target;
	r = k->c->r;
	pthread_mutex_unlock(&k->c->of->lock);
	if (!err)
		err = track_put(txn, k->source->number, &source);
	if (!err)
		err = moment_put(txn, k->source->number, &m);
	return err ? err : clone_put(txn, &r);
}

/* In the transaction in which the disk gets its record, with discovery held. */
static int record(void *arg, struct catalogue_txn *txn, struct disk *d)
{
	struct cloning *k = arg;
	struct track_record track = {
		.block_size = tandem_get_settings(k->t).block_size,
		.swept = catalogue_crashes(k->t->catalogue),
	};
	struct origin_record origin = { k->source->number, k->moment.generation, k->moment.size,
					0 };
	int err = d->identity.len ? past_prepare(d) : -EOPNOTSUPP;

	if (err)
		return err;
	if (k->q->read_only) {
		d->want_read_only = true;
		d->state = d->state == DISK_READY ? DISK_READ_ONLY : d->state;
	}
	err = put_clone(k, txn, d->number);
	if (!err)
		err = track_put(txn, d->number, &track);
	if (!err)
		err = origin_put(txn, d->number, &origin);
	return err;
}

static int make_disk(struct cloning *k, struct disk **made, struct why *why)
{
	const struct clone_request *q = k->q;
	struct create_disk create = {
		.name = k->target,
		.format = q->format,
		.size = k->moment.size,
		.mode = q->mode,
		.uid = q->uid,
		.gid = q->gid,
		.provisioning = q->provisioning,
		.plan = q->plan,
		.incomplete = true,
		.record = record,
		.arg = k,
	};

	return tandem_create_disk(k->t, &create, made, why);
}

static void list(struct cloning *k, struct disk *made)
{
	struct tandem *t = k->t;

	clone_announce(k->c, "-", "Unsynchronized");
	filler_begin_job(k->c);
	filler_start(k->c);
	snapshots_changed(t, k->source);
	snapshots_changed(t, made);
}

/* ---- the operation ---- */

static int check(struct cloning *k, struct why *why)
{
	int err = past_check_disk(k->source, why);

	if (!err && k->q->name)
		err = name_check(k->q->name, why);
	if (!err && k->q->replaces && snapshot_numbered(k->t, k->q->replaces, &k->replaced))
		err = refuse(why, -ENOENT, "there is no such snapshot");
	if (err || k->token)
		return err;
	return k->q->target
		       ? clone_name_target(k->t, k->q->target, k->target, why)
		       : clone_make_up_target(k->source, k->q->pool,
					      *k->replaced.name ? k->replaced.name : k->q->after,
					      k->q->format, k->target, why);
}

static int plan(struct cloning *k, struct why *why)
{
	struct disk *none;

	k->moment.size = disk_size(k->source);
	if (k->q->generation != UINT64_MAX &&
	    moment_exactly(k->source, k->q->generation, &k->moment))
		return refuse(why, -ENOENT, "g%llu is not kept",
			      (unsigned long long)k->q->generation);
	if (k->q->replaces) {
		int err;

		pthread_mutex_lock(&k->t->snapshots->changing);
		err = snapshot_detach_begin(k->t, k->q->replaces, k->q->generation, true, why);
		pthread_mutex_unlock(&k->t->snapshots->changing);
		if (err)
			return err;
	}
	return k->token ? 0 : make_disk(k, &none, why);
}

static int record_token(struct cloning *k, struct why *why)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(k->t->catalogue, &txn);

	if (!err) {
		err = put_clone(k, txn, 0);
		if (err)
			catalogue_abort(txn);
		else
			err = catalogue_commit(txn);
	}
	return err ? unrecorded(why, err) : 0;
}

/* It may have been filled, or given up, already. */
static void end_detach(struct cloning *k, int err)
{
	struct snapshots *s = k->t->snapshots;
	bool fills;

	pthread_mutex_lock(&s->changing);
	fills = !err && !k->c->filled && k->c->r.copy_state != COPY_BROKEN;
	snapshot_detach_end(k->t, k->q->replaces, fills ? k->number : 0);
	pthread_mutex_unlock(&s->changing);
}

static int make(struct cloning *k, struct why *why)
{
	struct snapshots *s = k->t->snapshots;
	struct disk *made = NULL;
	int err = k->q->generation == UINT64_MAX ? take_now(k, why) : take_kept(k, why);

	if (err)
		return err;
	pthread_mutex_lock(&s->changing);
	err = reserve(k, why);
	if (!err && k->token)
		err = record_token(k, why);
	pthread_mutex_unlock(&s->changing);
	if (!err && !k->token)
		err = make_disk(k, &made, why);
	if (err && k->c)
		give_up(k);
	if (k->detaches)
		end_detach(k, err);
	if (err) {
		making_drop(&k->m);
		return err;
	}
	if (k->token)
		clone_announce(k->c, "-", "Prepared");
	else
		list(k, made);
	disk_unref(made);
	snapshots_changed(k->t, k->source);
	return 0;
}

static int make_one(struct tandem *t, struct disk *source, const struct clone_request *q,
		    bool token, struct clone_facts *out, struct why *why)
{
	struct cloning k = { .t = t, .source = source, .q = q, .token = token };
	int err = check(&k, why);

	if (!err)
		err = q->plan ? plan(&k, why) : make(&k, why);
	if (k.pinned)
		moment_unpin(source, q->generation);
	/* Who named it may have let go of it meanwhile, and left it to us. */
	if (err && k.pinned)
		collector_add(t->snapshots->collector, source, q->generation);
	making_free(&k.m);
	if (!err && q->plan)
		memcpy(out->target, k.target, sizeof(k.target));
	else if (!err)
		err = clone_numbered(t, k.number, out);
	return err;
}

int tandem_clone(struct tandem *t, struct disk *source, const struct clone_request *q,
		 struct clone_facts *out, struct why *why)
{
	return make_one(t, source, q, false, out, why);
}

int tandem_tokenize(struct tandem *t, struct disk *source, const struct clone_request *q,
		    struct clone_facts *out, struct why *why)
{
	return make_one(t, source, q, true, out, why);
}

/* ---- one that is there ---- */

int tandem_abort_clone(struct tandem *t, uint32_t number, bool plan, struct why *why)
{
	struct clone *c = clone_of_number(t->snapshots->clones, number);
	struct disk *d = c ? tandem_disk_numbered(t, c->r.target) : NULL;
	int err = d ? tandem_delete_clone(t, d, number, plan, why)
		    : refuse(why, -ENOENT, "its target is not there");

	disk_unref(d);
	return err;
}

int tandem_drop_token(struct tandem *t, uint32_t number, bool plan, struct why *why)
{
	struct snapshots *s = t->snapshots;
	struct clone *c = clone_of_number(s->clones, number);
	struct catalogue_txn *txn;
	int err = 0;

	if (!c || c->filled || c->r.target)
		return refuse(why, -ENOENT, "there is no such token");
	if (plan)
		return 0;
	pthread_mutex_lock(&s->changing);
	err = catalogue_begin(t->catalogue, &txn);
	if (!err) {
		err = clone_record_end(c, txn, false);
		if (err)
			catalogue_abort(txn);
		else
			err = catalogue_commit(txn);
	}
	if (!err) {
		clone_announce(c, enum_name(copy_states, c->r.copy_state), "-");
		clone_ended(c);
	}
	pthread_mutex_unlock(&s->changing);
	snapshots_changed(t, NULL);
	return err ? unrecorded(why, err) : 0;
}

/* Under changing: its state and priority become these. */
static int set_record(struct clone *c, const struct clone_record *r, struct why *why)
{
	struct clones *cs = c->of;
	struct jobs *js = cs->s->t->jobs;
	struct catalogue_txn *txn;
	int err = catalogue_begin(cs->s->t->catalogue, &txn);

	if (!err) {
		clone_put(txn, r);
		err = catalogue_commit(txn);
	}
	if (err)
		return unrecorded(why, err);
	pthread_mutex_lock(&cs->lock);
	c->r.copy_state = r->copy_state;
	c->r.priority = r->priority;
	pthread_mutex_unlock(&cs->lock);
	job_suspend(js, c->job, r->copy_state == COPY_SUSPENDED);
	job_set_priority(js, c->job, r->priority);
	return 0;
}

static int set_state(struct clone *c, enum copy_state to, struct why *why)
{
	struct clone_record r = c->r;

	r.copy_state = to;
	return set_record(c, &r, why);
}

int tandem_set_clone_priority(struct tandem *t, uint32_t number, enum copy_priority priority,
			      bool plan, struct why *why)
{
	struct clone *c = clone_of_number(t->snapshots->clones, number);
	struct clone_record r;
	int err = 0;

	if (!c || c->filled)
		return refuse(why, -ENOENT, "there is no such clone");
	if (plan)
		return 0;
	pthread_mutex_lock(&t->snapshots->changing);
	r = c->r;
	r.priority = priority;
	if (c->filled)
		err = refuse(why, -EBUSY, "it has been filled by now");
	else
		err = set_record(c, &r, why);
	pthread_mutex_unlock(&t->snapshots->changing);
	snapshots_changed(t, NULL);
	return err;
}

int tandem_suspend_clone(struct tandem *t, uint32_t number, bool suspend, bool plan,
			 struct why *why)
{
	struct clone *c = clone_of_number(t->snapshots->clones, number);
	enum copy_state from = suspend ? COPY_UNSYNCHRONIZED : COPY_SUSPENDED;
	enum copy_state to = suspend ? COPY_SUSPENDED : COPY_UNSYNCHRONIZED;
	int err = 0;

	if (!c)
		return refuse(why, -ENOENT, "there is no such clone");
	if (plan)
		return 0;
	/* So that nobody else stops and releases its filler meanwhile. */
	pthread_mutex_lock(&t->discovery);
	if (suspend)
		filler_stop(c, true);
	pthread_mutex_lock(&t->snapshots->changing);
	if (c->filled || c->r.copy_state != from)
		err = refuse(why, -EBUSY, "CopyState is %s by now",
			     c->filled ? "Synchronized" : enum_name(copy_states, c->r.copy_state));
	if (!err)
		err = set_state(c, to, why);
	pthread_mutex_unlock(&t->snapshots->changing);
	if (!err)
		clone_announce(c, enum_name(copy_states, from), enum_name(copy_states, to));
	filler_release(c);
	pthread_mutex_unlock(&t->discovery);
	snapshots_changed(t, NULL);
	return err;
}
