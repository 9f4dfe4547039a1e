// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhdx_overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vhdx_overlay_add(struct vhdx_overlay *o, uint64_t at, uint64_t length, uint8_t *data)
{
	if (o->count == o->room) {
		size_t room = o->room ? 2 * o->room : 64;
		struct vhdx_patch *more = realloc(o->patches, room * sizeof(*more));

		if (!more) {
			free(data);
			return -ENOMEM;
		}
		o->patches = more;
		o->room = room;
	}
	o->patches[o->count++] = (struct vhdx_patch){ .at = at, .length = length, .data = data };
	return 0;
}

static void lay_over(const struct vhdx_patch *p, uint8_t *buf, size_t len, uint64_t off)
{
	uint64_t start = p->at > off ? p->at : off, end = p->at + p->length;

	if (end > off + len)
		end = off + len;
	if (start >= end)
		return;
	if (p->data)
		memcpy(buf + (start - off), p->data + (start - p->at), end - start);
	else
		memset(buf + (start - off), 0, end - start);
}

int vhdx_overlay_read(const struct vhdx_overlay *o, struct file *file, void *buf, size_t len,
		      uint64_t off)
{
	size_t there = len;
	int err = 0;

	if (off > o->end || len > o->end - off)
		return -EIO;
	if (off + len > o->file_size)
		there = off < o->file_size ? o->file_size - off : 0;
	if (there)
		err = file->ops->read(file, buf, there, off, 0);
	if (err)
		return err;
	memset((char *)buf + there, 0, len - there);
	for (size_t i = 0; i < o->count; i++)
		lay_over(&o->patches[i], buf, len, off);
	return 0;
}

int vhdx_overlay_apply(const struct vhdx_overlay *o, struct file *file)
{
	int err = 0;

	if (o->end > o->file_size)
		err = file->ops->resize(file, o->end);
	for (size_t i = 0; i < o->count && !err; i++) {
		const struct vhdx_patch *p = &o->patches[i];

		if (p->data)
			err = file->ops->write(file, p->data, p->length, p->at, 0);
		else
			err = file->ops->zero(file, p->at, p->length, ZERO_PUNCH);
	}
	return err;
}

void vhdx_overlay_clear(struct vhdx_overlay *o)
{
	for (size_t i = 0; i < o->count; i++)
		free(o->patches[i].data);
	free(o->patches);
	o->patches = NULL;
	o->count = o->room = 0;
}
