// SPDX-License-Identifier: GPL-2.0-or-later
/* Finding the parent of a differencing VHDX, and making sure that it is the right one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "parent.h"
#include "vhdx_inner.h"

#define LOCATOR_HEAD 20
#define LOCATOR_PAIR 12

/* What a locator says, in UTF-8; NULL: nothing of that. */
enum key { LINKAGE, LINKAGE2, RELATIVE, VOLUME, ABSOLUTE, KEYS };

static const char *const key_names[KEYS] = {
	[LINKAGE] = "parent_linkage",       [LINKAGE2] = "parent_linkage2",
	[RELATIVE] = "relative_path",       [VOLUME] = "volume_path",
	[ABSOLUTE] = "absolute_win32_path",
};

/* ---- text ---- */

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = 0xc0 | c >> 6;
		out[1] = 0x80 | (c & 63);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = 0xe0 | c >> 12;
		out[1] = 0x80 | (c >> 6 & 63);
		out[2] = 0x80 | (c & 63);
		return 3;
	}
	out[0] = 0xf0 | c >> 18;
	out[1] = 0x80 | (c >> 12 & 63);
	out[2] = 0x80 | (c >> 6 & 63);
	out[3] = 0x80 | (c & 63);
	return 4;
}

/* A new string of UTF-16LE; NULL with *err. A NUL, or half a pair, is no text. */
static char *to_utf8(const uint8_t *p, size_t len, int *err)
{
	char *text = malloc(len / 2 * 3 + 1), *out = text;

	*err = text ? 0 : -ENOMEM;
	if (len % 2 && text)
		*err = -EILSEQ;
	for (size_t i = 0; !*err && i < len; i += 2) {
		uint32_t c = get_le16(p + i), low = i + 4 <= len ? get_le16(p + i + 2) : 0;

		if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			i += 2;
		} else if (!c || (c >= 0xd800 && c < 0xe000)) {
			*err = -EILSEQ;
			break;
		}
		out += put_utf8(out, c);
	}
	if (*err) {
		free(text);
		return NULL;
	}
	*out = '\0';
	return text;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "{83ed0ec3-24c8-49a6-a959-5e4bd1288791}", with or without the braces. */
static bool parse_guid(const char *text, uint8_t guid[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	bool braces = *text == '{';

	text += braces;
	for (int i = 0; i < 16; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		high = hex(text[0]);
		low = high < 0 ? -1 : hex(text[1]);
		if (low < 0)
			return false;
		guid[order[i]] = high << 4 | low;
		text += 2;
	}
	return !strcmp(text, braces ? "}" : "");
}

/* As this system writes paths. "\\?\C:\x" is C:/x. */
static void turn_slashes(char *path)
{
	if (!strncmp(path, "\\\\?\\", 4))
		memmove(path, path + 4, strlen(path + 4) + 1);
	for (; *path; path++)
		if (*path == '\\')
			*path = '/';
}

/* ---- the locator ---- */

static int take_pair(const uint8_t *locator, uint32_t length, const uint8_t *pair,
		     char *values[KEYS])
{
	uint32_t key_at = get_le32(pair), value_at = get_le32(pair + 4);
	uint16_t key_length = get_le16(pair + 8), value_length = get_le16(pair + 10);
	char *key;
	int i = 0, err;

	if (key_at > length || key_length > length - key_at || value_at > length ||
	    value_length > length - value_at)
		return -EINVAL;
	key = to_utf8(locator + key_at, key_length, &err);
	if (!key)
		return err;
	while (i < KEYS && strcmp(key_names[i], key))
		i++;
	free(key);
	if (i == KEYS)
		return 0;
	if (values[i])
		return -EINVAL;
	values[i] = to_utf8(locator + value_at, value_length, &err);
	if (values[i] && i >= RELATIVE)
		turn_slashes(values[i]);
	return err;
}

static int read_locator(struct image *img, char *values[KEYS], char reason[IMAGE_REASON])
{
	struct vhdx *v = vhdx_of(img);
	uint32_t length = v->layout.locator.length, count;
	uint8_t *locator = malloc(length);
	int err;

	if (!locator)
		return -ENOMEM;
	err = vhdx_overlay_read(&v->overlay, img->file, locator, length, v->layout.locator.at);
	if (err) {
		image_fail(reason, err, "the name of its parent cannot be read");
		goto out;
	}
	if (memcmp(locator, vhdx_guid_locator_type, 16)) {
		err = image_fail(reason, -EOPNOTSUPP, "its parent is named in an unknown way");
		goto out;
	}
	count = get_le16(locator + 18);
	if (count > (length - LOCATOR_HEAD) / LOCATOR_PAIR)
		err = -EINVAL;
	for (uint32_t i = 0; i < count && !err; i++)
		err = take_pair(locator, length, locator + LOCATOR_HEAD + i * LOCATOR_PAIR, values);
	if (err && err != -ENOMEM)
		image_fail(reason, err, "the name of its parent is damaged");
out:
	free(locator);
	return err;
}

/* ---- the parent ---- */

static bool is_named(const struct image *parent, const char *linkage)
{
	uint8_t guid[16];

	return linkage && parse_guid(linkage, guid) &&
	       !memcmp(guid, parent->identity, sizeof(guid)) &&
	       memcmp(guid, vhdx_guid_none, sizeof(guid));
}

static int verify(struct image *img, const struct image *parent, const void *said,
		  char reason[IMAGE_REASON])
{
	char *const *values = said;

	if (!is_named(parent, values[LINKAGE]) && !is_named(parent, values[LINKAGE2]))
		return image_fail(reason, -EINVAL,
				  "its parent was changed, or is another image than it was");
	if (parent->sector_size != img->sector_size)
		return image_fail(reason, -EINVAL,
				  "its sectors have %u bytes and those of its parent %u",
				  img->sector_size, parent->sector_size);
	return 0;
}

int vhdx_open_parent(struct image *img, char reason[IMAGE_REASON])
{
	char *values[KEYS] = { NULL };
	int err = read_locator(img, values, reason);

	if (!err) {
		/* Where it is from here counts most. */
		const struct parent_name names[] = {
			{ .relative = values[RELATIVE] },
			{ .absolute = values[ABSOLUTE] },
			{ .absolute = values[VOLUME] },
		};

		err = parent_find(img, names, sizeof(names) / sizeof(names[0]), verify, values,
				  reason);
	}
	for (int i = 0; i < KEYS; i++)
		free(values[i]);
	return err;
}
