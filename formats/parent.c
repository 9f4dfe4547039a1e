// SPDX-License-Identifier: GPL-2.0-or-later
#include "parent.h"

#include <errno.h>
#include <string.h>

/* *other: an image is there, and it is another one. */
static int try_name(struct image *img, const struct parent_name *name, parent_verify *verify,
		    const void *said, bool *other, char reason[IMAGE_REASON])
{
	struct image *parent;
	int err = img->parents->open(img->parents, name, &parent, reason);

	*other = false;
	if (err)
		return err;
	err = verify(img, parent, said, reason);
	*other = err;
	if (err)
		image_close(parent);
	else
		img->parent = parent;
	return err;
}

/*
 * A copy elsewhere may have its place in a path, and another disk a name that was used before. What
 * is there and cannot be opened ends it: mostly the other names are of the same file, whose own
 * parents have as many names again.
 */
int parent_find(struct image *img, const struct parent_name *names, size_t count,
		parent_verify *verify, const void *said, char reason[IMAGE_REASON])
{
	char why[IMAGE_REASON];
	int first = 0, lacks = 0;

	if (!img->parents)
		return image_fail(reason, -EINVAL, "it has a parent, which cannot be looked for");
	for (size_t i = 0; i < count; i++) {
		bool other, last;
		int err;

		if (!names[i].relative && !names[i].absolute)
			continue;
		why[0] = '\0';
		err = try_name(img, &names[i], verify, said, &other, why);
		last = !other && err != -ENOENT && err != -EXDEV;
		if (!first || last || (first == -ENOENT && err == -EXDEV)) {
			memcpy(reason, why, sizeof(why));
			first = err;
		}
		if (last)
			return err;
		if (!other)
			lacks = err;
	}
	if (lacks) /* whatever the others are: it may come */
		return lacks;
	return first ? first
		     : image_fail(reason, -EINVAL, "it has a parent and does not say where");
}
