// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "notes.h"
#include "qemu_formats.h"
#include "raw.h"
#include "vhd.h"
#include "vhdx.h"

const struct image_format *const image_formats[] = {
	&raw_format, &vhd_format,       &vhdx_format, &qcow2_format, &vmdk_format,
	&vdi_format, &parallels_format, &qed_format,  NULL,
};

const struct image_format *image_format_named(const char *name, const char **kind)
{
	for (size_t i = 0; image_formats[i]; i++)
		for (const char *const *k = image_formats[i]->kinds; *k; k++)
			if (!strcasecmp(*k, name)) {
				if (kind)
					*kind = *k;
				return image_formats[i];
			}
	return NULL;
}

static const struct image_format *format_with_ending(const char *ending)
{
	for (size_t i = 0; image_formats[i]; i++)
		for (const char *const *e = image_formats[i]->endings; *e; e++)
			if (!strcasecmp(*e, ending))
				return image_formats[i];
	return NULL;
}

struct image_name image_name_classify(const char *file_name)
{
	const char *dot = strrchr(file_name, '.');

	if (!file_name[0] || file_name[0] == '.')
		return (struct image_name){ 0 };
	if (!dot)
		return (struct image_name){ .format = &raw_format, .needs_sectors = true };
	return (struct image_name){ .format = format_with_ending(dot + 1) };
}

/* Everything but the file. */
static void drop_contents(struct image *img)
{
	img->format->close(img);
	img->private = NULL;
	image_close(img->parent);
	img->parent = NULL;
}

int image_open(struct file *file, const struct image_format *format,
	       const struct image_around *around, struct image **out, char reason[IMAGE_REASON])
{
	struct image *img = calloc(1, sizeof(*img));
	int err;

	reason[0] = '\0';
	if (!img)
		return -ENOMEM;
	img->format = format;
	img->file = file;
	img->read_only = img->asked_read_only = around->read_only;
	img->notes = around->notes;
	img->parents = around->parents;
	img->guest_bytes = around->guest_bytes;
	err = format->open(img, reason);
	if (err) {
		drop_contents(img);
		free(img);
		return err;
	}
	*out = img;
	return 0;
}

void image_shut(struct image *img)
{
	if (!img->file)
		return;
	drop_contents(img);
	img->file->ops->close(img->file);
	notes_close(img->notes);
	img->file = NULL;
	img->notes = NULL;
}

void image_close(struct image *img)
{
	if (!img)
		return;
	image_shut(img);
	free(img);
}

/* Opened beside the old one, so that there is always one of the two. */
int image_reload(struct image *img, char reason[IMAGE_REASON])
{
	struct image fresh = {
		.format = img->format,
		.file = img->file,
		.notes = img->notes,
		.parents = img->parents,
		.guest_bytes = image_guest_bytes(img->kind, img->size),
		.read_only = img->asked_read_only,
		.asked_read_only = img->asked_read_only,
	};
	int err;

	reason[0] = '\0';
	img->file->ops->forgive(img->file);
	err = img->format->open(&fresh, reason);
	if (err) {
		drop_contents(&fresh);
		return err;
	}
	drop_contents(img);
	img->kind = fresh.kind;
	img->parent = fresh.parent;
	img->size = fresh.size;
	img->sector_size = fresh.sector_size;
	img->block_size = fresh.block_size;
	memcpy(img->identity, fresh.identity, sizeof(img->identity));
	img->read_only = fresh.read_only;
	img->in_doubt = fresh.in_doubt;
	img->unclean = fresh.unclean;
	img->read_only_because = fresh.read_only_because;
	memcpy(img->complaint, fresh.complaint, sizeof(img->complaint));
	img->private = fresh.private;
	return 0;
}

int image_complete(struct image *img, char reason[IMAGE_REASON])
{
	const struct file_ops *ops = img->file->ops;
	bool locks = !img->format->locks_itself;
	int err = locks ? ops->lock(img->file, FILE_WRITE) : 0;

	reason[0] = '\0';
	if (err)
		return err;
	img->mend = true;
	if (img->format->start)
		err = img->format->start(img, reason);
	if (!err && img->format->rest)
		err = img->format->rest(img);
	img->mend = false;
	if (locks)
		ops->lock(img->file, FILE_UNUSED);
	return err;
}

int image_fail(char reason[IMAGE_REASON], int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, IMAGE_REASON, format, args);
	va_end(args);
	return err;
}

/* ---- space ---- */

bool image_kind_is_fixed(const char *kind)
{
	const char *dash = strrchr(kind, '-');

	return dash && !strcmp(dash, "-fixed");
}

/* A raw disk's is too, but it has nothing else; in all other files a head comes first. */
uint64_t image_guest_bytes(const char *kind, uint64_t size)
{
	return strcmp(kind, "vhd-fixed") ? 0 : size;
}

int image_zero(struct image *img, uint64_t off, uint64_t len, enum zero_mode mode)
{
	return img->format->zero(img, off, len, atomic_load(&img->keeps_space) ? ZERO_KEEP : mode);
}

int file_take_space(struct file *f)
{
	struct file_stat st;
	int err = f->ops->stat(f, &st);

	return err || !st.size ? err : f->ops->allocate(f, 0, st.size, false);
}

bool file_has_space(struct file *f)
{
	struct file_stat st;

	return !f->ops->stat(f, &st) && st.allocated >= st.size;
}
