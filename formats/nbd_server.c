// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The socket has a name for a moment only, where nobody else has one. It is
 * reached through a descriptor of its inode afterwards: an abstract name could
 * be connected to by anybody.
 */
#include "nbd_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nbd_client.h"

/* The last place to make sockets in; -1: there is none. */
static _Atomic int place = -1;

void nbd_server_place(int dirfd)
{
	place = dirfd;
}

static int bind_as(const char *path, int sock, int *address)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = -1, err = 0;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (bind(sock, (struct sockaddr *)&a, sizeof(a)))
		return -errno;
	if (listen(sock, NBD_CONNECTIONS))
		err = -errno;
	else if ((fd = open(a.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC)) < 0)
		err = -errno;
	unlink(a.sun_path);
	if (!err)
		*address = fd;
	return err;
}

static int bind_in_new_directory(const char *top, int sock, int *address)
{
	char dir[64], path[80];
	int err;

	snprintf(dir, sizeof(dir), "%s/tandemfs-XXXXXX", top);
	if (!mkdtemp(dir))
		return -errno;
	snprintf(path, sizeof(path), "%s/nbd", dir);
	err = bind_as(path, sock, address);
	rmdir(dir);
	return err;
}

/* A name that is there already is of who died before he took it away. */
static int bind_in_place(int sock, int *address)
{
	static _Atomic unsigned number;
	char path[64];

	if (place < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/nbd-%u", place, number++);
	unlink(path);
	return bind_as(path, sock, address);
}

static int make_socket(int *sock, int *address)
{
	static const char *const places[] = { "/run", "/tmp", "/dev/shm" };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = -ENOENT;

	if (s < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && err; i++)
		err = bind_in_new_directory(places[i], s, address);
	if (err)
		err = bind_in_place(s, address);
	if (err) {
		close(s);
		return err;
	}
	*sock = s;
	return 0;
}

/* The socket is its descriptor 3, the image 4. */
int nbd_server_start(struct nbd_server *s, const char *driver, int fd, bool read_only,
		     char reason[IMAGE_REASON])
{
	char path[PROGRAM_PATH], shared[32], image[256];
	const char *argv[] = { "qemu-nbd",
			       "--cache=writeback",
			       "--discard=unmap",
			       "--detect-zeroes=off",
			       shared,
			       image,
			       read_only ? "--read-only" : NULL,
			       NULL };
	struct program p = { .path = path,
			     .argv = argv,
			     .fds = { -1, fd },
			     .fd_count = 2,
			     .listens = true };
	int err;

	*s = (struct nbd_server){ .output = -1, .address = -1 };
	if (program_find(argv[0], path))
		return image_fail(reason, -EOPNOTSUPP, "it needs qemu-nbd, which is not installed");
	snprintf(shared, sizeof(shared), "--shared=%u", NBD_CONNECTIONS);
	snprintf(image, sizeof(image),
		 "json:{\"driver\":\"%s\",\"backing\":null,"
		 "\"file\":{\"driver\":\"file\",\"filename\":\"/proc/self/fd/4\"}}",
		 driver);
	err = make_socket(&p.fds[0], &s->address);
	if (err)
		return image_fail(reason, err, "there is no place for a socket");
	err = program_start(&p, &s->pid, &s->output);
	close(p.fds[0]);
	if (err) {
		close(s->address);
		return image_fail(reason, err, "qemu-nbd cannot be started: %s", strerror(-err));
	}
	return 0;
}

int nbd_server_connect(const struct nbd_server *s, unsigned limit_ms, struct nbd_handle **out)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", s->address);
	if (connect(sock, (struct sockaddr *)&a, sizeof(a))) {
		close(sock);
		return NBD_LOST;
	}
	return nbd_client_open(sock, limit_ms, out);
}

void nbd_server_kill(const struct nbd_server *s)
{
	kill(s->pid, SIGKILL);
}

void nbd_server_wait(struct nbd_server *s)
{
	siginfo_t info;

	program_read(s->output, s->tail, 0);
	while (waitid(P_PID, s->pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
		;
}

bool nbd_server_reap(struct nbd_server *s)
{
	int status = -1;
	pid_t pid;

	do
		pid = waitpid(s->pid, &status, 0);
	while (pid < 0 && errno == EINTR);
	close(s->output);
	close(s->address);
	return pid == s->pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

/* The last line that begins like that; others are hints. */
static const char *last_message(const char *tail)
{
	const char *line = tail, *found = tail;

	while (line) {
		if (!strncmp(line, "qemu-nbd: ", 10) || !strncmp(line, "qemu-img: ", 10))
			found = line + 10;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return found;
}

/* Failed to blk_new_open 'json:{...}': Could not ... */
bool qemu_said(const char tail[PROGRAM_TAIL], char reason[IMAGE_REASON])
{
	const char *line = last_message(tail), *name = strstr(line, "}': ");
	int len = strcspn(line, "\n");

	if (name && name < line + len) {
		len -= name + 4 - line;
		line = name + 4;
	}
	if (len)
		image_fail(reason, 0, "QEMU says: %.*s", len, line);
	else
		image_fail(reason, 0, "QEMU ended without a word");
	return strstr(line, "Failed to get ") && strstr(line, " lock");
}
