// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Daemons that say what they should not. The first one is a function of a test here; those that
 * follow are this program again, with a role for its third argument. There is no mount: a pipe is
 * /dev/fuse. What each did is a line of the file `report` in DISKDIR.
 */
#include "holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "confinement.h"
#include "mount.h"
#include "unit.h"

static char dir[PATH_MAX - 64];
/* In all processes of a test. */
static int mount_ends[] = { 100, 101 };

/* ---- what is said of it ---- */

static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void report(const char *what, const char *more)
{
	char line[3 * PATH_MAX];
	int fd = open(in_dir("disks/report"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int n = snprintf(line, sizeof(line), "%s %s\n", what, more);

	if (fd < 0 || write(fd, line, n) != n)
		abort();
	close(fd);
}

static bool has(const char *name, const char *text)
{
	static char content[1 << 16];
	int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, content, sizeof(content) - 1);

	if (fd >= 0)
		close(fd);
	content[n > 0 ? n : 0] = '\0';
	return strstr(content, text) != NULL;
}

static bool is_reported(void *text)
{
	return has("disks/report", text);
}

static bool is_logged(void *text)
{
	return has("log", text);
}

/* Its line of the report is that, with the test's directory in front of the name. */
static void assert_reported(const char *what, const char *name)
{
	char line[PATH_MAX + 64];

	snprintf(line, sizeof(line), "%s %s/%s\n", what, dir, name);
	ck_assert_msg(has("disks/report", line), "no %s", line);
}

/* ---- what the holder uses ---- */

int mount_make(const struct options *o, const char *disk_dir, const char *mount_point, int *fd,
	       struct why *why)
{
	report("mounted", disk_dir);
	report("at", mount_point);
	*fd = dup(mount_ends[1]);
	return 0;
}

void mount_remove(const char *mount_point)
{
	report("unmounted", mount_point);
}

int mount_id_at(const char *path)
{
	return has("disks/report", "another mount") ? 2 : 1;
}

/* ---- daemons ---- */

static void say(int sock, enum held_word word, const char *text, size_t len, int fds)
{
	int two[] = { mount_ends[1], mount_ends[1] };

	if (held_send(sock, word, text, len, two, fds))
		abort();
}

static void say_ready(int sock, const char *places, size_t len)
{
	say(sock, HELD_DIRECTORY, dir, strlen(dir), 1);
	say(sock, HELD_KEEP, places, len, 2);
	say(sock, HELD_READY, "", 0, 0);
}

static bool is_heard(void *sock)
{
	int left;

	return !ioctl(*(int *)sock, SIOCOUTQ, &left) && !left;
}

static void wait_until_heard(int sock)
{
	if (!unit_until(is_heard, &sock, 20))
		abort();
}

/* As a stop does. */
static _Noreturn void end_well(int sock)
{
	say(sock, HELD_READY, "", 0, 0);
	say(sock, HELD_STOPPING, "", 0, 0);
	_exit(0);
}

static void report_program(void)
{
	char path[PATH_MAX] = "";

	if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
		abort();
	report("program", path);
}

static _Noreturn void report_what_is_given(int sock)
{
	static char text[HELD_TEXT + 1];
	enum held_word word = 0;
	int fds[HELD_FDS];

	while (word != HELD_KEEP)
		if (held_receive(sock, true, &word, text, fds))
			abort();
	report("disks", text);
	report("mount", text + strlen(text) + 1);
	report_program();
	report(confine_holds() ? "is confined" : "is free", "");
	end_well(sock);
}

static _Noreturn void fail_to_start(int sock)
{
	say(sock, HELD_FAILED, "bad\033[2Jword", 11, 0);
	report("failed", "");
	_exit(1);
}

/* Of a file that was never asked for. */
static _Noreturn void serve_until_replaced(int sock)
{
	enum held_word word = 0;
	static char text[HELD_TEXT + 1];
	int fds[HELD_FDS];

	say_ready(sock, "", 0);
	wait_until_heard(sock);
	report_program();
	while (word != HELD_HAND_OVER)
		if (held_receive(sock, true, &word, text, fds))
			abort();
	_exit(0);
}

/* The first one fails. */
static _Noreturn void fail_once(int sock)
{
	if (has("disks/report", "failed"))
		report_what_is_given(sock);
	fail_to_start(sock);
}

static const struct {
	const char *name;
	void (*play)(int sock);
} roles[] = {
	{ "report", report_what_is_given },
	{ "fail", fail_to_start },
	{ "serve", serve_until_replaced },
	{ "fail-once", fail_once },
};

static int play(char **argv)
{
	int sock = atoi(getenv(HELD_ENVIRONMENT));

	snprintf(dir, sizeof(dir), "%s", argv[1]);
	for (size_t i = 0; i < UNIT_LENGTH(roles); i++)
		if (!strcmp(roles[i].name, argv[2]))
			roles[i].play(sock);
	abort();
}

/* ---- holders ---- */

static void setup(void)
{
	int ends[2];

	snprintf(dir, sizeof(dir), "%s", unit_dir());
	ck_assert_int_eq(mkdir(in_dir("disks"), 0700), 0);
	ck_assert_int_eq(mkdir(in_dir("mnt"), 0700), 0);
	ck_assert_int_eq(pipe(ends), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(dup2(ends[i], mount_ends[i]), mount_ends[i]);
		close(ends[i]);
	}
}

static bool confined;

/* role: of all that come after the first one. What the holder logs is in the file `log`. */
static pid_t start(void (*first)(int sock), const char *role)
{
	char disks[PATH_MAX], mnt[PATH_MAX];
	char *argv[] = { (char *)"tandemfs", dir, (char *)role, NULL };
	struct options o = { .foreground = true,
			     .confine = confined,
			     .disk_dir = disks,
			     .mount_point = mnt };
	struct held held;
	struct why why;
	pid_t pid = fork();
	int log;

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(disks, sizeof(disks), "%s/../%s/disks", dir, strrchr(dir, '/') + 1);
	snprintf(mnt, sizeof(mnt), "%s/./mnt", dir);
	log = open(in_dir("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(log, STDERR_FILENO);
	if (holder_begin(argv, &o, &held, &why))
		_exit(77);
	first(held.sock);
	_exit(9);
}

static int end_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void die(void)
{
	kill(getpid(), SIGKILL);
}

/* ---- tests ---- */

static void name_others(int sock)
{
	say_ready(sock, "/etc\0/root", 11);
	die();
}

START_TEST(its_places_are_its_own)
{
	ck_assert_int_eq(end_of(start(name_others, "report")), 0);
	assert_reported("disks", "disks");
	assert_reported("mount", "mnt");
}
END_TEST

static void never_end_a_text(int sock)
{
	static char text[HELD_TEXT];

	memset(text, '\\', sizeof(text));
	say_ready(sock, text, sizeof(text) - 1);
	die();
}

START_TEST(a_text_without_an_end)
{
	ck_assert_int_eq(end_of(start(never_end_a_text, "report")), 0);
	assert_reported("disks", "disks");
	assert_reported("mount", "mnt");
}
END_TEST

START_TEST(it_unmounts_its_own_mount_point)
{
	pid_t pid = start(name_others, "fail");

	ck_assert(unit_until(is_logged, (void *)"bad?[2Jword", 20));
	kill(pid, SIGTERM);
	ck_assert_int_eq(end_of(pid), 1);
	assert_reported("unmounted", "mnt");
	ck_assert(!has("disks/report", "/root"));
}
END_TEST

static size_t open_files_of(pid_t pid)
{
	char path[32];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		abort();
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A packet with nothing in it but descriptors. */
static void say_nothing(int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(mount_ends))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(mount_ends)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS } };
	struct msghdr m = { .msg_control = &control, .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), mount_ends, sizeof(mount_ends));
	if (sendmsg(sock, &m, MSG_NOSIGNAL) < 0)
		abort();
}

