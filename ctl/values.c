// SPDX-License-Identifier: GPL-2.0-or-later
#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Digits at the start of s, at least one; *end is what follows. */
static int leading_number(const char *s, uint64_t *out, const char **end)
{
	uint64_t n = 0;
	const char *at;

	for (at = s; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *at - '0', &n))
			return -EINVAL;
	}
	if (at == s)
		return -EINVAL;
	*out = n;
	*end = at;
	return 0;
}

int value_number(const char *s, uint64_t max, uint64_t *out)
{
	const char *end;
	uint64_t n;
	int err = leading_number(s, &n, &end);

	if (err)
		return err;
	if (*end || n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

// clang-format off
static const struct unit size_units[] = {
	{ "", 1 }, { "K", 1ULL << 10 }, { "M", 1ULL << 20 }, { "G", 1ULL << 30 },
	{ "T", 1ULL << 40 }, { NULL },
};
// clang-format on

// clang-format off
static const struct unit duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 },
	{ "d", 24 * 3600 * 1000 }, { NULL },
};
// clang-format on

static int with_unit(const char *s, const struct unit *units, uint64_t *out)
{
	const char *end;
	uint64_t n;
	int err = leading_number(s, &n, &end);

	if (err)
		return err;
	for (; units->name; units++) {
		if (strcasecmp(end, units->name) != 0)
			continue;
		return __builtin_mul_overflow(n, units->factor, out) ? -EINVAL : 0;
	}
	return -EINVAL;
}

int value_size(const char *s, uint64_t *bytes)
{
	uint64_t n;
	int err = with_unit(s, size_units, &n);

	if (!err)
		*bytes = n;
	return err;
}

int value_duration(const char *s, uint64_t *ms)
{
	uint64_t n;
	int err = with_unit(s, duration_units, &n);

	if (!err)
		*ms = n;
	return err;
}

const struct enum_value *value_enum(const struct enum_value *list, const char *s)
{
	uint64_t n;
	bool numeric = !value_number(s, UINT32_MAX, &n);

	for (; list->name; list++) {
		if (numeric ? n == list->number : strcasecmp(s, list->name) == 0)
			return list;
	}
	return NULL;
}

int value_bool(const char *s, bool *out)
{
	static const struct enum_value booleans[] = { { "false", 0 }, { "true", 1 }, { NULL } };
	const struct enum_value *v = value_enum(booleans, s);

	if (!v)
		return -EINVAL;
	*out = v->number;
	return 0;
}

const char *value_human_size(char *buf, uint64_t bytes)
{
	const struct unit *u = size_units;
	uint64_t whole, tenths;

	while (u[1].name && bytes >= u[1].factor)
		u++;
	whole = bytes / u->factor;
	if (bytes % u->factor == 0) {
		snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 "%s", whole, u->name);
		return buf;
	}
	/* To the nearest tenth: the remainder is below 2^40, so times 10 fits. */
	tenths = (bytes % u->factor * 10 + u->factor / 2) / u->factor;
	if (tenths == 10) {
		whole++;
		tenths = 0;
	}
	if (whole == 1024 && u[1].name) {
		whole = 1;
		u++;
	}
	snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%s", whole, tenths, u->name);
	return buf;
}

const char *value_age(char *buf, uint64_t seconds)
{
	// clang-format off
	static const struct unit ages[] = {
		{ "d", 24 * 3600 }, { "h", 3600 }, { "m", 60 }, { "s", 1 },
	};
	// clang-format on
	const struct unit *u = ages;
	uint64_t rest;
	int len;

	while (u->factor > 1 && seconds < u->factor)
		u++;
	len = snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 "%s", seconds / u->factor, u->name);
	if (u->factor == 1)
		return buf;
	rest = seconds % u->factor / u[1].factor;
	if (rest)
		snprintf(buf + len, VALUE_TEXT_MAX - len, "%" PRIu64 "%s", rest, u[1].name);
	return buf;
}

const char *value_seconds(char *buf, uint64_t ns)
{
	uint64_t tenths = ns / 100000000;

	snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 ".%us", tenths / 10, (unsigned)(tenths % 10));
	return buf;
}

const char *value_uuid(char *buf, const uint8_t id[16])
{
	char *at = buf;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", id[i]);
	}
	return buf;
}
