// SPDX-License-Identifier: GPL-2.0-or-later
#include "workers.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "mount.h"

#define PAGE 4096
/* struct fuse_in_header and struct fuse_write_in: what stands before a write's payload. */
#define WRITE_HEADER 80
/* A chain of sixteen parents is opened one in the other. Only what is used takes memory. */
#define STACK_SIZE (1 << 20)
/*
 * So many threads wait in the kernel, or as many as are serving disks; the
 * others that are idle wait here, the last one busy on top. The kernel wakes
 * waiting threads in turn: with many, each request of a fast disk would wake
 * another one, with cold caches. With few, each request of a slow disk would
 * first wake one here, to wait there.
 */
#define MIN_WAITING 4
/* How long an idle thread stays, and how many unused buffers are kept. */
#define IDLE_SECONDS 10
#define MAX_SPARE 4

/*
 * One page for ourselves and the request's header, then room for its payload.
 * Memory is touched only as far as requests are large.
 */
struct request_buffer {
	struct request_buffer *next;
	size_t touched; /* bytes of the payload that have memory */
	struct request_facts facts;
	struct disk_job job;
};
#define BUFFER_SIZE (PAGE + MOUNT_MAX_WRITE + PAGE)
_Static_assert(sizeof(struct request_buffer) <= PAGE - WRITE_HEADER, "both fit in the first page");

/* A thread that neither works nor waits in the kernel. */
struct idle_worker {
	pthread_cond_t wake;
	bool awake;
	struct idle_worker *next;
};

static __thread struct request_buffer *current;

static char *payload_of(struct request_buffer *b)
{
	return (char *)b + PAGE;
}

/*
 * A request that the kernel copies to us while we are killed is lost, and its client gets EIO, if
 * there is memory still to be found for it; else it comes again. So there is memory beforehand, as
 * far as requests were large up to now.
 */
static void touch(struct workers *w, struct request_buffer *b)
{
	size_t size = atomic_load(&w->mount->memory->largest_request);

	if (size > MOUNT_MAX_WRITE)
		size = MOUNT_MAX_WRITE;
	for (; b->touched < size; b->touched += PAGE)
		*(volatile char *)(payload_of(b) + b->touched) = 0;
}

static void note_size(struct workers *w, struct request_buffer *b, size_t len)
{
	_Atomic uint32_t *largest = &w->mount->memory->largest_request;
	size_t size = len > WRITE_HEADER ? len - WRITE_HEADER : 0;

	if (size > atomic_load(largest))
		atomic_store(largest, size);
	if (size > b->touched)
		b->touched = size / PAGE * PAGE;
}

static struct request_buffer *buffer_get(struct workers *w)
{
	struct request_buffer *b;

	pthread_mutex_lock(&w->lock);
	b = w->spare;
	if (b) {
		w->spare = b->next;
		w->spares--;
	}
	pthread_mutex_unlock(&w->lock);
	if (b)
		return b;
	b = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	b->touched = 0; /* and so the first page is */
	return b;
}

static void buffer_put(struct workers *w, struct request_buffer *b)
{
	bool keep;

	if (!b)
		return;
	pthread_mutex_lock(&w->lock);
	keep = w->spares < MAX_SPARE;
	if (keep) {
		b->next = w->spare;
		w->spare = b;
		w->spares++;
	}
	pthread_mutex_unlock(&w->lock);
	if (!keep)
		munmap(b, BUFFER_SIZE);
}

/* ---- jobs ---- */

struct disk_job *workers_job(struct mount *m, fuse_req_t req, struct disk *d)
{
	struct disk_job *job = &current->job;

	memset(job, 0, sizeof(*job));
	job->buffer = current;
	job->mount = m;
	job->req = req;
	job->disk = d;
	job->unique = current->facts.unique;
	return job;
}

struct request_facts workers_request(void)
{
	return current->facts;
}

/*
 * How many requests of a disk may run. When many disks are stuck at once, the last quarter is for
 * one request of each; and one is what a copy leaves that comes before guests.
 */
static unsigned limit_of(const struct workers *w, const struct disk *d, unsigned busy)
{
	return busy >= w->limit - w->limit / 4 || atomic_load(&d->hurried) ? 1 : UINT_MAX;
}

void workers_submit(struct disk_job *job)
{
	struct disk *d = disk_ref(job->disk);
	struct workers *w = &job->mount->workers;

	unsigned busy = atomic_fetch_add(&w->in_jobs, 1);

	if (!gate_enter_few(&d->gate, &job->gate, limit_of(w, d, busy))) {
		atomic_fetch_sub(&w->in_jobs, 1);
		current = NULL; /* parked with it */
		disk_unref(d);
		return;
	}
	while (job) {
		struct request_buffer *b = job->buffer;

		job->run(job, payload_of(b));
		job = (struct disk_job *)gate_leave(&d->gate, &job->gate);
		if (b != current)
			buffer_put(w, b);
	}
	atomic_fetch_sub(&w->in_jobs, 1);
	disk_unref(d);
}

/* ---- threads ---- */

static void *worker(void *arg);

/* Under lock. */
static int start_one(struct workers *w)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&w->threads[w->count], &attr, worker, w);
	pthread_attr_destroy(&attr);
	if (!err) {
		w->count++;
		w->waiting++; /* it will; until then nobody needs to start another */
	}
	return -err;
}

