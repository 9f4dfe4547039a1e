// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Text that people write into control files, and what is made of it: words,
 * arguments, values, moments; and the escapes of what is written back. Nothing is
 * carried out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "found.h"
#include "json.h"
#include "moment.h"
#include "rfc3339.h"
#include "utf8.h"
#include "values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- words and arguments ---- */

static bool is_inside(const struct words *w, const char *s)
{
	return s >= w->bytes && s < w->bytes + sizeof(w->bytes) &&
	       memchr(s, '\0', w->bytes + sizeof(w->bytes) - s);
}

static bool has_end(const struct why *why)
{
	return memchr(why->message, '\0', sizeof(why->message)) &&
	       memchr(why->advice, '\0', sizeof(why->advice));
}

static void check_words(const struct words *w)
{
	MUST(*w->operation && is_inside(w, w->operation), "no operation");
	MUST(w->count <= WORDS_MAX, "%u words", w->count);
	for (unsigned i = 0; i < w->count; i++)
		MUST((!w->list[i].key || is_inside(w, w->list[i].key)) &&
			     is_inside(w, w->list[i].value),
		     "word %u", i);
}

static void check_arguments(const struct command *c, const struct argument *args)
{
	size_t i = 0;

	for (; c->parameters && c->parameters[i].key; i++) {
		MUST(i < PARAMETERS_MAX, "too many parameters");
		MUST(args[i].given || !c->parameters[i].required, "%s= is missing",
		     c->parameters[i].key);
		MUST(!args[i].given || strlen(args[i].text) <= COMMAND_MAX, "argument %zu", i);
	}
}

static void command(const char *bytes, size_t size)
{
	struct argument args[PARAMETERS_MAX];
	struct why why = { .message = "" };
	struct words w;
	int err = words_split(bytes, size, &w, &why);

	MUST(w.operation, "no operation");
	MUST(has_end(&why) && (!err || why.message[0]), "no reason for %d", err);
	MUST(!err || err == -EINVAL || err == -E2BIG, "error %d", err);
	if (err)
		return;
	check_words(&w);
	command_of_later(w.operation);
	for (int kind = 0; kind < OBJECT_MAX; kind++) {
		const struct command *table = command_tables[kind].commands;
		const struct command *c = table ? command_find(table, w.operation) : NULL;

		if (!c)
			continue;
		why = (struct why){ .message = "" };
		err = command_bind(c, &w, args, &why);
		MUST(has_end(&why) && (!err || why.message[0]), "no reason for %d", err);
		MUST(!err || err == -EINVAL || err == -EOPNOTSUPP, "error %d", err);
		if (!err)
			check_arguments(c, args);
	}
}

/* ---- values ---- */

static void instant(const char *s)
{
	char text[RFC3339_MAX];
	struct timespec t, again;

	if (rfc3339_parse(s, false, &t))
		return;
	MUST(t.tv_nsec >= 0 && t.tv_nsec < 1000000000, "%ld ns", t.tv_nsec);
	rfc3339_format(text, &t);
	MUST(strlen(text) < sizeof(text), "a long text");
	if (strcmp(text, "-"))
		MUST(!rfc3339_parse(text, true, &again) && again.tv_sec == t.tv_sec &&
			     again.tv_nsec / 1000000 == t.tv_nsec / 1000000,
		     "%s is another moment", text);
}

static void values(const char *s)
{
	struct why why = { .message = "" };
	char text[VALUE_TEXT_MAX];
	struct moment m;
	uint64_t n = 0;
	bool b;

	if (!value_number(s, 1000, &n))
		MUST(n <= 1000, "%llu", (unsigned long long)n);
	if (!value_size(s, &n))
		MUST(strlen(value_human_size(text, n)) < VALUE_TEXT_MAX, "a long text");
	if (!value_duration(s, &n))
		MUST(strlen(value_age(text, n)) < VALUE_TEXT_MAX, "a long text");
	value_bool(s, &b);
	if (!moment_parse(s, &m, &why)) {
		MUST(m.form >= FORM_NOW && m.form <= FORM_SNAPSHOT, "kind %d", m.form);
		if (m.form == FORM_SNAPSHOT)
			MUST(!name_check(m.snapshot, &why) && !strcmp(m.snapshot, s),
			     "a snapshot that may not be called so");
	} else {
		MUST(why.message[0] && has_end(&why), "no reason");
	}
	instant(s);
}

/* ---- what is written ---- */

static void check_json(const struct text *t)
{
	size_t len;

	for (const char *s = t->bytes; *s; s += len) {
		uint32_t code;

		len = utf8_char(s, &code);
		MUST(len, "no UTF-8");
		MUST(code >= ' ' && code != 0x7f, "a control character");
	}
}

static void escapes(const char *s)
{
	struct text word = { 0 }, line = { 0 }, quoted = { 0 };
	struct json json = { .out = &quoted };

	text_add_word(&word, s);
	text_add_line(&line, s);
	text_add_prose(&line, s);
	json_object(&json);
	json_string_at(&json, s, s);
	json_object_end(&json);
	MUST(text_ok(&word) && text_ok(&line) && text_ok(&quoted), "no memory");
	MUST(word.len && !strpbrk(word.bytes, " \t\n\r"), "a blank in a word");
	MUST(!strpbrk(line.bytes, "\n\r"), "a line ends early");
	check_json(&quoted);
	text_free(&word);
	text_free(&line);
	text_free(&quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size + 1);

	memcpy(bytes, data, size);
	bytes[size] = '\0';
	values(bytes);
	escapes(bytes);
	/* Of exactly that length, so that a byte too much is seen. */
	bytes = realloc(bytes, size ? size : 1);
	command(bytes, size);
	free(bytes);
	return 0;
}
