// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Questions to a holder, and its answers, through a socket whose name begins with what is made of
 * DISKDIR: it has no file, which the mount might hide. Who may ask: root, and who mounted. Anybody
 * can have a socket of such a name, so who asks looks, too, whom he asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "disk.h"
#include "holder_inner.h"
#include "log.h"

/* Of the name of a socket; behind it comes what nobody can guess, and take before us. */
#define NAME_LENGTH 32
#define ASK_STATUS "status"
#define ASK_REPLACE "replace "

/* "tandemfs/", a number of the path, "/". */
static void name_of(const char *disk_dir, char name[NAME_LENGTH])
{
	uint64_t h = 0xcbf29ce484222325;

	for (const char *s = disk_dir; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3;
	snprintf(name, NAME_LENGTH, "tandemfs/%016" PRIx64 "/", h);
}

static socklen_t address_of(const char *name, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s", name);
}

static bool is_trusted(int sock)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* ---- the holder ---- */

void holder_listen(struct holder *h)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char name[2 * NAME_LENGTH];
	struct sockaddr_un a;
	uint64_t secret;
	socklen_t len;

	name_of(h->disk_dir, name);
	if (getrandom(&secret, sizeof(secret), GRND_NONBLOCK) != sizeof(secret))
		secret = monotonic_ns();
	snprintf(name + strlen(name), NAME_LENGTH, "%016" PRIx64, secret);
	len = address_of(name, &a);
	if (sock >= 0 && !bind(sock, (struct sockaddr *)&a, len) && !listen(sock, 8)) {
		h->listen_fd = sock;
		return;
	}
	/* One that is about to end, as a rule: it is tried again. */
	log_line(LOG_LEVEL_DEBUG, "nobody can ask the holder yet: %s", strerror(errno));
	if (sock >= 0)
		close(sock);
}

void holder_deaf(struct holder *h)
{
	if (h->listen_fd >= 0)
		close(h->listen_fd);
	h->listen_fd = -1;
}

static const char *state_of(const struct holder *h)
{
	if (h->stopping)
		return "stopping";
	if (h->daemon && h->dead)
		return "waiting for what the last daemon has started to end";
	if (h->daemon)
		return h->asker >= 0 && h->ready ? "handing over"
		       : h->ready                ? "serving"
						 : "starting";
	return "waiting to start";
}

static void give_status(const struct holder *h, int sock)
{
	char text[3 * PATH_MAX], daemon[16] = "-", next[32] = "-";
	uint64_t now = monotonic_ns();
	int n;

	if (h->daemon)
		snprintf(daemon, sizeof(daemon), "%d", h->daemon);
	if (h->waits)
		snprintf(next, sizeof(next), "%" PRIu64 "ms",
			 h->next_ns > now ? (h->next_ns - now) / 1000000 : 0);
	n = snprintf(text, sizeof(text),
		     "Holder: %d\nDaemon: %s\nState: %s\nProgram: %s\nMountPoint: %s\n"
		     "Restarts: %u\nLastEnd: %s\nReason: %s\nNextStart: %s\n",
		     getpid(), daemon, state_of(h), h->program.path, h->mount_point, h->restarts,
		     h->last_end[0] ? h->last_end : "-", h->reason[0] ? h->reason : "-", next);
	send(sock, text, n, MSG_NOSIGNAL);
}

static void answer(int sock, bool good, const char *text)
{
	char line[HOLDER_REASON + 128];

	snprintf(line, sizeof(line), "%c%.600s", good ? '+' : '-', text);
	send(sock, line, strlen(line), MSG_NOSIGNAL);
	close(sock);
}

void holder_answer(struct holder *h, bool good, const char *text)
{
	if (h->asker < 0)
		return;
	answer(h->asker, good, text);
	h->asker = -1;
}

static void replace(struct holder *h, int sock, const char *program)
{
	if (h->asker >= 0 || (h->daemon && !h->ready)) {
		answer(sock, false, "a daemon is being started already");
		return;
	}
	if (h->stopping || h->asked_to_stop) {
		answer(sock, false, "it is being stopped");
		return;
	}
	holder_take_program(h, program);
	h->asker = sock;
	holder_exchange(h);
}