/* Under lock. */
static void wake_one(struct workers *w)
{
	struct idle_worker *i = w->idle;

	w->idle = i->next;
	i->awake = true;
	w->waiting++;
	pthread_cond_signal(&i->wake);
}

static void took_a_request(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->waiting--;
	if (!w->waiting && !w->stop) {
		if (w->idle)
			wake_one(w);
		else if (w->count < w->limit && start_one(w))
			log_line(LOG_LEVEL_WARNING, "no more threads than %u can be had", w->count);
	}
	pthread_mutex_unlock(&w->lock);
}

/* Under lock. False: nobody needed this thread for a while. */
static bool stay_idle(struct workers *w)
{
	struct idle_worker self = { .next = w->idle }, **link = &w->idle;
	struct timespec until;

	pthread_cond_init(&self.wake, NULL);
	w->idle = &self;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!self.awake && !w->stop &&
	       pthread_cond_timedwait(&self.wake, &w->lock, &until) != ETIMEDOUT)
		;
	if (!self.awake) {
		while (*link != &self)
			link = &(*link)->next;
		*link = self.next;
	}
	pthread_cond_destroy(&self.wake);
	return self.awake;
}

/* False: there are enough without this one. */
static bool wait_again(struct workers *w)
{
	bool again = true;

	pthread_mutex_lock(&w->lock);
	if (w->stop)
		again = false;
	else if (w->waiting < MIN_WAITING || w->waiting < atomic_load(&w->in_jobs))
		w->waiting++;
	else
		again = stay_idle(w);
	pthread_mutex_unlock(&w->lock);
	return again;
}

static void leave(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < w->count; i++)
		if (pthread_equal(w->threads[i], pthread_self())) {
			w->threads[i] = w->threads[w->count - 1];
			break;
		}
	w->count--;
	pthread_cond_broadcast(&w->gone);
	pthread_mutex_unlock(&w->lock);
}

static void session_ended(struct workers *w)
{
	uint64_t one = 1;

	atomic_store(&w->stop, true);
	atomic_store(&w->mount->ended, true);
	if (write(w->mount->wake_fd, &one, sizeof(one)) < 0)
		log_line(LOG_LEVEL_ERROR, "the main thread cannot be told that the session ended");
}

static void serve_one(struct workers *w, struct request_buffer *b, ssize_t len)
{
	struct fuse_buf buf = { .mem = payload_of(b) - WRITE_HEADER, .size = len };

	b->facts = (struct request_facts){
		.unique = kernel_unique(buf.mem, len),
		.resent = kernel_is_resent(buf.mem, len),
		.poll = kernel_poll_handle(buf.mem, len),
	};
	if (kernel_is_init(buf.mem, len))
		mount_patch_init(w->mount, buf.mem, len);
	fuse_session_process_buf(w->mount->session, &buf);
}

static void *worker(void *arg)
{
	struct workers *w = arg;
	int fd = fuse_session_fd(w->mount->session);
	bool waiting = true;

	while (!w->stop) {
		ssize_t n;

		if (!current && !(current = buffer_get(w))) {
			/* Others may serve on; the kernel keeps the request meanwhile. */
			log_line(LOG_LEVEL_ERROR, "out of memory for a request");
			nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
			continue;
		}
		touch(w, current);
		n = read(fd, payload_of(current) - WRITE_HEADER, MOUNT_MAX_WRITE + PAGE);
		if (n < 0) {
			if (errno == ENODEV)
				session_ended(w);
			else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
				log_line(LOG_LEVEL_ERROR, "/dev/fuse: %s", strerror(errno));
			continue;
		}
		note_size(w, current, n);
		took_a_request(w);
		serve_one(w, current, n);
		waiting = wait_again(w);
		if (!waiting)
			break;
	}
	if (waiting) {
		pthread_mutex_lock(&w->lock);
		w->waiting--;
		pthread_mutex_unlock(&w->lock);
	}
	buffer_put(w, current);
	current = NULL;
	leave(w);
	return NULL;
}

static void interrupt_read(int sig)
{
}

int workers_start(struct workers *w, struct mount *m, unsigned limit)
{
	struct sigaction act = { .sa_handler = interrupt_read }; /* no SA_RESTART: read returns */
	int err;

	w->mount = m;
	w->limit = limit;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->gone, NULL);
	sigaction(SIGUSR1, &act, NULL);
	w->threads = calloc(limit, sizeof(*w->threads));
	if (!w->threads)
		return -ENOMEM;
	pthread_mutex_lock(&w->lock);
	err = start_one(w);
	pthread_mutex_unlock(&w->lock);
	return err;
}

void workers_stop(struct workers *w)
{
	atomic_store(&w->stop, true);
	pthread_mutex_lock(&w->lock);
	/* Again and again: the signal may come just before the read that it should end. */
	while (w->count) {
		struct timespec until;

		while (w->idle)
			wake_one(w);
		for (unsigned i = 0; i < w->count; i++)
			pthread_kill(w->threads[i], SIGUSR1);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_cond_timedwait(&w->gone, &w->lock, &until);
	}
	pthread_mutex_unlock(&w->lock);
	while (w->spare) {
		struct request_buffer *b = w->spare;

		w->spare = b->next;
		munmap(b, BUFFER_SIZE);
	}
	free(w->threads);
	w->threads = NULL;
}
