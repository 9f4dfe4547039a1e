// SPDX-License-Identifier: GPL-2.0-or-later
#include "raw.h"

#include <errno.h>
#include <stdatomic.h>

static const char *const raw_kinds[] = { "raw", NULL };
static const char *const raw_endings[] = { "img", "raw", "iso", NULL };

static int raw_open(struct image *img, char reason[IMAGE_REASON])
{
	struct file_stat st;
	int err = img->file->ops->stat(img->file, &st);

	if (err)
		return image_fail(reason, err, "its size cannot be read");
	img->kind = raw_kinds[0];
	img->size = st.size;
	img->sector_size = 512;
	return 0;
}

static void raw_close(struct image *img)
{
}

static int raw_read(struct image *img, void *buf, size_t len, uint64_t off, unsigned io)
{
	return img->file->ops->read(img->file, buf, len, off, io);
}

/* Writers that pass the end run at the same time; the largest end wins. */
static void raise_size(struct image *img, uint64_t end)
{
	uint64_t size = img->size;

	while (size < end && !atomic_compare_exchange_weak(&img->size, &size, end))
		;
}

/* What a request that failed left behind the end would come back as the disk's bytes. */
static void cut_off(struct image *img)
{
	if (img->file->ops->resize(img->file, img->size)) {
		/* It stays, unseen, until somebody writes over it or grows the disk. */
	}
}

static int raw_write(struct image *img, const void *buf, size_t len, uint64_t off, unsigned io)
{
	int err = img->file->ops->write(img->file, buf, len, off, io);

	if (!err)
		raise_size(img, off + len);
	else if (off + len > img->size)
		cut_off(img); /* the caller keeps others out from behind the end */
	return err;
}

static int raw_flush(struct image *img)
{
	return img->file->ops->flush(img->file);
}

static int raw_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return img->file->ops->zero(img->file, off, len, mode);
}

static int raw_allocate(struct image *img, uint64_t off, uint64_t len, bool grow)
{
	int err = img->file->ops->allocate(img->file, off, len, grow);

	if (!err && grow)
		raise_size(img, off + len);
	else if (err && off + len > img->size)
		cut_off(img);
	return err;
}

static int raw_seek(struct image *img, uint64_t off, int whence, uint64_t *found)
{
	return img->file->ops->seek(img->file, off, whence, found);
}

static int raw_resize(struct image *img, uint64_t size)
{
	int err = img->file->ops->resize(img->file, size);

	if (!err)
		img->size = size;
	return err;
}

static int raw_create(struct file *file, const struct image_create *c, char reason[IMAGE_REASON])
{
	if (c->parent)
		return image_fail(reason, -EOPNOTSUPP, "a raw image has no parent");
	if (c->block_size || (c->sector_size && c->sector_size != 512))
		return image_fail(reason, -EINVAL, "a raw image has sectors of 512 bytes only");
	return file->ops->resize(file, c->size);
}

const struct image_format raw_format = {
	.name = "raw",
	.kinds = raw_kinds,
	.endings = raw_endings,
	.flat = true,
	.open = raw_open,
	.close = raw_close,
	.read = raw_read,
	.write = raw_write,
	.flush = raw_flush,
	.zero = raw_zero,
	.allocate = raw_allocate,
	.seek = raw_seek,
	.resize = raw_resize,
	.create = raw_create,
	.grows_by_write = true,
};
