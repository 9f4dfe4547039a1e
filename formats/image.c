// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "raw.h"

const struct image_format *const image_formats[] = { &raw_format, NULL };

/* What a disk may be called. Those that no format claims are shown, not served. */
static const char *const disk_endings[] = { "img",   "raw",   "iso",  "vhd", "avhd", "vhdx",
					    "avhdx", "qcow2", "vmdk", "vdi", NULL };

const struct image_format *image_format_named(const char *name)
{
	for (size_t i = 0; image_formats[i]; i++)
		if (!strcasecmp(image_formats[i]->name, name))
			return image_formats[i];
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
	struct image_name none = { 0 };
	const char *dot = strrchr(file_name, '.');

	if (!file_name[0] || file_name[0] == '.')
		return none;
	if (!dot)
		return (struct image_name){ .known = true,
					    .needs_sectors = true,
					    .ending = "",
					    .format = &raw_format };
	for (size_t i = 0; disk_endings[i]; i++)
		if (!strcasecmp(disk_endings[i], dot + 1))
			return (struct image_name){ .known = true,
						    .ending = disk_endings[i],
						    .format = format_with_ending(dot + 1) };
	return none;
}

int image_open(struct file *file, const struct image_format *format, bool read_only,
	       struct image **out, const char **reason)
{
	struct image *img = calloc(1, sizeof(*img));
	int err;

	if (!img)
		return -ENOMEM;
	img->format = format;
	img->file = file;
	img->read_only = read_only;
	err = format->open(img, reason);
	if (err) {
		format->close(img);
		free(img);
		return err;
	}
	*out = img;
	return 0;
}

void image_close(struct image *img)
{
	if (!img)
		return;
	img->format->close(img);
	img->file->ops->close(img->file);
	free(img);
}
