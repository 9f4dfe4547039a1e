// SPDX-License-Identifier: GPL-2.0-or-later
#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "directory.h"

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(HELD_FDS * sizeof(int))];
};

static int send_packet(int sock, enum held_word word, const char *text, size_t len, const int *fds,
		       int count, int flags)
{
	char first = word;
	struct iovec iov[] = { { &first, 1 }, { (char *)text, len } };
	union control control = { 0 };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	if (count) {
		struct cmsghdr *c = &control.head;

		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	while (sendmsg(sock, &m, MSG_NOSIGNAL | flags) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int held_send(int sock, enum held_word word, const char *text, size_t len, const int *fds,
	      int count)
{
	return send_packet(sock, word, text, len, fds, count, 0);
}

int held_offer(int sock, enum held_word word, const char *text, int fd)
{
	return send_packet(sock, word, text, strlen(text), &fd, fd >= 0, MSG_DONTWAIT);
}

static void take_descriptors(struct msghdr *m, int fds[HELD_FDS])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
}

void held_close(int fds[HELD_FDS])
{
	for (int i = 0; i < HELD_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

int held_receive(int sock, bool wait, enum held_word *word, char text[HELD_TEXT + 1],
		 int fds[HELD_FDS])
{
	char first;
	struct iovec iov[] = { { &first, 1 }, { text, HELD_TEXT } };
	union control control = { 0 };
	struct msghdr m = { .msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n;

	for (int i = 0; i < HELD_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	take_descriptors(&m, fds);
	if (!n) {
		held_close(fds);
		return -EPIPE;
	}
	*word = (unsigned char)first;
	text[n - 1] = '\0';
	return 0;
}

/* What was asked for is noted, a descriptor with any other word is closed. */
static int receive(struct held *h, enum held_word *word, char *text, int *fd)
{
	int fds[HELD_FDS], err = held_receive(h->sock, false, word, text, fds);

	if (err)
		return err;
	if (*word == HELD_STOP)
		h->stops++;
	if (*word == HELD_HAND_OVER)
		h->hand_over = true;
	*fd = fds[0];
	fds[0] = -1;
	held_close(fds);
	return 0;
}

int held_hear(struct held *h)
{
	static char text[HELD_TEXT + 1];
	enum held_word word;
	int fd, err;

	while (!(err = receive(h, &word, text, &fd)))
		if (fd >= 0)
			close(fd);
	return err;
}

int held_ask(struct held *h, enum held_word word, unsigned limit_ms, char answer[HELD_TEXT + 1],
	     int *fd)
{
	uint64_t end = monotonic_ns() + limit_ms * 1000000ull, now;
	int err = held_send(h->sock, word, "", 0, NULL, 0);
	struct pollfd p = { h->sock, POLLIN, 0 };
	enum held_word said;
	int with;

	while (!err) {
		err = receive(h, &said, answer, &with);
		if (!err && said == word) {
			*fd = with;
			return 0;
		}
		if (!err && with >= 0)
			close(with);
		if (err != -EAGAIN)
			continue;
		now = monotonic_ns();
		err = now >= end ? -ETIMEDOUT : 0;
		if (!err)
			poll(&p, 1, (end - now) / 1000000 + 1);
	}
	return err;
}

int held_begin(struct held *h)
{
	char *number = getenv(HELD_ENVIRONMENT);
	char *text = number ? malloc(HELD_TEXT + 1) : NULL;
	int fds[HELD_FDS], err = number && !text ? -ENOMEM : 0;
	enum held_word word = 0;

	*h = HELD_NONE;
	if (!number || err)
		return err;
	h->sock = atoi(number);
	unsetenv(HELD_ENVIRONMENT);
	if (fcntl(h->sock, F_SETFD, FD_CLOEXEC))
		err = -errno;
	while (!err && word != HELD_KEEP) {
		err = held_receive(h->sock, true, &word, text, fds);
		if (!err && word == HELD_DIRECTORY)
			err = directory_hidden(text, fds[0]);
	}
	if (!err) {
		h->fuse_fd = fds[0];
		h->memory_fd = fds[1];
	}
	free(text);
	return err;
}
