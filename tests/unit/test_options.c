// SPDX-License-Identifier: GPL-2.0-or-later
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define ARGUMENTS 80

static struct options o;
static char error[200], words[ARGUMENTS][2200], *argv_[ARGUMENTS + 1];

/* Arguments are split in place, so they are copied; NULL ends them. */
static bool parse(const char *first, ...)
{
	int argc = 0;
	va_list ap;

	error[0] = '\0';
	argv_[argc++] = (char *)"tandemfs";
	va_start(ap, first);
	for (const char *s = first; s; s = va_arg(ap, const char *)) {
		snprintf(words[argc], sizeof(words[argc]), "%s", s);
		argv_[argc] = words[argc];
		argc++;
	}
	va_end(ap);
	argv_[argc] = NULL;
	return options_parse(argc, argv_, &o, error, sizeof(error));
}

/* One option, with the two places after it. */
static bool one(const char *s)
{
	return parse(s, "disks", "mnt", NULL);
}

/* The same as -o. */
static bool listed(const char *s)
{
	return parse("disks", "mnt", "-o", s, NULL);
}

START_TEST(places)
{
	ck_assert(parse("disks", "mnt", NULL));
	ck_assert_str_eq(o.disk_dir, "disks");
	ck_assert_str_eq(o.mount_point, "mnt");
	ck_assert(o.threads == 128 && !o.read_only && !o.foreground && !o.state_dir);
	ck_assert(!o.block_size && !o.stop_timeout_s && !o.pool_count && !o.fuse_options[0]);
	ck_assert(!parse(NULL) && strstr(error, "usage: "));
	ck_assert(!parse("disks", NULL));
	ck_assert(!parse("disks", "mnt", "more", NULL) && strstr(error, "more"));
	ck_assert(parse("--", "-disks", "--mnt", NULL));
	ck_assert_str_eq(o.disk_dir, "-disks");
	ck_assert_str_eq(o.mount_point, "--mnt");
	ck_assert(parse("-", "mnt", NULL));
	ck_assert_str_eq(o.disk_dir, "-");
	ck_assert(parse("disks", "-f", "mnt", NULL) && o.foreground);
}
END_TEST

START_TEST(a_daemon_after_the_other)
{
	ck_assert(parse("disks", "mnt", NULL) && o.restart == RESTART_USUAL);
	ck_assert(one("--restart") && o.restart == RESTART_YES);
	ck_assert(one("--no-restart") && o.restart == RESTART_NO);
	ck_assert(one("-f") && !o.confine);
	ck_assert(one("--confine") && o.confine && listed("confine") && o.confine);
	ck_assert(!listed("confine,no_restart") && strstr(error, "not with --no-restart"));
	ck_assert(!parse("--replace", "--confine", "disks", NULL) &&
		  strstr(error, "not with --rep"));
	ck_assert(!parse("--status", "--confine", "disks", NULL) &&
		  strstr(error, "not with --sta"));
	ck_assert(!parse("settle", "--confine", "disks", NULL) && strstr(error, "with settle"));
	ck_assert(listed("no_restart,restart") && o.restart == RESTART_YES);
	ck_assert(parse("--status", "disks", NULL) && o.ask_status && !o.replace);
	ck_assert(parse("--replace", "disks", NULL) && o.replace && !o.ask_status);
	ck_assert_str_eq(o.disk_dir, "disks");
	ck_assert(!parse("--replace", NULL) && strstr(error, "usage: "));
	ck_assert(!parse("--status", "disks", "mnt", NULL));
	ck_assert(!parse("--status", "--replace", "disks", NULL));
}
END_TEST

START_TEST(values)
{
	ck_assert(parse("--state", "/s", "d", "m", NULL));
	ck_assert_str_eq(o.state_dir, "/s");
	ck_assert(one("--state=/s=x") && !strcmp(o.state_dir, "/s=x"));
	ck_assert(listed("state=/s") && !strcmp(o.state_dir, "/s"));
	ck_assert(one("--block-size=64K") && o.block_size == 65536);
	ck_assert(one("--block-size=4096") && o.block_size == 4096);
	ck_assert(one("--block-size=1M") && o.block_size == 1 << 20);
	ck_assert(one("--threads=4") && o.threads == 4);
	ck_assert(one("--threads=1024") && o.threads == 1024);
	ck_assert(one("--stop-timeout=5m") && o.stop_timeout_s == 300);
	ck_assert(one("--stop-timeout=10ms") && o.stop_timeout_s == 1);
	ck_assert(one("--log-level=Debug") && !strcmp(o.log_level, "Debug"));
	ck_assert(one("--read-only") && o.read_only);
	ck_assert(one("--foreground") && o.foreground);
	ck_assert(one("--allow-other") && !strcmp(o.fuse_options, "allow_other"));
	ck_assert(one("--allow-root") && !strcmp(o.fuse_options, "allow_root"));
	/* The last one counts. */
	ck_assert(parse("--threads=5", "--threads=6", "d", "m", NULL) && o.threads == 6);
}
END_TEST

