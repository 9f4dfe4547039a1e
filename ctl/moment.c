// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "rfc3339.h"
#include "values.h"

static int parse_epoch(const char *s, struct timespec *out)
{
	const char *dot = strchr(s, '.');
	size_t len = dot ? (size_t)(dot - s) : strlen(s);
	uint64_t seconds, fraction = 0;
	char whole[24];

	if (len >= sizeof(whole))
		return -EINVAL;
	memcpy(whole, s, len);
	whole[len] = '\0';
	if (value_number(whole, INT64_MAX, &seconds))
		return -EINVAL;
	if (dot) {
		size_t digits = strlen(dot + 1);

		if (digits > 9 || value_number(dot + 1, 999999999, &fraction))
			return -EINVAL;
		for (; digits < 9; digits++)
			fraction *= 10;
	}
	out->tv_sec = seconds;
	out->tv_nsec = fraction;
	return 0;
}

static bool only_digits(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

/*
 * What is not a snapshot's name by its form. -ENOENT: it has none of these
 * forms. -EINVAL: it has one, and is wrong or too large.
 */
static int parse_form(const char *s, struct moment *out)
{
	if (strcasecmp(s, "now") == 0) {
		out->form = FORM_NOW;
		return 0;
	}
	if ((*s == 'g' || *s == 'G') && only_digits(s + 1)) {
		out->form = FORM_GENERATION;
		return value_number(s + 1, UINT64_MAX, &out->generation);
	}
	if (*s == '-') {
		out->form = FORM_AGO;
		return value_duration(s + 1, &out->ago_ms);
	}
	out->form = FORM_TIME;
	if (*s == '@')
		return parse_epoch(s + 1, &out->time);
	return rfc3339_parse(s, false, &out->time) ? -ENOENT : 0;
}

int moment_parse(const char *s, struct moment *out, struct why *why)
{
	struct moment m = { 0 };
	int err = parse_form(s, &m);

	if (err == -EINVAL)
		return refuse(why, err,
			      "'%.100s' is no moment: now, gN, a snapshot's name, -15m, "
			      "@EPOCHSECONDS, or a time like 2026-11-20T16:50:03Z",
			      s);
	if (err) {
		err = name_check(s, why);
		if (err)
			return err;
		m.form = FORM_SNAPSHOT;
		memcpy(m.snapshot, s, strlen(s) + 1);
	}
	*out = m;
	return 0;
}