static size_t least;

static bool has_no_more(void *sock)
{
	return is_heard(sock) && open_files_of(getppid()) <= least;
}

static void give_descriptors(int sock)
{
	static const char words[] = { HELD_READY,  HELD_DIRECTORY, HELD_KEEP,
				      HELD_FAILED, HELD_HAND_OVER, 'z' };

	say_ready(sock, "", 0);
	wait_until_heard(sock);
	least = open_files_of(getppid()) + 1; /* it may begin to listen */
	for (unsigned i = 0; i < 600; i++) {
		say(sock, words[i % sizeof(words)], "x", 1, HELD_FDS);
		say_nothing(sock);
	}
	report(unit_until(has_no_more, &sock, 20) ? "closed" : "leaks", "");
	end_well(sock);
}

START_TEST(descriptors_are_not_kept)
{
	ck_assert_int_eq(end_of(start(give_descriptors, "fail")), 0);
	ck_assert(has("disks/report", "closed"));
}
END_TEST

static void give_directories(int sock)
{
	for (unsigned i = 0; i < 1000; i++)
		say(sock, HELD_DIRECTORY, "/", 1, HELD_FDS);
	wait_until_heard(sock);
	report(open_files_of(getppid()) < 200 ? "bounded" : "unbounded", "");
	say(sock, HELD_STOPPING, "", 0, 0);
	end_well(sock);
}

