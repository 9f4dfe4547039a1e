// SPDX-License-Identifier: GPL-2.0-or-later
#include "power_cut.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "medium.h"
#include "unit.h"

/* One of so many states is cut again while it is taken up, so often. */
#define AGAIN 12
#define CUTS_AGAIN 6
#define SECONDS 60
/* Lives at a time. */
#define PARTS 6

static struct {
	const struct power_cut *c;
	struct medium *life, *again; /* the second: of one that takes up what is left */
	struct medium *records;
	char *why; /* shared, as all of them */
	char (*said)[POWER_CUT_WHY];
	uint64_t seed, life_seed;
	unsigned states, wanted;
	bool is_again;
} w;

void power_cut_wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w.why, POWER_CUT_WHY / 2, format, args);
	va_end(args);
	_exit(1);
}

uint64_t power_cut_now(void)
{
	return w.records ? medium_calls(w.records) : 0;
}

bool power_cut_again(void)
{
	return w.is_again;
}

bool power_cut_may_come(void)
{
	return w.records;
}

uint64_t power_cut_written(const char *name)
{
	return medium_written(w.records, name);
}

void *power_cut_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(p != MAP_FAILED);
	return p;
}

/* ---- processes ---- */

enum what { PREPARE, LIVE, LOOK };

static void be(enum what what, uint64_t calls, uint64_t seed, struct medium *records)
{
	alarm(SECONDS);
	w.records = records;
	if (records)
		medium_record(records);
	if (what == PREPARE)
		w.c->prepare(&seed);
	else if (what == LIVE)
		w.c->live(&seed);
	else
		w.c->look(calls, &seed);
	_exit(0);
}

/* False: something is wrong. */
static bool run(enum what what, uint64_t calls, struct medium *records)
{
	uint64_t seed = unit_random(&w.seed);
	pid_t pid = fork();
	int status;

	if (!pid)
		be(what, calls, seed, records);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		snprintf(w.why, POWER_CUT_WHY / 2,
			 WTERMSIG(status) == SIGALRM ? "it hangs" : "signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) && !w.why[0])
		snprintf(w.why, POWER_CUT_WHY / 2, "status %d", WEXITSTATUS(status));
	return !w.why[0];
}

static void describe(const struct medium *m, const char *how)
{
	size_t n = strlen(w.why);

	n += snprintf(w.why + n, POWER_CUT_WHY - n, "; %s", how);
	medium_describe(m, w.why + n, POWER_CUT_WHY - n);
}

static bool somebody_said(void)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (w.said[i][0])
			return true;
	return false;
}

/* ---- cuts ---- */

/* What is left was taken up, and that is what was cut. */
static bool cut_again(uint64_t calls)
{
	uint64_t all = medium_calls(w.again), every = all / CUTS_AGAIN + 1;
	bool right = true;

	while (right && medium_play(w.again)) {
		if (unit_below(&w.seed, every))
			continue;
		medium_cut(w.again, unit_random(&w.seed));
		w.states++;
		w.is_again = true;
		right = run(LOOK, calls, NULL);
		w.is_again = false;
		if (!right)
			describe(w.again, "cut again ");
	}
	return right;
}

static bool cut(void)
{
	uint64_t calls = medium_played(w.life);
	bool again = !unit_below(&w.seed, AGAIN), right;

	medium_cut(w.life, unit_random(&w.seed));
	w.states++;
	if (again)
		medium_load(w.again);
	right = run(LOOK, calls, again ? w.again : NULL) && (!again || cut_again(calls));
	if (!right)
		describe(w.life, "cut ");
	return right;
}

static bool life(const char *lose)
{
	uint64_t every;

	temp_tandem_begin();
	w.life = medium_new(temp.dir);
	w.again = medium_new(temp.dir);
	medium_lose(w.life, lose);
	if (run(PREPARE, 0, NULL)) {
		medium_load(w.life);
		if (run(LIVE, 0, w.life)) {
			every = medium_calls(w.life) / w.c->cuts + 1;
			while (w.states < w.wanted && !somebody_said() && medium_play(w.life))
				if (!unit_below(&w.seed, every) && !cut())
					break;
		}
	}
	medium_free(w.again);
	medium_free(w.life);
	unit_remove(temp.dir);
	return !w.why[0];
}

/* One of those who share the work; every one has lives of its own. */
static bool do_part(unsigned part, uint64_t seed, const char *lose)
{
	bool right = true;

	w.c->begin();
	for (seed += part; right && w.states < w.wanted && !somebody_said(); seed += PARTS) {
		w.seed = w.life_seed = seed;
		right = life(lose);
	}
	return right;
}

/* Whoever has something to say says it. */
static void work(unsigned part, uint64_t seed, const char *lose)
{
	w.why = w.said[part];
	if (!do_part(part, seed, lose)) {
		char text[POWER_CUT_WHY];

		snprintf(text, sizeof(text), "TANDEMFS_SEED=%llu: %.*s",
			 (unsigned long long)w.life_seed, POWER_CUT_WHY - 60, w.why);
		memcpy(w.why, text, sizeof(text));
	}
	_exit(0);
}

bool power_cut(const struct power_cut *c, uint64_t seed, unsigned states, const char *lose,
	       char why[POWER_CUT_WHY])
{
	const char *only = getenv("TANDEMFS_SEED");
	unsigned parts = only ? 1 : PARTS;
	pid_t pids[PARTS];

	w.c = c;
	w.said = power_cut_memory(PARTS * POWER_CUT_WHY);
	w.wanted = (states + parts - 1) / parts;
	w.states = 0;
	for (unsigned i = 0; i < parts; i++) {
		pids[i] = fork();
		if (!pids[i])
			work(i, only ? strtoull(only, NULL, 10) : seed, lose);
	}
	why[0] = '\0';
	for (unsigned i = 0; i < parts; i++) {
		int status;

		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		if (status && !w.said[i][0])
			snprintf(w.said[i], POWER_CUT_WHY, "the test ended with %d", status);
		if (w.said[i][0])
			memcpy(why, w.said[i], POWER_CUT_WHY);
	}
	munmap(w.said, PARTS * POWER_CUT_WHY);
	return !why[0];
}
