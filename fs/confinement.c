// SPDX-License-Identifier: GPL-2.0-or-later
#include "confinement.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "confine.h"
#include "program.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define PLACES (OPTIONS_POOLS + 2)
#define PROGRAMS 3

void confinement_hide_memory(void)
{
#ifndef TANDEMFS_INSTRUMENTED /* the leak sanitizer reads it from another process */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

struct lists {
	char *places[PLACES + 1], *programs[PROGRAMS + 1];
	size_t place_count, program_count;
};

static int add_place(struct lists *l, const char *dir, struct why *why)
{
	char *path = realpath(dir, NULL);

	if (!path)
		return refuse(why, -errno, "--confine: %s: %s", dir, strerror(errno));
	l->places[l->place_count++] = path;
	return 0;
}

static int add_places(struct lists *l, const struct options *o, struct why *why)
{
	int err = add_place(l, o->disk_dir, why);

	/* Else it is in DISKDIR. */
	if (!err && o->state_dir)
		err = add_place(l, o->state_dir, why);
	for (size_t i = 0; i < o->pool_count && !err; i++)
		err = add_place(l, o->pool_dirs[i], why);
	return err;
}

static void add_program(struct lists *l, const char *path)
{
	l->programs[l->program_count] = realpath(path, NULL);
	l->program_count += l->programs[l->program_count] != NULL;
}

static void add_programs(struct lists *l)
{
	static const char *const names[] = { "qemu-nbd", "qemu-img" };
	char path[PROGRAM_PATH];

	add_program(l, "/proc/self/exe");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!program_find(names[i], path))
			add_program(l, path);
}

static int check_places(const struct lists *l, struct why *why)
{
	for (size_t i = 0; i < l->place_count; i++)
		if (confine_runs_from(l->places[i], (const char *const *)l->programs))
			return refuse(why, -EINVAL,
				      "--confine: programs are run from %s, or from below it",
				      l->places[i]);
	return 0;
}

static void free_lists(struct lists *l)
{
	for (size_t i = 0; i < l->place_count; i++)
		free(l->places[i]);
	for (size_t i = 0; i < l->program_count; i++)
		free(l->programs[i]);
}

int confinement_new(const struct options *o, int *ruleset, struct why *why)
{
	struct lists l = { 0 };
	int err = add_places(&l, o, why), fd;

	if (!err) {
		add_programs(&l);
		err = check_places(&l, why);
	}
	if (!err) {
		fd = confine_make_server((const char *const *)l.places,
					 (const char *const *)l.programs);
		if (fd == -ENOSYS)
			err = refuse(why, fd, "--confine: this kernel cannot (Linux 6.12 can)");
		else if (fd == -EOPNOTSUPP)
			err = refuse(why, fd,
				     "--confine: this kernel cannot, Landlock is off (lsm=)");
		else if (fd < 0)
			err = refuse(why, fd, "--confine: %s", strerror(-fd));
		else
			*ruleset = fd;
	}
	free_lists(&l);
	return err;
}

/* They are confined one by one. The thread sanitizer has one of its own. */
static int check_alone(void)
{
#ifndef TANDEMFS_INSTRUMENTED
	struct stat st;

	if (stat("/proc/self/task", &st))
		return errno;
	if (st.st_nlink != 3)
		return EBUSY;
#endif
	return 0;
}

int confinement_enter(int ruleset)
{
	int err;

	/* It takes CAP_SYS_RESOURCE, and stays: see mount.c. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	err = check_alone() ?: confine_capabilities() ?: confine_self(ruleset);

	close(ruleset);
	return -err;
}
