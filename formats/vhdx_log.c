// SPDX-License-Identifier: GPL-2.0-or-later
/* Writing the log. */
#include "vhdx_log.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

/* A page in the log gives its first 8 and last 4 bytes to marks; they are in its descriptor. */
#define LEAD 8
#define TRAIL_AT (VHDX_PAGE - 4)

static struct vhdx_log_descriptor *descriptor(struct vhdx_log *log, size_t i)
{
	return (struct vhdx_log_descriptor *)(log->buf + sizeof(struct vhdx_log_head)) + i;
}

static uint8_t *page_of(struct vhdx_log *log, size_t i)
{
	return log->buf + (i + 1) * VHDX_PAGE;
}

static void mark_page(struct vhdx_log *log, size_t i)
{
	uint8_t *page = page_of(log, i);
	uint32_t high = htole32(log->sequence >> 32), low = htole32((uint32_t)log->sequence);
	struct vhdx_log_descriptor *d = descriptor(log, i);

	memcpy(d->signature, "desc", 4);
	memcpy(&d->leading, page, LEAD);
	memcpy(&d->trailing, page + TRAIL_AT, 4);
	d->at = htole64(log->where[i]);
	d->sequence = htole64(log->sequence);
	memcpy(page, "data", 4);
	memcpy(page + 4, &high, 4);
	memcpy(page + TRAIL_AT, &low, 4);
}

static void unmark_page(struct vhdx_log *log, size_t i)
{
	memcpy(page_of(log, i), &descriptor(log, i)->leading, LEAD);
	memcpy(page_of(log, i) + TRAIL_AT, &descriptor(log, i)->trailing, 4);
}

/* Durable in the half that is not needed. */
static int write_entry(struct vhdx_log *log, uint64_t flushed, uint64_t last)
{
	size_t length = (log->count + 1) * VHDX_PAGE;
	uint32_t at = log->half * (VHDX_LOG_USED / 2);
	struct vhdx_log_head *head = (struct vhdx_log_head *)log->buf;
	int err;

	log->sequence++;
	memset(log->buf, 0, VHDX_PAGE);
	*head = (struct vhdx_log_head){
		.signature = { 'l', 'o', 'g', 'e' },
		.length = htole32(length),
		.tail = htole32(at),
		.sequence = htole64(log->sequence),
		.count = htole32(log->count),
		.flushed = htole64(flushed),
		.last = htole64(last),
	};
	memcpy(head->guid, log->guid, sizeof(head->guid));
	for (size_t i = 0; i < log->count; i++)
		mark_page(log, i);
	head->checksum = htole32(crc32c(0, log->buf, length));
	err = log->file->ops->write(log->file, log->buf, length, log->at + at, 0);
	if (!err)
		err = log->file->ops->flush(log->file);
	for (size_t i = 0; i < log->count; i++)
		unmark_page(log, i);
	if (!err)
		log->half = !log->half;
	return err;
}

static int write_in_place(struct vhdx_log *log)
{
	for (size_t i = 0; i < log->count; i++) {
		int err = log->file->ops->write(log->file, page_of(log, i), VHDX_PAGE,
						log->where[i], 0);

		if (err)
			return err;
	}
	return 0;
}

int vhdx_log_begin(struct vhdx_log *log)
{
	int err = 0;

	if (log->in_place_due) {
		err = write_in_place(log);
		if (!err)
			err = log->file->ops->flush(log->file);
	}
	if (!err) {
		log->in_place_due = false;
		log->count = 0;
	}
	return err;
}

int vhdx_log_start(struct vhdx_log *log, struct file *file, uint64_t at, uint64_t file_size)
{
	int err;

	vhdx_log_end(log);
	log->file = file;
	log->at = at;
	log->buf = malloc((VHDX_LOG_PAGES + 1) * VHDX_PAGE);
	err = log->buf ? vhdx_guid_make(log->guid) : -ENOMEM;
	if (!err)
		err = write_entry(log, file_size, file_size);
	return err;
}

void vhdx_log_end(struct vhdx_log *log)
{
	free(log->buf);
	*log = (struct vhdx_log){ .file = NULL };
}

int vhdx_log_page(struct vhdx_log *log, uint64_t at, uint8_t **page)
{
	int err;

	for (size_t i = log->count; i-- > 0;)
		if (log->where[i] == at) {
			*page = page_of(log, i);
			return 0;
		}
	if (log->count == VHDX_LOG_PAGES)
		return -E2BIG;
	err = log->file->ops->read(log->file, page_of(log, log->count), VHDX_PAGE, at, 0);
	if (err)
		return err;
	log->where[log->count] = at;
	*page = page_of(log, log->count++);
	return 0;
}

int vhdx_log_commit(struct vhdx_log *log, uint64_t flushed, uint64_t last)
{
	int err;

	if (!log->count)
		return 0;
	err = write_entry(log, flushed, last);
	if (err)
		return err;
	/* What fails here is in the log: the next entry will wait for it. */
	log->in_place_due = write_in_place(log) != 0;
	if (!log->in_place_due)
		log->count = 0;
	return 0;
}
