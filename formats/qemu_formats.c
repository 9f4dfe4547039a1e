// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * qcow2, VMDK, VDI, Parallels, QED: a head that is verified here (it may change
 * while nobody uses the disk, so it is verified again before each start of a
 * server), and then QEMU.
 *
 * Files with parents, backing files or more than one part are refused: QEMU
 * would open whatever path they name.
 */
#include "qemu_formats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "foreign_heads.h"
#include "nbd.h"
#include "nbd_server.h"
#include "notes.h"

struct qemu_image {
	struct nbd_disk *disk; /* NULL: nobody uses it */
	uint8_t binding[NOTES_BINDING];
};

/* What differs between them. */
struct qemu_kind {
	const struct image_format *format;
	foreign_head_read *head;
	const char *driver;        /* QEMU's name */
	const char *create_option; /* for the size of its blocks; NULL: it has one size */
	bool one_at_a_time;
};

/* QED: of writes that allocate at the same time, QEMU 7.2 fails an assertion. */
static const struct qemu_kind kinds[] = {
	{ &qcow2_format, qcow2_head_read, "qcow2", "cluster_size" },
	{ &vmdk_format, vmdk_head_read, "vmdk", NULL },
	{ &vdi_format, vdi_head_read, "vdi", NULL },
	{ &parallels_format, parallels_head_read, "parallels", "cluster_size" },
	{ &qed_format, qed_head_read, "qed", "cluster_size", true },
};

static const struct qemu_kind *kind_of(const struct image_format *format)
{
	const struct qemu_kind *k = kinds;

	while (k->format != format)
		k++;
	return k;
}

static struct qemu_image *qemu_of(struct image *img)
{
	return img->private;
}

/* ---- other programs ---- */

/* The image is what the arguments call /proc/self/fd/3. -EBUSY: somebody else uses it. */
static int run_qemu_img(const char *const *argv, int fd, char reason[IMAGE_REASON])
{
	char path[PROGRAM_PATH], tail[PROGRAM_TAIL];
	struct program p = { .path = path, .argv = argv, .fds = { fd }, .fd_count = 1 };
	int status;

	if (program_find("qemu-img", path))
		return image_fail(reason, -EOPNOTSUPP, "it needs qemu-img, which is not installed");
	status = program_run(&p, tail, 0);
	if (status < 0)
		return image_fail(reason, status, "qemu-img cannot be run: %s", strerror(-status));
	if (!status)
		return 0;
	return qemu_said(tail, reason) ? -EBUSY : -EIO;
}

/*
 * After a Parallels image was not closed, what lies behind its last cluster is
 * not zeros as QEMU believes; a check cuts it off. QEMU wants that too.
 */
static int repair(struct image *img, char reason[IMAGE_REASON])
{
	const char *const argv[] = {
		"qemu-img",        "check", "-q", "-r", "all", "-f", kind_of(img->format)->driver,
		"/proc/self/fd/3", NULL
	};

	return run_qemu_img(argv, file_fd(img->file), reason);
}

/* Of `arg`, before each start of a server, in a thread of its own. */
static int before_server(void *arg, char reason[IMAGE_REASON])
{
	struct foreign_head head;
	struct image *img = arg;
	int err = kind_of(img->format)->head(img->file, &head, reason);

	if (err)
		return err;
	if (head.size != img->size)
		return image_fail(reason, -ESTALE, "its size has changed");
	if (head.read_only && !img->read_only)
		return image_fail(reason, -EROFS, "%s", head.complaint);
	return head.unclean && !img->read_only ? repair(img, reason) : 0;
}

/* ---- open and close ---- */

/* Of which image the notes are: what stays the same whatever is written to it. */
static int make_binding(struct image *img, uint8_t binding[NOTES_BINDING])
{
	struct file_stat st;
	int err = img->file->ops->stat(img->file, &st);

	if (err)
		return err;
	memset(binding, 0, NOTES_BINDING);
	memcpy(binding, img->kind, strnlen(img->kind, 8));
	put_le64(binding + 8, img->size);
	put_le64(binding + 16, st.ino);
	put_le64(binding + 24, st.dev);
	return 0;
}

static int count_note(void *arg, uint32_t kind, const void *data, size_t len)
{
	++*(size_t *)arg;
	return 0;
}

static void doubt(struct image *img, const char *why)
{
	img->read_only = img->in_doubt = true;
	image_fail(img->complaint, 0, "%s", why);
}

/* What an earlier process noted is written at the start, if that can be. */
static int look_at_notes(struct image *img, char reason[IMAGE_REASON])
{
	struct qemu_image *q = qemu_of(img);
	size_t count = 0;
	bool foreign;
	int err;

	if (!img->notes)
		return 0;
	err = notes_replay(img->notes, q->binding, count_note, &count, &foreign);
	if (err)
		return image_fail(reason, err, "what was noted of it cannot be read");
	if (foreign)
		doubt(img, "acknowledged writes are missing: another program changed it");
	else if (count && img->read_only)
		doubt(img, "acknowledged writes are missing: it can only be read");
	return 0;
}

static int qemu_open(struct image *img, char reason[IMAGE_REASON])
{
	const struct qemu_kind *k = kind_of(img->format);
	struct foreign_head head;
	struct qemu_image *q;
	int err = k->head(img->file, &head, reason);

	if (err)
		return err;
	q = calloc(1, sizeof(*q));
	if (!q)
		return image_fail(reason, -ENOMEM, "there is no memory for it");
	img->private = q;
	img->kind = img->format->kinds[0];
	img->size = head.size;
	img->sector_size = 512;
	img->block_size = head.block_size;
	img->unclean = head.unclean;
	if (head.read_only) {
		img->read_only = true;
		memcpy(img->complaint, head.complaint, sizeof(img->complaint));
	}
	err = make_binding(img, q->binding);
	if (err)
		return image_fail(reason, err, "its size cannot be read");
	return look_at_notes(img, reason);
}