START_TEST(not_any_number_of_directories)
{
	ck_assert_int_eq(end_of(start(give_directories, "fail")), 0);
	ck_assert(has("disks/report", "bounded") && !has("disks/report", "unbounded"));
}
END_TEST

static void copy_program(const char *to)
{
	char command[2 * PATH_MAX];

	snprintf(command, sizeof(command), "cp /proc/%d/exe '%s'", getpid(), to);
	if (system(command))
		abort();
}

static void become_another(int sock)
{
	char number[16], *argv[] = { (char *)"x", dir, (char *)"serve", NULL };

	snprintf(number, sizeof(number), "%d", sock);
	setenv(HELD_ENVIRONMENT, number, 1);
	fcntl(sock, F_SETFD, 0);
	copy_program(in_dir("forged"));
	execv(in_dir("forged"), argv);
	abort();
}

/* A new program fails, and the file before it goes on: that which the holder had started. */
START_TEST(what_it_starts_is_its_own)
{
	pid_t pid = start(become_another, "fail-once");

	ck_assert(unit_until(is_reported, (void *)"/forged\n", 20));
	ck_assert_int_eq(holder_replace(in_dir("disks")), 1);
	ck_assert_int_eq(end_of(pid), 0);
	ck_assert(has("disks/report", "failed") && has("disks/report", "/test_holder\n"));
	ck_assert(has("log", "the program before it goes on"));
}
END_TEST

/* ---- mounting ---- */

/* Whether /dev/fuse came with it. */
static bool ask(int sock, enum held_word word, const char *places, size_t len)
{
	static char text[HELD_TEXT + 1];
	int fds[HELD_FDS], err = held_send(sock, word, places, len, NULL, 0);
	enum held_word said = 0;
	bool with;

	while (!err && said != word)
		err = held_receive(sock, true, &said, text, fds);
	if (err)
		abort();
	with = fds[0] >= 0;
	held_close(fds);
	return with;
}

static void mount_elsewhere(int sock)
{
	report(ask(sock, HELD_MOUNT, "/etc\0/root", 11) ? "first: yes" : "first: no", "");
	report(ask(sock, HELD_MOUNT, "/etc\0/root", 11) ? "second: yes" : "second: no", "");
	report(confine_holds() ? "is confined" : "is free", "");
	ask(sock, HELD_UNMOUNT, "/root", 5);
	report("asks again", "");
	ask(sock, HELD_UNMOUNT, "/root", 5);
	report(ask(sock, HELD_MOUNT, "", 0) ? "third: yes" : "third: no", "");
	end_well(sock);
}

static void ask_and_not_listen(int sock)
{
	struct pollfd p = { sock, 0, 0 };

	say_ready(sock, "", 0);
	for (int i = 0; i < 5000; i++)
		held_send(sock, HELD_UNMOUNT, "", 0, NULL, 0);
	wait_until_heard(sock);
	report("has asked", "");
	poll(&p, 1, -1); /* for the holder's end */
}

