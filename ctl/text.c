// SPDX-License-Identifier: GPL-2.0-or-later
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(struct text *t)
{
	free(t->bytes);
	*t = (struct text){ 0 };
}

bool text_ok(const struct text *t)
{
	return !t->failed;
}

/* Room for len more bytes and the NUL. */
static bool reserve(struct text *t, size_t len)
{
	size_t room = t->room ? t->room : 256;
	char *bytes;

	if (t->failed)
		return false;
	if (len >= SIZE_MAX / 4 - t->len) {
		t->failed = true;
		return false;
	}
	while (room < t->len + len + 1)
		room *= 2;
	if (room == t->room)
		return true;
	bytes = realloc(t->bytes, room);
	if (!bytes) {
		t->failed = true;
		return false;
	}
	t->bytes = bytes;
	t->room = room;
	return true;
}

void text_add(struct text *t, const char *bytes, size_t len)
{
	if (len == 0 || !reserve(t, len))
		return;
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
	t->bytes[t->len] = '\0';
}

__attribute__((format(printf, 2, 0))) static void add_formatted(struct text *t, const char *fmt,
								va_list args)
{
	va_list again;
	int len;

	if (!reserve(t, 0))
		return;
	va_copy(again, args);
	len = vsnprintf(t->bytes + t->len, t->room - t->len, fmt, again);
	va_end(again);
	if (len < 0) {
		t->failed = true;
		t->bytes[t->len] = '\0';
		return;
	}
	if ((size_t)len >= t->room - t->len) {
		t->bytes[t->len] = '\0';
		if (!reserve(t, len))
			return;
		vsnprintf(t->bytes + t->len, t->room - t->len, fmt, args);
	}
	t->len += len;
}

void text_addf(struct text *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_formatted(t, fmt, args);
	va_end(args);
}

enum escape { ESCAPE_CONTROL = 1 << 0, ESCAPE_BACKSLASH = 1 << 1, ESCAPE_BLANK = 1 << 2 };

static bool must_escape(unsigned char c, unsigned what)
{
	if (c < ' ' || c == 0x7f)
		return what & ESCAPE_CONTROL;
	if (c == '\\')
		return what & ESCAPE_BACKSLASH;
	return c == ' ' && what & ESCAPE_BLANK;
}

static void add_escaped(struct text *t, const char *s, unsigned what)
{
	const char *plain = s;

	for (; *s; s++) {
		if (!must_escape(*s, what))
			continue;
		text_add(t, plain, s - plain);
		text_addf(t, "\\%03o", (unsigned char)*s);
		plain = s + 1;
	}
	text_add(t, plain, s - plain);
}

void text_add_word(struct text *t, const char *word)
{
	add_escaped(t, *word ? word : "-", ESCAPE_CONTROL | ESCAPE_BACKSLASH | ESCAPE_BLANK);
}

void text_add_line(struct text *t, const char *value)
{
	add_escaped(t, *value ? value : "-", ESCAPE_CONTROL | ESCAPE_BACKSLASH);
}

void text_add_prose(struct text *t, const char *prose)
{
	add_escaped(t, *prose ? prose : "-", ESCAPE_CONTROL);
}

void text_add_field(struct text *t, const char *key, const char *value)
{
	text_addf(t, "%s: ", key);
	text_add_line(t, value);
	text_add(t, "\n", 1);
}

void text_add_fieldf(struct text *t, const char *key, const char *fmt, ...)
{
	va_list args;

	text_addf(t, "%s: ", key);
	va_start(args, fmt);
	add_formatted(t, fmt, args);
	va_end(args);
	text_add(t, "\n", 1);
}
