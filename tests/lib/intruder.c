// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: what somebody could do who has got a daemon to run code of his. When the daemon
 * opens a file intrude.img, this tries everything below with the daemon's own rights, and writes what
 * came of it, a line for each with the errno's name, into the file intruder.report beside the image.
 * INTRUDER_OUTSIDE is a directory that is not served, INTRUDER_MOUNT one where something is mounted.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int report;

static void say(const char *what, bool failed)
{
	dprintf(report, "%s: %s\n", what, failed ? strerrorname_np(errno) : "done");
}

static const char *outside(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", getenv("INTRUDER_OUTSIDE"), name);
	return path;
}

static void try_open(const char *what, const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	say(what, fd < 0);
	if (fd >= 0)
		close(fd);
}

/* The exit status of a program that cannot be run is its errno. */
static void try_run(const char *what, const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		execl(path, path, (char *)NULL);
		_exit(errno);
	}
	waitpid(pid, &status, 0);
	errno = WEXITSTATUS(status);
	say(what, errno);
}

static void try_connect(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(atoi(getenv("INTRUDER_PORT"))),
				 .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	say("connect", connect(sock, (struct sockaddr *)&a, sizeof(a)));
	close(sock);
}

/* To an abstract socket whose name is the number of the port. */
static void try_connect_locally(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 +
			snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "%s",
				 getenv("INTRUDER_PORT"));

	say("connect locally", connect(sock, (struct sockaddr *)&a, len));
	close(sock);
}

static void intrude(int dirfd)
{
	char path[64];

	report = openat(dirfd, "intruder.report", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (report < 0)
		abort();
	try_open("read", outside("secret"), O_RDONLY);
	try_open("write", outside("secret"), O_WRONLY);
	try_open("make", outside("new"), O_WRONLY | O_CREAT);
	try_open("list", outside("."), O_RDONLY | O_DIRECTORY);
	say("remove", unlink(outside("secret")));
	say("truncate", truncate(outside("secret"), 0));
	say("mkdir", mkdir(outside("directory"), 0700));
	say("mount", mount("none", getenv("INTRUDER_MOUNT"), "tmpfs", 0, NULL));
	say("umount", umount2(getenv("INTRUDER_MOUNT"), MNT_DETACH));
	say("symlink", symlinkat("/", dirfd, "root"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d/program", dirfd);
	try_run("run", path);
	try_connect();
	try_connect_locally();
	snprintf(path, sizeof(path), "/proc/%s/environ", getenv("INTRUDER_VICTIM"));
	try_open("look into", path, O_RDONLY);
	say("signal", kill(atoi(getenv("INTRUDER_VICTIM")), 0));
	dprintf(report, "dumpable: %d\n", prctl(PR_GET_DUMPABLE));
	dprintf(report, "no new privileges: %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	close(report);
}

__attribute__((visibility("default"))) int openat64(int dirfd, const char *name, int flags, ...)
{
	static int (*next)(int, const char *, int, ...);
	static bool tried;
	va_list ap;
	mode_t mode;

	if (!next)
		next = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	if (!tried && !strcmp(name, "intrude.img")) {
		tried = true;
		intrude(dirfd);
	}
	return next(dirfd, name, flags, mode);
}
