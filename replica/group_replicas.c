// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CreateReplica of a group: a clone, or a mirror, of each of its disks, all or none. What they are
 * made into is a group of its own, with the mirrors.
 *
 * Each is recorded when it is made, and what cannot be made takes back those before it. Mirrors are
 * made Initialized and pending, then the group is, and only then, in the transaction by which they are
 * pending no more, something is copied: a crash before that is followed by a start that takes all back,
 * also the group, which is pending until after that. Of clones it leaves relationships that are whole each,
 * and no group, or one that has not all of them yet.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones.h"
#include "groups.h"
#include "mirror.h"
#include "pairs.h"
#include "snapshots_inner.h"

/* So many names are tried before somebody has to choose another one. */
#define NAMES_MAX 1000u
/* Of a name of NAME_BYTES_MAX what its disk has, and a number. */
#define STEM_MAX 60
#define TAIL_MAX (STEM_MAX + 8)
/* A mirror that is to go may change by itself, so often. */
#define TRIES 100

struct one {
	char name[SNAPSHOT_NAME_MAX + 1];
	struct disk *target; /* a reference, of what was made; NULL */
	uint32_t pair;
};

struct making_all {
	struct tandem *t;
	const struct group_replicas *q;
	struct one *all;
	size_t made;
	uint32_t group; /* 0: it is not made yet */
};

static int refuse_of(const struct making_all *m, size_t i, int err, struct why *why)
{
	struct why because = *why;

	return refuse_advise(why, err, because.advice, "%.200s: %s", m->q->disks[i]->label,
			     because.message);
}

/* ---- names ---- */

static bool is_taken(const struct making_all *m, size_t i)
{
	const char *name = m->all[i].name;
	struct clone_facts c;

	for (size_t k = 0; k < i; k++)
		if (!strcmp(m->all[k].name, name))
			return true;
	return pairs_have(m->t, name) || !clone_named(m->t, name, &c);
}

/* GROUP-STEM, and a number where there are several. */
static int name_one(struct making_all *m, size_t i, struct why *why)
{
	char stem[STEM_MAX], file[NAME_MAX + 1];
	struct disk *d = m->q->disks[i];
	unsigned n = 1;

	pthread_mutex_lock(&d->lock);
	name_whole(d->file_name, file);
	pthread_mutex_unlock(&d->lock);
	name_stem(file, stem, sizeof(stem));
	snprintf(m->all[i].name, sizeof(m->all[i].name), "%.*s-%s", NAME_BYTES_MAX - TAIL_MAX,
		 m->q->name, stem);
	while (is_taken(m, i) && n++ < NAMES_MAX)
		snprintf(m->all[i].name, sizeof(m->all[i].name), "%.*s-%s-%u",
			 NAME_BYTES_MAX - TAIL_MAX, m->q->name, stem, n);
	return n <= NAMES_MAX ? 0
			      : refuse(why, -EEXIST, "there is a relationship '%s' already",
				       m->all[i].name);
}

static int begin(struct making_all *m, struct why *why)
{
	int err = 0;

	if (strlen(m->q->name) > NAME_BYTES_MAX - TAIL_MAX)
		return refuse(why, -EINVAL,
			      "the name of what is made of a group has %d bytes at most",
			      NAME_BYTES_MAX - TAIL_MAX);
	m->all = calloc(m->q->count, sizeof(*m->all));
	if (!m->all)
		return refuse(why, -ENOMEM, "out of memory");
	for (size_t i = 0; i < m->q->count && !err; i++)
		err = name_one(m, i, why);
	return err ? err : tandem_create_group(m->t, m->q->name, true, why);
}

static void end(struct making_all *m)
{
	for (size_t i = 0; m->all && i < m->q->count; i++)
		disk_unref(m->all[i].target);
	free(m->all);
}

/* ---- the group ---- */

