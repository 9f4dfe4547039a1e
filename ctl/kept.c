// SPDX-License-Identifier: GPL-2.0-or-later
#include "kept.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "moment.h"

#define RANGE_MAX 512

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* -ENOENT: in the future, or before there were computers. */
static int time_spec(const struct moment *m, struct moment_spec *spec)
{
	uint64_t now = now_ms();

	spec->how = MOMENT_TIME;
	if (m->form == FORM_AGO) {
		spec->value = m->ago_ms < now ? now - m->ago_ms : 0;
		return 0;
	}
	if (m->time.tv_sec < 0 || (uint64_t)m->time.tv_sec > now / 1000)
		return -ENOENT;
	spec->value = (uint64_t)m->time.tv_sec * 1000 + m->time.tv_nsec / 1000000;
	return spec->value <= now ? 0 : -ENOENT;
}

/* spec's name points into m. */
static int moment_spec(const struct moment *m, struct moment_spec *spec)
{
	*spec = (struct moment_spec){ 0 };
	switch (m->form) {
	case FORM_NOW:
		spec->how = MOMENT_NOW;
		return 0;
	case FORM_GENERATION:
		spec->how = MOMENT_GENERATION;
		spec->value = m->generation;
		/* The value that means now is nobody's number. */
		return m->generation == GENERATION_NOW ? -ENOENT : 0;
	case FORM_SNAPSHOT:
		spec->how = MOMENT_SNAPSHOT;
		spec->name = m->snapshot;
		return 0;
	case FORM_AGO:
	case FORM_TIME:
		return time_spec(m, spec);
	}
	return -EINVAL;
}

static int find(struct disk *d, const char *text, bool past, struct moment_record *out,
		struct why *why)
{
	struct moment_record found = { 0 };
	struct moment_spec spec;
	struct moment m;
	int err = moment_parse(text, &m, why);

	if (err)
		return err;
	err = moment_spec(&m, &spec);
	if (!err && past && spec.how == MOMENT_NOW)
		spec = (struct moment_spec){ .how = MOMENT_TIME, .value = now_ms() };
	if (!err)
		err = disk_moment(d, &spec, &found);
	if (err == -ENOENT)
		return refuse(why, err,
			      m.form == FORM_SNAPSHOT ? "there is no snapshot %s"
						      : "nothing is kept of %.100s",
			      text);
	if (err)
		return refuse(why, err, "what is kept of the disk no longer fits its image");
	*out = found;
	return 0;
}

int kept_find(struct disk *d, const char *text, struct moment_record *out, struct why *why)
{
	return find(d, text, false, out, why);
}

int kept_find_past(struct disk *d, const char *text, struct moment_record *out, struct why *why)
{
	return find(d, text, true, out, why);
}

int kept_find_range(struct disk *d, const char *text, uint64_t *a, uint64_t *b)
{
	const char *dots = strstr(text, "..");
	struct moment_record from, to;
	char first[RANGE_MAX];
	int err;

	if (!dots || dots - text >= RANGE_MAX)
		return -ENOENT;
	memcpy(first, text, dots - text);
	first[dots - text] = '\0';
	err = kept_find(d, first, &from, NULL);
	if (!err)
		err = kept_find(d, dots + 2, &to, NULL);
	if (!err && from.generation > to.generation)
		err = -ENOENT;
	if (err)
		return err == -EINVAL ? -ENOENT : err; /* a name that nothing has */
	*a = from.generation;
	*b = to.generation;
	return 0;
}
