// SPDX-License-Identifier: GPL-2.0-or-later
#include "holder_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "confine.h"
#include "confinement.h"
#include "disk.h"
#include "log.h"
#include "mount.h"

/*
 * One that has served so long gets its next one at once: no request that came again has killed it.
 * Such a one may need a while to be served; but who is killed by somebody had no fault.
 */
#define GOOD_LIFE_MS 10000
#define KILLED_LIFE_MS 100
#define FIRST_DELAY_MS 100
#define LONGEST_DELAY_MS 5000
#define LISTEN_AGAIN_MS 100

static struct holder holder;

/* ---- starting a daemon ---- */

static int take_signals(struct holder *h, sigset_t *before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, before);
	signal(SIGPIPE, SIG_IGN); /* who reads our log may end before us */
	h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return h->signal_fd < 0 ? -errno : 0;
}

/*
 * In a session of its own: a terminal's ^C comes by the holder, and nothing can be typed into who
 * started us. 0 in the child.
 */
static pid_t fork_daemon(struct holder *h, int *sock)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	pid = fork();
	if (pid < 0) {
		pid = -errno;
		close(ends[0]);
		close(ends[1]);
		return pid;
	}
	if (!pid) {
		setsid();
		close(ends[0]);
		*sock = ends[1];
		return 0;
	}
	close(ends[1]);
	*sock = ends[0];
	return pid;
}