static void qemu_close(struct image *img)
{
	struct qemu_image *q = qemu_of(img);

	if (!q)
		return;
	nbd_disk_abandon(q->disk);
	free(q);
}

static int qemu_start(struct image *img, char reason[IMAGE_REASON])
{
	struct qemu_image *q = qemu_of(img);
	struct nbd_source source = {
		.driver = kind_of(img->format)->driver,
		.fd = file_fd(img->file),
		.read_only = img->read_only,
		.one_at_a_time = kind_of(img->format)->one_at_a_time,
		.size = img->size,
		.notes = img->notes,
		.before = before_server,
		.arg = img,
	};

	memcpy(source.binding, q->binding, sizeof(source.binding));
	return nbd_disk_start(&source, &q->disk, reason);
}

/*
 * A server that was killed while it closed the image leaves it as after a crash:
 * another one has to close it.
 */
static int qemu_rest(struct image *img)
{
	struct qemu_image *q = qemu_of(img);
	char reason[IMAGE_REASON];
	bool clean;
	int err;

	if (!q->disk)
		return 0;
	err = nbd_disk_stop(q->disk, &clean);
	q->disk = NULL;
	if (!err && !clean) {
		err = qemu_start(img, reason);
		if (!err)
			err = nbd_disk_stop(q->disk, &clean);
		q->disk = NULL;
		if (!err && !clean)
			err = -EIO;
	}
	if (err || img->read_only)
		return err;
	/* What it wrote when it closed the image. */
	err = img->file->ops->flush(img->file);
	return !err && img->notes ? notes_clear(img->notes) : err;
}

/* ---- in use ---- */

static int qemu_read(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	return nbd_disk_read(qemu_of(img)->disk, buf, len, off);
}

static int qemu_write(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io)
{
	return nbd_disk_write(qemu_of(img)->disk, buf, len, off);
}

static int qemu_flush(struct image *img)
{
	struct qemu_image *q = qemu_of(img);

	/* At rest the file is all there is. */
	return q->disk ? nbd_disk_flush(q->disk) : img->file->ops->flush(img->file);
}

static int qemu_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return nbd_disk_zero(qemu_of(img)->disk, off, len, mode);
}

static int qemu_seek(struct image *img, uint64_t off, int whence, uint64_t *found)
{
	return nbd_disk_seek(qemu_of(img)->disk, off, whence, found);
}

/* ---- create ---- */

static int check_create(const struct qemu_kind *k, const struct image_create *c,
			char reason[IMAGE_REASON])
{
	if (c->parent)
		return image_fail(reason, -EOPNOTSUPP, "a %s with a parent is not served",
				  k->driver);
	if (c->sector_size && c->sector_size != 512)
		return image_fail(reason, -EOPNOTSUPP, "a %s has sectors of 512 bytes", k->driver);
	if (c->block_size && !k->create_option)
		return image_fail(reason, -EOPNOTSUPP, "a %s has blocks of one size", k->driver);
	return 0;
}

/*
 * The file is the open one, whatever its path is: it may have no name yet. QEMU
 * makes some sizes that nothing can open afterwards.
 */
static int qemu_create(const struct qemu_kind *k, struct file *file, const struct image_create *c,
		       char reason[IMAGE_REASON])
{
	char size[32], option[64];
	const char *argv[] = { "qemu-img",        "create", "-q", "-f", k->driver,
			       "/proc/self/fd/3", size,     NULL, NULL, NULL };
	struct foreign_head head;
	int err = check_create(k, c, reason);

	if (err)
		return err;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)c->size);
	if (c->block_size) {
		snprintf(option, sizeof(option), "%s=%u", k->create_option, c->block_size);
		argv[7] = "-o";
		argv[8] = option;
	}
	err = run_qemu_img(argv, file_fd(file), reason);
	if (!err)
		err = k->head(file, &head, reason);
	if (!err && head.size != c->size)
		err = image_fail(reason, -EINVAL, "a %s cannot have that size", k->driver);
	return err;
}

/* ---- the tables ---- */

/* A format's functions have no argument that tells which one it is. */
#define QEMU_FORMAT(which, ...)                                                    \
	static int which##_create(struct file *file, const struct image_create *c, \
				  char reason[IMAGE_REASON])                       \
	{                                                                          \
		return qemu_create(kind_of(&which##_format), file, c, reason);     \
	}                                                                          \
	const struct image_format which##_format = {                               \
		.name = #which,                                                    \
		.kinds = (const char *const[]){ #which, NULL },                    \
		.endings = (const char *const[]){ __VA_ARGS__, NULL },             \
		.locks_itself = true,                                              \
		.open = qemu_open,                                                 \
		.close = qemu_close,                                               \
		.start = qemu_start,                                               \
		.rest = qemu_rest,                                                 \
		.read = qemu_read,                                                 \
		.write = qemu_write,                                               \
		.flush = qemu_flush,                                               \
		.zero = qemu_zero,                                                 \
		.seek = qemu_seek,                                                 \
		.create = which##_create,                                          \
	}

QEMU_FORMAT(qcow2, "qcow2");
QEMU_FORMAT(vmdk, "vmdk");
QEMU_FORMAT(vdi, "vdi");
QEMU_FORMAT(parallels, "hdd");
QEMU_FORMAT(qed, "qed");