START_TEST(wrong_values)
{
	static const char *const list[] = {
		"--state=",           "--block-size=4095",  "--block-size=2M",
		"--block-size=5000",  "--block-size=",      "--block-size=0",
		"--block-size=-4096", "--threads=3",        "--threads=1025",
		"--threads=x",        "--threads=",         "--threads=4x",
		"--stop-timeout=5",   "--stop-timeout=-5s", "--stop-timeout=9999999999999999999d",
		"--log-level=loud",   "--log-level=",       "--pool=fast",
		"--pool==/dir",       "--pool=fast=",       "--pool=a/b=/dir",
		"--pool=a:b=/dir",    "--pool=.x=/dir",     "--pool=..=/dir",
	};

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		ck_assert_msg(!one(list[i]), "%s", list[i]);
		ck_assert_msg(error[0] && !strchr(error, '\n'), "%s", list[i]);
		ck_assert_msg(!listed(list[i] + 2), "%s", list[i]);
	}
}
END_TEST

START_TEST(missing_values)
{
	static const char *const list[] = { "state",   "block-size",   "pool",
					    "threads", "stop-timeout", "log-level" };
	char word[40];

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		snprintf(word, sizeof(word), "--%s", list[i]);
		ck_assert_msg(!parse("d", "m", word, NULL), "%s", word);
		ck_assert_msg(strstr(error, list[i]), "%s", error);
		/* In a list, what follows is another option. */
		snprintf(word, sizeof(word), "%s,ro", list[i]);
		ck_assert_msg(!listed(word), "%s", word);
	}
	ck_assert(!parse("d", "m", "-o", NULL));
}
END_TEST

START_TEST(flags_take_no_value)
{
	ck_assert(!one("--read-only=yes") && strstr(error, "read-only"));
	ck_assert(!one("--foreground=1"));
	ck_assert(!one("--allow-other="));
	ck_assert(!listed("help=x"));
}
END_TEST

START_TEST(dash_and_underscore)
{
	ck_assert(one("--read_only") && o.read_only);
	ck_assert(one("--block_size=8K") && o.block_size == 8192);
	ck_assert(listed("allow-other") && !strcmp(o.fuse_options, "allow_other"));
	ck_assert(listed("stop_timeout=7s") && o.stop_timeout_s == 7);
	ck_assert(listed("-netdev"));
	ck_assert(!one("--readonly"));
	ck_assert(!one("--read--only"));
}
END_TEST

START_TEST(unknown_ones)
{
	static const char *const list[] = { "--nothing", "--nothing=1", "--stat", "--states=x",
					    "--STATE=x", "-x",          "-F",     "-ff",
					    "-hV",       "--=x",        "--o" };

	for (size_t i = 0; i < UNIT_LENGTH(list); i++) {
		ck_assert_msg(!one(list[i]), "%s", list[i]);
		ck_assert_msg(strstr(error, "unknown option"), "%s", error);
	}
	ck_assert(!listed("ro,nothing=5"));
	ck_assert(strstr(error, "nothing") && !strstr(error, "5"));
}
END_TEST

START_TEST(lists)
{
	ck_assert(listed("ro,allow_other,state=/s,threads=9"));
	ck_assert(o.read_only && o.threads == 9 && !strcmp(o.state_dir, "/s"));
	ck_assert_str_eq(o.fuse_options, "allow_other");
	ck_assert(parse("-oro", "d", "m", NULL) && o.read_only);
	ck_assert(parse("-o", "ro", "-o", "rw", "d", "m", NULL) && !o.read_only);
	ck_assert(listed("") && listed(",") && listed(",,ro,,") && o.read_only);
}
END_TEST

