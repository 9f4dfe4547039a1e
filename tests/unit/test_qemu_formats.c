// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu_formats.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "nbd.h"
#include "notes.h"
#include "program.h"
#include "qemu_disk.h"
#include "unit.h"

#define MIB (1u << 20)

static struct qemu_disk q;
static char reason[IMAGE_REASON];

static void assert_no_server(void)
{
	pid_t pid;

	ck_assert_uint_eq(qemu_find_server(getpid(), &pid), 0);
}

/* Mounts from now on are this test's own. */
static bool own_mounts(const char *test)
{
	if (!unshare(CLONE_NEWNS) && !mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL))
		return true;
	printf("SKIP: qemu_formats: %s: no mounts here: %s\n", test, strerror(errno));
	return false;
}

static void hide(const char *program)
{
	char path[PROGRAM_PATH];

	while (!program_find(program, path))
		ck_assert_int_eq(mount("/dev/null", path, "none", MS_BIND, NULL), 0);
}

static struct image *open_image(void)
{
	struct image *img = qemu_disk_image(&q, false, reason);

	ck_assert_msg(img != NULL, "%s", reason);
	return img;
}

START_TEST(tables)
{
	static const char *const endings[] = { "qcow2", "vmdk", "vdi", "hdd", "qed" };

	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		const struct image_format *f = qemu_disk_formats[i];

		ck_assert_str_eq(f->kinds[0], f->name);
		ck_assert_str_eq(f->endings[0], endings[i]);
		ck_assert(f->locks_itself && !f->flat && !f->grows_by_write && !f->resize);
		ck_assert_ptr_eq(image_format_named(f->name, NULL), f);
	}
}
END_TEST

