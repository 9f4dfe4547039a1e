// SPDX-License-Identifier: GPL-2.0-or-later
/* Words held against a row of a command table. Pure. */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "moment.h"

const struct command *command_find(const struct command *table, const char *word)
{
	uint64_t number = 0;

	value_number(word, UINT32_MAX, &number);
	for (; table->name; table++) {
		if (strcasecmp(table->name, word) == 0 || (number && number == table->number))
			return table;
	}
	return NULL;
}

/* Nobody is told to use it. */
static bool is_hidden(const struct parameter *p)
{
	return p->type == VALUE_LATER || p->hidden;
}

/* "Name=, Size=, Format=": what the operation takes. */
static const char *list_keys(const struct command *command, char *buf, size_t size)
{
	const struct parameter *p = command->parameters;
	size_t len = 0;

	buf[0] = '\0';
	for (; p && p->key && len < size; p++) {
		if (is_hidden(p))
			continue;
		len += snprintf(buf + len, size - len, "%s%s=", len ? ", " : "", p->key);
	}
	return len ? buf : "no Key=Value";
}

static int unknown_key(const struct command *command, const char *key, struct why *why)
{
	char keys[240];

	return refuse(why, -EINVAL, "%s has no %.60s=; it takes %s", command->name, key,
		      list_keys(command, keys, sizeof(keys)));
}

static int parse_seconds(const char *s, uint64_t *seconds)
{
	uint64_t ms;

	if (value_duration(s, &ms) || ms % 1000)
		return -EINVAL;
	*seconds = ms / 1000;
	return 0;
}

static int parse_bool(const char *s, uint64_t *out)
{
	bool b;
	int err = value_bool(s, &b);

	if (!err)
		*out = b;
	return err;
}

static int parse_enum(const struct parameter *p, const char *s, struct argument *arg,
		      struct why *why)
{
	const struct enum_value *v = value_enum(p->values, s);
	char names[240] = "";
	size_t len = 0;

	if (v) {
		arg->text = v->name;
		arg->number = v->number;
		return 0;
	}
	for (v = p->values; v->name && len < sizeof(names); v++)
		len += snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "", v->name);
	return refuse(why, -EINVAL, "%s=%.60s: one of %s is wanted", p->key, s, names);
}

static int parse_value(const struct parameter *p, const char *s, struct argument *arg,
		       struct why *why)
{
	const char *wanted = NULL;
	int err = 0;

	switch (p->type) {
	case VALUE_TEXT:
		wanted = "a value";
		err = *s ? 0 : -EINVAL;
		break;
	case VALUE_NAME:
		return name_check(s, why);
	case VALUE_SIZE:
		wanted = "bytes, or a number with K, M, G or T";
		err = value_size(s, &arg->number);
		break;
	case VALUE_NUMBER:
		wanted = "a number";
		err = value_number(s, UINT32_MAX, &arg->number);
		break;
	case VALUE_DURATION:
		wanted = "a duration, like 500ms, 30s, 15m, 24h or 7d";
		err = value_duration(s, &arg->number);
		break;
	case VALUE_MOMENT:
		return moment_parse(s, &(struct moment){ 0 }, why);
	case VALUE_SECONDS:
		wanted = "whole seconds, like 30s, 15m, 24h or 7d";
		err = parse_seconds(s, &arg->number);
		break;
	case VALUE_BOOL:
		wanted = "true or false";
		err = parse_bool(s, &arg->number);
		break;
	case VALUE_ENUM:
		return parse_enum(p, s, arg, why);
	case VALUE_LATER:
	case VALUE_INVALID:
		return refuse(why, -EOPNOTSUPP, "tandemfs %s has no %s=", TANDEMFS_VERSION, p->key);
	}
	if (err)
		return refuse(why, err, "%s=%.100s: %s is wanted", p->key, s, wanted);
	return 0;
}

static int bind_word(const struct command *command, const struct word *w, struct argument *args,
		     struct why *why)
{
	const struct parameter *p = command->parameters;
	const char *key = w->key ? w->key : command->positional;
	struct argument *arg = args;

	if (!key)
		return refuse(why, -EINVAL,
			      "%s does not take '%.100s' without a Key=", command->name, w->value);
	while (p && p->key && strcasecmp(p->key, key) != 0) {
		p++;
		arg++;
	}
	if (!p || !p->key)
		return unknown_key(command, key, why);
	if (arg->given)
		return refuse(why, -EINVAL, "%s= is there twice", p->key);
	arg->given = true;
	arg->text = w->value;
	return parse_value(p, w->value, arg, why);
}

void command_words(const struct command *command, unsigned most, struct text *out)
{
	const struct parameter *p = command->parameters;
	bool optional = false;
	unsigned told = 0;

	text_addf(out, "%s", command->name);

	for (; p && p->key; p++) {
		bool needed = p->required || command->needs_any;

		if (is_hidden(p))
			continue;
		if (told++ == most) {
			text_addf(out, optional ? " ..." : " [...");
			optional = true;
			break;
		}
		if (needed)
			text_addf(out, optional ? "] %s=" : " %s=", p->key);
		else
			text_addf(out, optional ? " %s=" : " [%s=", p->key);
		optional = !needed;
	}
	if (optional)
		text_addf(out, "]");
}

void command_usage(const struct command *command, struct text *out)
{
	command_words(command, UINT_MAX, out);
	if (command->force)
		text_addf(out, " [Force]");
}

static int bind_words(const struct command *command, const struct words *words,
		      struct argument *args, struct why *why)
{
	const struct parameter *p = command->parameters;
	char keys[240];

	memset(args, 0, PARAMETERS_MAX * sizeof(*args));
	for (unsigned i = 0; i < words->count; i++) {
		int err = bind_word(command, &words->list[i], args, why);

		if (err)
			return err;
	}
	if (words->force && !command->force)
		return refuse(why, -EINVAL, "%s never needs Force", command->name);
	if (command->needs_any && words->count == 0)
		return refuse(why, -EINVAL, "%s needs one of %s", command->name,
			      list_keys(command, keys, sizeof(keys)));
	for (; p && p->key; p++, args++) {
		if (p->required && !args->given)
			return refuse(why, -EINVAL, "%s needs %s=", command->name, p->key);
	}
	return 0;
}

int command_bind(const struct command *command, const struct words *words, struct argument *args,
		 struct why *why)
{
	struct text usage = { 0 };
	int err = bind_words(command, words, args, why);

	if (err != -EINVAL)
		return err;
	command_usage(command, &usage);
	if (text_ok(&usage))
		snprintf(why->advice, sizeof(why->advice), "%s: %s", usage.bytes, command->help);
	text_free(&usage);
	return err;
}

/*
 * Every operation of the manual that this version does not have, so that a
 * script learns that it came too early and not that it cannot spell.
 */
static const char *const later[] = {
	/* the whole */
	"AddPeer", "RemovePeer", "Scrub", "Release",
	/* peers */
	"Connect", "Disconnect"
};

const char *command_of_later(const char *word)
{
	for (size_t i = 0; i < sizeof(later) / sizeof(*later); i++) {
		if (strcasecmp(later[i], word) == 0)
			return later[i];
	}
	return NULL;
}