static void note_start(struct holder *h, pid_t pid, int sock)
{
	h->daemon = pid;
	h->sock = sock;
	h->deaf = h->dead = h->ready = h->stopping = h->over = h->waits = false;
	h->asked_over = false;
	h->told_to_stop = false;
	h->tried = true;
	h->reason[0] = '\0';
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* By the mount: only a daemon that there is not could say what is at that path. */
static bool is_hidden(const struct holder *h, const char *path)
{
	size_t len = strlen(h->mount_point);

	return len && !strncmp(path, h->mount_point, len) && path[len] == '/';
}

/* Never by a word of the daemon's. An upgrade may put another file at the path later. */
static void open_program(struct holder *h, const char *path)
{
	close_one(&h->started);
	h->started = is_hidden(h, path) ? -1 : open(path, O_PATH | O_CLOEXEC);
	if (h->started >= 0 && h->ruleset >= 0)
		confine_add_program(h->ruleset, h->started); /* else it does not start */
}

static _Noreturn void fail_in_child(int sock, const char *what, int err)
{
	char why[PATH_MAX + 64];

	snprintf(why, sizeof(why), "%s: %s", what, strerror(err));
	held_send(sock, HELD_FAILED, why, strlen(why), NULL, 0);
	_exit(127);
}

/* In the child, before it is a daemon. */
static void confine(const struct holder *h, int sock)
{
	int err = h->ruleset >= 0 ? confinement_enter(h->ruleset) : 0;
	const char *what = "the daemon cannot be confined";

	if (!err)
		return;
	if (err == -EBUSY)
		what = "the daemon cannot be confined, as something has made a thread in it";
	log_line(LOG_LEVEL_ERROR, "%s: %s", what, strerror(-err));
	fail_in_child(sock, what, -err);
}

/* In the child. */
static _Noreturn void become_daemon(const struct holder *h, int sock)
{
	char number[16], file[32];
	sigset_t set;

	snprintf(number, sizeof(number), "%d", sock);
	/* The others wait until it takes them: what means `look again` would be its end until then. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", h->program.fd);
	confine(h, sock);
	if (!fcntl(sock, F_SETFD, 0) && !setenv(HELD_ENVIRONMENT, number, 1))
		execv(h->program.by_fd ? file : h->program.path, h->argv);
	fail_in_child(sock, h->program.path, errno);
}

static int give_all(const struct holder *h, int sock)
{
	char text[HELD_TEXT];
	size_t len = strlen(h->disk_dir) + 1;
	int err = 0;

	for (size_t i = 0; !err && i < h->directory_count; i++)
		err = held_send(sock, HELD_DIRECTORY, h->directories[i].path,
				strlen(h->directories[i].path), &h->directories[i].fd, 1);
	memcpy(text, h->disk_dir, len);
	memcpy(text + len, h->mount_point, strlen(h->mount_point) + 1);
	if (!err)
		err = held_send(sock, HELD_KEEP, text, len + strlen(h->mount_point) + 1,
				(int[]){ h->fuse_fd, h->memory_fd }, HELD_FDS);
	return err;
}

static void wait_to_start(struct holder *h, unsigned ms)
{
	h->waits = true;
	h->delay_ms = ms;
	h->next_ns = monotonic_ns() + ms * 1000000ull;
}

static unsigned longer(unsigned ms)
{
	ms = ms ? 2 * ms : FIRST_DELAY_MS;
	return ms < LONGEST_DELAY_MS ? ms : LONGEST_DELAY_MS;
}

static void start_again(struct holder *h)
{
	int sock = -1;
	pid_t pid;

	if (is_hidden(h, h->program.path))
		h->program.by_fd = h->program.fd >= 0;
	if (h->program.by_fd)
		close_one(&h->started);
	else
		open_program(h, h->program.path);
	pid = fork_daemon(h, &sock);
	if (!pid)
		become_daemon(h, sock);
	if (pid < 0) {
		snprintf(h->reason, sizeof(h->reason), "no process can be made: %s",
			 strerror(-pid));
		wait_to_start(h, longer(h->delay_ms));
		return;
	}
	note_start(h, pid, sock);
	h->restarts++;
	log_line(LOG_LEVEL_INFO, "starting %s again, as pid %d", h->program.path, pid);
	give_all(h, sock); /* one that is dead already is seen as such */
}

/* ---- the end of a daemon ---- */

static bool mount_is_gone(const struct holder *h)
{
	struct pollfd p = { h->fuse_fd, 0, 0 };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* What is there by now may be of somebody else. */
void holder_unmount(struct holder *h)
{
	bool there = h->mounted && !mount_is_gone(h);

	if (there && mount_id_at(h->mount_point) == h->mount_id)
		mount_remove(h->mount_point);
	else if (there)
		log_line(LOG_LEVEL_WARNING, "%s stays mounted, below what is mounted there since",
			 h->mount_point);
	h->mounted = false;
}

static _Noreturn void end(struct holder *h, int status)
{
	holder_unmount(h);
	holder_answer(h, false, "the mount has ended");
	exit(status);
}

static int exit_status(const struct holder *h)
{
	return WIFEXITED(h->wait_status) ? WEXITSTATUS(h->wait_status) : 1;
}

static void say_how_it_ended(struct holder *h)
{
	if (h->over)
		snprintf(h->last_end, sizeof(h->last_end), "handed over");
	else if (WIFSIGNALED(h->wait_status))
		snprintf(h->last_end, sizeof(h->last_end), "signal %d (%s)%s",
			 WTERMSIG(h->wait_status), strsignal(WTERMSIG(h->wait_status)),
			 WCOREDUMP(h->wait_status) ? ", core dumped" : "");
	else
		snprintf(h->last_end, sizeof(h->last_end), "exit status %d",
			 WEXITSTATUS(h->wait_status));
}

/* Nothing was served yet, or can be again: what there was to say was said. */
static _Noreturn void end_with(struct holder *h)
{
	if (!h->served && !h->options->foreground)
		background_failed(h->reason[0] ? h->reason : "the daemon died while it started");
	else if (h->ready)
		log_line(LOG_LEVEL_ERROR, "the daemon ended, %s; it cannot be started again here",
			 h->last_end);
	end(h, exit_status(h));
}

static void forget_program(struct candidate *p)
{
	close_one(&p->fd);
	*p = (struct candidate){ .fd = -1 };
}

void holder_take_program(struct holder *h, const char *path)
{
	forget_program(&h->other);
	h->other = h->program;
	h->program = (struct candidate){ .fd = -1 };
	snprintf(h->program.path, sizeof(h->program.path), "%s", path);
	h->went_back = h->tried = false;
}

/* A new program that does not start, or dies soon: the one before it goes on. If that one fails, too,
 * for instance at what the new one has recorded, they take turns. */
static void go_back(struct holder *h)
{
	struct candidate failed = h->program;
	char text[HOLDER_REASON + 64];

	snprintf(text, sizeof(text), "%s; the program before it goes on",
		 h->reason[0] ? h->reason : h->last_end);
	log_line(LOG_LEVEL_ERROR, "%s %s: %s", failed.path, h->ready ? "dies" : "does not start",
		 text);
	h->program = h->other;
	h->program.by_fd = h->program.fd >= 0;
	h->other = failed;
	wait_to_start(h, h->went_back ? longer(h->delay_ms) : 0);
	h->went_back = true;
	holder_answer(h, false, text);
}

/* Nobody is there to stop in order: what waits for an answer gets ENOTCONN. */
static _Noreturn void give_up(struct holder *h)
{
	log_line(LOG_LEVEL_WARNING, "stopped while no daemon can be started");
	/* Else what is there now is not ours; what we have mounted end() takes away. */
	if (h->ruleset < 0 && !mount_is_gone(h))
		mount_remove(h->mount_point);
	end(h, 1);
}

/* The lock of DISKDIR is still there, in the name of a process that is not: it is ours from now on. */
static void take_lock(const struct holder *h)
{
	int fd = h->directory_count ? h->directories[0].fd : -1;

	if (flock(fd, LOCK_SH | LOCK_NB) || flock(fd, LOCK_EX | LOCK_NB))
		log_line(LOG_LEVEL_WARNING, "the lock of %s: %s", h->disk_dir, strerror(errno));
}

static bool was_killed(const struct holder *h)
{
	return WIFSIGNALED(h->wait_status) && WTERMSIG(h->wait_status) == SIGKILL;
}

static bool is_good_life(const struct holder *h, uint64_t served_ms)
{
	return served_ms >= (was_killed(h) ? KILLED_LIFE_MS : GOOD_LIFE_MS);
}

/* Who was killed while it served had no fault. */
static bool is_at_fault(const struct holder *h)
{
	return !h->ready || !was_killed(h);
}

/* Nothing of it is left. */
static void follow(struct holder *h)
{
	uint64_t served_ms = h->ready ? (monotonic_ns() - h->ready_ns) / 1000000 : 0;

	h->daemon = 0;
	close(h->sock);
	h->sock = -1;
	say_how_it_ended(h);
	if (h->stopping && h->ready)
		end(h, exit_status(h));
	if (!h->kept)
		end_with(h);
	if (mount_is_gone(h)) {
		log_line(LOG_LEVEL_WARNING, "the daemon ended, %s; the mount is gone", h->last_end);
		end(h, h->over ? 0 : 1);
	}
	if (h->asked_to_stop && !h->ready)
		give_up(h);
	take_lock(h);
	if (h->tried && served_ms >= GOOD_LIFE_MS)
		forget_program(&h->other);
	if (h->over) {
		wait_to_start(h, 0);
	} else if (h->tried && h->other.path[0] && is_at_fault(h)) {
		go_back(h);
	} else {
		wait_to_start(h, is_good_life(h, served_ms) ? 0 : longer(h->delay_ms));
		log_line(LOG_LEVEL_ERROR, "the daemon ended, %s%s%s; the next one starts in %u ms",
			 h->last_end, h->reason[0] ? ": " : "", h->reason, h->delay_ms);
	}
}

/* What it has started, and what that has: they are our children by now. */
static void end_orphans(void)
{
	char path[64];
	int pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (f)
		fclose(f);
}

static void reap(struct holder *h)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != h->daemon)
			continue;
		holder_hear_daemon(h); /* its last words */
		h->dead = true;
		h->wait_status = status;
	}
	if (!h->daemon || !h->dead)
		return;
	if (pid < 0)
		follow(h);
	else
		end_orphans();
}