/* An image that nobody uses costs no process. */
START_TEST(opened_only)
{
	char buf[512];
	uint64_t at;

	if (qemu_missing("qemu_formats"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		qemu_disk_make(&q, qemu_disk_formats[i], 3 * MIB, true);
		q.img = open_image();
		ck_assert_str_eq(q.img->kind, q.format->name);
		ck_assert_uint_eq(q.img->size, 3 * MIB);
		ck_assert_uint_eq(q.img->sector_size, 512);
		ck_assert_uint_gt(q.img->block_size, 0);
		ck_assert(!q.img->read_only && !q.img->in_doubt && !q.img->complaint[0]);
		ck_assert_int_eq(q.format->read(q.img, buf, 512, 0, 0), -EIO);
		ck_assert_int_eq(q.format->write(q.img, buf, 512, 0, 0), -EIO);
		ck_assert_int_eq(q.format->zero(q.img, 0, 512, ZERO_PUNCH), -EIO);
		ck_assert_int_eq(q.format->seek(q.img, 0, SEEK_DATA, &at), -EIO);
		ck_assert_int_eq(q.format->flush(q.img), 0);
		ck_assert_int_eq(q.format->rest(q.img), 0);
		assert_no_server();
		image_close(q.img);
		qemu_disk_free(&q);
	}
}
END_TEST

/* Used, at rest, used again, and closed while it is used. */
START_TEST(turns)
{
	char buf[512];

	if (qemu_missing("qemu_formats"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		qemu_disk_make(&q, qemu_disk_formats[i], 3 * MIB, true);
		q.img = open_image();
		for (unsigned turn = 0; turn < 3; turn++) {
			ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
			memset(q.twin + 1000 * turn, 'a' + turn, 512);
			ck_assert_int_eq(q.format->write(q.img, q.twin + 1000 * turn, 512,
							 1000 * turn, 0),
					 0);
			qemu_disk_compare(&q);
			ck_assert_int_eq(q.format->rest(q.img), 0);
			assert_no_server();
			ck_assert_int_eq(q.format->read(q.img, buf, 512, 0, 0), -EIO);
		}
		qemu_disk_verify(&q);
		ck_assert_int_eq(q.format->start(q.img, reason), 0);
		image_close(q.img);
		assert_no_server();
		qemu_disk_verify(&q);
		qemu_disk_free(&q);
	}
}
END_TEST

START_TEST(renamed_and_deleted)
{
	if (qemu_missing("qemu_formats"))
		return;
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	qemu_disk_open(&q);
	qemu_shell(q.dir, "mv a.qcow2 b.qcow2");
	memset(q.twin, 'r', 4096);
	ck_assert_int_eq(q.format->write(q.img, q.twin, 4096, 0, 0), 0);
	kill(qemu_server_of(getpid()), SIGKILL);
	qemu_disk_compare(&q);
	qemu_shell(q.dir, "mv b.qcow2 a.qcow2");
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_open(&q);
	ck_assert_int_eq(unlink(q.path), 0);
	kill(qemu_server_of(getpid()), SIGKILL);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(only_read)
{
	struct stat before, after;

	if (qemu_missing("qemu_formats"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		qemu_disk_make(&q, qemu_disk_formats[i], 3 * MIB, false);
		ck_assert_int_eq(stat(q.path, &before), 0);
		q.img = qemu_disk_image(&q, true, reason);
		ck_assert(q.img->read_only);
		ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
		qemu_disk_compare(&q);
		ck_assert_int_eq(q.format->write(q.img, q.twin, 512, 0, 0), -EROFS);
		ck_assert_int_eq(q.format->zero(q.img, 0, 512, ZERO_KEEP), -EROFS);
		ck_assert_int_eq(q.format->flush(q.img), 0);
		kill(qemu_server_of(getpid()), SIGKILL);
		qemu_disk_compare(&q);
		ck_assert_int_eq(q.format->rest(q.img), 0);
		image_close(q.img);
		assert_no_server();
		ck_assert_int_eq(stat(q.path, &after), 0);
		ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
		qemu_disk_free(&q);
	}
}
END_TEST

START_TEST(stream_optimized)
{
	if (qemu_missing("qemu_formats"))
		return;
	qemu_disk_make(&q, &vmdk_format, 2 * MIB, true);
	memset(q.twin, 's', MIB + 77);
	qemu_shell(q.dir,
		   "{ head -c 1048653 /dev/zero | tr '\\0' s; head -c 1048499 /dev/zero; } >raw "
		   "&& qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw a.vmdk");
	q.img = open_image();
	ck_assert(q.img->read_only && strstr(q.img->complaint, "streamOptimized"));
	ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

/* ---- what must not be started ---- */

static void assert_not_started(int err, const char *why)
{
	ck_assert_int_eq(q.format->start(q.img, reason), err);
	ck_assert_msg(strstr(reason, why), "'%s', not '%s'", reason, why);
	assert_no_server();
	/* It is as if it had never been tried. */
	ck_assert_int_eq(q.format->rest(q.img), 0);
}

/* A head that was good when it was looked at. */
START_TEST(changed_meanwhile)
{
	uint8_t name[8];
	int fd;

	if (qemu_missing("qemu_formats"))
		return;
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	q.img = open_image();
	qemu_shell(q.dir, "qemu-img create -f raw base 3M && "
			  "qemu-img rebase -u -f qcow2 -F raw -b base a.qcow2");
	assert_not_started(-EOPNOTSUPP, "backing");
	qemu_shell(q.dir,
		   "qemu-img rebase -u -f qcow2 -b '' a.qcow2 && qemu-img resize a.qcow2 4M");
	assert_not_started(-ESTALE, "size has changed");
	qemu_shell(q.dir, "qemu-img resize --shrink a.qcow2 3M");
	fd = open(q.path, O_WRONLY);
	put_be64(name, 2);
	ck_assert_int_eq(pwrite(fd, name, 8, 72), 8);
	assert_not_started(-EROFS, "corrupt");
	put_be64(name, 0);
	ck_assert_int_eq(pwrite(fd, name, 8, 72), 8);
	/* What only QEMU looks at: its first table entry. */
	put_be64(name, 0x7f);
	ck_assert_int_eq(pwrite(fd, name, 8, 40 + 512), 8);
	put_be64(name, 0);
	ck_assert_int_eq(pwrite(fd, name, 8, 40 + 512), 8);
	close(fd);
	ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

/* QEMU's own words are the reason. */
START_TEST(qemu_refuses)
{
	int fd;

	if (qemu_missing("qemu_formats"))
		return;
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	fd = open(q.path, O_WRONLY);
	/* It says that it is not compressed as usual, and that it is. */
	ck_assert_int_eq(pwrite(fd, "\10", 1, 79), 1);
	close(fd);
	q.img = open_image();
	assert_not_started(-EIO, "QEMU says: ");
	image_close(q.img);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(used_by_others)
{
	uint64_t begin;

	if (qemu_missing("qemu_formats"))
		return;
	/* No server of ours had it: a tenth. */
	nbd_limits.lock_ms = 3000;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		struct image *second;

		qemu_disk_make(&q, qemu_disk_formats[i], 3 * MIB, false);
		qemu_disk_open(&q);
		second = open_image();
		begin = unit_now_ms();
		ck_assert_int_eq(q.format->start(second, reason), -EBUSY);
		ck_assert_msg(strstr(reason, "lock"), "%s", reason);
		ck_assert_uint_ge(unit_now_ms() - begin, 300);
		image_close(second);
		/* And QEMU refuses what we have. */
		qemu_shell(q.dir, "! qemu-io -c 'write 0 512' a.* 2>/dev/null");
		qemu_disk_close(&q);
		qemu_disk_verify(&q);
		qemu_disk_free(&q);
	}
}
END_TEST

/* It waits for the one that had it. */
START_TEST(used_by_others_a_moment)
{
	if (qemu_missing("qemu_formats"))
		return;
	nbd_limits.lock_ms = 100000;
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	qemu_shell(q.dir, "qemu-io -f qcow2 -c 'write 0 512' -c 'sleep 600' -c 'write -P 7 0 512' "
			  "a.qcow2 & sleep 0.2");
	memset(q.twin, 7, 512);
	qemu_disk_open(&q);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(nothing_installed)
{
	struct image_create c = { .size = MIB, .kind = "qcow2" };
	char text[200];

	if (qemu_missing("qemu_formats") || !own_mounts("nothing_installed"))
		return;
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	hide("qemu-nbd");
	hide("qemu-img");
	ck_assert_int_eq(nbd_available(text, sizeof(text)), -EOPNOTSUPP);
	ck_assert_str_eq(text, "qemu-nbd is not installed");
	q.img = open_image();
	ck_assert_uint_eq(q.img->size, 3 * MIB);
	assert_not_started(-EOPNOTSUPP, "it needs qemu-nbd, which is not installed");
	ck_assert_int_eq(qcow2_format.create(q.img->file, &c, reason), -EOPNOTSUPP);
	ck_assert_str_eq(reason, "it needs qemu-img, which is not installed");
	image_close(q.img);
	qemu_disk_free(&q);
}
END_TEST

/* Before anything has loaded it. */
START_TEST(no_libnbd)
{
	struct rlimit none = { 0 }, usual;
	char text[200];

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none.rlim_max = usual.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(nbd_available(text, sizeof(text)), -EOPNOTSUPP);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
	ck_assert_str_eq(text, "libnbd is not installed");
	ck_assert_int_eq(nbd_disk_start(&(struct nbd_source){ .driver = "qcow2" },
					&(struct nbd_disk *){ NULL }, reason),
			 -EOPNOTSUPP);
	ck_assert_str_eq(reason, "it needs libnbd, which is not installed");
}
END_TEST

/* ---- a full file system ---- */

START_TEST(no_space)
{
	uint8_t *buf = malloc(MIB);
	uint64_t off = 0;
	int err = 0;

	if (qemu_missing("qemu_formats") || !own_mounts("no_space"))
		return;
	qemu_disk_make(&q, &qcow2_format, 64 * MIB, true);
	qemu_shell(q.dir,
		   "mkdir small && mount -t tmpfs -o size=8m none small && mv a.qcow2 small");
	/* The notes are elsewhere, and there is room for them. */
	snprintf(q.path, sizeof(q.path), "%.500s/small/a.qcow2", q.dir);
	qemu_disk_open(&q);
	memset(buf, 'n', MIB);
	for (; off < q.size && !err; off += MIB) {
		err = q.format->write(q.img, buf, MIB, off, 0);
		if (!err) {
			memset(q.twin + off, 'n', MIB);
			ck_assert_int_eq(q.format->flush(q.img), 0);
		}
	}
	ck_assert_int_eq(err, -ENOSPC);
	off -= MIB;
	/* What failed is not done again: there is still no space for it. */
	kill(qemu_server_of(getpid()), SIGKILL);
	ck_assert_int_eq(q.format->read(q.img, buf, MIB, 0, 0), 0);
	ck_assert(!memcmp(buf, q.twin, MIB));
	/* Where it failed is either. */
	ck_assert_int_eq(q.format->read(q.img, q.twin + off, MIB, off, 0), 0);
	for (size_t i = 0; i < MIB; i++)
		if (q.twin[off + i] != 'n' && q.twin[off + i])
			ck_abort_msg("neither old nor new");
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	free(buf);
	qemu_disk_free(&q);
}
END_TEST

/* ---- notes of an earlier process ---- */

/* Writes "left" at the beginning and does not rest: what it noted stays. */
static void leave_notes(void)
{
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, true);
	qemu_disk_open(&q);
	memcpy(q.twin, "left", 4);
	ck_assert_int_eq(q.format->write(q.img, "left", 4, 0, 0), 0);
	nbd_limits.deaths = 0;
	kill(qemu_server_of(getpid()), SIGKILL);
	image_close(q.img);
	nbd_limits.deaths = 5;
}

START_TEST(notes_of_before)
{
	if (qemu_missing("qemu_formats"))
		return;
	leave_notes();
	qemu_disk_open(&q);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

START_TEST(notes_that_do_not_fit)
{
	if (qemu_missing("qemu_formats"))
		return;
	leave_notes();
	/* Another image of the same name. */
	qemu_shell(q.dir, "mv a.qcow2 b && qemu-img create -f qcow2 a.qcow2 3M");
	q.img = open_image();
	ck_assert(q.img->in_doubt && q.img->read_only && strstr(q.img->complaint, "missing"));
	ck_assert_msg(!q.format->start(q.img, reason), "%s", reason);
	ck_assert_int_eq(q.format->write(q.img, "x", 1, 0, 0), -EROFS);
	ck_assert_int_eq(q.format->rest(q.img), 0);
	image_close(q.img);
	qemu_shell(q.dir, "mv b a.qcow2");
	/* The right one, but it can't be written now. */
	q.img = qemu_disk_image(&q, true, reason);
	ck_assert(q.img->in_doubt && strstr(q.img->complaint, "only be read"));
	image_close(q.img);
	/* And nothing was lost by all that. */
	qemu_disk_open(&q);
	qemu_disk_compare(&q);
	qemu_disk_close(&q);
	qemu_disk_free(&q);
}
END_TEST

/* ---- create ---- */

static int create(const struct image_format *f, struct image_create c, const char *name)
{
	struct file *file;
	char path[600];
	int fd, err;

	snprintf(path, sizeof(path), "%s/%s", q.dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(file_adopt(fd, false, &file), 0);
	c.kind = f->kinds[0];
	if (!c.size)
		c.size = 3 * MIB;
	reason[0] = '\0';
	err = f->create(file, &c, reason);
	file->ops->close(file);
	ck_assert_int_eq(err != 0, reason[0] != '\0');
	return err;
}

START_TEST(creates)
{
	const struct image parent = { 0 };

	if (qemu_missing("qemu_formats"))
		return;
	for (size_t i = 0; qemu_disk_formats[i]; i++) {
		const struct image_format *f = qemu_disk_formats[i];

		qemu_disk_make(&q, f, 512, false);
		q.img = open_image();
		ck_assert_uint_eq(q.img->size, 512);
		image_close(q.img);
		ck_assert_int_eq(create(f, (struct image_create){ .parent = &parent }, "x"),
				 -EOPNOTSUPP);
		ck_assert_int_eq(create(f, (struct image_create){ .sector_size = 4096 }, "x"),
				 -EOPNOTSUPP);
		ck_assert(create(f, (struct image_create){ .size = INT64_MAX & ~511ull }, "x"));
		qemu_disk_free(&q);
	}
	qemu_disk_make(&q, &qcow2_format, 3 * MIB, false);
	ck_assert_int_eq(create(&qcow2_format, (struct image_create){ .block_size = 4096 },
				"a.qcow2"),
			 0);
	q.img = open_image();
	ck_assert_uint_eq(q.img->block_size, 4096);
	image_close(q.img);
	ck_assert_int_eq(create(&qcow2_format, (struct image_create){ .block_size = 4097 }, "x"),
			 -EIO);
	ck_assert_msg(strstr(reason, "luster size"), "%s", reason);
	ck_assert_int_eq(create(&vdi_format, (struct image_create){ .block_size = 4096 }, "x"),
			 -EOPNOTSUPP);
	qemu_disk_free(&q);
}
END_TEST

/* One that another program did not close is checked first. */
START_TEST(unclean_parallels)
{
	uint8_t in_use[4];
	int fd;

	if (qemu_missing("qemu_formats"))
		return;
	qemu_disk_make(&q, &parallels_format, 3 * MIB, true);
	put_le32(in_use, 0x746f6e59);
	fd = open(q.path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, in_use, 4, 44), 4);
	close(fd);
	qemu_disk_open(&q);
	memset(q.twin, 'p', 100);
	ck_assert_int_eq(q.format->write(q.img, q.twin, 100, 0, 0), 0);
	qemu_disk_close(&q);
	qemu_disk_verify(&q);
	qemu_disk_free(&q);
}
END_TEST

UNIT_MAIN("qemu_formats", NULL, NULL, tables, opened_only, turns, renamed_and_deleted, only_read,
	  stream_optimized, changed_meanwhile, qemu_refuses, used_by_others,
	  used_by_others_a_moment, nothing_installed, no_libnbd, no_space, notes_of_before,
	  notes_that_do_not_fit, creates, unclean_parallels)
