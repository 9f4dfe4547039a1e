// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The socket has a name for a moment only, in a directory of our own. It is
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

static int bind_in(const char *dir, int sock, int *address)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = -1, err = 0;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/nbd", dir);
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

static int make_socket(int *sock, int *address)
{
	static const char *const places[] = { "/run", "/tmp", "/dev/shm" };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = -ENOENT;

	if (s < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && err; i++) {
		char dir[64];

		snprintf(dir, sizeof(dir), "%s/tandemfs-XXXXXX", places[i]);
		if (!mkdtemp(dir)) {
			err = -errno;
			continue;
		}
		err = bind_in(dir, s, address);
		rmdir(dir);
	}
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

/* qemu-nbd: Failed to blk_new_open 'json:{...}': Could not ..., and perhaps a hint */
bool nbd_server_said(const struct nbd_server *s, char reason[IMAGE_REASON])
{
	const char *line = strstr(s->tail, "qemu-nbd: "), *next, *name;

	if (!line)
		line = s->tail;
	while ((next = strstr(line + 1, "\nqemu-nbd: ")))
		line = next + 1;
	if (!strncmp(line, "qemu-nbd: ", 10))
		line += 10;
	name = strstr(line, "}': ");
	if (name && name < line + strcspn(line, "\n"))
		line = name + 4;
	if (*line)
		image_fail(reason, 0, "QEMU says: %.*s", (int)strcspn(line, "\n"), line);
	else
		image_fail(reason, 0, "qemu-nbd ended without a word");
	return strstr(line, "Failed to get ") && strstr(line, " lock");
}
