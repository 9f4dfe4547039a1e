// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One table of options, whether they come as --key VALUE, --key=VALUE or
 * -o key=VALUE. '-' and '_' are equal. getopt_long knows neither that nor -o.
 */
#include "options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check_command.h"
#include "moment.h"
#include "values.h"
#include "workers.h"

struct option_row {
	const char *name;
	const char *argument; /* for the help; NULL: takes none */
	bool (*set)(struct options *o, char *value);
	const char *help;    /* NULL: not shown */
	const char *pass_on; /* to libfuse, as it is */
};

/* ---- values ---- */

static bool set_state(struct options *o, char *v)
{
	o->state_dir = v;
	return v[0];
}

static bool set_block_size(struct options *o, char *v)
{
	uint64_t size;

	if (value_size(v, &size) || size < 4096 || size > (1 << 20) || size & (size - 1))
		return false;
	o->block_size = size;
	return true;
}

static bool set_pool(struct options *o, char *v)
{
	char *dir = strchr(v, '=');

	if (!dir || dir == v || !dir[1] || o->pool_count == OPTIONS_POOLS)
		return false;
	*dir++ = '\0';
	if (name_check(v, NULL))
		return false;
	o->pool_names[o->pool_count] = v;
	o->pool_dirs[o->pool_count++] = dir;
	return true;
}

static bool set_read_only(struct options *o, char *v)
{
	o->read_only = true;
	return true;
}

static bool set_read_write(struct options *o, char *v)
{
	o->read_only = false;
	return true;
}

static bool set_threads(struct options *o, char *v)
{
	uint64_t n;

	if (value_number(v, 1024, &n) || n < 4)
		return false;
	o->threads = n;
	return true;
}

static bool set_stop_timeout(struct options *o, char *v)
{
	uint64_t ms;

	if (value_duration(v, &ms) || ms > UINT32_MAX * 1000ull)
		return false;
	o->stop_timeout_s = ms < 1000 ? 1 : ms / 1000;
	return true;
}

static bool set_log_level(struct options *o, char *v)
{
	static const char *const levels[] = { "error", "warning", "info", "debug" };

	o->log_level = v;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (!strcasecmp(levels[i], v))
			return true;
	return false;
}

static bool set_foreground(struct options *o, char *v)
{
	o->foreground = true;
	return true;
}

static bool set_restart(struct options *o, char *v)
{
	o->restart = RESTART_YES;
	return true;
}

static bool set_no_restart(struct options *o, char *v)
{
	o->restart = RESTART_NO;
	return true;
}

static bool set_confine(struct options *o, char *v)
{
	o->confine = true;
	return true;
}

static bool set_status(struct options *o, char *v)
{
	o->ask_status = true;
	return true;
}

static bool set_replace(struct options *o, char *v)
{
	o->replace = true;
	return true;
}

static bool set_help(struct options *o, char *v)
{
	o->help = true;
	return true;
}

static bool set_version(struct options *o, char *v)
{
	o->version = true;
	return true;
}

static bool ignore(struct options *o, char *v)
{
	return true;
}

