// SPDX-License-Identifier: GPL-2.0-or-later
#include "handles.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots.h"

#define SERIAL_SHIFT 32

void handles_init(struct handles *t, struct session *s)
{
	memset(t, 0, sizeof(*t));
	t->session = s;
	pthread_mutex_init(&t->lock, NULL);
}

/* Place n is slot n - 1; NULL: there is none. */
static struct handle *at_place(struct handles *t, uint32_t place)
{
	uint32_t slot = place - 1;
	struct handle *chunk;

	if (slot / HANDLES_PER_CHUNK >= HANDLES_CHUNKS)
		return NULL;
	chunk = atomic_load_explicit(&t->chunks[slot / HANDLES_PER_CHUNK], memory_order_acquire);
	return chunk ? &chunk[slot % HANDLES_PER_CHUNK] : NULL;
}

static uint64_t number_of(const struct handle *h, uint32_t place)
{
	return (uint64_t)h->record->serial << SERIAL_SHIFT | place;
}

struct handle *handle_get(struct handles *t, uint64_t number)
{
	struct handle *h = at_place(t, (uint32_t)number);

	return h && h->kind != HANDLE_FREE && h->record->serial == number >> SERIAL_SHIFT ? h
											  : NULL;
}

static int add_chunk(struct handles *t)
{
	struct handle *chunk;
	uint32_t first = t->chunk_count * HANDLES_PER_CHUNK + 1;

	if (t->chunk_count == HANDLES_CHUNKS)
		return -ENFILE;
	chunk = calloc(HANDLES_PER_CHUNK, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (uint32_t i = 0; i < HANDLES_PER_CHUNK; i++) {
		pthread_mutex_init(&chunk[i].lock, NULL);
		chunk[i].record = &t->session->open[first - 1 + i];
		chunk[i].next_free = i + 1 < HANDLES_PER_CHUNK ? first + i + 1 : t->free;
	}
	t->free = first;
	if (t->session->opens < first - 1 + HANDLES_PER_CHUNK)
		t->session->opens = first - 1 + HANDLES_PER_CHUNK;
	atomic_store_explicit(&t->chunks[t->chunk_count++], chunk, memory_order_release);
	return 0;
}

int handle_new(struct handles *t, enum handle_kind kind, struct handle **out, uint64_t *number)
{
	struct handle *h;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	if (!t->free)
		err = add_chunk(t);
	if (!err) {
		h = at_place(t, t->free);
		*number = number_of(h, t->free);
		t->free = h->next_free;
		h->kind = kind;
		*out = h;
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

void handle_record(struct handle *h, uint64_t ino, uint32_t flags, uint64_t unique)
{
	struct open_record *r = h->record;

	*r = (struct open_record){
		.serial = r->serial,
		.ino = ino,
		.flags = flags,
		.unique = unique,
		.seen = h->seen,
		.generation = h->moment.generation,
		.time_ms = h->moment.time_ms,
		.size = h->moment.size,
		.allocated = h->moment.allocated,
	};
	atomic_store(&r->kind, h->kind);
}

static void empty(struct handle *h)
{
	if (h->kind == HANDLE_DISK && h->disk) {
		disk_close(h->disk);
		disk_unref(h->disk);
	}
	if (h->kind == HANDLE_MOMENT && h->moment.disk) {
		if (h->moment.generation)
			moment_close(h->moment.disk, h->moment.generation);
		disk_unref(h->moment.disk);
	}
	/* The last read's answer has reached the client, but perhaps not returned here. */
	pthread_mutex_lock(&h->lock);
	text_free(&h->text);
	h->disk = NULL;
	h->moment = (struct content){ 0 };
	h->node = (struct node){ 0 };
	h->base = h->seen = 0;
	h->commanded = h->rendered = h->taken_over = false;
	h->kind = HANDLE_FREE;
	pthread_mutex_unlock(&h->lock);
}

void handle_free(struct handles *t, uint64_t number)
{
	struct handle *h = handle_get(t, number);

	assert(h && !h->poll);
	empty(h);
	/* Closed once more by the next daemon, if this one dies here: there is a RELEASE to come. */
	atomic_store(&h->record->kind, HANDLE_FREE);
	h->record->serial++;
	pthread_mutex_lock(&t->lock);
	h->next_free = t->free;
	t->free = (uint32_t)number;
	pthread_mutex_unlock(&t->lock);
}

/* ---- for another daemon ---- */

/* FNV-1a: that a text is another is to be noticed, nothing more. */
static uint64_t hash(const struct text *t)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < t->len; i++)
		h = (h ^ (unsigned char)t->bytes[i]) * 0x100000001b3;
	return h;
}

void handle_record_text(struct handle *h)
{
	h->record->text_len = h->text.len;
	h->record->text_hash = hash(&h->text);
	h->record->base = h->base;
}

bool handle_is_recorded_text(const struct handle *h, const struct text *text)
{
	return h->record->text_len == text->len && h->record->text_hash == hash(text);
}

static void take_over(struct handle *h)
{
	h->kind = atomic_load(&h->record->kind);
	h->base = h->record->base;
	h->seen = h->record->seen;
	h->taken_over = true;
}

/* Under lock: the places that are used leave the list of free ones. */
static void list_free(struct handles *t)
{
	t->free = 0;
	for (uint32_t place = t->chunk_count * HANDLES_PER_CHUNK; place; place--) {
		struct handle *h = at_place(t, place);

		if (h->kind == HANDLE_FREE) {
			/* Perhaps it was given back, and the kernel has no answer to that. */
			h->record->serial++;
			h->next_free = t->free;
			t->free = place;
		}
	}
}

int handles_take_over(struct handles *t, void (*fn)(void *arg, struct handle *h), void *arg)
{
	uint32_t places = t->session->opens;
	int err = 0;

	if (places > SESSION_OPENS)
		return -EPROTO;
	pthread_mutex_lock(&t->lock);
	while (!err && t->chunk_count * HANDLES_PER_CHUNK < places)
		err = add_chunk(t);
	for (uint32_t place = 1; !err && place <= places; place++)
		take_over(at_place(t, place));
	if (!err)
		list_free(t);
	pthread_mutex_unlock(&t->lock);
	for (uint32_t place = 1; !err && place <= places; place++)
		if (at_place(t, place)->kind != HANDLE_FREE)
			fn(arg, at_place(t, place));
	return err;
}

uint64_t handles_opened_by(struct handles *t, uint64_t unique)
{
	uint32_t places = t->session->opens;

	for (uint32_t place = 1; place <= places; place++) {
		struct handle *h = at_place(t, place);

		if (h && h->taken_over && atomic_load(&h->record->kind) != HANDLE_FREE &&
		    h->record->unique == unique)
			return number_of(h, place);
	}
	return 0;
}

void handles_destroy(struct handles *t)
{
	for (uint32_t c = 0; c < t->chunk_count; c++) {
		for (uint32_t i = 0; i < HANDLES_PER_CHUNK; i++) {
			empty(&t->chunks[c][i]);
			pthread_mutex_destroy(&t->chunks[c][i].lock);
		}
		free(t->chunks[c]);
	}
	pthread_mutex_destroy(&t->lock);
}
