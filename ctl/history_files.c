// SPDX-License-Identifier: GPL-2.0-or-later
/* disks/DISK/history, and the text of disks/DISK/changes/A..B. */
#include "inner.h"

#include <errno.h>
#include <inttypes.h>

#include "changes.h"
#include "kept.h"
#include "lookups.h"
#include "rfc3339.h"

static bool add_moment(void *arg, const struct moment_record *m, uint64_t bytes,
		       const char *snapshot)
{
	struct text *out = arg;
	char time[RFC3339_MAX];

	text_addf(out, "g%" PRIu64 " %s %" PRIu64, m->generation,
		  rfc3339_format_ms(time, m->time_ms), bytes);
	if (snapshot) {
		text_add(out, " ", 1);
		text_add_word(out, snapshot);
	}
	text_add(out, "\n", 1);
	return text_ok(out);
}

int history_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct disk *d = tandem_disk_numbered(c->tandem, object);
	int err;

	if (!d)
		return -ENOENT;
	err = disk_history(d, add_moment, out);
	disk_unref(d);
	return err;
}

/* ---- changes ---- */

static bool add_extent(void *arg, uint64_t offset, uint64_t length, bool zero)
{
	struct changes *c = arg;

	changes_add(c, offset, length, zero);
	return text_ok(c->out);
}

/* The disk is open as long as the first moment is: so that stays, and the second too. */
static int add_changes(struct disk *d, uint64_t a, uint64_t b, struct text *out)
{
	struct changes changes = { .out = out, .limit = CHANGES_TEXT_MAX };
	int err = moment_open(d, a);

	if (err)
		return err;
	if (b != GENERATION_NOW)
		err = moment_open(d, b);
	if (!err) {
		changes.size = disk_size(d);
		err = disk_changes(d, a, b, add_extent, &changes);
		changes_end(&changes);
		if (b != GENERATION_NOW)
			moment_close(d, b);
	}
	moment_close(d, a);
	return err;
}

int changes_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct lookup what;
	struct disk *d;
	int err = 0;

	if (!lookups_get(c->lookups, object, &what))
		return -ESTALE;
	d = tandem_disk_numbered(c->tandem, what.object);
	if (!d)
		return -ENODEV;
	if (what.a != what.b)
		err = add_changes(d, what.a, what.b, out);
	disk_unref(d);
	/* It was kept when it was looked up. */
	return err == -ENOENT ? -ESTALE : err;
}
