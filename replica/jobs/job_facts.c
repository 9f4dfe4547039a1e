// SPDX-License-Identifier: GPL-2.0-or-later
/* What there is to know of jobs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_inner.h"

#define PERCENT 100

unsigned percent_of_bytes(uint64_t done, uint64_t total)
{
	uint64_t percent = 0;

	if (total)
		percent = total > UINT64_MAX / PERCENT ? done / (total / PERCENT)
						       : done * PERCENT / total;
	return percent < PERCENT ? percent : PERCENT - 1;
}

static const char *waits_for(const struct job *j)
{
	static const char *const words[] = {
		[TURN_TAKEN] = "",
		[TURN_SUSPENDED] = "Start",
		[TURN_OF_OTHERS] = "Turn",
		[TURN_OF_GUESTS] = "Guests",
		[TURN_TOO_FAST] = "CopyRate",
	};

	if (j->ended_ns)
		return "";
	if (j->turn.suspended)
		return words[TURN_SUSPENDED];
	if (j->reason[0] || j->turn.has)
		return j->reason;
	return words[j->answer];
}

static void fill_facts(const struct job *j, uint64_t now, struct job_facts *f)
{
	*f = (struct job_facts){
		.id = j->spec.id,
		.operation = j->spec.operation,
		.replica = j->spec.replica,
		.disk = j->spec.disks[0],
		.state = j->state,
		.priority = j->spec.priority,
		.done = j->done,
		.total = j->total,
		.percent = j->state == JOB_COMPLETED ? PERCENT
						     : percent_of_bytes(j->done, j->total),
		.left_s = UINT64_MAX,
		.submitted_ms = j->submitted_ms,
		.started_ms = j->started_ms,
		.changed_ms = j->changed_ms,
		.ended = j->ended_ns != 0,
		.error = j->error,
	};
	memcpy(f->object, j->object, sizeof(f->object));
	snprintf(f->waits_for, sizeof(f->waits_for), "%s", waits_for(j));
	if (j->started_ns)
		f->elapsed_ms = ((j->ended_ns ? j->ended_ns : now) - j->started_ns) / 1000000;
	if (!j->ended_ns && !j->turn.suspended)
		f->rate = pace_rate(&j->pace, now, j->copied);
	if (f->rate && j->total >= j->done)
		f->left_s = (j->total - j->done) / f->rate;
}

int job_numbered(struct jobs *js, uint32_t id, struct job_facts *out)
{
	struct job *j;

	if (!js)
		return -ENOENT;
	pthread_mutex_lock(&js->lock);
	jobs_forget_old(js, monotonic_ns());
	j = jobs_find(js, id);
	if (j)
		fill_facts(j, monotonic_ns(), out);
	pthread_mutex_unlock(&js->lock);
	return j ? 0 : -ENOENT;
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct job_facts *)a)->id, y = ((const struct job_facts *)b)->id;

	return (x > y) - (x < y);
}

int jobs_list(struct jobs *js, struct job_facts **out, size_t *count)
{
	struct job_facts *list;
	size_t n = 0, at = 0;

	*out = NULL;
	*count = 0;
	if (!js)
		return 0;
	pthread_mutex_lock(&js->lock);
	jobs_forget_old(js, monotonic_ns());
	for (struct job *j = js->list; j; j = j->next)
		n++;
	list = calloc(n + 1, sizeof(*list));
	for (struct job *j = js->list; list && j; j = j->next)
		fill_facts(j, monotonic_ns(), &list[at++]);
	pthread_mutex_unlock(&js->lock);
	if (!list)
		return -ENOMEM;
	qsort(list, n, sizeof(*list), by_id);
	*out = list;
	*count = n;
	return 0;
}

uint32_t job_of_replica(struct jobs *js, uint32_t replica, bool ended)
{
	struct job *j = NULL;
	uint32_t id;

	if (!js || !replica)
		return 0;
	pthread_mutex_lock(&js->lock);
	for (j = js->list; j && (j->spec.replica != replica || (j->ended_ns && !ended));
	     j = j->next)
		;
	id = j ? j->spec.id : 0;
	pthread_mutex_unlock(&js->lock);
	return id;
}

uint32_t job_of_disk(struct jobs *js, uint32_t disk, bool ended)
{
	struct job *j = NULL;
	uint32_t id;

	if (!js || !disk)
		return 0;
	pthread_mutex_lock(&js->lock);
	for (j = js->list;
	     j && (j->spec.replica || j->spec.disks[0] != disk || (j->ended_ns && !ended));
	     j = j->next)
		;
	id = j ? j->spec.id : 0;
	pthread_mutex_unlock(&js->lock);
	return id;
}

uint64_t jobs_version(struct jobs *js)
{
	return js ? atomic_load(&js->version) : 0;
}
