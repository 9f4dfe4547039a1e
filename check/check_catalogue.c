// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The catalogue by itself. LMDB has no checksums and believes what its pages say, so that damage of
 * one can kill who reads it: another process reads all of it first.
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalogue_check.h"
#include "check_inner.h"

/* What a sane page never leads to, and an insane one might. */
#define SECONDS_MAX 3600

static void ignore(void *arg, const char *database, const char *key, const char *what)
{
}

static void walk_and_exit(struct check *c)
{
	static const int deaths[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	struct rlimit none = { 0, 0 };
	uint64_t records;

	/* Nobody else is to see what the death of this one would print. */
	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++)
		signal(deaths[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	close(STDERR_FILENO);
	alarm(SECONDS_MAX);
	catalogue_check(c->catalogue, ignore, NULL, &records);
	_exit(0);
}

/* Whether it lived. */
static bool try_in_another_process(struct check *c)
{
	int status;
	pid_t pid;

	fflush(c->report.out);
	pid = fork();
	if (!pid)
		walk_and_exit(c);
	/* Without another process there is this one. */
	return pid < 0 ||
	       (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
}

static void bad(void *arg, const char *database, const char *key, const char *what)
{
	struct check *c = arg;
	char where[160];

	snprintf(where, sizeof(where), "catalogue/%s%s%s", database, key[0] ? "/" : "", key);
	report(&c->report, FINDING_RECORD, where, "%s", what);
}

int check_catalogue(struct check *c)
{
	if (!try_in_another_process(c)) {
		report(&c->report, FINDING_CATALOGUE, "catalogue",
		       "a page of it is damaged: the rest was not checked");
		return -1;
	}
	return catalogue_check(c->catalogue, bad, c, &c->report.records);
}