static int make_group(struct making_all *m, struct why *why)
{
	struct group_facts g;
	int err = m->q->mirrors ? tandem_begin_group(m->t, m->q->name, why)
				: tandem_create_group(m->t, m->q->name, false, why);

	if (err)
		return err;
	err = group_named(m->t, m->q->name, &g);
	if (err)
		return refuse(why, err, "the group %s is gone", m->q->name);
	m->group = g.number;
	if (m->q->consistent)
		err = tandem_set_group_consistent(m->t, m->group, true, false, why);
	for (size_t i = 0; i < m->made && !err; i++) {
		err = tandem_add_to_group(m->t, m->group, m->all[i].target, false, why);
		if (!err && m->all[i].pair)
			err = tandem_add_pair_to_group(m->t, m->group, m->all[i].pair, false, why);
		if (err)
			refuse_of(m, i, err, why);
	}
	return err;
}

/* ---- taking back ---- */

/*
 * What was made for it goes with it. One that somebody brought to its end meanwhile is his, with its
 * target; and what was there before stays what it was, as nothing is copied yet.
 */
static int end_pair(struct making_all *m, uint32_t number)
{
	struct why ignored;
	struct pair_facts f;
	int err = 0;

	for (int i = 0; i < TRIES && !pair_numbered(m->t, number, &f); i++) {
		if (!f.first && f.state != COPY_INITIALIZED && f.state != COPY_PREPARED)
			return -EEXIST;
		err = tandem_operate_pair(m->t, number, OP_DETACH, f.state, true, false, &ignored);
		if (err != -EBUSY)
			break;
	}
	return err;
}

/* With what was written to it, if somebody was so fast. */
static int delete_clone(struct making_all *m, struct one *o)
{
	return o->target ? tandem_delete_patiently(m->t, o->target, NULL, true) : 0;
}

/* Whether it is gone. */
static bool take_back(struct making_all *m, struct one *o)
{
	int err = o->pair ? end_pair(m, o->pair) : delete_clone(m, o);

	return !err || err == -ENOENT;
}

static int take_all_back(struct making_all *m, int err, struct why *why)
{
	struct why because = *why, ignored;
	const char *stays = NULL;

	if (m->group)
		tandem_delete_group(m->t, m->q->name, false, &ignored);
	while (m->made-- > 0)
		if (!take_back(m, &m->all[m->made]))
			stays = m->all[m->made].name;
	if (stays)
		refuse_advise(why, err, because.advice,
			      "%.300s; %s was made, and cannot be taken back", because.message,
			      stays);
	return err;
}

/* ---- clones ---- */

/* Of all disks one moment, which stays until each clone has given it a name. */
static int take_moment(struct making_all *m, struct making *moment, struct why *why)
{
	int err = making_init(moment, m->t, m->q->disks, m->q->count);

	if (err)
		return refuse(why, err, "out of memory");
	for (size_t i = 0; i < m->q->count; i++)
		mirror_arrive(m->q->disks[i]);
	return making_take(moment, why);
}

static int clone_one(struct making_all *m, size_t i, const struct making *moment,
		     struct clone_facts *out, struct why *why)
{
	struct clone_request q = m->q->clones[i];
	int err;

	q.name = m->all[i].name;
	q.after = m->q->name;
	q.plan = m->q->plan;
	if (moment->moments)
		q.generation = moment->moments[i].generation;
	err = tandem_clone(m->t, m->q->disks[i], &q, out, why);
	if (err)
		return refuse_of(m, i, err, why);
	if (q.plan)
		return 0;
	m->made++;
	m->all[i].target = tandem_disk_called(m->t, out->target);
	return m->all[i].target ? 0 : refuse(why, -ENOENT, "%s is gone", out->target);
}

static int clone_all(struct making_all *m, struct clone_facts *out, struct why *why)
{
	bool plan = m->q->plan;
	struct making moment = { 0 };
	int err = m->q->consistent && !plan ? take_moment(m, &moment, why) : 0;
	bool taken = m->q->consistent && !plan && !err;

	for (size_t i = 0; i < m->q->count && !err; i++)
		err = clone_one(m, i, &moment, &out[i], why);
	if (taken)
		making_drop(&moment);
	making_free(&moment);
	if (!err && !plan)
		err = make_group(m, why);
	return err && !plan ? take_all_back(m, err, why) : err;
}

