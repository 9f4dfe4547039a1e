// SPDX-License-Identifier: GPL-2.0-or-later
#include "names.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "utf8.h"

/* Room that is left for "-N". */
#define STEM_MAX (NAME_BYTES_MAX - 12)

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static int check_characters(const char *name, struct why *why)
{
	while (*name) {
		uint32_t code;
		size_t len = utf8_char(name, &code);

		if (len == 0)
			return refuse(why, -EINVAL, "a name is UTF-8");
		if (is_control(code))
			return refuse(why, -EINVAL, "a name has no control characters");
		if (code == '/' || code == '@' || code == ':')
			return refuse(why, -EINVAL, "a name has no '%c'", (int)code);
		name += len;
	}
	return 0;
}

/* "gN". The other forms begin with '-' or '@', or have a ':' between hours and minutes. */
static bool is_generation(const char *s)
{
	return (*s == 'g' || *s == 'G') && s[1] && s[1 + strspn(s + 1, "0123456789")] == '\0';
}

int name_check(const char *name, struct why *why)
{
	static const char *const taken[] = { "now", "force", "wait" };
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
	if (is_generation(name))
		return refuse(why, -EINVAL, "'%s' reads as a moment, not a name", name);
	return 0;
}

/* A file may be called anything; what a name cannot have becomes '_'. */
void name_stem(const char *disk, char *stem, size_t size)
{
	size_t out = 0, max = size - 5 < STEM_MAX ? size - 5 : STEM_MAX;

	while (*disk && out < max) {
		uint32_t code = 0;
		size_t len = utf8_char(disk, &code);
		bool good = len && !is_control(code) && code != '/' && code != '@' && code != ':';

		if (good && code == '.')
			good = out > 0 && stem[out - 1] != '.';
		if (good && code == '-')
			good = out > 0;
		if (good)
			memcpy(stem + out, disk, len);
		else
			stem[out] = '_';
		out += good ? len : 1;
		disk += len ? len : 1;
	}
	stem[out] = '\0';
}

bool name_whole(const char *name, char *whole)
{
	size_t len = strnlen(name, NAME_MAX), ending = strlen(INCOMPLETE);
	bool incomplete = len > ending && !strcmp(name + len - ending, INCOMPLETE);

	if (incomplete)
		len -= ending;
	memmove(whole, name, len);
	whole[len] = '\0';
	return incomplete;
}
