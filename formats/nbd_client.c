// SPDX-License-Identifier: GPL-2.0-or-later
#include "nbd_client.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <libnbd.h>
#include <limits.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static_assert(NBD_LOST == -ENOTCONN, "ENOTCONN has another number here");

// clang-format off
#define FUNCTIONS(f)                                                            \
	f(create) f(close) f(get_version) f(get_errno)                          \
	f(set_strict_mode) f(set_request_block_size) f(set_pread_initialize)    \
	f(add_meta_context) f(can_meta_context) f(can_multi_conn) f(get_size)   \
	f(poll) f(aio_connect_socket)                                           \
	f(aio_is_ready) f(aio_is_dead) f(aio_is_closed)                         \
	f(aio_command_completed)                                                \
	f(aio_pread) f(aio_pwrite) f(aio_zero) f(aio_flush) f(aio_block_status)
// clang-format on

#define MEMBER(name) __typeof__(&nbd_##name) name;
#define NAME(name) "nbd_" #name,

/* Pointers to functions, in the order of the names. */
static struct library {
	FUNCTIONS(MEMBER)
} lib;

static const char *const names[] = { FUNCTIONS(NAME) };

static_assert(sizeof(lib) == sizeof(names), "one pointer for each name");

static const char *version;

static void load(void)
{
	void *so = dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);
	void **function = (void **)&lib;
	struct nbd_handle *h;

	if (!so)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		function[i] = dlsym(so, names[i]);
		if (!function[i]) {
			dlclose(so);
			return;
		}
	}
	h = lib.create();
	if (h)
		version = lib.get_version(h);
	lib.close(h);
}

const char *nbd_client_version(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return version;
}

/* ---- waiting for answers ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_lost(struct nbd_handle *h)
{
	return lib.aio_is_dead(h) || lib.aio_is_closed(h);
}

/* Lets the connection do what it can do now, or waits for that; NBD_LOST. */
static int step(struct nbd_handle *h, int64_t end)
{
	int64_t left = end - now_ms();

	if (left <= 0)
		return NBD_LOST;
	if (lib.poll(h, left < INT_MAX ? (int)left : INT_MAX) < 0 || is_lost(h))
		return NBD_LOST;
	return 0;
}

/*
 * QEMU takes any range of bytes from a client that does not ask for the sizes
 * of its blocks; libnbd would refuse what is smaller.
 */
static int prepare(struct nbd_handle *h)
{
	return lib.set_request_block_size(h, false) || lib.set_strict_mode(h, LIBNBD_STRICT_MASK) ||
			       lib.set_pread_initialize(h, false) ||
			       lib.add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION)
		       ? NBD_LOST
		       : 0;
}

int nbd_client_open(int sock, unsigned limit_ms, struct nbd_handle **out)
{
	int64_t end = now_ms() + limit_ms;
	struct nbd_handle *h = lib.create();
	int err = h ? prepare(h) : -ENOMEM;

	if (err) {
		close(sock);
	} else if (lib.aio_connect_socket(h, sock)) {
		err = NBD_LOST; /* it closes the socket */
	}
	while (!err && !lib.aio_is_ready(h))
		err = step(h, end);
	if (err) {
		lib.close(h);
		return err;
	}
	*out = h;
	return 0;
}

/* nbd_aio_disconnect of libnbd 1.14 uses freed memory where the server has gone already. */
void nbd_client_close(struct nbd_handle *h)
{
	if (h)
		lib.close(h);
}

uint64_t nbd_client_size(struct nbd_handle *h)
{
	int64_t size = lib.get_size(h);

	return size < 0 ? 0 : size;
}

bool nbd_client_shares(struct nbd_handle *h)
{
	return lib.can_multi_conn(h) > 0;
}

/* ---- requests ---- */

/* The last extent may reach behind what was asked for. */
static int take_extents(void *arg, const char *context, uint64_t off, uint32_t *entries,
			size_t count, int *error)
{
	struct nbd_request *r = arg;
	uint64_t left = r->len;

	for (size_t i = 0; i + 1 < count && left && r->extent_count < NBD_EXTENTS; i += 2) {
		uint64_t len = entries[i] < left ? entries[i] : left;

		if (!len)
			break;
		r->extents[r->extent_count++] = (struct nbd_extent){
			.len = len,
			.hole = entries[i + 1] & LIBNBD_STATE_HOLE,
			.zero = entries[i + 1] & LIBNBD_STATE_ZERO,
		};
		left -= len;
	}
	return 0;
}

static int64_t send_request(struct nbd_handle *h, struct nbd_request *r)
{
	nbd_extent_callback extents = { .callback = take_extents, .user_data = r };
	nbd_completion_callback none = NBD_NULL_COMPLETION;
	uint32_t keep = r->keep ? LIBNBD_CMD_FLAG_NO_HOLE : 0;

	switch (r->op) {
	case NBD_OP_READ:
		return lib.aio_pread(h, r->in, r->len, r->off, none, 0);
	case NBD_OP_WRITE:
		return lib.aio_pwrite(h, r->out, r->len, r->off, none, 0);
	case NBD_OP_ZERO:
		return lib.aio_zero(h, r->len, r->off, none, keep);
	case NBD_OP_FLUSH:
		return lib.aio_flush(h, none, 0);
	case NBD_OP_STATUS:
		r->extent_count = 0;
		return lib.aio_block_status(h, r->len, r->off, extents, none, 0);
	}
	return -1;
}

/* A server that does not tell what is where: everything is data. */
static int all_data(struct nbd_request *r)
{
	r->extents[0] = (struct nbd_extent){ .len = r->len };
	r->extent_count = 1;
	return 0;
}

/* One that stops says ESHUTDOWN to what is still to come. */
static int failure(struct nbd_handle *h)
{
	int err = lib.get_errno();

	if (is_lost(h) || err == ESHUTDOWN || err == ENOTCONN)
		return NBD_LOST;
	return err > 0 ? -err : -EIO;
}

int nbd_client_ask(struct nbd_handle *h, struct nbd_request *r, unsigned limit_ms)
{
	int64_t end = now_ms() + limit_ms, cookie;
	int done, err;

	assert(r->op == NBD_OP_STATUS || r->len <= NBD_REQUEST_MAX);
	if (r->op == NBD_OP_STATUS && lib.can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) <= 0)
		return all_data(r);
	cookie = send_request(h, r);
	if (cookie < 0)
		return failure(h);
	/* A connection that dies completes all that is under way on it. */
	while (!(done = lib.aio_command_completed(h, cookie))) {
		err = step(h, end);
		if (err)
			return err;
	}
	if (done < 0)
		return failure(h);
	return r->op == NBD_OP_STATUS && !r->extent_count ? all_data(r) : 0;
}
