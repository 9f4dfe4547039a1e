// SPDX-License-Identifier: GPL-2.0-or-later
/* That the target lacks something that was answered: a word in the head of the file. */
#include "marks_inner.h"

/* Under writing. */
static int say_in_file(struct marks *m, enum outdated outdated)
{
	m->head_says = outdated;
	return marks_write_head(m, m->size);
}

void marks_on_mixed(struct marks *m, int (*fn)(void *arg), void *arg)
{
	m->on_mixed = fn;
	m->on_mixed_arg = arg;
}

int marks_outdate(struct marks *m, enum outdated how)
{
	int err = 0;

	if (atomic_load(&m->outdated) >= how)
		return 0;
	pthread_mutex_lock(&m->writing);
	how = how > m->least ? how : m->least;
	/* Who waited for another finds it done. */
	if (atomic_load(&m->outdated) < how) {
		err = how == MIXED && m->on_mixed ? m->on_mixed(m->on_mixed_arg) : 0;
		if (!err)
			err = say_in_file(m, how);
		if (!err)
			err = marks_flush(m);
		if (!err)
			m->least = how;
		if (!err)
			atomic_store(&m->outdated, how);
	}
	pthread_mutex_unlock(&m->writing);
	return err;
}

enum outdated marks_outdated(struct marks *m)
{
	enum outdated is;

	pthread_mutex_lock(&m->writing);
	is = m->least;
	pthread_mutex_unlock(&m->writing);
	return is;
}

void marks_renew_begin(struct marks *m)
{
	atomic_store(&m->outdated, UP_TO_DATE);
}

/* Not flushed: what is lost of it says too much. */
void marks_renew_end(struct marks *m, bool renewed)
{
	enum outdated says;

	pthread_mutex_lock(&m->writing);
	says = m->head_says;
	if (renewed && atomic_load(&m->outdated) == UP_TO_DATE) {
		m->least = UP_TO_DATE;
		if (says != UP_TO_DATE && say_in_file(m, UP_TO_DATE))
			m->head_says = says;
	}
	pthread_mutex_unlock(&m->writing);
}
