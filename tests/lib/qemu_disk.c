// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd.h"
#include "notes.h"
#include "program.h"
#include "unit.h"

#define LONGEST (3u << 20)

const struct image_format *const qemu_disk_formats[] = { &qcow2_format, &vmdk_format,
							 &vdi_format,   &parallels_format,
							 &qed_format,   NULL };

bool qemu_missing(const char *test)
{
	char why[200], path[PROGRAM_PATH];
	int err = nbd_available(why, sizeof(why));

	if (!err && program_find("qemu-img", path)) {
		snprintf(why, sizeof(why), "qemu-img is not installed");
		err = -ENOENT;
	}
	if (err)
		printf("SKIP: %s: %s\n", test, why);
	return err;
}

void qemu_shell(const char *dir, const char *command)
{
	char line[2048];

	snprintf(line, sizeof(line), "cd '%s' && { %s; } >/dev/null", dir, command);
	ck_assert_msg(!system(line), "%s", command);
}

void qemu_disk_make(struct qemu_disk *q, const struct image_format *f, uint64_t size, bool notes)
{
	struct image_create c = { .kind = f->kinds[0], .size = size };
	char reason[IMAGE_REASON];
	struct file *file;
	int fd;

	*q = (struct qemu_disk){ .format = f, .size = size, .notes = notes };
	snprintf(q->dir, sizeof(q->dir), "%s", unit_dir());
	snprintf(q->path, sizeof(q->path), "%s/a.%s", q->dir, f->endings[0]);
	q->twin = calloc(1, size);
	fd = open(q->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(file_adopt(fd, false, &file), 0);
	ck_assert_msg(!f->create(file, &c, reason), "%s", reason);
	file->ops->close(file);
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* The directory stays open: notes may need it for as long as they are. */
static struct notes *open_notes(struct qemu_disk *q)
{
	struct notes *n;
	uint8_t boot[16];

	if (!q->notes)
		return NULL;
	ck_assert_int_eq(notes_boot(boot), 0);
	ck_assert_int_eq(notes_open(open_dir(q->dir), "notes", boot, &n), 0);
	return n;
}

struct image *qemu_disk_image(struct qemu_disk *q, bool read_only, char reason[IMAGE_REASON])
{
	struct image_around around = { .read_only = read_only, .notes = open_notes(q) };
	const char *name = strrchr(q->path, '/') + 1;
	char dir[600];
	struct image *img;
	struct file *file;
	int dirfd;

	snprintf(dir, sizeof(dir), "%.*s", (int)(name - q->path), q->path);
	dirfd = open_dir(dir);
	ck_assert_int_eq(file_open(dirfd, name, &read_only, &file), 0);
	close(dirfd);
	if (!image_open(file, q->format, &around, &img, reason))
		return img;
	notes_close(around.notes);
	file->ops->close(file);
	return NULL;
}

void qemu_disk_open(struct qemu_disk *q)
{
	char reason[IMAGE_REASON];

	q->img = qemu_disk_image(q, false, reason);
	ck_assert_msg(q->img != NULL, "%s", reason);
	ck_assert_uint_eq(q->img->size, q->size);
	ck_assert_msg(!q->format->start(q->img, reason), "%s: %s", q->format->name, reason);
}

void qemu_disk_close(struct qemu_disk *q)
{
	pid_t pid;

	ck_assert_int_eq(q->format->rest(q->img), 0);
	ck_assert(!q->notes || !notes_bytes(q->img->notes));
	image_close(q->img);
	q->img = NULL;
	ck_assert_uint_eq(qemu_find_server(getpid(), &pid), 0);
}

void qemu_disk_compare(struct qemu_disk *q)
{
	uint8_t *buf = malloc(1 << 20);
	bool different;

	for (uint64_t off = 0; off < q->size;) {
		size_t n = q->size - off < 1 << 20 ? q->size - off : 1 << 20;

		ck_assert_int_eq(q->format->read(q->img, buf, n, off, 0), 0);
		different = memcmp(buf, q->twin + off, n);
		for (size_t i = 0; different && i < n; i++)
			if (buf[i] != q->twin[off + i])
				ck_abort_msg("%s differs at %llu: %02x, %02x", q->format->name,
					     (unsigned long long)(off + i), buf[i],
					     q->twin[off + i]);
		off += n;
	}
	free(buf);
}

void qemu_disk_verify(struct qemu_disk *q)
{
	char path[700], command[1024];
	FILE *raw;

	snprintf(path, sizeof(path), "%s/twin.raw", q->dir);
	raw = fopen(path, "w");
	ck_assert_uint_eq(fwrite(q->twin, 1, q->size, raw), q->size);
	ck_assert_int_eq(fclose(raw), 0);
	snprintf(command, sizeof(command), "qemu-img compare -f %s -F raw %s twin.raw",
		 q->format->name, q->path);
	qemu_shell(q->dir, command);
	/* A server that was killed may leave space that nobody uses, but nothing worse. */
	snprintf(command, sizeof(command),
		 "qemu-img check -q -f %s %s >check 2>&1 || [ $? = 3 ] || awk '"
		 "/allocated blocks mismatch, is [0-9]+, should be/ && $6 + 0 < $9 + 0 { next } "
		 "{ print; bad = 1 } END { exit bad }' check >&2",
		 q->format->name, q->path);
	qemu_shell(q->dir, command);
}

void qemu_disk_free(struct qemu_disk *q)
{
	free(q->twin);
}

/* ---- requests ---- */

enum what { WRITE, PUNCH, KEEP, READ, FLUSH };

struct request {
	enum what what;
	uint64_t off, len;
	uint64_t content; /* a seed */
};

static struct request draw(uint64_t *seed, uint64_t from, uint64_t to)
{
	static const enum what often[] = { WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, PUNCH,
					   PUNCH, KEEP,  READ,  READ,  READ,  READ,  FLUSH };
	struct request r = { .what = often[unit_below(seed, sizeof(often) / sizeof(*often))] };
	uint64_t unit = unit_below(seed, 8) ? 512 : 1, span = to - from;

	r.len = 1 + unit_below(seed, unit_below(seed, 30) ? 65536 : LONGEST);
	r.len = (r.len + unit - 1) / unit * unit;
	if (r.len > span)
		r.len = span;
	r.off = from + unit_below(seed, span - r.len + 1) / unit * unit;
	r.content = unit_random(seed);
	return r;
}

static void fill(uint8_t *buf, uint64_t len, uint64_t content)
{
	for (uint64_t i = 0; i < len; i += sizeof(content)) {
		uint64_t x = unit_random(&content);

		memcpy(buf + i, &x, len - i < sizeof(x) ? len - i : sizeof(x));
	}
}

void qemu_disk_request(struct qemu_disk *q, uint64_t *seed, uint64_t from, uint64_t to)
{
	struct request r = draw(seed, from, to);
	uint8_t *buf = malloc(r.len);
	int err = 0;

	switch (r.what) {
	case WRITE:
		fill(buf, r.len, r.content);
		memcpy(q->twin + r.off, buf, r.len);
		err = q->format->write(q->img, buf, r.len, r.off, 0);
		break;
	case PUNCH:
	case KEEP:
		memset(q->twin + r.off, 0, r.len);
		err = q->format->zero(q->img, r.off, r.len,
				      r.what == PUNCH ? ZERO_PUNCH : ZERO_KEEP);
		break;
	case READ:
		err = q->format->read(q->img, buf, r.len, r.off, 0);
		if (!err && memcmp(buf, q->twin + r.off, r.len))
			ck_abort_msg("%s: %llu at %llu differ", q->format->name,
				     (unsigned long long)r.len, (unsigned long long)r.off);
		break;
	case FLUSH:
		err = q->format->flush(q->img);
	}
	if (err)
		ck_abort_msg("%s: request %d of %llu at %llu: %s", q->format->name, r.what,
			     (unsigned long long)r.len, (unsigned long long)r.off, strerror(-err));
	free(buf);
}

void qemu_twin_request(uint8_t *twin, uint64_t *seed, uint64_t from, uint64_t to, uint64_t *off,
		       uint64_t *len)
{
	struct request r = draw(seed, from, to);

	*off = r.off;
	*len = r.what == READ || r.what == FLUSH ? 0 : r.len;
	if (r.what == WRITE)
		fill(twin + r.off, r.len, r.content);
	else if (*len)
		memset(twin + r.off, 0, r.len);
}

/* ---- servers ---- */

static bool is_server_of(const char *pid, pid_t parent)
{
	char path[300], text[512], *after;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	after = strrchr(text, ')');
	/* "123 (qemu-nbd) S 45 ..." */
	return after && strstr(text, "(qemu-nbd)") && atoi(after + 4) == parent;
}

unsigned qemu_find_server(pid_t parent, pid_t *pid)
{
	DIR *proc = opendir("/proc");
	unsigned count = 0;
	struct dirent *e;

	while ((e = readdir(proc)))
		if (atoi(e->d_name) > 0 && is_server_of(e->d_name, parent)) {
			*pid = atoi(e->d_name);
			count++;
		}
	closedir(proc);
	return count;
}

struct wanted {
	pid_t parent, found;
};

static bool found_server(void *arg)
{
	struct wanted *w = arg;

	return qemu_find_server(w->parent, &w->found) > 0;
}

pid_t qemu_server_of(pid_t parent)
{
	struct wanted w = { .parent = parent };

	return unit_until(found_server, &w, 5) ? w.found : 0;
}