int tandem_clone_group(struct tandem *t, const struct group_replicas *q, struct clone_facts *out,
		       struct why *why)
{
	struct making_all m = { .t = t, .q = q };
	int err = begin(&m, why) ?: clone_all(&m, out, why);

	end(&m);
	return err;
}

/* ---- mirrors ---- */

static bool is_to_wait(const struct pair_request *q)
{
	return q->state && q->state != COPY_UNSYNCHRONIZED;
}

static int mirror_one(struct making_all *m, size_t i, struct pair_facts *out, struct why *why)
{
	struct pair_request q = m->q->mirrors[i];
	int err;

	q.name = m->all[i].name;
	q.after = m->q->name;
	q.plan = m->q->plan;
	q.pending = true;
	if (!is_to_wait(&q))
		q.state = COPY_INITIALIZED;
	err = tandem_mirror(m->t, m->q->disks[i], &q, out, why);
	if (err)
		return refuse_of(m, i, err, why);
	if (q.plan)
		return 0;
	m->all[i].pair = out->number;
	m->made++;
	m->all[i].target = tandem_disk_called(m->t, out->target);
	return m->all[i].target ? 0 : refuse(why, -ENOENT, "%s is gone", out->target);
}

/* Who was faster with one of them is not in the way. */
static int plan_activation(struct making_all *m, struct group_step *steps, size_t *left,
			   struct why *why)
{
	struct pair_facts f;

	*left = 0;
	for (size_t i = 0; i < m->made; i++) {
		if (pair_numbered(m->t, m->all[i].pair, &f))
			return refuse(why, -ENOENT, "somebody ended %s meanwhile", m->all[i].name);
		steps[i] = (struct group_step){
			.pair = m->all[i].pair,
			.from = f.state,
			.skip = is_to_wait(&m->q->mirrors[i]) || f.state != COPY_INITIALIZED,
		};
		*left += !steps[i].skip;
	}
	return 0;
}

/* All or none, so that nothing was copied of what is to be taken back. */
static int activate_all(struct making_all *m, struct why *why)
{
	struct group_step *steps = calloc(m->made + 1, sizeof(*steps));
	int err = steps ? -EAGAIN : -ENOMEM;
	size_t left;

	for (int i = 0; i < TRIES && err == -EAGAIN; i++) {
		err = plan_activation(m, steps, &left, why);
		if (!err && left)
			err = tandem_operate_group(m->t, m->group, OP_ACTIVATE, steps, m->made,
						   false, false, why);
	}
	free(steps);
	return err == -EAGAIN ? refuse(why, -EBUSY, "somebody changed its mirrors meanwhile") : err;
}

/* Those that are to wait, or that somebody was faster with. */
static int finish_all(struct making_all *m, struct why *why)
{
	uint32_t *numbers = calloc(m->made + 1, sizeof(*numbers));
	int err = -EAGAIN;

	if (!numbers)
		return refuse(why, -ENOMEM, "out of memory");
	for (size_t i = 0; i < m->made; i++)
		numbers[i] = m->all[i].pair;
	for (int i = 0; i < TRIES && err == -EAGAIN; i++)
		err = pairs_finish(m->t, numbers, m->made, why);
	free(numbers);
	return err;
}

static int mirror_all(struct making_all *m, struct pair_facts *out, struct why *why)
{
	struct why ignored;
	int err = 0;

	for (size_t i = 0; i < m->q->count && !err; i++)
		err = mirror_one(m, i, &out[i], why);
	if (m->q->plan)
		return err;
	err = err ?: make_group(m, why) ?: activate_all(m, why) ?: finish_all(m, why);
	if (err)
		return take_all_back(m, err, why);
	/* If it cannot be recorded, a start does. */
	tandem_finish_group(m->t, m->group, &ignored);
	return 0;
}

int tandem_mirror_group(struct tandem *t, const struct group_replicas *q, struct pair_facts *out,
			struct why *why)
{
	struct making_all m = { .t = t, .q = q };
	int err = begin(&m, why) ?: mirror_all(&m, out, why);

	end(&m);
	return err;
}