START_TEST(pools)
{
	char word[40];
	int n;

	ck_assert(
		parse("--pool", "fast=/a", "--pool=slow=/b=c", "-o", "pool=x=/d", "d", "m", NULL));
	ck_assert_uint_eq(o.pool_count, 3);
	ck_assert_str_eq(o.pool_names[0], "fast");
	ck_assert_str_eq(o.pool_dirs[0], "/a");
	ck_assert_str_eq(o.pool_names[1], "slow");
	ck_assert_str_eq(o.pool_dirs[1], "/b=c");
	ck_assert_str_eq(o.pool_dirs[2], "/d");
	argv_[0] = (char *)"tandemfs";
	for (n = 1; n <= OPTIONS_POOLS + 1; n++) {
		snprintf(word, sizeof(word), "--pool=p%d=/d", n);
		strcpy(words[n], word);
		argv_[n] = words[n];
	}
	ck_assert(!options_parse(n, argv_, &o, error, sizeof(error)));
	ck_assert_uint_eq(o.pool_count, OPTIONS_POOLS);
}
END_TEST

/* What mount(8) and fstab add is taken; what the kernel can use is passed on. */
START_TEST(words_of_mount)
{
	static const char *const ignored[] = {
		"defaults",
		"auto",
		"noauto",
		"nofail",
		"user",
		"nouser",
		"users",
		"owner",
		"group",
		"_netdev",
		"async",
		"relatime",
		"norelatime",
		"strictatime",
		"nostrictatime",
		"diratime",
		"nodiratime",
		"lazytime",
		"nolazytime",
		"silent",
		"loud",
		"x-systemd.automount",
		"x-systemd.requires=a.mount",
		"X-mount.mkdir=0755",
		"comment=hello",
		"rw",
	};
	static const char *const passed[] = { "dev",  "nodev",  "suid",  "nosuid",
					      "exec", "noexec", "atime", "noatime" };
	char both[100];

	for (size_t i = 0; i < UNIT_LENGTH(ignored); i++) {
		ck_assert_msg(listed(ignored[i]), "%s: %s", ignored[i], error);
		ck_assert_str_eq(o.fuse_options, "");
	}
	for (size_t i = 0; i < UNIT_LENGTH(passed); i++) {
		ck_assert(listed(passed[i]));
		ck_assert_str_eq(o.fuse_options, passed[i]);
		snprintf(both, sizeof(both), "allow_other,%s", passed[i]);
		ck_assert(listed(both));
		ck_assert_str_eq(o.fuse_options, both);
	}
	ck_assert(listed("ro") && o.read_only);
	ck_assert(listed("rw,noexec,nosuid,nodev,user=joe,_netdev"));
	ck_assert_str_eq(o.fuse_options, "noexec,nosuid,nodev");
}
END_TEST

START_TEST(asked_for_help)
{
	ck_assert(parse("--help", NULL) && o.help);
	ck_assert(parse("-h", NULL) && o.help);
	ck_assert(parse("-V", NULL) && o.version);
	ck_assert(parse("--version", NULL) && o.version);
	ck_assert(parse("-f", "d", "m", NULL) && o.foreground);
}
END_TEST

/* Every option that is shown is taken, and none of mount's words is shown. */
START_TEST(help_is_true)
{
	char line[200], name[40], word[60];
	FILE *f = tmpfile();
	unsigned shown = 0;
	int out = dup(1);

	fflush(stdout);
	dup2(fileno(f), 1);
	options_print_help();
	fflush(stdout);
	dup2(out, 1);
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " --%39[a-z-]", name) != 1)
			continue;
		shown++;
		snprintf(word, sizeof(word), "--%s", name);
		if (!one(word))
			ck_assert_msg(!strstr(error, "unknown"), "%s", word);
	}
	ck_assert_uint_ge(shown, 12);
	ck_assert_ptr_null(strstr(line, "relatime"));
	fclose(f);
	close(out);
}
END_TEST

START_TEST(long_ones)
{
	char list[2100] = "dev";
	char word[2100];

	for (int i = 0; i < 400; i++)
		strcat(list, ",dev");
	/* All of them, or none: what is dropped in silence would be a mount without it. */
	if (listed(list))
		ck_assert_str_eq(o.fuse_options, list);
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	word[0] = word[1] = '-';
	ck_assert(!one(word));
	ck_assert_uint_lt(strlen(error), sizeof(error));
}
END_TEST

UNIT_MAIN("options", NULL, NULL, places, a_daemon_after_the_other, values, wrong_values,
	  missing_values, flags_take_no_value, dash_and_underscore, unknown_ones, lists, pools,
	  words_of_mount, asked_for_help, help_is_true, long_ones)