static const struct option_row rows[] = {
	{ "state", "DIR", set_state, "where the state is kept (DISKDIR/.tandem)" },
	{ "block-size", "SIZE", set_block_size, "of tracked disks: 4K to 1M (8K)" },
	{ "pool", "NAME=DIR", set_pool, "a second directory of images; repeatable" },
	{ "read-only", NULL, set_read_only, "nothing is written to any image" },
	{ "allow-other", NULL, ignore, "other users may enter the mount", "allow_other" },
	{ "allow-root", NULL, ignore, "root may enter the mount", "allow_root" },
	{ "threads", "N", set_threads, "at most so many worker threads (128)" },
	{ "stop-timeout", "DURATION", set_stop_timeout,
	  "how long SIGTERM waits for open disks (90s)" },
	{ "log-level", "LEVEL", set_log_level, "error, warning, info or debug (info)" },
	{ "foreground", NULL, set_foreground, "-f: stay in the foreground, log to stderr" },
	{ "restart", NULL, set_restart, "a daemon that dies is started again; also with -f" },
	{ "no-restart", NULL, set_no_restart, "it is not, and the mount dies with it" },
	{ "confine", NULL, set_confine, "the daemon can open nothing but what it serves" },
	{ "replace", NULL, set_replace, "this program goes on with the mount of DISKDIR" },
	{ "status", NULL, set_status, "of the daemon of DISKDIR, also if it does not answer" },
	{ "version", NULL, set_version, "-V" },
	{ "help", NULL, set_help, "-h" },
	/* What mount(8) adds by itself. */
	{ "rw", NULL, set_read_write },
	{ "ro", NULL, set_read_only },
	{ "dev", NULL, ignore, NULL, "dev" },
	{ "nodev", NULL, ignore, NULL, "nodev" },
	{ "suid", NULL, ignore, NULL, "suid" },
	{ "nosuid", NULL, ignore, NULL, "nosuid" },
	{ "exec", NULL, ignore, NULL, "exec" },
	{ "noexec", NULL, ignore, NULL, "noexec" },
	{ "atime", NULL, ignore, NULL, "atime" },
	{ "noatime", NULL, ignore, NULL, "noatime" },
	{ "async", NULL, ignore },
	{ "defaults", NULL, ignore },
	{ "auto", NULL, ignore },
	{ "noauto", NULL, ignore },
	{ "nofail", NULL, ignore },
	{ "user", NULL, ignore },
	{ "nouser", NULL, ignore },
	{ "users", NULL, ignore },
	{ "owner", NULL, ignore },
	{ "group", NULL, ignore },
	{ "_netdev", NULL, ignore },
	{ "relatime", NULL, ignore },
	{ "norelatime", NULL, ignore },
	{ "strictatime", NULL, ignore },
	{ "nostrictatime", NULL, ignore },
	{ "diratime", NULL, ignore },
	{ "nodiratime", NULL, ignore },
	{ "lazytime", NULL, ignore },
	{ "nolazytime", NULL, ignore },
	{ "silent", NULL, ignore },
	{ "loud", NULL, ignore },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* ---- parsing ---- */

static bool same_name(const char *row, const char *s, size_t len)
{
	if (strlen(row) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (row[i] != s[i] && !(strchr("-_", row[i]) && strchr("-_", s[i])))
			return false;
	return true;
}

static const struct option_row *find(const char *s, size_t len)
{
	for (size_t i = 0; i < ROWS; i++)
		if (same_name(rows[i].name, s, len))
			return &rows[i];
	/* x-systemd.requires=... and comment=...: notes of fstab for others */
	if (len >= 2 && (!strncmp(s, "x-", 2) || !strncmp(s, "X-", 2) || !strncmp(s, "comment", 7)))
		return find("auto", 4);
	return NULL;
}

struct parse {
	struct options *o;
	char *error;
	size_t size;
};

static bool wrong(struct parse *p, const char *what, const char *s, size_t len)
{
	snprintf(p->error, p->size, "%s: %.*s", what, (int)len, s);
	return false;
}

static bool apply(struct parse *p, const struct option_row *row, char *value)
{
	size_t used = strlen(p->o->fuse_options);

	if (row->argument && !value)
		return wrong(p, "this option needs a value", row->name, strlen(row->name));
	if (!row->set(p->o, value)) {
		snprintf(p->error, p->size, "not a value of %s: %s", row->name, value);
		return false;
	}
	if (!row->pass_on)
		return true;
	if (used + strlen(row->pass_on) + 2 > sizeof(p->o->fuse_options))
		return wrong(p, "too many options, at", row->name, strlen(row->name));
	sprintf(p->o->fuse_options + used, "%s%s", used ? "," : "", row->pass_on);
	return true;
}

/* name, or name=value. *next may be taken as the value where there is no '='. */
static bool take(struct parse *p, char *s, char *next, bool *took_next)
{
	size_t len = strcspn(s, "=");
	const struct option_row *row = find(s, len);
	char *value = s[len] ? s + len + 1 : NULL;

	if (!row)
		return wrong(p, "unknown option", s, len);
	if (!row->argument && value && row->help)
		return wrong(p, "this option takes no value", s, len);
	*took_next = row->argument && !value && next;
	return apply(p, row, value ? value : row->argument ? next : NULL);
}

static bool take_list(struct parse *p, char *list)
{
	char *save;

	for (char *s = strtok_r(list, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		bool ignored;

		if (!take(p, s, NULL, &ignored))
			return false;
	}
	return true;
}

static bool take_place(struct parse *p, char *s)
{
	if (!p->o->disk_dir)
		p->o->disk_dir = s;
	else if (!p->o->mount_point)
		p->o->mount_point = s;
	else
		return wrong(p, "one argument too many", s, strlen(s));
	return true;
}

static bool take_short(struct parse *p, char *s, char *next, bool *took_next)
{
	char *list = s[2] ? s + 2 : next;

	switch (s[1]) {
	case 'o':
		*took_next = !s[2];
		return list ? take_list(p, list)
			    : wrong(p, "this option needs a value", s, strlen(s));
	case 'f':
	case 'h':
	case 'V':
		if (s[2])
			return wrong(p, "unknown option", s, strlen(s));
		return apply(p,
			     find(s[1] == 'f'   ? "foreground"
				  : s[1] == 'h' ? "help"
						: "version",
				  s[1] == 'f'   ? 10
				  : s[1] == 'h' ? 4
						: 7),
			     NULL);
	default:
		return wrong(p, "unknown option", s, strlen(s));
	}
}

bool options_parse(int argc, char **argv, struct options *o, char *error, size_t size)
{
	struct parse p = { o, error, size };
	bool only_places = false;

	memset(o, 0, sizeof(*o));
	o->threads = WORKERS_DEFAULT;
	o->settle = argc > 1 && !strcmp(argv[1], "settle");
	for (int i = 1 + o->settle; i < argc; i++) {
		char *s = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
		bool took_next = false, good;

		if (only_places || s[0] != '-' || !s[1])
			good = take_place(&p, s);
		else if (!strcmp(s, "--"))
			good = only_places = true;
		else if (s[1] == '-')
			good = take(&p, s + 2, next, &took_next);
		else
			good = take_short(&p, s, next, &took_next);
		if (!good)
			return false;
		i += took_next;
	}
	if (o->help || o->version)
		return true;
	if (o->confine && (o->replace || o->ask_status)) {
		snprintf(error, size, "--confine is for the start of a mount: not with --%s",
			 o->replace ? "replace" : "status");
		return false;
	}
	if (o->replace || o->ask_status) {
		if (o->disk_dir && !o->mount_point && !(o->replace && o->ask_status))
			return true;
		snprintf(error, size, "usage: tandemfs --%s DISKDIR",
			 o->replace ? "replace" : "status");
		return false;
	}
	if (o->confine && (o->settle || o->restart == RESTART_NO)) {
		snprintf(error, size, "--confine needs the holder of a mount: not with %s",
			 o->settle ? "settle" : "--no-restart");
		return false;
	}
	if (o->settle ? o->disk_dir && !o->mount_point : o->mount_point != NULL)
		return true;
	snprintf(error, size,
		 o->settle ? "usage: tandemfs settle [--state DIR] DISKDIR"
			   : "usage: tandemfs [OPTIONS] DISKDIR MOUNTPOINT (see --help)");
	return false;
}

void options_print_help(void)
{
	printf("usage: tandemfs [OPTIONS] DISKDIR MOUNTPOINT\n"
	       "       tandemfs settle [--state DIR] DISKDIR\n"
	       "       " CHECK_USAGE_LINE "\n"
	       "       tandemfs --replace | --status DISKDIR\n\n"
	       "Serves the virtual disk images of DISKDIR as files at MOUNTPOINT.\n\n");
	for (size_t i = 0; i < ROWS; i++) {
		char left[40];

		if (!rows[i].help)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].argument ? " " : "",
			 rows[i].argument ? rows[i].argument : "");
		printf("  %-26s %s\n", left, rows[i].help);
	}
	printf("\nAlso as -o key=value,key=value. See tandemfs(8); commands are in\n"
	       "MOUNTPOINT/.replication/help.\n");
}
