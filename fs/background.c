// SPDX-License-Identifier: GPL-2.0-or-later
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int word = -1; /* the child's end of the pipe */

/* "+" is success; anything else is the reason; nothing at all means that it died. */
static void wait_for_child(int fd)
{
	char text[1024];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			len += n;
	}
	text[len] = '\0';
	if (!strcmp(text, "+"))
		_exit(0);
	fprintf(stderr, "tandemfs: %s\n", len ? text : "the daemon died while it started");
	_exit(1);
}

int background_begin(void)
{
	int fds[2];
	pid_t pid;

	fflush(NULL);
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(fds[1]);
		wait_for_child(fds[0]);
	}
	close(fds[0]);
	word = fds[1];
	setsid();
	return 0;
}

static void say(const char *text)
{
	if (word < 0)
		return;
	if (write(word, text, strlen(text)) < 0) {
		/* Whoever started us is gone; there is nobody to tell. */
	}
	close(word);
	word = -1;
}

void background_forget(void)
{
	if (word >= 0)
		close(word);
	word = -1;
}

void background_let_go(void)
{
	int null;

	if (chdir("/")) {
		/* The directory we were started in stays busy, nothing worse. */
	}
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
	}
}

void background_notify(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int sock;

	if (!len || len >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, len);
	if (path[0] == '@')
		a.sun_path[0] = '\0';
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return;
	sendto(sock, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&a,
	       offsetof(struct sockaddr_un, sun_path) + len);
	close(sock);
}

void background_ready(void)
{
	if (word < 0)
		return;
	background_let_go();
	say("+");
}

void background_failed(const char *why)
{
	if (word < 0)
		fprintf(stderr, "tandemfs: %s\n", why);
	else
		say(why);
}
