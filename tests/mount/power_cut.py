#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""power_cut.py WORK|LOOK MOUNTPOINT DISKDIR LOG JOURNAL SEED|END [TURNS|AGAIN]: disks on a device whose power will go.

WORK uses them until TURNS are over: writes, flushes, snapshots, restores, and what a group of two mirrors does as one.
LOG grows with what its device is told (recorder.c), so the length of it before something is begun and after it was
answered says, of any cut at END, whether it was answered by then, was under way, or not begun. LOOK finds what was
answered, and nothing that was not begun. AGAIN: it was looked at before, and the power went meanwhile.
"""
import errno
import functools
import os
import pickle
import random
import struct
import sys
import threading

from disk_calls import KEEP_SIZE, PLACES, PUNCH_HOLE, eventually, fallocate, must, name_of
from replication import begin, control, done, read, told, tree

SECTOR, SLOT, SLOTS = 512, 16384, 256
GROUP, MIRRORS = "g", ("ma", "mb")
# What an operation of the group makes of its mirrors, and from where.
OPERATIONS = {"Split": ("Live", "Split"), "ResyncReplica": ("Split", "Live"), "Failover": ("Live", "Failedover"),
              "Failback": ("Failedover", "Live")}


def path_of(disk):
    return os.path.join(PLACES["MNT"], os.fsencode(disk if disk.endswith(".img") else disk + ".raw"))


@functools.lru_cache(1 << 14)
def written(disk, slot, version):
    """What a slot holds; each sector says what it is of."""
    if not version:
        return bytes(SLOT)
    return b"".join(struct.pack("<Q20sI", version, os.fsencode(disk), sector) * (SECTOR // 32)
                    for sector in range(slot * SLOT // SECTOR, (slot + 1) * SLOT // SECTOR))


class Disk:
    """What is known of one when the power goes."""

    def __init__(self):
        self.now = [0] * SLOTS                     # by all that was begun
        self.maybe = [{0} for _ in range(SLOTS)]   # of each slot, what a sector may hold
        self.snapshots = {}                        # by name: what it holds, and whether it must be there

    def writes(self, slots, version):
        for slot in slots:
            self.now[slot] = version
            self.maybe[slot].add(version)

    def flushed(self):
        self.maybe = [{version} for version in self.now]

    def restores(self, values, answered):
        for slot, value in enumerate(values):
            self.writes([slot], value)
        if answered:
            self.flushed()


class Known:
    """From the journal of one who works alone, in the order of it."""

    def __init__(self, journal, end):
        self.disks, self.modes, self.split = {}, ["Live"], None
        for began, ended, what, name, *more in journal:
            if began > end:
                break
            self.learn(ended <= end, what, name, *more)

    def learn(self, answered, what, name, *more):
        disk = self.disks.setdefault(name, Disk()) if name != GROUP else None
        if what == "write":
            disk.writes(*more)
        elif what == "flush":
            if answered:
                disk.flushed()
        elif what == "snapshot":
            disk.snapshots[more[0]] = (list(disk.now), answered)
        elif what == "unsnapshot":
            disk.snapshots[more[0]] = (disk.snapshots[more[0]][0] if not answered else None, False)
        elif what == "restore":
            disk.restores(disk.snapshots[more[0]][0], answered)
        else:
            before, after = OPERATIONS[what]
            self.modes = [after] if answered else [before, after]
            if what == "Split":
                self.split = {target: list(self.disks.setdefault(source, Disk()).now) for source, target in more[0].items()}


class Worker(threading.Thread):
    def __init__(self, log, names, seed, turns):
        super().__init__()
        self.log, self.names, self.turns = log, names, turns
        self.rng, self.version = random.Random(seed), 0
        self.files = {name: os.open(path_of(name), os.O_RDWR) for name in names}
        self.journal, self.failed = [], None

    def now(self):
        return os.stat(self.log).st_size

    def do(self, call, *what):
        """Whether it was done; what is refused changes nothing."""
        began = self.now()
        if call() is False:
            return False
        self.journal.append((began, self.now(), *what))
        return True

    def write(self):
        name = self.rng.choice(self.names)
        first = self.rng.randrange(SLOTS)
        slots = range(first, min(first + self.rng.randrange(1, 5), SLOTS))
        self.version += 1
        if self.rng.randrange(10):
            version = self.version
            call = functools.partial(os.pwrite, self.files[name], b"".join(written(name, slot, version) for slot in slots),
                                     first * SLOT)
        else:
            version = 0
            call = functools.partial(fallocate, self.files[name], PUNCH_HOLE | KEEP_SIZE, first * SLOT, len(slots) * SLOT)
        self.do(call, "write", name, slots, version)

    def flush(self):
        name = self.rng.choice(self.names)
        self.do(functools.partial(os.fsync, self.files[name]), "flush", name)

    def run(self):
        try:
            for _ in range(self.turns):
                self.rng.choices([self.write, self.flush, self.command], [70, 20, 10])[0]()
        except (Exception, SystemExit) as error:  # the test is to end with it, not only the thread
            self.failed = error


class Keeper(Worker):
    """Disks with a past."""

    def __init__(self, *args):
        super().__init__(*args)
        self.snapshots = {name: [] for name in self.names}

    def tell(self, name, command, *what):
        """Nothing of it while it is being restored."""
        def call():
            number, result = told(command, control(name))
            must(number in (0, errno.EBUSY), f"{command}: {name_of(number)}: {result.get('Message')}")
            return number == 0
        return self.do(call, *what)

    def command(self):
        name = self.rng.choice(self.names)
        there = self.snapshots[name]
        if len(there) < 2 or self.rng.randrange(2):
            new = f"s{self.version}-{len(self.journal)}"
            if self.tell(name, f"snapshot {new}", "snapshot", name, new):
                there.append(new)
        elif self.rng.randrange(3):
            old = self.rng.choice(there)
            if self.tell(name, f"unsnapshot {old}", "unsnapshot", name, old):
                there.remove(old)
        else:
            one = self.rng.choice(there)
            self.tell(name, f"RestoreTo At={one} Force", "restore", name, one)


class Mirrored(Worker):
    """Two disks with mirrors that are in a group."""

    def __init__(self, targets, *args):
        super().__init__(*args)
        self.targets, self.mode = targets, "Live"

    def command(self):
        what = self.rng.choice([name for name, (before, _) in OPERATIONS.items() if before == self.mode])
        self.do(functools.partial(done, what + " wait", tree("groups", GROUP, "control")), what, GROUP, self.targets)
        self.mode = OPERATIONS[what][1]


def check_sectors(what, disk, path, allowed):
    """allowed: of each slot, the versions that its sectors may have."""
    with open(path, "rb", buffering=0) as file:
        for slot, versions in enumerate(allowed):
            found = file.read(SLOT)
            if len(versions) == 1 and found == written(disk, slot, *versions):
                continue
            for at in range(0, SLOT, SECTOR):
                must(any(found[at:at + SECTOR] == written(disk, slot, version)[at:at + SECTOR] for version in versions),
                     f"{what}: sector {at // SECTOR} of slot {slot} has {found[at:at + 40]!r}, not one of {sorted(versions)}")


def exact(values):
    return [{value} for value in values]


def check_snapshots(name, disk):
    there = {os.fsdecode(entry)[:-4] for entry in os.listdir(tree("disks", name, "snapshots"))}
    for snapshot, (values, sure) in disk.snapshots.items():
        if snapshot in there:
            must(values is not None, f"{name}: {snapshot} is there again")
            check_sectors(f"{name}, snapshot {snapshot}", name, tree("disks", name, "snapshots", snapshot + ".raw"),
                          exact(values))
        else:
            must(not sure, f"{name}: {snapshot} is gone")
    # What a restore has replaced has a snapshot, too.
    unknown = {snapshot for snapshot in there - set(disk.snapshots) if not snapshot.startswith("before-restore")}
    must(not unknown, f"{name}: nobody has begun {unknown}")


def state_of(mirror):
    return os.fsdecode(read("replicas", mirror, "CopyState")).strip()


def check_mirrors(known, targets, again):
    states = [state_of(mirror) for mirror in MIRRORS]
    modes = {state if state in ("Split", "Failedover") else "Live" for state in states}
    must(len(modes) == 1, f"the mirrors of a group are {states}")
    mode = modes.pop()
    must(again or mode in known.modes, f"the group is {states}, after all that it was told {known.modes}")
    if mode == "Split":
        for source, target in targets.items():
            check_sectors(f"{target}, split", source, path_of(target), exact(known.split[target]))
        done("ResyncReplica wait", tree("groups", GROUP, "control"))
    elif mode == "Failedover":
        done("Failback wait", tree("groups", GROUP, "control"))
    for mirror in MIRRORS:
        eventually(60, lambda: state_of(mirror) == "Synchronized", f"{mirror} is in step")
    for source, target in targets.items():
        with open(path_of(source), "rb") as one, open(path_of(target), "rb") as other:
            must(one.read() == other.read(), f"{target}, Synchronized, is not {source}")


def work(log, journal, seed, turns):
    _, kept, mirrored = setting()
    workers = [Keeper(log, [name], f"{seed} {name}", turns) for name in kept]
    workers.append(Mirrored(mirrored, log, list(mirrored), f"{seed} {GROUP}", turns))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for worker in workers:
        if worker.failed:
            raise worker.failed
    with open(journal, "wb") as file:
        pickle.dump([worker.journal for worker in workers], file)


def look(journal, end, again):
    _, _, mirrored = setting()
    with open(journal, "rb") as file:
        for one in pickle.load(file):
            known = Known(one, end)
            for name, disk in known.disks.items():
                check_sectors(name, name, path_of(name), disk.maybe)
                check_snapshots(name, disk)
            if known.disks.keys() & mirrored.keys():
                check_mirrors(known, mirrored, again)


def setting():
    """The disks with a past, and those with mirrors: by their names in DISKDIR."""
    names = sorted(os.fsdecode(name) for name in os.listdir(PLACES["DISKS"]) if name[:1] != b".")
    mirrored = {name: "to-" + name for name in names if "to-" + name in names}
    return names, [name for name in names if name not in mirrored and not name.startswith("to-")], mirrored


def main():
    what, mount_point, disk_dir, log, journal, number = sys.argv[1:7]
    begin(mount_point, disk_dir)
    if what == "WORK":
        work(log, journal, number, int(sys.argv[7]))
    else:
        look(journal, int(number), sys.argv[7:] == ["AGAIN"])


main()