void holder_hear(struct holder *h)
{
	static char text[PATH_MAX + 16];
	struct timeval patience = { .tv_sec = 1 };
	int sock = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	if (sock < 0)
		return;
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = is_trusted(sock) ? recv(sock, text, sizeof(text) - 1, 0) : -1;
	text[n > 0 ? n : 0] = '\0';
	if (!strncmp(text, ASK_REPLACE, strlen(ASK_REPLACE))) {
		replace(h, sock, text + strlen(ASK_REPLACE));
		return;
	}
	if (!strcmp(text, ASK_STATUS))
		give_status(h, sock);
	close(sock);
}

/* ---- who asks ---- */

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned c;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = c;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* What is mounted there, by the table of mounts: the path itself may not answer. */
static void disk_dir_of(char *path, size_t size)
{
	static char line[4 * PATH_MAX];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *found = NULL;

	while (f && fgets(line, sizeof(line), f)) {
		char *point = line, *type = strstr(line, " - fuse.tandemfs ");

		for (int i = 0; i < 4 && point; i++)
			point = (point = strchr(point, ' ')) ? point + 1 : NULL;
		if (!point || !type)
			continue;
		point[strcspn(point, " ")] = '\0';
		unescape(point);
		if (strcmp(point, path))
			continue;
		type += strlen(" - fuse.tandemfs ");
		type[strcspn(type, " ")] = '\0';
		unescape(type);
		free(found);
		found = strdup(type); /* the last is the topmost */
	}
	if (f)
		fclose(f);
	if (found)
		snprintf(path, size, "%s", found);
	free(found);
}

static int complain(const char *dir, const char *why)
{
	fprintf(stderr, "tandemfs: %s: %s\n", dir, why);
	return 1;
}

static int connect_to(const char *name)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = address_of(name, &a);

	/* Who does not take calls is not waited for, as it may be anybody. */
	if (sock >= 0 && !connect(sock, (struct sockaddr *)&a, len) && is_trusted(sock) &&
	    !fcntl(sock, F_SETFL, 0))
		return sock;
	if (sock >= 0)
		close(sock);
	return -1;
}

/* By the table of sockets. -1: there is none. */
static int find_socket(const char *disk_dir)
{
	static char line[512];
	char name[NAME_LENGTH];
	FILE *f = fopen("/proc/net/unix", "re");
	int sock = -1;

	name_of(disk_dir, name);
	while (f && sock < 0 && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, '@');

		line[strcspn(line, "\n")] = '\0';
		if (at && !strncmp(at + 1, name, strlen(name)))
			sock = connect_to(at + 1);
	}
	if (f)
		fclose(f);
	return sock;
}

/* A socket to the holder, or -1 after saying why not. */
static int find_holder(const char *dir)
{
	char given[PATH_MAX], path[PATH_MAX];
	int sock;

	snprintf(given, sizeof(given), "%s", dir);
	for (size_t n = strlen(given); n > 1 && given[n - 1] == '/'; n--)
		given[n - 1] = '\0'; /* else it would be looked at */
	if (!realpath(given, path)) {
		complain(dir, strerror(errno));
		return -1;
	}
	disk_dir_of(path, sizeof(path));
	sock = find_socket(path);
	if (sock < 0)
		complain(dir, "there is no holder of a mount of it");
	return sock;
}

/* The answer, as one packet; its length, 0 if there was none. */
static size_t ask(int sock, const char *question, char *text, size_t size)
{
	ssize_t n = send(sock, question, strlen(question), MSG_NOSIGNAL);

	if (n > 0)
		n = recv(sock, text, size - 1, 0);
	close(sock);
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? n : 0;
}

int holder_status(const char *dir)
{
	char text[3 * PATH_MAX];
	int sock = find_holder(dir);

	if (sock < 0)
		return 1;
	if (!ask(sock, ASK_STATUS, text, sizeof(text)))
		return complain(dir,
				"its holder does not tell you: only root and who mounted may ask");
	fputs(text, stdout);
	return 0;
}

int holder_replace(const char *dir)
{
	char question[PATH_MAX + 16] = ASK_REPLACE, text[HOLDER_REASON + 128];
	size_t used = strlen(question);
	ssize_t n = readlink("/proc/self/exe", question + used, sizeof(question) - used - 1);
	int sock;

	if (n < 0)
		return complain("/proc/self/exe", strerror(errno));
	sock = find_holder(dir);
	if (sock < 0)
		return 1;
	if (!ask(sock, question, text, sizeof(text)))
		return complain(dir, "its holder has ended, or does not take commands of you");
	return text[0] == '+' ? 0 : complain(dir, text + 1);
}
