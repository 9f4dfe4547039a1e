/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes by themselves, against a model: what is replayed once is replayed again,
 * then what was added and not dropped is there, after a kill too.
 */
#ifndef FUZZ_NOTES_PLAY_H
#define FUZZ_NOTES_PLAY_H

#include "notes.h"
#include "script.h"

/* In work_directory(); it may be anything. */
#define PLAY_NAME "by-themselves.notes"

void notes_play(const struct script *s, const uint8_t binding[NOTES_BINDING]);

#endif
