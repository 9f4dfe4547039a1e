// SPDX-License-Identifier: GPL-2.0-or-later
/* Those who copy wait here for their turns. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "jobs_inner.h"

void jobs_set_limits(struct jobs *js, uint32_t rate, uint32_t most)
{
	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	js->turns.rate = rate;
	js->turns.most = most;
	js->turns.due = 0;
	pthread_cond_broadcast(&js->changed);
	pthread_mutex_unlock(&js->lock);
}

void jobs_wake(struct jobs *js)
{
	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	pthread_cond_broadcast(&js->changed);
	pthread_mutex_unlock(&js->lock);
}

void jobs_hurry(struct jobs *js)
{
	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	js->hurry = true;
	pthread_cond_broadcast(&js->changed);
	pthread_mutex_unlock(&js->lock);
}

static void look_around(struct jobs *js, uint32_t id, struct around *a)
{
	struct job *j;
	uint32_t disks[2] = { 0 };

	*a = (struct around){ 0 };
	pthread_mutex_lock(&js->lock);
	j = jobs_find(js, id);
	if (j)
		memcpy(disks, j->spec.disks, sizeof(disks));
	pthread_mutex_unlock(&js->lock);
	for (int i = 0; i < 2; i++) {
		uint64_t requests;

		a->disks[i] = disks[i] ? tandem_disk_numbered(js->t, disks[i]) : NULL;
		if (!a->disks[i])
			continue;
		a->guests.busy |= gate_is_busy(&a->disks[i]->gate, &requests);
		a->guests.requests += requests;
	}
}

void around_let_go(struct around *a)
{
	disk_unref(a->disks[0]);
	disk_unref(a->disks[1]);
}

/* Guests of its disks have few requests at a time; under lock. */
static void slow_guests(struct job *j, const struct around *a)
{
	for (int i = 0; i < 2 && j->spec.priority == PRIORITY_HIGH; i++) {
		if (!a->disks[i])
			continue;
		j->slowed[i] = disk_ref(a->disks[i]);
		atomic_fetch_add(&j->slowed[i]->hurried, 1);
	}
}

void job_give_back(struct jobs *js, struct job *j, uint64_t copied, struct around *a)
{
	*a = (struct around){ 0 };
	for (int i = 0; i < 2; i++) {
		if (j->slowed[i])
			atomic_fetch_sub(&j->slowed[i]->hurried, 1);
		a->disks[i] = j->slowed[i];
		j->slowed[i] = NULL;
	}
	if (copied) {
		j->copied += copied;
		pace_note(&j->pace, monotonic_ns(), j->copied);
	}
	turns_give_back(&js->turns, &j->turn, monotonic_ns(), copied);
	pthread_cond_broadcast(&js->changed);
}

static void take_turn(struct job *j, const struct around *a)
{
	slow_guests(j, a);
	j->reason[0] = '\0';
	if (j->started_ns)
		return;
	j->started_ns = monotonic_ns();
	j->started_ms = clock_ms();
	pace_note(&j->pace, j->started_ns, j->copied);
	job_set_state(j, JOB_RUNNING);
}

/* Under lock, until then or something has changed. */
static void wait_until(struct jobs *js, uint64_t until)
{
	if (until == TURNS_NEVER)
		pthread_cond_wait(&js->changed, &js->lock);
	else
		clock_wait(&js->changed, &js->lock, until);
}

enum verdict { GO_ON, STOP, ASK_AGAIN };

/* Asks once, and waits if that is the answer. *news: status is another. */
static enum verdict ask(struct jobs *js, uint32_t id, const struct around *a,
			const _Atomic bool *stop, uint64_t deadline, bool *news)
{
	struct job *j = jobs_find_live(js, id);
	enum turn_answer before;
	uint64_t until;

	if (!j || (stop && atomic_load(stop)) || monotonic_ns() >= deadline) {
		if (j)
			turns_give_back(&js->turns, &j->turn, monotonic_ns(), 0);
		pthread_cond_broadcast(&js->changed);
		return STOP;
	}
	if (js->hurry) {
		j->answer = TURN_TAKEN;
		return GO_ON;
	}
	before = j->answer;
	j->answer = turns_ask(&js->turns, &j->turn, monotonic_ns(), a->guests, &until);
	if (j->answer == TURN_TAKEN) {
		*news = !j->started_ns;
		take_turn(j, a);
		return GO_ON;
	}
	if (j->answer != before) {
		*news = true;
		/* It is in nobody's way any more. */
		if (!j->turn.asks)
			pthread_cond_broadcast(&js->changed);
		return ASK_AGAIN; /* after that is told */
	}
	wait_until(js, until < deadline ? until : deadline);
	return ASK_AGAIN;
}

/* Between two steps nobody else comes first who would not have anyway. */
static void end_step(struct jobs *js, uint32_t id, uint64_t copied, struct around *done)
{
	struct job *j = jobs_find_live(js, id);

	*done = (struct around){ 0 };
	if (j)
		job_give_back(js, j, copied, done);
}

bool job_pause_point(struct jobs *js, uint32_t id, uint64_t copied, const _Atomic bool *stop)
{
	return job_pause_until(js, id, copied, stop, TURNS_NEVER);
}

bool job_pause_until(struct jobs *js, uint32_t id, uint64_t copied, const _Atomic bool *stop,
		     uint64_t deadline)
{
	enum verdict v = ASK_AGAIN;
	bool first = true;

	if (!js || !id)
		return !stop || !atomic_load(stop);
	while (v == ASK_AGAIN) {
		struct around a, done = { 0 };
		bool news = false;

		look_around(js, id, &a);
		pthread_mutex_lock(&js->lock);
		if (first)
			end_step(js, id, copied, &done);
		v = ask(js, id, &a, stop, deadline, &news);
		pthread_mutex_unlock(&js->lock);
		first = false;
		around_let_go(&a);
		around_let_go(&done);
		if (news)
			jobs_tell_change(js);
	}
	return v == GO_ON;
}

uint64_t job_step(struct jobs *js, uint32_t id, uint64_t most)
{
	struct job *j;

	if (!js)
		return most;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j && !js->hurry)
		most = turns_step(&js->turns, &j->turn, most);
	pthread_mutex_unlock(&js->lock);
	return most;
}

void job_wait_for(struct jobs *js, uint32_t id, const char *why)
{
	struct around a = { 0 };
	struct job *j;

	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	j = jobs_find_live(js, id);
	if (j) {
		job_give_back(js, j, 0, &a);
		snprintf(j->reason, sizeof(j->reason), "%s", why);
	}
	pthread_mutex_unlock(&js->lock);
	around_let_go(&a);
	jobs_tell_change(js);
}
