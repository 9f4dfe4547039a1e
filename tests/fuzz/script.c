// SPDX-License-Identifier: GPL-2.0-or-later
#include "script.h"

#include <string.h>

#include "bytes.h"

static size_t read_patches(struct script *s, const uint8_t *data, size_t size, size_t at)
{
	while (size - at > SCRIPT_PATCH && s->patch_count < SCRIPT_PATCHES) {
		struct script_patch *p = &s->patches[s->patch_count];
		uint64_t head = get_le64(data + at);

		at += SCRIPT_PATCH;
		p->at = head & 0xffffffffffff;
		p->length = head >> 48 & 0xfff;
		p->space = head >> 60;
		if (p->length > size - at)
			p->length = size - at;
		p->bytes = data + at;
		at += p->length;
		if (p->length)
			s->patch_count++;
	}
	return at;
}

void script_read(struct script *s, const uint8_t *data, size_t size)
{
	size_t at = SCRIPT_HEAD;
	unsigned count;

	memset(s, 0, sizeof(*s));
	if (size < SCRIPT_HEAD)
		return;
	s->base = data[0];
	s->options = data[1];
	s->unsealed = data[2];
	s->fail_call = data[3];
	s->fail_nth = data[4];
	s->fail_times = data[5];
	count = data[6];
	s->file_size = get_le64(data + 8);
	for (; size - at >= SCRIPT_OP && s->op_count < count && s->op_count < SCRIPT_OPS;
	     at += SCRIPT_OP)
		s->ops[s->op_count++] = (struct script_op){
			.kind = data[at],
			.mode = data[at + 1],
			.length = get_le16(data + at + 2),
			.position = get_le64(data + at + 4),
		};
	read_patches(s, data, size, at);
}

size_t script_write(const struct script *s, uint8_t *data, size_t room)
{
	uint8_t head[SCRIPT_HEAD] = {
		s->base,     s->options,    s->unsealed, s->fail_call,
		s->fail_nth, s->fail_times, s->op_count,
	};
	size_t at = SCRIPT_HEAD;

	if (room < SCRIPT_HEAD + SCRIPT_OPS * SCRIPT_OP)
		return 0;
	put_le64(head + 8, s->file_size);
	memcpy(data, head, sizeof(head));
	for (unsigned i = 0; i < s->op_count; i++, at += SCRIPT_OP) {
		data[at] = s->ops[i].kind;
		data[at + 1] = s->ops[i].mode;
		put_le16(data + at + 2, s->ops[i].length);
		put_le64(data + at + 4, s->ops[i].position);
	}
	for (unsigned i = 0; i < s->patch_count; i++) {
		const struct script_patch *p = &s->patches[i];

		if (room - at < SCRIPT_PATCH + (size_t)p->length)
			break;
		put_le64(data + at, (p->at & 0xffffffffffff) | (uint64_t)p->length << 48 |
					    (uint64_t)p->space << 60);
		memcpy(data + at + SCRIPT_PATCH, p->bytes, p->length);
		at += SCRIPT_PATCH + p->length;
	}
	return at;
}