START_TEST(it_waits_for_nobody_who_does_not_listen)
{
	pid_t pid = start(ask_and_not_listen, "fail");

	ck_assert(unit_until(is_reported, (void *)"has asked", 20));
	ck_assert_int_eq(holder_status(in_dir("disks")), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

/* This kernel can. */
static bool can_confine(void)
{
	static const char *const none[] = { NULL };
	int ruleset = confine_make_server(none, none);

	if (ruleset >= 0)
		close(ruleset);
	return ruleset >= 0;
}

static unsigned times_in_report(const char *text)
{
	static char content[1 << 16];
	FILE *f = fopen(in_dir("disks/report"), "re");
	unsigned n = 0;

	content[fread(content, 1, sizeof(content) - 1, f)] = '\0';
	fclose(f);
	for (const char *s = content; (s = strstr(s, text)); s++)
		n++;
	return n;
}

START_TEST(it_mounts_once_where_it_was_told)
{
	if (!can_confine())
		return;
	confined = true;
	ck_assert_int_eq(end_of(start(mount_elsewhere, "fail")), 0);
	assert_reported("mounted", "disks");
	assert_reported("at", "mnt");
	assert_reported("unmounted", "mnt");
	ck_assert(has("disks/report", "first: yes") && has("disks/report", "second: no"));
	ck_assert(has("disks/report", "third: no") && has("disks/report", "is confined"));
	ck_assert_uint_eq(times_in_report("unmounted"), 1);
}
END_TEST

/* Who is not confined does it himself. */
START_TEST(it_mounts_for_nobody_else)
{
	ck_assert_int_eq(end_of(start(mount_elsewhere, "fail")), 0);
	ck_assert(has("disks/report", "first: no") && has("disks/report", "is free"));
	ck_assert(!has("disks/report", "mounted"));
}
END_TEST

static void die_mounted(int sock)
{
	ask(sock, HELD_MOUNT, "", 0);
	die();
}

START_TEST(no_mount_stays_of_who_dies_early)
{
	if (!can_confine())
		return;
	confined = true;
	ck_assert_int_eq(end_of(start(die_mounted, "fail")), 1);
	assert_reported("unmounted", "mnt");
}
END_TEST

static void die_below_another(int sock)
{
	ask(sock, HELD_MOUNT, "", 0);
	report("another mount", "");
	die();
}

START_TEST(what_others_have_mounted_there_stays)
{
	if (!can_confine())
		return;
	confined = true;
	ck_assert_int_eq(end_of(start(die_below_another, "fail")), 1);
	ck_assert(has("disks/report", "another mount") && !has("disks/report", "unmounted"));
}
END_TEST

static void unmount_and_die(int sock)
{
	int fds[] = { mount_ends[1], mount_ends[1] };

	ask(sock, HELD_MOUNT, "", 0);
	held_send(sock, HELD_KEEP, "", 0, fds, 2);
	held_send(sock, HELD_READY, "", 0, NULL, 0);
	ask(sock, HELD_UNMOUNT, "", 0);
	die();
}

/* Also when none can be started: what is there by then is of others. */
START_TEST(it_unmounts_once)
{
	pid_t pid;

	if (!can_confine())
		return;
	confined = true;
	pid = start(unmount_and_die, "fail");
	ck_assert(unit_until(is_logged, (void *)"bad?[2Jword", 20));
	kill(pid, SIGTERM);
	ck_assert_int_eq(end_of(pid), 1);
	ck_assert_uint_eq(times_in_report("unmounted"), 1);
}
END_TEST

static void keep_what_is_no_mount(int sock)
{
	say_ready(sock, "", 0);
	die();
}

START_TEST(it_keeps_only_its_mount)
{
	if (!can_confine())
		return;
	confined = true;
	ck_assert_int_eq(end_of(start(keep_what_is_no_mount, "report")), 1);
	ck_assert(!has("disks/report", "unmounted") && !has("disks/report", "program"));
}
END_TEST

static void hand_over_unasked(int sock)
{
	say_ready(sock, "", 0);
	say(sock, HELD_OVER, "", 0, 0);
	die();
}

START_TEST(nobody_hands_over_unasked)
{
	ck_assert_int_eq(end_of(start(hand_over_unasked, "report")), 0);
	ck_assert(has("log", "the daemon ended, signal 9"));
}
END_TEST

static void be_killed_and_followed(int sock)
{
	int fds[] = { mount_ends[1], mount_ends[1] };

	ask(sock, HELD_MOUNT, "", 0);
	held_send(sock, HELD_KEEP, "", 0, fds, 2);
	held_send(sock, HELD_READY, "", 0, NULL, 0);
	wait_until_heard(sock);
	die();
}

START_TEST(each_daemon_is_confined)
{
	if (!can_confine())
		return;
	confined = true;
	ck_assert_int_eq(end_of(start(be_killed_and_followed, "report")), 0);
	assert_reported("disks", "disks");
	ck_assert(has("disks/report", "is confined"));
}
END_TEST

#ifndef TANDEMFS_INSTRUMENTED
static void *stay(void *arg)
{
	pause();
	return NULL;
}
#endif

/* A library that was preloaded can have one. */
START_TEST(none_with_a_thread_that_would_be_free)
{
#ifndef TANDEMFS_INSTRUMENTED
	static const char *const none[] = { NULL };
	pthread_t thread;

	if (!can_confine())
		return;
	ck_assert_int_eq(pthread_create(&thread, NULL, stay, NULL), 0);
	ck_assert_int_eq(confinement_enter(confine_make_server(none, none)), -EBUSY);
	ck_assert(!confine_holds());
#endif
}
END_TEST

/* ---- the daemon's end ---- */

START_TEST(an_answer_that_does_not_come)
{
	static char text[HELD_TEXT + 1];
	struct held h = HELD_NONE;
	int ends[2], fd = 7;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	h.sock = ends[0];
	say(ends[1], HELD_STOP, "", 0, 0);
	say(ends[1], HELD_HAND_OVER, "", 0, 1);
	ck_assert_int_eq(held_ask(&h, HELD_UNMOUNT, 20, text, &fd), -ETIMEDOUT);
	ck_assert(h.stops == 1 && h.hand_over && fd == 7);
	say(ends[1], HELD_STOP, "", 0, 0);
	say(ends[1], HELD_UNMOUNT, "done", 4, 0);
	say(ends[1], HELD_STOP, "", 0, 0);
	ck_assert_int_eq(held_ask(&h, HELD_UNMOUNT, 20, text, &fd), 0);
	ck_assert(h.stops == 2 && fd == -1 && !strcmp(text, "done"));
	say(ends[1], HELD_MOUNT, "", 0, 1);
	ck_assert_int_eq(held_ask(&h, HELD_MOUNT, 20, text, &fd), 0);
	ck_assert(h.stops == 3 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	ck_assert_int_eq(held_hear(&h), -EAGAIN);
	close(ends[1]);
	ck_assert_int_eq(held_ask(&h, HELD_MOUNT, 20, text, &fd), -EPIPE);
	ck_assert_int_eq(held_hear(&h), -EPIPE);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		its_places_are_its_own,
		a_text_without_an_end,
		it_unmounts_its_own_mount_point,
		descriptors_are_not_kept,
		not_any_number_of_directories,
		what_it_starts_is_its_own,
		it_mounts_once_where_it_was_told,
		it_mounts_for_nobody_else,
		it_waits_for_nobody_who_does_not_listen,
		no_mount_stays_of_who_dies_early,
		what_others_have_mounted_there_stays,
		it_unmounts_once,
		it_keeps_only_its_mount,
		nobody_hands_over_unasked,
		each_daemon_is_confined,
		none_with_a_thread_that_would_be_free,
		an_answer_that_does_not_come,

	};

	if (getenv(HELD_ENVIRONMENT))
		return play(argv);
	return unit_run("holder", setup, NULL, tests, UNIT_LENGTH(tests));
}
