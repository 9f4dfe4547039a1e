// SPDX-License-Identifier: GPL-2.0-or-later
#include "words.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "values.h"

struct reader {
	const char *at, *end;
	char *free; /* where the next word goes: never past what was read, plus one */
	struct why *why;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool at_word_end(const struct reader *r)
{
	return r->at == r->end || is_blank(*r->at);
}

static void skip_blanks(struct reader *r)
{
	while (r->at < r->end && is_blank(*r->at))
		r->at++;
}

/* Without outer blanks and newlines; one line of printable bytes. */
static int trim(struct reader *r)
{
	while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
		r->at++;
	while (r->at < r->end && strchr(" \t\r\n", r->end[-1]) && r->end[-1])
		r->end--;
	if (r->at == r->end)
		return refuse_advise(r->why, -EINVAL, "cat .replication/help",
				     "the command is empty");
	for (const char *c = r->at; c < r->end; c++) {
		if (*c == '\n' || *c == '\r')
			return refuse(r->why, -EINVAL, "one command per write, on one line");
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return refuse(r->why, -EINVAL, "byte %d is a control character",
				      (unsigned char)*c);
	}
	return 0;
}

/* After the opening quote, to the closing one, which ends the word. */
static int take_quoted(struct reader *r, const char **out)
{
	*out = r->free;
	for (; r->at < r->end && *r->at != '"'; r->at++) {
		if (*r->at == '\t')
			return refuse(r->why, -EINVAL, "a quoted value has no tabs");
		if (*r->at == '\\') {
			r->at++;
			if (r->at == r->end || !strchr("\"\\", *r->at))
				return refuse(r->why, -EINVAL,
					      "in quotes, \\ stands only before \" and \\");
		}
		*r->free++ = *r->at;
	}
	if (r->at == r->end)
		return refuse(r->why, -EINVAL, "a quote is not closed");
	r->at++;
	if (!at_word_end(r))
		return refuse(r->why, -EINVAL, "a blank must follow a closing quote");
	*r->free++ = '\0';
	return 0;
}

/* To a blank, or to `stop` (0: none), which is left. */
static int take_bare(struct reader *r, char stop, const char **out)
{
	*out = r->free;
	for (; !at_word_end(r) && !(stop && *r->at == stop); r->at++) {
		if (*r->at == '"')
			return refuse(r->why, -EINVAL,
				      "quotes go around a whole value: Key=\"a value\"");
		*r->free++ = *r->at;
	}
	return 0;
}

static int take_value(struct reader *r, const char **out)
{
	int err;

	if (r->at < r->end && *r->at == '"') {
		r->at++;
		return take_quoted(r, out);
	}
	err = take_bare(r, 0, out);
	*r->free++ = '\0';
	return err;
}

static int take_word(struct reader *r, struct word *w, bool *quoted)
{
	const char *word;
	int err;

	w->key = NULL;
	*quoted = *r->at == '"';
	if (*quoted)
		return take_value(r, &w->value);
	err = take_bare(r, '=', &word);
	if (err)
		return err;
	*r->free++ = '\0';
	if (at_word_end(r)) {
		w->value = word;
		return 0;
	}
	r->at++; /* the = */
	if (!*word)
		return refuse(r->why, -EINVAL, "a key is missing before =");
	w->key = word;
	return take_value(r, &w->value);
}

static int set_once(struct reader *r, bool *flag, const char *what)
{
	if (*flag)
		return refuse(r->why, -EINVAL, "%s is there twice", what);
	*flag = true;
	return 0;
}

/* Force, wait and wait=DURATION; *taken tells whether it was one of them. */
static int take_flag(struct reader *r, const struct word *w, struct words *out, bool *taken)
{
	int err;

	*taken = true;
	if (!w->key && strcasecmp(w->value, "force") == 0)
		return set_once(r, &out->force, "Force");
	if (!w->key && strcasecmp(w->value, "wait") == 0) {
		out->wait_ms = WAIT_FOREVER;
		return set_once(r, &out->wait, "wait");
	}
	*taken = w->key && strcasecmp(w->key, "wait") == 0;
	if (!*taken)
		return 0;
	err = set_once(r, &out->wait, "wait");
	if (!err && value_duration(w->value, &out->wait_ms))
		err = refuse(r->why, -EINVAL,
			     "wait=%.100s: a duration is like 500ms, 30s, 15m, "
			     "24h or 7d",
			     w->value);
	return err;
}

static int take_arguments(struct reader *r, struct words *out)
{
	for (skip_blanks(r); r->at < r->end; skip_blanks(r)) {
		struct word w;
		bool quoted, taken = false;
		int err = take_word(r, &w, &quoted);

		if (!err && !quoted)
			err = take_flag(r, &w, out, &taken);
		if (err)
			return err;
		if (taken)
			continue;
		if (out->count == WORDS_MAX)
			return refuse(r->why, -EINVAL, "more than %d words", WORDS_MAX);
		out->list[out->count++] = w;
	}
	return 0;
}

static int take_operation(struct reader *r, struct words *out)
{
	struct word w;
	bool quoted;
	int err;

	skip_blanks(r);
	if (r->at == r->end)
		return refuse(r->why, -EINVAL, "Plan what? An operation must follow");
	err = take_word(r, &w, &quoted);
	if (err)
		return err;
	if (w.key || quoted)
		return refuse(r->why, -EINVAL, "a command begins with its operation");
	out->operation = w.value;
	return 0;
}

int words_split(const char *bytes, size_t len, struct words *out, struct why *why)
{
	struct reader r = { .at = bytes, .end = bytes + len, .free = out->bytes, .why = why };
	int err;

	out->operation = "";
	out->plan = out->force = out->wait = false;
	out->wait_ms = 0;
	out->count = 0;
	if (len > COMMAND_MAX)
		return refuse(why, -E2BIG, "a command has at most %d bytes", COMMAND_MAX);
	err = trim(&r);
	if (!err)
		err = take_operation(&r, out);
	if (!err && strcasecmp(out->operation, "plan") == 0) {
		out->plan = true;
		out->operation = "";
		err = take_operation(&r, out);
	}
	return err ? err : take_arguments(&r, out);
}
