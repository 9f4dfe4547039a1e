# SPDX-License-Identifier: GPL-2.0-or-later
"""Clones of a disk with a past: of its snapshots, of any kept moment by its number, its time or its age, and of now.

A clone is, at once and for good, what the disk was then, and what was written to it. It is read when it is made, after each
death, and before it is deleted. One of now is filled by what is written to it only, so that it needs its source for ever.
"""
import errno
import os
import time

from disk_calls import must
from past_reading import BLOCK, at, calling, content, kept, served, stays, values
from replication import control

OWN = 1 << 40        # what is written to a clone begins here
AGES = (1, 2, 4)     # seconds


class Clone:
    def __init__(self, may_hold):
        self.may_hold = may_hold  # one of these, until it was read
        self.flight = None        # (block, value): a write that was not answered
        self.sure = False         # the command was answered
        self.leaving = False      # it was to be deleted

    def is_one_of(self, found):
        for held in self.may_hold:
            differs = [(block, found[block]) for block in range(len(held)) if held[block] != found[block]]
            if len(found) == len(held) and (not differs or differs == [self.flight]):
                return True
        return False


class Clones:
    def __init__(self, life, there, disk, endings):
        self.life, self.there, self.disk = life, there, disk
        self.rng = life.rng
        self.endings = endings
        self.kinds = (self.of_snapshot, self.of_generation, self.of_time, self.of_age, self.of_now)

    # ---- Looking ----

    def is_there(self, name):
        try:
            calling(os.stat, served(name))
        except OSError as error:
            must(error.errno == errno.ENOENT, f"{name}: {error}")
            return False
        return True

    def check(self, name):
        clone = self.there[name]
        found = values(content(served(name)))
        if not clone.is_one_of(found):
            wrong = [(block, found[block], [held[block] for held in clone.may_hold]) for block in range(len(found))
                     if all(held[block] != found[block] for held in clone.may_hold)]
            must(False, f"the clone {name} is not what {self.disk} was: {wrong[:8]} of {len(clone.may_hold)} moments; "
                        f"under way was {clone.flight}")
        clone.may_hold, clone.flight = [found], None
        self.life.model.count("clones read")

    def check_all(self):
        for name, clone in list(self.there.items()):
            if not self.is_there(name):
                must(clone.leaving or not clone.sure, f"the clone {name} is gone")
                del self.there[name]
                continue
            clone.sure, clone.leaving = True, False
            self.check(name)

    # ---- Making ----

    def new_name(self):
        return f"{self.disk.replace('.', '-')}-c{self.life.model.begun}-{self.rng.randrange(1000)}.{self.rng.choice(self.endings)}"

    def make(self):
        self.rng.choice(self.kinds)()

    def begin(self, words, may_hold, kind):
        """words, with {} for the name of the target."""
        name = self.new_name()
        clone = self.there[name] = Clone(may_hold)
        if not self.life.do(words.format(name), also=(errno.ENOENT,)):
            del self.there[name]
            return
        clone.sure = True
        self.life.model.count(f"clones {kind}")
        self.check(name)
        self.write(name)

    def of_moment(self, moment, may_hold, kind):
        if may_hold:
            self.begin(f"clone {{}} At={moment}", may_hold, kind)

    def of_snapshot(self):
        names = [name for name, snapshot in self.life.model.snapshots.items() if not snapshot.broken]
        if names:
            name = self.rng.choice(names)
            self.of_moment(name, [self.life.snapshot_values(name)], "of snapshots")

    def of_generation(self):
        moments = stays(self.disk)
        if moments:
            generation = self.rng.choice(moments).generation
            held = at(self.disk, generation)
            self.of_moment(generation, held and [held], "by number")

    def of_time(self):
        moments = stays(self.disk)
        if moments:
            when = self.rng.choice(moments).time
            # Of those of one millisecond the last.
            held = at(self.disk, [moment for moment in moments if moment.time == when][-1].generation)
            self.of_moment(when, held and [held], "by time")

    def of_age(self):
        """The command comes within three seconds, or the next candidate would have to be known."""
        age, now, moments = self.rng.choice(AGES), time.time(), kept(self.disk)
        before = [moment for moment in moments if moment.seconds <= now - age]
        later = [moment for moment in moments if now - age < moment.seconds <= now - age + 3]
        may_hold = [at(self.disk, moment.generation) for moment in before[-1:] + later]
        if before and None not in may_hold and time.time() < now + 1:
            self.of_moment(f"-{age}s", may_hold, "by age")

    def of_now(self):
        with self.life.writing:
            self.begin("CreateReplica SyncType=Clone CopyMethodology=7 TargetStorageVolume={}", [self.life.model.present()],
                       "of now")

    # ---- Writing and deleting ----

    def write(self, name):
        """Some blocks."""
        clone = self.there[name]
        held = clone.may_hold[0]
        fd = calling(os.open, served(name), os.O_RDWR)
        try:
            for _ in range(self.rng.randrange(6)):
                block, value = self.rng.randrange(len(held)), OWN + self.rng.randrange(1 << 20)
                clone.flight = (block, value)
                calling(os.pwrite, fd, value.to_bytes(8, "little") * (BLOCK // 8), block * BLOCK)
                held[block], clone.flight = value, None
        finally:
            os.close(fd)

    def delete(self):
        name = self.rng.choice(list(self.there))
        self.check(name)
        self.there[name].leaving = True
        if self.life.do(f"DeleteDisk Name={name}", where=control()):
            del self.there[name]
            self.life.model.count("clones deleted")
        else:
            self.there[name].leaving = False

    def one(self, most):
        """Something that is done with clones."""
        if len(self.there) < most and self.rng.randrange(3):
            self.make()
        elif self.there and self.rng.randrange(2):
            self.delete()
        elif self.there:
            name = self.rng.choice(list(self.there))
            self.check(name)
            self.write(name)
