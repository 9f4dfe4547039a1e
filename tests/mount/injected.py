#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""injected.py WORK|LOOK MOUNTPOINT STATE SEED: a disk with a past and a mirror, whose daemon's calls fail now and then.

WORK writes, punches, flushes, reads, and makes and deletes snapshots and disks, one after another. What fails may have
been done in part, and what was done is remembered in STATE. LOOK finds it so, after the daemon's calls are whole again.
"""
import errno
import mmap
import os
import pickle
import random
import sys

from disk_calls import KEEP_SIZE, PLACES, PUNCH_HOLE, eventually, fallocate, must, name_of
from replication import begin, control, done, read, status, told, tree

BLOCK, BLOCKS, OPERATIONS = 4096, 256, 60
DISK, TARGET, MIRROR = "x.img", "y.img", "m"
# What is not among these is no answer of a disk or a command, but of a daemon that is gone or wrong.
FAILURES = (errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EBUSY, errno.EAGAIN, errno.EACCES, errno.EROFS, errno.EPERM,
            errno.EEXIST, errno.ENOENT, errno.ENOMEM)


class State:
    def __init__(self):
        self.blocks = [0] * BLOCKS  # what each holds all over; None: a write of it failed
        self.snapshots = {}         # by name, what it holds; None: it may be there or not
        self.next, self.failed = 1, {}

    def fails(self, what, number):
        must(number in FAILURES, f"{what}: {name_of(number)}")
        self.failed[what] = self.failed.get(what, 0) + 1


def path_of(disk):
    return os.path.join(PLACES["MNT"], os.fsencode(disk))


def content(path):
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(1 << 18), b""))


def compare(what, found, wanted, first=0):
    must(len(found) == len(wanted) * BLOCK, f"{what} has {len(found)} bytes")
    for at, value in enumerate(wanted):
        block = found[at * BLOCK:(at + 1) * BLOCK]
        must(value is None or block == value.to_bytes(8, "little") * (BLOCK // 8),
             f"{what}: block {first + at} holds {block[:8].hex()}..., not {value}")


class Work:
    def __init__(self, state, seed):
        self.state, self.rng = state, random.Random(seed)
        self.memory = mmap.mmap(-1, 8 * BLOCK)
        self.fd = None

    def part(self):
        first = self.rng.randrange(BLOCKS)
        return first, min(self.rng.choice((1, 1, 2, 4, 8)), BLOCKS - first)

    def change(self, what, first, count, value, call):
        blocks = self.state.blocks
        try:
            must(call() in (None, count * BLOCK), f"{what} is whole")
            blocks[first:first + count] = [value] * count
        except OSError as error:
            blocks[first:first + count] = [None] * count
            self.state.fails(what, error.errno)

    def write(self):
        first, count = self.part()
        value, self.state.next = self.state.next, self.state.next + 1
        self.memory[:count * BLOCK] = value.to_bytes(8, "little") * (count * BLOCK // 8)
        self.change("write", first, count, value,
                    lambda: os.pwrite(self.fd, memoryview(self.memory)[:count * BLOCK], first * BLOCK))

    def punch(self):
        first, count = self.part()
        self.change("punch", first, count, 0,
                    lambda: fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, first * BLOCK, count * BLOCK))

    def flush(self):
        try:
            os.fsync(self.fd)
        except OSError as error:
            self.state.fails("flush", error.errno)

    def read(self):
        first, count = self.part()
        try:
            found = os.preadv(self.fd, [memoryview(self.memory)[:count * BLOCK]], first * BLOCK)
        except OSError as error:
            self.state.fails("read", error.errno)
            return
        must(found == count * BLOCK, f"{found} bytes are read")
        compare("a read", self.memory[:count * BLOCK], self.state.blocks[first:first + count], first)

    def tell(self, text, where):
        try:
            number, result = told(text, where)
        except OSError as error:  # of the control file itself
            self.state.fails("open of control", error.errno)
            return False
        if number:
            self.state.fails(text.split()[0], number)
            must(result.get("Message"), f"{text}: {name_of(number)} without a word")
        return number == 0

    def snapshot(self):
        name, self.state.next = f"s{self.state.next}", self.state.next + 1
        if self.tell(f"snapshot {name}", control(DISK)):
            self.state.snapshots[name] = list(self.state.blocks)
        elif os.path.exists(tree("disks", DISK, "snapshots", name + ".raw")):
            must(False, f"{name} was refused and is there")

    def unsnapshot(self):
        if self.state.snapshots:
            name = self.rng.choice(sorted(self.state.snapshots))
            if self.tell(f"unsnapshot {name}", control(DISK)):
                del self.state.snapshots[name]

    def look(self):
        if self.state.snapshots:
            name = self.rng.choice(sorted(self.state.snapshots))
            try:
                found = content(tree("disks", DISK, "snapshots", name + ".raw"))
            except OSError as error:
                self.state.fails("look", error.errno)
                return
            compare(name, found, self.state.snapshots[name])

    def create(self):
        if not os.path.exists(path_of("t.img")):
            self.tell("CreateDisk Name=t.img Size=1M", control())
        else:
            self.tell("DeleteDisk Name=t.img", control())

    def accept(self):
        try:
            ready = status()["Disks"][DISK]["State"] == "Ready"
        except OSError as error:
            self.state.fails("status", error.errno)
            return
        if not ready:
            self.tell("Accept Force", control(DISK))

    def run(self):
        what = [self.write] * 12 + [self.punch] * 2 + [self.flush] * 3 + [self.read] * 2 + [self.snapshot] * 3 + \
            [self.unsnapshot, self.look, self.create, self.accept]
        for _ in range(OPERATIONS):
            if self.fd is None:
                try:
                    self.fd = os.open(path_of(DISK), os.O_RDWR | os.O_DIRECT)
                except OSError as error:
                    self.state.fails("open", error.errno)
                    continue
            self.rng.choice(what)()


def look(state):
    for disk in (DISK, TARGET):
        if status()["Disks"][disk]["State"] != "Ready":
            must(state.failed or disk == TARGET, f"{disk} is not Ready, and nothing failed")
            done("Accept Force", control(disk))
    compare(DISK, content(path_of(DISK)), state.blocks)
    for name, wanted in state.snapshots.items():
        if read("replicas", f"{DISK}@{name}", "CopyState").strip() == b"Broken":
            must(state.failed, f"{name} is Broken and nothing failed")
            continue
        compare(name, content(tree("disks", DISK, "snapshots", name + ".raw")), wanted)
    listed = {os.fsdecode(name)[:-4] for name in os.listdir(tree("disks", DISK, "snapshots"))}
    must(listed <= set(state.snapshots), f"{listed - set(state.snapshots)} were never made")
    copied = lambda: read("replicas", MIRROR, "CopyState").strip()
    if copied() == b"Broken":
        number, _ = told("ResyncReplica", tree("replicas", MIRROR, "control"))
        must(number in (0, errno.EBUSY), f"ResyncReplica: {name_of(number)}")  # it may have begun by itself
    eventually(60, lambda: copied() == b"Synchronized", "its mirror is in step")
    must(content(path_of(TARGET)) == content(path_of(DISK)), "the mirror is its source")


def main():
    what, mount_point, path, seed = sys.argv[1:]
    begin(mount_point, os.path.dirname(path))
    state = State()
    if os.path.exists(path):
        with open(path, "rb") as file:
            state = pickle.load(file)
    if what == "WORK":
        Work(state, int(seed)).run()
    else:
        look(state)
    with open(path, "wb") as file:
        pickle.dump(state, file)
    print(", ".join(f"{count} {name}" for name, count in sorted(state.failed.items())) or "nothing", "failed")


main()