/* ---- what comes ---- */

static void take_signal(struct holder *h, int signal)
{
	if (signal == SIGCHLD)
		return;
	if (signal == SIGHUP) {
		if (h->daemon && !h->dead)
			kill(h->daemon, SIGHUP);
		return;
	}
	/* Asked again: one that follows and does not come to serve is not waited for. */
	if (h->asked_to_stop && h->daemon && !h->ready && h->served)
		kill(h->daemon, SIGKILL);
	h->asked_to_stop = true;
	if (h->daemon)
		holder_tell_to_stop(h);
	else
		give_up(h);
}

void holder_exchange(struct holder *h)
{
	if (h->daemon && !h->dead)
		h->asked_over = !held_offer(h->sock, HELD_HAND_OVER, "", -1);
	else if (!h->daemon)
		wait_to_start(h, 0);
}

static int until_start(const struct holder *h)
{
	uint64_t now = monotonic_ns();

	if (!h->waits)
		return h->kept && !h->stopping && h->listen_fd < 0 ? LISTEN_AGAIN_MS : -1;
	return h->next_ns <= now ? 0 : (int)((h->next_ns - now) / 1000000) + 1;
}

static void step(struct holder *h)
{
	/* A socket whose other end is closed would wake us all the time. */
	struct pollfd fds[] = { { h->signal_fd, POLLIN, 0 },
				{ h->deaf ? -1 : h->sock, POLLIN, 0 },
				{ h->listen_fd, POLLIN, 0 } };
	struct signalfd_siginfo info;

	poll(fds, 3, until_start(h));
	if (fds[1].revents) {
		holder_hear_daemon(h);
		h->deaf = fds[1].revents & POLLHUP;
	}
	while (read(h->signal_fd, &info, sizeof(info)) == sizeof(info))
		take_signal(h, info.ssi_signo);
	reap(h);
	if (fds[2].revents)
		holder_hear(h);
	if (h->kept && !h->stopping && h->listen_fd < 0)
		holder_listen(h);
	if (h->waits && !until_start(h)) {
		if (mount_is_gone(h)) {
			log_line(LOG_LEVEL_WARNING, "the mount was taken away");
			end(h, 1);
		}
		start_again(h);
	}
}

