// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_NAME "events"
#define NEW_NAME "events.new"
#define LINE_MAX_BYTES 4096
/* A number that no count of events reaches; one in the file is not ours. */
#define SEQ_MAX (1ull << 62)
/* Disk space behind the last line: what is lost for want of space is told of. */
#define RESERVE (256ll << 10)

struct events {
	pthread_mutex_t lock;
	int dirfd, fd;
	char *lines[EVENTS_KEPT]; /* lines[seq % EVENTS_KEPT] */
	uint64_t first;           /* number of the oldest kept line */
	_Atomic uint64_t last;    /* of the newest; 0: none */
	uint64_t in_file;         /* lines in the file */
	off_t reserved;           /* it has its space up to there */
	bool behind;              /* the file lacks some: it is written anew when that works */
	_Atomic(void (*)(void *)) listener;
	void *listener_arg;
};

static const char *const severity_names[] = { NULL,    "Information", "Warning",
					      "Minor", "Major",       "Critical" };

static void keep(struct events *e, uint64_t seq, char *line)
{
	char **slot = &e->lines[seq % EVENTS_KEPT];

	free(*slot);
	*slot = line;
	e->last = seq;
	if (!e->first)
		e->first = seq;
	if (seq - e->first >= EVENTS_KEPT)
		e->first = seq - EVENTS_KEPT + 1;
}

/* The last lines of the file. A torn or foreign line ends nothing, it is passed over. */
static int load(struct events *e)
{
	char line[LINE_MAX_BYTES];
	int fd = openat(e->dirfd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *f;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	while (fgets(line, sizeof(line), f)) {
		char *end, *copy;
		uint64_t seq = strtoull(line, &end, 10);

		e->in_file++;
		if (end == line || *end != ' ' || !strchr(end, '\n') || seq <= e->last ||
		    seq >= SEQ_MAX)
			continue;
		if (e->last && seq != e->last + 1) /* a gap: keep the run that leads to the end */
			e->first = 0;
		copy = strdup(line);
		if (!copy) {
			fclose(f);
			return -ENOMEM;
		}
		keep(e, seq, copy);
	}
	fclose(f);
	return 0;
}

static bool write_whole(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false; /* a full disk: the line stays in memory */
		bytes += n;
		len -= n;
	}
	return true;
}

static void reserve(struct events *e)
{
	struct stat st;

	if (!fstat(e->fd, &st) && st.st_size + RESERVE / 2 > e->reserved &&
	    !fallocate(e->fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size + RESERVE))
		e->reserved = st.st_size + RESERVE;
}

/* A new file with the kept lines takes the old one's place. */
static void rewrite(struct events *e)
{
	int fd = openat(e->dirfd, NEW_NAME,
			O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	bool good = fd >= 0;

	for (uint64_t seq = e->first; good && e->last && seq <= e->last; seq++)
		good = write_whole(fd, e->lines[seq % EVENTS_KEPT],
				   strlen(e->lines[seq % EVENTS_KEPT]));
	if (good && renameat(e->dirfd, NEW_NAME, e->dirfd, FILE_NAME))
		good = false;
	if (!good) {
		/* No space: the old file stays. A torn last line ends where the next begins. */
		if (fd >= 0) {
			close(fd);
			unlinkat(e->dirfd, NEW_NAME, 0);
		}
		e->in_file = 0;
		return;
	}
	if (e->fd >= 0)
		close(e->fd);
	e->fd = fd;
	e->reserved = 0;
	e->behind = false;
	e->in_file = e->last ? e->last - e->first + 1 : 0;
}

int events_open(int state_dirfd, struct events **out)
{
	struct events *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	pthread_mutex_init(&e->lock, NULL);
	e->dirfd = state_dirfd;
	e->fd = -1;
	err = load(e);
	if (!err) {
		rewrite(e); /* also ends a line that a crash left half written */
		if (e->fd < 0)
			e->fd = openat(state_dirfd, FILE_NAME,
				       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
				       0600);
		if (e->fd < 0)
			err = -errno;
	}
	if (err) {
		events_close(e);
		return err;
	}
	reserve(e);
	*out = e;
	return 0;
}

void events_close(struct events *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free(e->lines[i]);
	if (e->fd >= 0)
		close(e->fd);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

char *event_word(char *dst, size_t size, const char *src)
{
	size_t n = 0;

	for (const unsigned char *s = (const unsigned char *)src; *s; s++) {
		if (*s <= ' ' || *s == 0x7f || *s == '\\') {
			if (n + 5 > size)
				break;
			n += snprintf(dst + n, size - n, "\\%03o", *s);
		} else {
			if (n + 2 > size)
				break;
			dst[n++] = *s;
		}
	}
	dst[n] = '\0';
	return dst;
}

static size_t format_time(char *dst, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(dst, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + snprintf(dst + n, size - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

static void append(struct events *e, const char *rest)
{
	size_t room = strlen(rest) + 64, n;
	char *line = malloc(room);

	if (!line)
		return;
	n = snprintf(line, room, "%llu ", (unsigned long long)e->last + 1);
	n += format_time(line + n, room - n);
	n += snprintf(line + n, room - n, " %s\n", rest);
	reserve(e);
	if (!write_whole(e->fd, line, n))
		e->behind = true;
	keep(e, e->last + 1, line);
	if (++e->in_file > 2 * EVENTS_KEPT || e->behind)
		rewrite(e);
}

void events_emit(struct events *e, enum event_severity severity, const char *kind,
		 const char *object, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES - 80], word[2048];
	void (*listener)(void *);
	size_t n;
	va_list ap;

	n = snprintf(line, sizeof(line), "%s %s %s", severity_names[severity], kind,
		     event_word(word, sizeof(word), object));
	line[n] = ' ';
	va_start(ap, fmt);
	if (vsnprintf(line + n + 1, sizeof(line) - n - 1, fmt, ap) <= 0)
		line[n] = '\0';
	va_end(ap);
	pthread_mutex_lock(&e->lock);
	append(e, line);
	pthread_mutex_unlock(&e->lock);
	listener = e->listener;
	if (listener)
		listener(e->listener_arg);
}

/* Without the lock, which is held while a line is written. */
uint64_t events_last(struct events *e)
{
	return e->last;
}

char *events_after(struct events *e, uint64_t seq, size_t max, size_t *len, uint64_t *last)
{
	uint64_t from, to;
	size_t total = 0;
	char *out = NULL;

	*last = seq;
	*len = 0;
	pthread_mutex_lock(&e->lock);
	if (seq > e->last)
		seq = e->last;
	from = seq + 1 > e->first ? seq + 1 : e->first;
	for (to = from; e->last && to <= e->last; to++) {
		size_t n = strlen(e->lines[to % EVENTS_KEPT]);

		if (max && total && total + n > max)
			break;
		total += n;
	}
	if (total)
		out = malloc(total + 1);
	if (out) {
		for (uint64_t i = from; i < to; i++) {
			size_t n = strlen(e->lines[i % EVENTS_KEPT]);

			memcpy(out + *len, e->lines[i % EVENTS_KEPT], n);
			*len += n;
		}
		out[*len] = '\0';
		*last = to - 1;
	}
	pthread_mutex_unlock(&e->lock);
	return out;
}

void events_set_listener(struct events *e, void (*fn)(void *arg), void *arg)
{
	if (fn)
		e->listener_arg = arg;
	e->listener = fn;
}
