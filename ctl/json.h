/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes JSON at the end of a struct text. The caller opens and closes in the
 * right order; commas are ours. Own code, because the names of images may be
 * any bytes and every library wants UTF-8: a byte that belongs to no character
 * is written as a lone low surrogate, \udc80 to \udcff, which is what Python's
 * surrogateescape makes of it, so that no two names look the same and
 * os.fsencode() gives the bytes back.
 */
#ifndef TANDEMFS_JSON_H
#define TANDEMFS_JSON_H

#include "text.h"

struct json {
	struct text *out;
	bool comma; /* before the next value or key */
};

void json_object(struct json *j);
void json_object_end(struct json *j);
void json_array(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, const char *key);

/* NULL is null. */
void json_string(struct json *j, const char *s);
void json_uint(struct json *j, uint64_t n);
void json_int(struct json *j, int64_t n);
void json_bool(struct json *j, bool b);
void json_null(struct json *j);
/* Milliseconds as seconds: 12.345 */
void json_seconds(struct json *j, uint64_t ms);

/* A key and its value. */
void json_object_at(struct json *j, const char *key);
void json_string_at(struct json *j, const char *key, const char *s);
void json_uint_at(struct json *j, const char *key, uint64_t n);
void json_bool_at(struct json *j, const char *key, bool b);
void json_null_at(struct json *j, const char *key);
/* null when it is not known */
void json_known_at(struct json *j, const char *key, bool known, uint64_t n);

#endif