/* Where nothing is the daemon says so. */
static void resolve(const char *given, char path[PATH_MAX])
{
	if (!realpath(given, path))
		path[0] = '\0';
}

int holder_begin(char **argv, const struct options *o, struct held *daemon, struct why *why)
{
	struct holder *h = &holder;
	sigset_t before;
	int sock = -1, err;
	ssize_t n;
	pid_t pid;

	h->argv = argv;
	h->options = o;
	h->ruleset = h->listen_fd = h->asker = h->sock = h->fuse_fd = h->memory_fd = -1;
	h->program.fd = h->other.fd = h->started = -1;
	resolve(o->disk_dir, h->disk_dir);
	resolve(o->mount_point, h->mount_point);
	err = o->confine ? confinement_new(o, &h->ruleset, why) : 0;
	if (err)
		return err;
	open_program(h, "/proc/self/exe");
	n = readlink("/proc/self/exe", h->program.path, sizeof(h->program.path) - 1);
	if (n < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
		return refuse(why, -errno, "the holder: %s", strerror(errno));
	h->program.path[n] = '\0';
	err = take_signals(h, &before);
	if (err)
		return refuse(why, err, "signals: %s", strerror(-err));
	pid = fork_daemon(h, &sock);
	if (pid < 0)
		return refuse(why, pid, "no process can be made: %s", strerror(-pid));
	if (!pid) {
		close(h->signal_fd);
		close_one(&h->started);
		sigprocmask(SIG_SETMASK, &before, NULL);
		background_forget();
		confine(h, sock);
		*daemon = HELD_NONE;
		daemon->sock = sock;
		return 0;
	}
	prctl(PR_SET_NAME, "tandemfs-holder");
	note_start(h, pid, sock);
	for (;;)
		step(h);
}
