// SPDX-License-Identifier: GPL-2.0-or-later
#include "handles.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "snapshots.h"

void handles_init(struct handles *t)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
}

/* Number n is slot n - 1. */
struct handle *handle_get(struct handles *t, uint64_t number)
{
	uint64_t slot = number - 1;
	struct handle *chunk;

	assert(number > 0 && slot / HANDLES_PER_CHUNK < HANDLES_CHUNKS);
	chunk = atomic_load_explicit(&t->chunks[slot / HANDLES_PER_CHUNK], memory_order_acquire);
	return &chunk[slot % HANDLES_PER_CHUNK];
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
		chunk[i].next_free = i + 1 < HANDLES_PER_CHUNK ? first + i + 1 : t->free;
	}
	t->free = first;
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
		*number = t->free;
		h = handle_get(t, *number);
		t->free = h->next_free;
		h->kind = kind;
		*out = h;
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

static void empty(struct handle *h)
{
	if (h->kind == HANDLE_DISK && h->disk) {
		disk_close(h->disk);
		disk_unref(h->disk);
	}
	if (h->kind == HANDLE_MOMENT) {
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
	h->commanded = h->rendered = false;
	h->kind = HANDLE_FREE;
	pthread_mutex_unlock(&h->lock);
}

void handle_free(struct handles *t, uint64_t number)
{
	struct handle *h = handle_get(t, number);

	assert(h->kind != HANDLE_FREE && !h->poll);
	empty(h);
	pthread_mutex_lock(&t->lock);
	h->next_free = t->free;
	t->free = number;
	pthread_mutex_unlock(&t->lock);
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
