#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""past_model.py ROUND|CHECK|EMPTY MOUNTPOINT STATE [Key=Value...]: one life of the daemon, beside a model of a disk with a past.

First it looks whether everything is as it must be: the disk holds all that was acknowledged, and every snapshot, kept
moment and clone what the disk held then. Then it writes, punches, flushes, makes and deletes snapshots and clones, restores
what is kept and aborts that, and asks what has changed, at random, until the daemon is gone or there is an end file,
STATE.end. STATE.working says that it has begun. CHECK only looks; EMPTY then deletes all clones and snapshots and forgets what
was before.

The model is what each block held, from which write on. A write gives its number to the whole of its blocks. A moment
is right if all blocks are as they were after some one write: one that was begun when the snapshot was asked for, and not
after it was there. Of what was under way when the daemon died, a block holds the old or the new.

Disk=FILE, else past.img. Lossy=1: snapshots may be given up for want of space, then they are Broken, and ESTALE.
Restores=0, Punches=0: none. Clones=N: so many at a time, in images of Endings=ENDING,... Seed=N.
"""
import bisect
import errno
import mmap
import os
import pickle
import random
import sys
import threading
import time

from disk_calls import KEEP_SIZE, PUNCH_HOLE, eventually, fallocate, must, name_of
from past_clones import Clones
from past_reading import BLOCK, GIVEN_UP, Died, at, calling, command, content, kept, served, stays, values
from replication import begin, control, read, tree
from snapshots import extents

TRACKED = 2  # blocks; what passes none of these borders is of one generation, also a punch
SNAPSHOTS = 10
LAST_KEPT = 100  # of what a block held; after a ForgetHistory the last moment may still be there


class Snapshot:
    def __init__(self, low, high):
        self.low, self.high = low, high   # numbers between which its moment is
        self.sure = False                 # the command was answered
        self.leaving = False              # it was to be deleted, or have another moment
        self.broken = self.held = False
        self.values = None                # once it was read


class Model:
    def __init__(self, present):
        self.numbers = [[0] for _ in present]      # of each block: since which write
        self.values = [[value] for value in present]  # it holds what
        self.begun = self.done = 0
        self.flight = None     # (number, first, count, value): a write that was not answered
        self.restoring = None  # (number, values): likewise a restore, or an abort
        self.undone = None     # what an abort of the last restore brings back, if it can be aborted
        self.snapshots, self.clones = {}, {}
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- Changes ----

    def write_begins(self, first, count, zeros):
        self.begun += 1
        value = 0 if zeros else self.begun
        self.flight = (self.begun, first, count, value)
        for block in range(first, first + count):
            self.numbers[block].append(self.begun)
            self.values[block].append(value)

    def write_ends(self):
        self.done, self.flight = self.begun, None

    def restore_begins(self, restored):
        self.begun += 1
        self.restoring = (self.begun, restored)

    def restore_ends(self, undone=None):
        number, restored = self.restoring
        self.undone = undone
        for block, value in enumerate(restored):
            if self.values[block][-1] != value:
                self.numbers[block].append(number)
                self.values[block].append(value)
        self.done, self.restoring = number, None

    def present(self):
        return [held[-1] for held in self.values]

    # ---- What is right ----

    def adopt(self, present):
        """What the disk holds after a death; of what was under way, what came through of it."""
        if self.restoring:
            # Whether it was done cannot always be told; then neither what an abort would do.
            before = self.present()
            if present == self.restoring[1]:
                self.restore_ends()
            if before == present:
                self.undone = None
            self.restoring = None
        for block, value in enumerate(present):
            if value != self.values[block][-1]:
                number = self.numbers[block][-1]
                must(self.flight and number == self.flight[0], f"block {block} holds {value}, not {self.values[block][-1]}")
                self.numbers[block].pop()
                self.values[block].pop()
                must(value == self.values[block][-1], f"block {block} holds {value}, not {self.values[block][-1]}: it is neither")
        self.flight, self.done = None, self.begun

    def holds(self, block, value):
        """From which write to which the block held that."""
        numbers, held = self.numbers[block], self.values[block]
        return [(numbers[i], numbers[i + 1] if i + 1 < len(numbers) else self.begun + 1)
                for i in range(len(held)) if held[i] == value]

    def check(self, what, found, low=0, high=None):
        """All blocks are as they were after one write, from low to high."""
        ranges = [(low, (self.begun if high is None else high) + 1)]
        must(len(found) == len(self.values), f"{what} has {len(found)} blocks")
        for block, value in enumerate(found):
            held = self.holds(block, value)
            left = [(max(a, c), min(b, d)) for a, b in ranges for c, d in held if max(a, c) < min(b, d)]
            must(left, f"{what}: block {block} holds {value}, which was from {held}; blocks before it are of {ranges}; "
                       f"it is between {low} and {high}")
            ranges = left

    def forget(self, last):
        """Of each block, all but what it held last."""
        self.numbers = [numbers[-last:] for numbers in self.numbers]
        self.values = [held[-last:] for held in self.values]

    def at(self, number):
        return [held[bisect.bisect_right(numbers, number) - 1] for numbers, held in zip(self.numbers, self.values)]


class Life:
    def __init__(self, model, options):
        self.model, self.options, self.disk = model, options, options["Disk"]
        self.rng = random.Random(options["Seed"])
        self.fd = calling(os.open, served(self.disk), os.O_RDWR)
        self.clones = Clones(self, model.clones, self.disk, options["Endings"].split(","))
        self.writing = threading.Lock()  # a restore is between two writes
        self.over = threading.Event()
        self.failed = None
        self.memory = mmap.mmap(-1, 64 * BLOCK)

    # ---- Looking ----

    def is_broken(self, name):
        return calling(read, "replicas", f"{self.disk}@{name}", "CopyState").strip() == b"Broken"

    def check_snapshot(self, name, snapshot):
        path = tree("disks", self.disk, "snapshots", name + ".raw")
        if snapshot.broken or (self.options["Lossy"] and self.is_broken(name)):
            must(self.is_broken(name), f"{name} was Broken")
            try:
                content(path)
                must(False, f"{name} is Broken and can be read")
            except OSError as error:
                must(error.errno in (errno.ESTALE, errno.ENOENT), f"{name} is Broken: {name_of(error.errno)}")
            self.model.count("lost" if not snapshot.broken else "still lost")
            snapshot.broken = True
            return
        try:
            found = content(path)
        except OSError as error:
            said = f"{name} cannot be read: {name_of(error.errno)}"
            must(self.options["Lossy"] and error.errno == errno.ESTALE, said)
            eventually(10, lambda: self.is_broken(name), said + ", and it is not Broken")  # nobody begins before it is
            return
        found = values(found)
        must(snapshot.values in (None, found), f"{name} was something else before")
        self.model.check(name, found, snapshot.low, snapshot.high)
        snapshot.values = found
        self.model.count("snapshots read")

    def snapshot_values(self, name):
        snapshot = self.model.snapshots[name]
        if not snapshot.values:
            self.check_snapshot(name, snapshot)
        return snapshot.values

    def check_tick(self, moment):
        """What the disk held then, unless it was given up meanwhile."""
        found = at(self.disk, moment.generation)
        if found:
            self.model.check(moment.generation, found)
            self.model.count("ticks read")
        return found

    def check_ticks(self, most):
        ticks = [moment for moment in kept(self.disk) if not moment.name]
        for moment in self.rng.sample(ticks, min(most, len(ticks))):
            self.check_tick(moment)

    def check_changes(self):
        """From a moment to a later one, or to now, all blocks that differ are named, and what is zero is."""
        moments = stays(self.disk)
        if not moments:
            return
        one, two = (self.rng.choice((moments[i].generation, moments[i].name or moments[i].generation))
                    for i in sorted(self.rng.choices(range(len(moments)), k=2)))
        with self.writing:
            before, after = at(self.disk, one), at(self.disk, two)
            if self.rng.randrange(3) == 0:
                two, after = "now", values(content(served(self.disk)))
            try:
                changed = calling(extents, tree("disks", self.disk, "changes", f"{one}..{two}"))
            except OSError as error:
                must(error.errno in GIVEN_UP, f"changes/{one}..{two}: {name_of(error.errno)}")
                return
        if not before or not after:
            return
        named = {block: kind for offset, length, kind in changed
                 for block in range(offset // BLOCK, (offset + length + BLOCK - 1) // BLOCK)}
        for block, value in enumerate(after):
            must(value == before[block] or block in named,
                 f"changes/{one}..{two} lacks block {block}, which was {before[block]} and is {value}")
            must(value == 0 or named.get(block) != "zero", f"changes/{one}..{two} calls block {block} zero, which is {value}")
        self.model.count("changes read")

    def check_all(self):
        model = self.model
        model.adopt(values(content(served(self.disk))))
        there = {os.fsdecode(name)[:-4] for name in calling(os.listdir, tree("disks", self.disk, "snapshots"))}
        for name in list(model.snapshots):
            snapshot = model.snapshots[name]
            gone = name not in there and not snapshot.broken
            if gone and not self.options["Lossy"]:
                must(snapshot.leaving or not snapshot.sure, f"{name} is gone")
            if gone and (snapshot.leaving or not snapshot.sure):
                del model.snapshots[name]
                continue
            snapshot.sure, snapshot.leaving = True, False
            self.check_snapshot(name, snapshot)
        for name in there - set(model.snapshots):
            must(name.startswith("before-restore"), f"{name} was never made")
            model.snapshots[name] = Snapshot(0, model.begun)
            self.check_snapshot(name, model.snapshots[name])
        self.check_ticks(4)
        self.clones.check_all()

    # ---- Writing ----

    def write_one(self):
        model, blocks = self.model, len(self.model.values)
        first, kind = self.rng.randrange(blocks), self.rng.randrange(20)
        count = min(self.rng.choice((1, 1, 1, 2, 3, 8, 20)), blocks - first)
        if self.options["Lossy"]:  # one that had to wait for space may be in a moment in part
            count = min(count, TRACKED - first % TRACKED)
        if kind == 0:
            calling(os.fsync, self.fd)
        elif kind <= 2 and self.options["Punches"]:
            first -= first % TRACKED
            count = min(TRACKED, blocks - first)
            model.write_begins(first, count, True)
            calling(fallocate, self.fd, PUNCH_HOLE | KEEP_SIZE, first * BLOCK, count * BLOCK)
            model.write_ends()
        else:
            model.write_begins(first, count, False)
            self.memory[:count * BLOCK] = model.begun.to_bytes(8, "little") * (count * BLOCK // 8)
            written = calling(os.pwrite, self.fd, memoryview(self.memory)[:count * BLOCK], first * BLOCK)
            must(written == count * BLOCK, f"{written} bytes were written")
            model.write_ends()
        model.count("writes")

    def write(self):
        try:
            while not self.over.is_set():
                with self.writing:
                    self.write_one()
        except Died:
            pass
        except BaseException as error:
            self.failed = error
        self.over.set()

    # ---- Commands ----

    def do(self, text, where=None, also=()):
        """Whether it was done. While a restore runs, nothing else is; nor is what a clone needs given up."""
        number, result = command(text, where or control(self.disk))
        refusals = (errno.EBUSY, errno.ENOSPC) if self.options["Lossy"] else (errno.EBUSY,)
        must(number == 0 or number in refusals or number in also, f"{text}: {name_of(number)}: {result.get('Message')}")
        return number == 0

    def snapshot(self):
        model = self.model
        name = f"s{model.begun}-{self.rng.randrange(1000)}"
        snapshot = model.snapshots[name] = Snapshot(model.done, None)
        if self.do(f"snapshot {name}"):
            snapshot.sure, snapshot.high = True, model.begun
            model.count("snapshots")
        else:
            del model.snapshots[name]

    def unsnapshot(self):
        name = self.rng.choice(list(self.model.snapshots))
        snapshot = self.model.snapshots[name]
        if snapshot.held:
            self.do_on(name, "Unhold Tag=test")   # refused, if the daemon died before it was held
            snapshot.held = False
            return
        snapshot.leaving = True
        # What a clone still needs of it stays.
        if self.do(f"unsnapshot {name}" + self.rng.choice(("", " Force"))):
            del self.model.snapshots[name]
            self.model.count("snapshots deleted")
        else:
            snapshot.leaving = False

    def do_on(self, name, text):
        return command(text, tree("replicas", f"{self.disk}@{name}", "control"))[0] == 0

    def hold(self):
        name = self.rng.choice(list(self.model.snapshots))
        snapshot = self.model.snapshots[name]
        if not snapshot.held:
            snapshot.held = True   # also if the daemon dies before it says so
            snapshot.held = self.do_on(name, "Hold Tag=test")

    def to_restore(self):
        """What is asked for, of whom, and what the disk is then."""
        names = [name for name, snapshot in self.model.snapshots.items() if not snapshot.broken]
        ticks = [moment for moment in stays(self.disk) if not moment.name]
        if ticks and self.rng.randrange(2):
            tick = self.rng.choice(ticks)
            return f"RestoreTo At={tick.generation} Force", control(self.disk), self.check_tick(tick)
        if not names:
            return None, None, None
        name = self.rng.choice(names)
        held = self.snapshot_values(name)
        if self.rng.randrange(2):
            return "RestoreFromReplica Force", tree("replicas", f"{self.disk}@{name}", "control"), held
        return f"RestoreTo At={name} Force", control(self.disk), held

    def restore(self):
        model = self.model
        with self.writing:
            text, where, restored = self.to_restore()
            if not restored:
                return
            before = model.done
            there = set(calling(os.listdir, tree("disks", self.disk, "snapshots")))
            model.restore_begins(restored)
            if not self.do(text, where, also=(errno.ENOENT,)):  # a tick may be gone by now
                model.restoring = None
                return
            model.restore_ends(model.at(before))
            model.count("restores")
            if self.rng.randrange(2):
                self.abort()
            for made in set(calling(os.listdir, tree("disks", self.disk, "snapshots"))) - there:
                snapshot = model.snapshots[os.fsdecode(made)[:-4]] = Snapshot(before, before)
                snapshot.sure = True

    def abort(self):
        """What was written since is lost; and perhaps there is nothing to abort any more."""
        model = self.model
        undone, model.undone = model.undone, None
        if not undone:
            return
        model.restore_begins(undone)
        if self.do("Abort Force"):
            model.restore_ends()
            model.count("aborts")
        else:
            model.restoring = None

    def look(self):
        name = self.rng.choice(list(self.model.snapshots))
        self.check_snapshot(name, self.model.snapshots[name])
        self.check_ticks(1)
        if not self.options["Lossy"]:
            self.check_changes()

    def command_one(self):
        if self.options["Clones"] and self.rng.randrange(3) == 0:
            self.clones.one(self.options["Clones"])
            return
        what = self.rng.randrange(12)
        count = len(self.model.snapshots)
        if what < 5 and count < SNAPSHOTS:
            self.snapshot()
        elif what < 8 and count > SNAPSHOTS // 2 and not (self.options["Lossy"] and what < 7):
            self.unsnapshot()
        elif what == 8 and count:
            self.hold()
        elif what == 9 and count and self.options["Restores"]:
            self.restore()
        elif what == 10 and self.options["Restores"]:
            with self.writing:
                self.abort()
        elif count:
            self.look()

    def empty(self):
        while self.model.clones:
            self.clones.delete()
        while self.model.snapshots:
            self.unsnapshot()
        must(self.do("ForgetHistory Before=now Force"), "history is forgotten")
        self.model.forget(LAST_KEPT)

    def run(self, is_over):
        writer = threading.Thread(target=self.write)
        writer.start()
        try:
            while not self.over.is_set() and not is_over():
                self.command_one()
                time.sleep(self.rng.random() * self.options["Pause"])
        except (Died, OSError) as error:
            if isinstance(error, OSError):
                self.failed = self.failed or error
        finally:
            self.over.set()
            writer.join()
        if self.failed:
            raise self.failed


def main():
    what, mount_point, path, *words = sys.argv[1:]
    options = {"Disk": "past.img", "Lossy": 0, "Restores": 1, "Punches": 1, "Clones": 0, "Endings": "img",
               "Seed": random.randrange(1 << 30), "Pause": 0.02}
    options.update((key, type(options[key])(value)) for key, value in (word.split("=") for word in words))
    begin(mount_point, path)
    try:
        if os.path.exists(path):
            with open(path, "rb") as file:
                model = pickle.load(file)
        else:
            model = Model(values(content(served(options["Disk"]))))
        life = Life(model, options)
        life.check_all()
        if what == "ROUND":
            open(path + ".working", "w").close()
            life.run(lambda: os.path.exists(path + ".end"))
        if what == "EMPTY":
            life.empty()
    except Died:
        must(os.path.exists(path + ".working"), "the daemon was there")
    except SystemExit as failure:
        sys.exit(f"{failure} (Seed={options['Seed']})")
    with open(path + ".new", "wb") as file:
        pickle.dump(model, file)
    os.rename(path + ".new", path)
    print(", ".join(f"{count} {name}" for name, count in sorted(model.counts.items())))


main()
