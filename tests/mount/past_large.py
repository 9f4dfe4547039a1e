#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""past_large.py GROUP MOUNTPOINT DISKDIR DISK: a disk of 64 TiB that holds little, and its past.

Little is written at both ends, in the middle and between. What a moment must hold is known from what was written: all else is
zeros, and a hole. Each group is a function; past_large.test says what each proves.
"""
import os
import pickle
import random
import sys
import time

from disk_calls import KEEP_SIZE, PLACES, PUNCH_HOLE, eventually, fallocate, must, ok
from past_reading import served
from replication import control, done, lines, patience, percent, read, status, tree
from snapshots import extents

PIECE = 64 << 10
TRACKED = 8 << 10
BETWEEN = 40            # places, apart from those that are always there
MEMORY = 512 << 20     # with what a sanitizer keeps
QUICK = 20              # seconds; whoever goes through all blocks takes an hour

disk = ""
model = {}              # {what: {place: bytes}}, over the groups


def places(size):
    """The first and the last piece, both sides of the middle, of 2 TiB and of 32 bits of sectors and blocks."""
    always = [0, size - PIECE, size // 2 - PIECE, size // 2, (2 << 40) - PIECE, 2 << 40, 32 << 40, (16 << 40) - PIECE, 16 << 40]
    rng = random.Random(1)
    return sorted(set(always + [rng.randrange(size // PIECE) * PIECE for _ in range(percent(BETWEEN))]))


def state_path():
    return os.path.join(os.fsdecode(PLACES["DISKS"]), "..", disk + ".model")


def size_of(path):
    return os.stat(path).st_size


def within(seconds, call, *args):
    begins = time.monotonic()
    result = call(*args)
    took = time.monotonic() - begins
    must(took < seconds * patience(), f"{call.__name__} took {took:.1f} s")
    return result


# ---- Looking ----

def pieces(path):
    """What is not a hole, as {place: bytes} of pieces that are not all zeros."""
    found, fd = {}, os.open(path, os.O_RDONLY)
    try:
        end, at = os.fstat(fd).st_size, 0
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            must(hole - at < 1 << 30, f"{hole - at} bytes at {at} are data")
            for place in range(at - at % PIECE, hole, PIECE):
                data = os.pread(fd, PIECE, place)
                if data.count(0) < PIECE:
                    found[place] = data
            at = hole
    finally:
        os.close(fd)
    return found


def holds(path, wanted, what):
    found = within(QUICK, pieces, path)
    must(found == wanted, f"{what} holds {len(found)} pieces, not {len(wanted)}; they differ at "
                          f"{sorted(place for place in set(found) | set(wanted) if found.get(place) != wanted.get(place))[:5]}")
    fd = os.open(path, os.O_RDONLY)
    for place in list(wanted)[::7]:
        for beside in (place - 4096, place + PIECE):
            if 0 <= beside < size_of(path) and beside - beside % PIECE not in wanted:
                must(os.pread(fd, 4096, beside) == bytes(4096), f"{what}: zeros at {beside}")
    os.close(fd)


def raw(name):
    return tree("disks", disk, "snapshots", name + ".raw")


def changes_are(one, two, before, after):
    """Every place that differs, and not much else."""
    told = within(QUICK, extents, tree("disks", disk, "changes", f"{one}..{two}"))
    named = {place for offset, length, _ in told for place in range(offset - offset % PIECE, offset + length, PIECE)
             if length < 1 << 30}
    differs = {place for place in set(before) | set(after) if before.get(place) != after.get(place)}
    must(differs <= named, f"changes/{one}..{two} lacks {sorted(differs - named)[:5]}")
    must(named <= set(places(size_of(served(disk)))), f"changes/{one}..{two} has {len(named)} pieces, {len(differs)} differ")


def most_memory():
    pid = status()["Daemon"]["Pid"]
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def kept_bytes():
    past = os.path.join(os.fsdecode(PLACES["DISKS"]), ".tandem")
    return sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for directory, _, names in os.walk(past) for name in names)


# ---- Doing ----

def write(name, seed, some):
    """Other bytes at some of the places."""
    rng = random.Random(seed)
    fd = os.open(served(name), os.O_WRONLY)
    written = {}
    for place in some:
        written[place] = rng.randbytes(PIECE)
        os.pwrite(fd, written[place], place)
    os.close(fd)
    return written


def punch_all(name):
    fd = os.open(served(name), os.O_WRONLY)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, os.fstat(fd).st_size)
    os.fsync(fd)
    os.close(fd)


def is_closed(name):
    return not status()["Disks"][name]["Openers"]


def command(words, where=None):
    eventually(10 * patience(), lambda: is_closed(disk), f"{disk} is closed")
    return within(QUICK, done, words, where or control(disk))


def restore_to(name, stay=False):
    """What the disk was is a snapshot then. stay: the image does not follow."""
    there = set(os.listdir(tree("disks", disk, "snapshots")))
    if stay:
        done("Set CopyRate=64K")
    job = command(f"RestoreTo At={name}")["Job"]
    if stay:
        done("Suspend", tree("jobs", job, "control"))
        done("Set CopyRate=0")
    (made,) = set(os.listdir(tree("disks", disk, "snapshots"))) - there
    model[os.fsdecode(made)[:-4]] = model["now"]
    model["now"] = model[name]


def is_restored():
    return {b"Restoring: -", b"Aborting: -"} <= set(read("disks", disk, "status").splitlines())


def end_restore():
    eventually(QUICK * patience(), is_restored, "the image follows the restore")


# ---- The groups ----

def snapshots():
    every = places(size_of(served(disk)))
    model["empty"] = {}
    command("snapshot empty")
    model["one"] = write(disk, 1, every)
    command("snapshot one")
    model["two"] = {**model["one"], **write(disk, 2, every[::2])}
    command("snapshot two")
    model["now"] = {**model["two"], **write(disk, 3, every[::3])}
    look()
    command("Settle")
    look()


def look():
    fd = os.open(served(disk), os.O_RDONLY)  # else it would be brought in order by each who closes something of it
    for name in "empty", "one", "two":
        holds(raw(name), model[name], name)
    holds(served(disk), model["now"], "the disk")
    named = [words for words in map(str.split, lines("disks", disk, "history")) if len(words) > 3]
    for words in named[:1] + named[-1:]:
        holds(tree("disks", disk, "at", words[0] + ".raw"), model[words[3]], words[0])
    for one, two in ("empty", "one"), ("one", "two"), ("empty", "two"), ("two", "now"), ("empty", "now"):
        changes_are(one, two, model[one], model[two])
    os.close(fd)
    ok("every moment, and what differs")


def restores():
    restore_to("one")
    look()
    end_restore()
    look()
    model["now"] = before = {**model["one"], **write(disk, 4, places(size_of(served(disk)))[::5])}
    restore_to("two", stay=True)
    look()
    done("Abort", control(disk))
    model["now"] = before
    look()
    end_restore()
    look()
    ok("restored, and not")


def clones():
    """Of a moment, which is filled while both are written; and of now."""
    for name, moment in ("of-two", "two"), ("of-now", "now"):
        target = name + os.path.splitext(disk)[1]
        command(f"clone {target} At={moment}")
        wanted = {**model[moment], **write(target, 5, places(size_of(served(target)))[1::4])}
        model["now"] = {**model["now"], **write(disk, 6, places(size_of(served(disk)))[::4])}
        holds(served(target), wanted, target)
        eventually(QUICK * patience(), lambda: not os.path.exists(tree("replicas", f"{disk}-1")), f"{target} is filled")
        holds(served(target), wanted, target)
        eventually(10 * patience(), lambda: is_closed(target), f"{target} is closed")
        done(f"DeleteDisk Name={target}")
    look()
    ok("cloned")


def punched():
    """All of it, at once; also while a restore is under way, and of a clone that is not filled."""
    kept = kept_bytes()
    within(QUICK, punch_all, disk)
    model["now"] = {}
    look()
    command("Settle")
    look()
    most = len(places(size_of(served(disk)))) * PIECE * 3 + (64 << 20)
    must(kept_bytes() - kept < most, f"{kept_bytes() - kept} bytes more are kept")
    ok("the disk")
    before = model["now"]
    restore_to("one", stay=True)
    within(QUICK, punch_all, disk)
    model["now"] = {}
    look()
    done("Abort Force", control(disk))
    model["now"] = before
    look()
    end_restore()
    look()
    ok("while it is restored")
    target = "lazy" + os.path.splitext(disk)[1]
    model["now"] = write(disk, 7, places(size_of(served(disk)))[::2])
    command(f"CreateReplica SyncType=Clone CopyMethodology=7 TargetStorageVolume={target}")
    holds(served(target), model["now"], target)
    within(QUICK, punch_all, target)
    holds(served(target), {}, target)
    look()
    eventually(10 * patience(), lambda: is_closed(target), f"{target} is closed")
    done(f"DeleteDisk Name={target}")
    ok("a clone")


def punched_in_part():
    """Of a clone that is filled up to some place."""
    target = "part" + os.path.splitext(disk)[1]
    done("Set CopyRate=64K")
    clone = command(f"clone {target} At=one")["ElementName"]
    eventually(60 * patience(), lambda: int(read("replicas", clone, "PercentSynced")) > 0, f"{target} is filled in part")
    done("Suspend", tree("replicas", clone, "control"))
    done("Set CopyRate=0")
    holds(served(target), model["one"], target)
    within(QUICK, punch_all, target)
    holds(served(target), {}, target)
    eventually(10 * patience(), lambda: is_closed(target), f"{target} is closed")
    done(f"DeleteDisk Name={target}")
    look()


def bounded():
    """Memory, whatever was done since the daemon began."""
    must(most_memory() < MEMORY, f"the daemon had {most_memory() >> 20} MiB")
    ok(f"{most_memory() >> 20} MiB")


def given_back():
    names = [line.split()[3] for line in lines("disks", disk, "history")]
    random.Random(8).shuffle(names)
    for name in names:
        command(f"unsnapshot {name}")
    eventually(QUICK * patience(), lambda: not lines("disks", disk, "history"), "nothing is kept")
    holds(served(disk), model["now"], "the disk")


def main():
    global disk, model
    group, mount_point, disk_directory, disk = sys.argv[1:]
    PLACES.update(MNT=os.fsencode(mount_point), DISKS=os.fsencode(disk_directory))
    if os.path.exists(state_path()):
        with open(state_path(), "rb") as file:
            model = pickle.load(file)
    globals()[group]()
    with open(state_path(), "wb") as file:
        pickle.dump(model, file)


main()
