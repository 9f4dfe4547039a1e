// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of jobs, and what becomes of one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalogue.h"
#include "jobs_inner.h"

int jobs_new(struct tandem *t, struct jobs **out)
{
	struct jobs *js = calloc(1, sizeof(*js));

	if (!js)
		return -ENOMEM;
	js->t = t;
	pthread_mutex_init(&js->lock, NULL);
	pthread_cond_init(&js->changed, NULL);
	*out = js;
	return 0;
}

void jobs_free(struct jobs *js)
{
	struct job *j;

	if (!js)
		return;
	while ((j = js->list)) {
		js->list = j->next;
		free(j);
	}
	pthread_mutex_destroy(&js->lock);
	pthread_cond_destroy(&js->changed);
	free(js);
}

/* With no lock held. */
void jobs_tell_change(struct jobs *js)
{
	atomic_fetch_add(&js->version, 1);
	tandem_changed(js->t, NULL);
}

/* ---- the table; under lock ---- */

struct job *jobs_find(struct jobs *js, uint32_t id)
{
	struct job *j;

	for (j = js->list; j && j->spec.id != id; j = j->next)
		;
	return j;
}

struct job *jobs_find_live(struct jobs *js, uint32_t id)
{
	struct job *j = jobs_find(js, id);

	return j && !j->ended_ns ? j : NULL;
}

/* Those that ended long ago go, and the oldest of too many. */
void jobs_forget_old(struct jobs *js, uint64_t now)
{
	struct job **link = &js->list, *j;
	unsigned ended = 0;

	while ((j = *link)) {
		ended += j->ended_ns != 0;
		if (j->ended_ns &&
		    (now - j->ended_ns > JOB_REMOVAL_S * SECOND || ended > JOB_ENDED_MAX)) {
			*link = j->next;
			free(j);
		} else {
			link = &j->next;
		}
	}
}

void job_set_state(struct job *j, enum job_state state)
{
	j->state = state;
	j->changed_ms = clock_ms();
}

/* ---- from its begin to its end ---- */

static void tell_begin(struct jobs *js, const struct job_spec *spec)
{
	char moment[32] = "";

	if (spec->moment)
		snprintf(moment, sizeof(moment), " Moment=g%llu", (unsigned long long)spec->moment);
	events_emit(js->t->events, EVENT_INFORMATION, "JobStarted", spec->object,
		    "Operation=%s%s Job=%u", spec->operation, moment, spec->id);
	jobs_tell_change(js);
}

int job_begin(struct jobs *js, const struct job_spec *spec)
{
	struct job *j = js && spec->id ? calloc(1, sizeof(*j)) : NULL;

	if (!j)
		return js && spec->id ? -ENOMEM : 0;
	j->spec = *spec;
	snprintf(j->object, sizeof(j->object), "%s", spec->object);
	j->spec.object = j->object;
	j->state = spec->suspended ? JOB_SUSPENDED : JOB_NEW;
	j->submitted_ms = j->changed_ms = clock_ms();
	j->turn = (struct turn){ .priority = spec->priority, .suspended = spec->suspended };
	pthread_mutex_lock(&js->lock);
	jobs_forget_old(js, monotonic_ns());
	j->turn.order = ++js->order;
	j->next = js->list;
	js->list = j;
	turns_join(&js->turns, &j->turn);
	pthread_mutex_unlock(&js->lock);
	tell_begin(js, spec);
	return 0;
}

void job_progress(struct jobs *js, uint32_t id, uint64_t done, uint64_t total)
{
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j) {
		j->done = done;
		j->total = total;
	}
	pthread_mutex_unlock(&js->lock);
	jobs_tell_change(js);
}

void job_suspend(struct jobs *js, uint32_t id, bool suspended)
{
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j && j->turn.suspended != suspended) {
		j->turn.suspended = suspended;
		j->pace = (struct pace){ 0 };
		job_set_state(j, suspended ? JOB_SUSPENDED : j->started_ns ? JOB_RUNNING : JOB_NEW);
		pthread_cond_broadcast(&js->changed);
	}
	pthread_mutex_unlock(&js->lock);
	jobs_tell_change(js);
}

void job_set_priority(struct jobs *js, uint32_t id, enum copy_priority priority)
{
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j)
		j->spec.priority = j->turn.priority = priority;
	pthread_cond_broadcast(&js->changed);
	pthread_mutex_unlock(&js->lock);
	jobs_tell_change(js);
}

void job_end_as(struct jobs *js, uint32_t id, enum job_state state)
{
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j)
		j->end_as = state;
	pthread_mutex_unlock(&js->lock);
}

void job_note(struct jobs *js, uint32_t id, const char *words, bool major)
{
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j) {
		snprintf(j->note, sizeof(j->note), "%s", words);
		j->major = major;
	}
	pthread_mutex_unlock(&js->lock);
}

bool job_is_suspended(struct jobs *js, uint32_t id)
{
	struct job *j;
	bool suspended;

	if (!js)
		return false;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	suspended = j && j->turn.suspended;
	pthread_mutex_unlock(&js->lock);
	return suspended;
}

bool job_has_ended(struct jobs *js, uint32_t id)
{
	bool ended;

	if (!js || !id)
		return true;
	pthread_mutex_lock(&js->lock);
	ended = !jobs_find_live(js, id);
	pthread_mutex_unlock(&js->lock);
	return ended;
}

static void tell_end(struct jobs *js, const struct job *j)
{
	char moment[32] = "", error[200] = "", word[160];

	if (j->spec.moment)
		snprintf(moment, sizeof(moment), " Moment=g%llu",
			 (unsigned long long)j->spec.moment);
	if (j->error)
		snprintf(error, sizeof(error), " Error=%s",
			 event_word(word, sizeof(word), strerror(-j->error)));
	events_emit(js->t->events,
		    j->major || j->state == JOB_EXCEPTION ? EVENT_MAJOR : EVENT_INFORMATION,
		    "JobEnded", j->object, "Operation=%s%s Job=%u JobState=%s%s%s%s",
		    j->spec.operation, moment, j->spec.id, enum_name(job_states, j->state), error,
		    j->note[0] ? " " : "", j->note);
	jobs_tell_change(js);
}

void job_end(struct jobs *js, uint32_t id, enum job_state state, int error)
{
	struct around a = { 0 };
	struct job *j, ended;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j) {
		job_give_back(js, j, 0, &a);
		turns_leave(&js->turns, &j->turn);
		job_set_state(j, state == JOB_TERMINATED && j->end_as ? j->end_as : state);
		j->error = error;
		j->ended_ns = monotonic_ns();
		if (state == JOB_COMPLETED)
			j->done = j->total;
		ended = *j;
	}
	pthread_mutex_unlock(&js->lock);
	around_let_go(&a);
	if (j)
		tell_end(js, &ended);
}

int job_new_number(struct tandem *t, uint32_t *number)
{
	struct catalogue_txn *txn;
	int err = catalogue_begin(t->catalogue, &txn);

	if (err)
		return err;
	err = catalogue_new_number(txn, number);
	if (!err)
		return catalogue_commit(txn);
	catalogue_abort(txn);
	return err;
}
