// SPDX-License-Identifier: GPL-2.0-or-later
#include "rfc3339.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#define DAY 86400

static bool is_leap_year(int y)
{
	return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

static int month_length(int y, int m)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[m - 1] + (m == 2 && is_leap_year(y));
}

/* Days from 1970-01-01 to the first day of a year, 0 to 10000. */
static int64_t days_to_year(int64_t y)
{
	int64_t leaps = y > 0 ? (y - 1) / 4 - (y - 1) / 100 + (y - 1) / 400 + 1 : 0;

	return 365 * y + leaps - 719528;
}

/* Exactly `count` digits, within bounds; moves on. */
static bool take_digits(const char **s, int count, int min, int max, int *out)
{
	int n = 0;

	for (; count > 0; count--, (*s)++) {
		if (**s < '0' || **s > '9')
			return false;
		n = n * 10 + (**s - '0');
	}
	*out = n;
	return n >= min && n <= max;
}

static bool take(const char **s, char a, char b)
{
	if (**s != a && **s != b)
		return false;
	(*s)++;
	return true;
}

static bool take_date(const char **s, int64_t *days)
{
	int y, m, d;

	if (!take_digits(s, 4, 0, 9999, &y) || !take(s, '-', '-') ||
	    !take_digits(s, 2, 1, 12, &m) || !take(s, '-', '-') ||
	    !take_digits(s, 2, 1, month_length(y, m), &d))
		return false;
	*days = days_to_year(y) + d - 1;
	while (--m > 0)
		*days += month_length(y, m);
	return true;
}

/* Digits after the dot; what is finer than a nanosecond is dropped. */
static bool take_fraction(const char **s, long *nsec)
{
	long unit = 100000000;
	const char *start = *s;

	*nsec = 0;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		*nsec += (**s - '0') * unit;
		unit /= 10;
	}
	return *s != start;
}

static bool take_clock(const char **s, bool need_seconds, int *seconds, long *nsec)
{
	int h, m, sec = 0;

	*nsec = 0;
	if (!take_digits(s, 2, 0, 23, &h) || !take(s, ':', ':') || !take_digits(s, 2, 0, 59, &m))
		return false;
	if (take(s, ':', ':')) {
		if (!take_digits(s, 2, 0, 60, &sec))
			return false;
		if (take(s, '.', '.') && !take_fraction(s, nsec))
			return false;
	} else if (need_seconds) {
		return false;
	}
	if (sec == 60)
		*nsec = 0; /* time_t has no leap seconds */
	*seconds = h * 3600 + m * 60 + sec;
	return true;
}

static bool take_offset(const char **s, int *seconds)
{
	int sign = **s == '-' ? -1 : 1;
	int h, m;

	*seconds = 0;
	if (take(s, 'Z', 'z'))
		return true;
	if (!take(s, '+', '-') || !take_digits(s, 2, 0, 23, &h) || !take(s, ':', ':') ||
	    !take_digits(s, 2, 0, 59, &m))
		return false;
	*seconds = sign * (h * 3600 + m * 60);
	return true;
}

int rfc3339_parse(const char *s, bool need_seconds, struct timespec *out)
{
	int64_t days;
	int seconds, offset;
	long nsec;

	if (!take_date(&s, &days) || !take(&s, 'T', 't') ||
	    !take_clock(&s, need_seconds, &seconds, &nsec) || !take_offset(&s, &offset) || *s)
		return -EINVAL;
	out->tv_sec = days * DAY + seconds - offset;
	out->tv_nsec = nsec;
	return 0;
}

const char *rfc3339_format(char buf[RFC3339_MAX], const struct timespec *t)
{
	int64_t days = t->tv_sec / DAY, y;
	int second = t->tv_sec % DAY, m = 1;

	if (t->tv_sec < days_to_year(0) * DAY || t->tv_sec >= days_to_year(10000) * DAY) {
		snprintf(buf, RFC3339_MAX, "-");
		return buf;
	}
	if (second < 0) {
		second += DAY;
		days--;
	}
	/* A first guess by the mean length of a year, then the right one. */
	y = (days + 719528) * 400 / 146097;
	while (days_to_year(y) > days)
		y--;
	while (days_to_year(y + 1) <= days)
		y++;
	days -= days_to_year(y);
	for (; days >= month_length(y, m); m++)
		days -= month_length(y, m);
	snprintf(buf, RFC3339_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)y % 10000,
		 (unsigned)m % 100, (unsigned)(days + 1) % 100, (unsigned)second / 3600 % 24,
		 (unsigned)second / 60 % 60, (unsigned)second % 60,
		 (unsigned)(t->tv_nsec / 1000000) % 1000);
	return buf;
}

const char *rfc3339_format_ms(char buf[RFC3339_MAX], uint64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	return rfc3339_format(buf, &t);
}
