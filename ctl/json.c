// SPDX-License-Identifier: GPL-2.0-or-later
#include "json.h"

#include <inttypes.h>

#include "utf8.h"

static void open_value(struct json *j)
{
	if (j->comma)
		text_add(j->out, ",", 1);
	j->comma = true;
}

static void add_bracket(struct json *j, const char *bracket)
{
	open_value(j);
	text_add(j->out, bracket, 1);
	j->comma = false;
}

static void add_end(struct json *j, const char *bracket)
{
	text_add(j->out, bracket, 1);
	j->comma = true;
}

void json_object(struct json *j)
{
	add_bracket(j, "{");
}

void json_object_end(struct json *j)
{
	add_end(j, "}");
}

void json_array(struct json *j)
{
	add_bracket(j, "[");
}

void json_array_end(struct json *j)
{
	add_end(j, "]");
}

static void add_quoted(struct text *out, const char *s)
{
	text_add(out, "\"", 1);
	while (*s) {
		uint32_t code;
		size_t len = utf8_char(s, &code);

		if (len == 0) {
			text_addf(out, "\\udc%02x", (unsigned char)*s);
			len = 1;
		} else if (code < 0x20 || code == 0x7f) {
			text_addf(out, "\\u%04x", code);
		} else if (code == '"' || code == '\\') {
			text_addf(out, "\\%c", (int)code);
		} else {
			text_add(out, s, len);
		}
		s += len;
	}
	text_add(out, "\"", 1);
}

void json_key(struct json *j, const char *key)
{
	open_value(j);
	add_quoted(j->out, key);
	text_add(j->out, ":", 1);
	j->comma = false;
}

void json_string(struct json *j, const char *s)
{
	if (!s) {
		json_null(j);
		return;
	}
	open_value(j);
	add_quoted(j->out, s);
}

void json_uint(struct json *j, uint64_t n)
{
	open_value(j);
	text_addf(j->out, "%" PRIu64, n);
}

void json_int(struct json *j, int64_t n)
{
	open_value(j);
	text_addf(j->out, "%" PRId64, n);
}

void json_bool(struct json *j, bool b)
{
	open_value(j);
	text_addf(j->out, "%s", b ? "true" : "false");
}

void json_null(struct json *j)
{
	open_value(j);
	text_add(j->out, "null", 4);
}

void json_seconds(struct json *j, uint64_t ms)
{
	open_value(j);
	text_addf(j->out, "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
}

void json_object_at(struct json *j, const char *key)
{
	json_key(j, key);
	json_object(j);
}

void json_string_at(struct json *j, const char *key, const char *s)
{
	json_key(j, key);
	json_string(j, s);
}

void json_uint_at(struct json *j, const char *key, uint64_t n)
{
	json_key(j, key);
	json_uint(j, n);
}

void json_bool_at(struct json *j, const char *key, bool b)
{
	json_key(j, key);
	json_bool(j, b);
}

void json_null_at(struct json *j, const char *key)
{
	json_key(j, key);
	json_null(j);
}

void json_known_at(struct json *j, const char *key, bool known, uint64_t n)
{
	json_key(j, key);
	if (known)
		json_uint(j, n);
	else
		json_null(j);
}
