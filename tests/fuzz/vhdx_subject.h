/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vhdx_subject.c and vhdx_log_put.c share. */
#ifndef FUZZ_VHDX_SUBJECT_H
#define FUZZ_VHDX_SUBJECT_H

#include "subject.h"

/* A patch that is an entry of the log; its place is the page there. */
enum { SPACE_LOG = 2 };

void vhdx_log_put(struct memory *m, const struct script_patch *p);
void vhdx_log_invent(struct script_patch *p, uint8_t bytes[SCRIPT_LENGTH], uint64_t *random);
/* Makes the sums of all its entries right. */
void vhdx_log_seal(struct memory *m);

#endif
