// SPDX-License-Identifier: GPL-2.0-or-later
#include "moment.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "rfc3339.h"
#include "utf8.h"
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
		out->kind = MOMENT_NOW;
		return 0;
	}
	if ((*s == 'g' || *s == 'G') && only_digits(s + 1)) {
		out->kind = MOMENT_GENERATION;
		return value_number(s + 1, UINT64_MAX, &out->generation);
	}
	if (*s == '-') {
		out->kind = MOMENT_AGO;
		return value_duration(s + 1, &out->ago_ms);
	}
	out->kind = MOMENT_TIME;
	if (*s == '@')
		return parse_epoch(s + 1, &out->time);
	return rfc3339_parse(s, false, &out->time) ? -ENOENT : 0;
}

static int check_characters(const char *name, struct why *why)
{
	while (*name) {
		uint32_t code;
		size_t len = utf8_char(name, &code);

		if (len == 0)
			return refuse(why, -EINVAL, "a name is UTF-8");
		if (code < 0x20 || (code >= 0x7f && code < 0xa0))
			return refuse(why, -EINVAL, "a name has no control characters");
		if (code == '/' || code == '@' || code == ':')
			return refuse(why, -EINVAL, "a name has no '%c'", (int)code);
		name += len;
	}
	return 0;
}

int name_check(const char *name, struct why *why)
{
	static const char *const taken[] = { "now", "force", "wait" };
	struct moment m;
	int err;

	if (!*name)
		return refuse(why, -EINVAL, "a name is not empty");
	if (strlen(name) > NAME_BYTES_MAX)
		return refuse(why, -EINVAL, "a name has at most %d bytes", NAME_BYTES_MAX);
	err = check_characters(name, why);
	if (err)
		return err;
	if (*name == '.' || *name == '-')
		return refuse(why, -EINVAL, "a name does not begin with '%c'", *name);
	if (strstr(name, ".."))
		return refuse(why, -EINVAL, "a name has no '..'");
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
		if (strcasecmp(name, taken[i]) == 0)
			return refuse(why, -EINVAL, "'%s' is a word of commands, not a name", name);
	}
	if (parse_form(name, &m) != -ENOENT)
		return refuse(why, -EINVAL, "'%s' reads as a moment, not a name", name);
	return 0;
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
		m.kind = MOMENT_SNAPSHOT;
		memcpy(m.snapshot, s, strlen(s) + 1);
	}
	*out = m;
	return 0;
}
