#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""snapshots.py GROUP MOUNTPOINT DISKDIR [PLACE...]: snapshots, kept moments and what differs between them.

Each group is a function; snapshots.test says what each proves.
"""
import datetime
import errno
import mmap
import os
import random
import select
import signal
import stat
import struct
import sys
import threading
import time

from disk_calls import KEEP_SIZE, PLACES, PUNCH_HOLE, backing, eventually, fallocate, make, must, ok, refused, served
from replication import control, done, events, last_event, lines, patience, read, refuses, status, told, tree

E = errno
MIB = 1 << 20
BLOCK = 8192
STEP = 5 * MIB  # what the file that is appended to has more


def raw(disk, name):
    return tree("disks", disk, "snapshots", name + ".raw")


def at(disk, moment):
    return tree("disks", disk, "at", moment + ".raw")


def replica(disk, name, *parts):
    return ("replicas", f"{disk}@{name}") + parts


def content(path):
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(MIB), b""))


def write_at(disk, offset, data):
    fd = os.open(served(os.fsencode(disk)), os.O_WRONLY)
    must(os.pwrite(fd, data, offset) == len(data), "a write")
    os.close(fd)


def snapshot(disk, name, *words):
    result = done(" ".join(("snapshot", name) + words), control(disk))
    must(result["ElementName"] == f"{disk}@{name}", f"the ElementName is {result['ElementName']}")


def unsnapshot(disk, name):
    """The close of a reader comes a moment after it."""
    eventually(5, lambda: not status()["Disks"][disk]["Openers"], f"{disk} is closed")
    done(f"unsnapshot {name}", control(disk))


def value(disk, name, what):
    return read(*replica(disk, name, what)).decode()


def generations(disk):
    return [int(line.split()[0][1:]) for line in lines("disks", disk, "history")]


# ---- What is there ----

def files():
    make(b"f.img", bytes(MIB))
    write_at("f.img", 0, b"before")
    os.chmod(served(b"f.img"), 0o640)
    began = time.time()
    snapshot("f.img", "one")
    write_at("f.img", 0, b"after!")
    os.truncate(served(b"f.img"), 2 * MIB)
    must(os.listdir(tree("disks", "f.img", "snapshots")) == [b"one.raw"], "snapshots/ lists it")
    must(os.listdir(tree("replicas")) == [b"f.img@one"], "replicas/ lists it")
    for directory in "at", "changes":
        must(os.listdir(tree("disks", "f.img", directory)) == [], f"{directory}/ lists nothing")
    st = os.stat(raw("f.img", "one"))
    must(st.st_mode == stat.S_IFREG | 0o440, f"its mode is {oct(st.st_mode)}")
    must(st.st_size == MIB, "its size is what the disk's was")
    must(began - 1 <= st.st_mtime <= time.time() + 1, "its time is its moment")
    must(os.stat(served(b"f.img")).st_uid == st.st_uid, "its owner is the disk's")
    must(stat.S_IMODE(os.stat(tree("disks", "f.img", "changes", "one..now")).st_mode) == 0o440, "the mode of changes")
    ok("attributes")
    must(os.readlink(tree(*replica("f.img", "one", "source"))) == b"../../../f.img", "source is a link")
    must(content(tree(*replica("f.img", "one", "target")))[:6] == b"before", "target leads to the content")
    must(content(tree(*replica("f.img", "one", "source")))[:6] == b"after!", "source leads to the disk")
    must(len(content(raw("f.img", "one"))) == MIB, "it ends where the disk ended")
    ok("links")
    where = status()["Disks"]["f.img"]["Snapshots"]["one"]
    must(value("f.img", "one", "SyncTime").strip() == where["Time"], "its time is the same everywhere")
    line = lines("disks", "f.img", "history")[0].split()
    must(line[0] == f"g{where['Generation']}" and line[1] == where["Time"] and line[3] == "one", f"history is {line}")
    snapshot("f.img", "copy", "At=one")
    must(content(raw("f.img", "copy")) == content(raw("f.img", "one")), "a second name for the moment")
    unsnapshot("f.img", "one")
    must(content(raw("f.img", "copy"))[:6] == b"before", "the second name keeps it")
    must(os.listdir(tree("replicas")) == [b"f.img@copy"], "one.raw is gone")
    ok("two names for one moment")
    eventually(5, lambda: not status()["Disks"]["f.img"]["Openers"], "f.img is closed")
    refuses(E.EPERM, "DeleteDisk Name=f.img")
    refused(E.EBUSY, "rm of a disk that has a snapshot", os.unlink, served(b"f.img"))
    done("DeleteDisk Name=f.img Force")
    must(os.listdir(tree("replicas")) == [], "its snapshots go with it")


def reading():
    make(b"r.img", bytes(4 * MIB))
    pattern = random.Random(1).randbytes(2 * MIB)
    write_at("r.img", MIB, pattern)
    snapshot("r.img", "one")
    write_at("r.img", 0, b"\xff" * 4 * MIB)
    wanted = bytes(MIB) + pattern + bytes(MIB)
    must(content(raw("r.img", "one")) == wanted, "from start to end")
    fd = os.open(raw("r.img", "one"), os.O_RDONLY)
    rng = random.Random(2)
    for _ in range(200):
        offset, size = rng.randrange(4 * MIB + 10), rng.randrange(100000)
        must(os.pread(fd, size, offset) == wanted[offset:offset + size], f"{size} bytes at {offset}")
    must(os.pread(fd, 10, 4 * MIB) == b"" and os.pread(fd, 10, 1 << 50) == b"", "nothing past the end")
    ok("reading at random")
    must(os.lseek(fd, 0, os.SEEK_DATA) <= MIB and os.lseek(fd, 0, os.SEEK_END) == 4 * MIB, "lseek")
    refused(E.ENXIO, "SEEK_DATA past the end", os.lseek, fd, 4 * MIB, os.SEEK_DATA)
    hole = os.lseek(fd, MIB, os.SEEK_HOLE)
    must(hole >= 3 * MIB, "no hole where there is data")
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as memory:
        must(memory[:] == wanted, "a mapping")
    ok("holes, mappings")
    refused(E.EBADF, "writing to what was opened for reading", os.pwrite, fd, b"x", 0)
    os.close(fd)
    direct = os.open(raw("r.img", "one"), os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, MIB) as memory:
        must(os.preadv(direct, [memory], MIB) == MIB and memory[:] == wanted[MIB:2 * MIB], "O_DIRECT")
    os.close(direct)
    for flags in os.O_WRONLY, os.O_RDWR:
        refused((E.EROFS, E.EACCES), "opening for writing", os.open, raw("r.img", "one"), flags)
    refused((E.EROFS, E.EACCES, E.EPERM), "truncate", os.truncate, raw("r.img", "one"), 0)
    refused((E.EPERM, E.EROFS), "chmod", os.chmod, raw("r.img", "one"), 0o666)
    refused(E.EPERM, "rm", os.unlink, raw("r.img", "one"))
    refused((E.EPERM, E.EXDEV), "mv", os.rename, raw("r.img", "one"), raw("r.img", "two"))
    ok("nobody writes")


def refusals():
    make(b"n.img", bytes(MIB))
    where = control("n.img")
    for name in ("now", "NOW", "force", "wait", "g5", "-15m", "@1234", "2026-11-20T16:50:03Z", ".x", "-x", "a..b", "a/b",
                 "a@b", "a:b", "n" * 201):
        refuses((E.EINVAL, E.E2BIG), f'snapshot Name="{name}"', where)
    refuses(E.EINVAL, b"snapshot \xff\xfe", where)
    must(generations("n.img") == [], "nothing is kept")
    must(status()["Disks"]["n.img"]["Snapshots"] == {}, "there is no snapshot")
    ok("names that are wrong")
    for name in "n" * 200, "a b", "é", "%s%n", "x.raw", "G5x":
        done(f'snapshot Name="{name}"', where)
        must(os.path.exists(raw("n.img", name)), f"{name} is there")
        refuses(E.EEXIST, f'snapshot Name="{name}"', where)
        done(f'unsnapshot Name="{name}"', where)
    ok("names that are right")
    made = {done("snapshot", where)["ElementName"] for _ in range(3)}
    must(len(made) == 3 and all(name.startswith("n.img@n") for name in made), f"made-up names: {made}")
    snapshot("n.img", "one")
    for word in "one", "none.raw", "@1.raw", "2999-01-01T00:00:00Z.raw", "-1000d.raw", "g999999999.raw", ".raw":
        refused(E.ENOENT, f"at/{word}", os.stat, tree("disks", "n.img", "at", word))
    for word in "one", "one..", "..one", "now..one", "one..none", "one..one..one":
        refused(E.ENOENT, f"changes/{word}", open, tree("disks", "n.img", "changes", word))
    refuses(E.ENOENT, "snapshot x At=@1", where)
    refuses(E.ENOENT, "snapshot x At=2999-01-01T00:00Z", where)
    refuses(E.EINVAL, "CreateReplica SyncType=Clone", where)
    refuses(E.ENOENT, "unsnapshot none", where)
    ok("what is not there")
    fd = os.open(raw("n.img", "one"), os.O_RDONLY)
    refuses(E.EBUSY, "unsnapshot one", where)
    must(os.path.exists(raw("n.img", "one")), "it is still there")
    os.close(fd)
    done("Hold Tag=backup", tree(*replica("n.img", "one", "control")))
    eventually(5, lambda: not status()["Disks"]["n.img"]["Openers"], "n.img is closed")
    refuses(E.EBUSY, "unsnapshot one", where)
    refuses(E.EBUSY, "unsnapshot one Force", where)
    done("Unhold Tag=backup", tree(*replica("n.img", "one", "control")))
    done("unsnapshot one", where)
    ok("held and open ones: EBUSY")
    moment = generations("n.img")[-1]
    fd = os.open(at("n.img", f"g{moment}"), os.O_RDONLY)
    for name in sorted(made):
        told(f"unsnapshot {name.split('@')[1]}", where)  # the last of them is open
    must(os.pread(fd, 4096, 0) == bytes(4096), "an open moment can be read")
    os.close(fd)
    ok("an open moment is kept")


def operations():
    make(b"o.img", bytes(MIB))
    done("CreateReplica SyncType=Snapshot ElementName=one CopyPriority=0", control("o.img"))
    where = tree(*replica("o.img", "one", "control"))
    must(value("o.img", "one", "CopyState") == "Synchronized\n", "it is Synchronized")
    for operation in "Suspend", "22", "Failover", "ReverseRoles", "ResetToSync", "Fracture", "25":
        result = refuses(E.EOPNOTSUPP, operation, where)
        must(result["ReturnValue"] == "1 Not Supported", f"{operation}: {result}")
    result = refuses(E.EBUSY, "Resume", where)
    must(result["Message"] == "CopyState is Synchronized; Resume needs Suspended", f"the message is {result['Message']}")
    first = value("o.img", "one", "SyncTime")
    write_at("o.img", 0, b"later")
    time.sleep(0.01)
    done("14", where)
    must(value("o.img", "one", "SyncTime") > first and content(raw("o.img", "one"))[:5] == b"later", "ResyncReplica")
    eventually(5, lambda: not status()["Disks"]["o.img"]["Openers"], "o.img is closed")
    done("Deactivate", where)
    must(value("o.img", "one", "CopyState") == "Inactive\n", "it is Inactive")
    must(not os.path.exists(raw("o.img", "one")), "an Inactive one has no file")
    must(not os.path.lexists(tree(*replica("o.img", "one", "target"))), "and no target")
    must(refuses(E.EBUSY, "ResyncReplica", where)["RecommendedActions"] == "Activate", "the way out")
    done("SetReplicationRelationship Operation=Activate", where)
    must(content(raw("o.img", "one"))[:5] == b"later", "Activate")
    eventually(5, lambda: not status()["Disks"]["o.img"]["Openers"], "o.img is closed")
    done("Plan 19", where)
    done("19", where)
    must(not os.path.exists(tree(*replica("o.img", "one"))), "ReturnToResourcePool")
    ok("operations")


# ---- What differs ----

def extents(path):
    found, end = [], 0
    for line in content(path).decode().splitlines():
        offset, length, kind = line.split()
        offset, length = int(offset), int(length)
        must(offset >= end and length > 0 and kind in ("data", "zero"), f"'{line}' is an extent, and after the one before")
        end = offset + length
        found.append((offset, length, kind))
    return found


def applied(old, new, changes):
    image = bytearray(old.ljust(len(new), b"\0")[:len(new)])
    for offset, length, kind in changes:
        must(offset + length <= len(new), "an extent ends in the disk")
        if kind == "zero":
            must(new[offset:offset + length].count(0) == length, "what is called zero is zero")
        image[offset:offset + length] = new[offset:offset + length]
    return bytes(image)


def differences(rounds):
    make(b"d.img", bytes(8 * MIB))
    rng = random.Random(3)
    kept = {}
    for i in range(int(rounds)):
        fd = os.open(served(b"d.img"), os.O_WRONLY)
        for _ in range(rng.randrange(4)):
            offset, size = rng.randrange(8 * MIB), rng.randrange(1, 100000)
            size = min(size, 8 * MIB - offset)
            if rng.random() < 0.3:
                fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, size)
            else:
                os.pwrite(fd, rng.randbytes(size), offset)
        os.close(fd)
        snapshot("d.img", f"s{i}")
        kept[f"s{i}"] = content(served(b"d.img"))
        if len(kept) > 8:
            gone = rng.choice(sorted(kept))
            unsnapshot("d.img", gone)
            del kept[gone]
        a, b = sorted(rng.choices(sorted(kept), k=2), key=lambda name: int(name[1:]))
        must(content(raw("d.img", a)) == kept[a], f"{a} is as it was")
        path = tree("disks", "d.img", "changes", f"{a}..{b}")
        must(applied(kept[a], kept[b], extents(path)) == kept[b], f"{a}..{b} is all that differs")
        path = tree("disks", "d.img", "changes", f"{a}..now")
        must(applied(kept[a], content(served(b"d.img")), extents(path)) == content(served(b"d.img")), f"{a}..now")
    must(extents(tree("disks", "d.img", "changes", f"{a}..{a}")) == [], "nothing differs from itself")
    ok(f"{rounds} rounds")
    for name in kept:
        unsnapshot("d.img", name)
    refused(E.ENOENT, "what is deleted", os.stat, raw("d.img", "s0"))


# ---- Kept history ----

def history():
    make(b"h.img", bytes(MIB))
    done("KeepHistory Window=1h Granularity=100ms Limit=1G", control("h.img"))
    refuses(E.EPERM, "KeepHistory Window=1m", control("h.img"))
    times = []
    for i in range(10):
        write_at("h.img", 0, b"%04d" % i)
        time.sleep(0.35 * patience())
        times.append((datetime.datetime.now(datetime.timezone.utc), i))
    for when, i in times:
        moment = when.isoformat(timespec="milliseconds")
        must(content(at("h.img", moment))[:4] == b"%04d" % i, f"at/{moment} has {i}")
    must(content(at("h.img", f"@{times[4][0].timestamp():.3f}"))[:4] == b"0004", "seconds since 1970")
    must(content(at("h.img", "-0s"))[:4] == b"0009", "a time ago")
    ok("every moment can be read")
    kept = lines("disks", "h.img", "history")
    must(len(kept) >= 10, f"{len(kept)} moments are kept")
    numbers = [int(line.split()[0][1:]) for line in kept]
    must(numbers == sorted(set(numbers)), "generations go up")
    must([line.split()[1] for line in kept] == sorted(line.split()[1] for line in kept), "so do times")
    count = len(kept)
    time.sleep(0.5 * patience())
    must(len(lines("disks", "h.img", "history")) == count, "what is not written has no new moments")
    when = times[5][0].isoformat(timespec="milliseconds")
    done(f"snapshot five At={when}", control("h.img"))
    must(content(raw("h.img", "five"))[:4] == b"0005", "a snapshot of the past")
    eventually(5, lambda: not status()["Disks"]["h.img"]["Openers"], "h.img is closed")
    when = times[7][0].isoformat(timespec="milliseconds")
    done(f"ForgetHistory Before={when} Force", control("h.img"))
    must(content(at("h.img", when))[:4] == b"0007", "the moment that was named is kept")
    must(content(at("h.img", times[6][0].isoformat(timespec="milliseconds")))[:4] == b"0005", "before it the snapshot is the newest")
    refused(E.ENOENT, "before all that is kept", os.stat, at("h.img", times[2][0].isoformat(timespec="milliseconds")))
    ok("ForgetHistory")
    about = status()["Disks"]["h.img"]["History"]
    must(about["WindowSeconds"] == 3600 and about["GranularitySeconds"] == 0.1 and about["Limit"] == 1 << 30, f"{about}")
    done("KeepHistory Window=0s Force", control("h.img"))
    must(status()["Disks"]["h.img"]["History"]["WindowSeconds"] is None, "no more history")
    unsnapshot("h.img", "five")
    eventually(20, lambda: generations("h.img") == [], "nothing is kept")


# ---- What goes first, and what it gives back ----

def go_in_order(disk, how, shed):
    """Moments come while others go: those that are kept are always the last ones that were made. A snapshot stays."""
    make(os.fsencode(disk), bytes(2 * MIB))
    done(f"KeepHistory {how} Granularity=100ms", control(disk))
    rng = random.Random(disk)
    made, held = [], {}
    snapshot(disk, "stays")
    first = content(raw(disk, "stays"))
    ends = time.monotonic() + 60 * patience()
    while len(made) < shed + len(held):
        must(time.monotonic() < ends, f"{len(made)} moments were made, {len(held)} are kept")
        write_at(disk, rng.randrange(256) * BLOCK, rng.randbytes(BLOCK * 16))
        time.sleep(0.02)
        kept = [int(words[0][1:]) for words in map(str.split, lines("disks", disk, "history")) if len(words) == 3]
        made += [generation for generation in kept if generation > max(made, default=0)]
        must(kept == made[len(made) - len(kept):], f"{kept} are kept of {made}")
        held = {generation: held.get(generation) or hash(content(at(disk, f"g{generation}"))) for generation in kept[-8:]}
    must(content(raw(disk, "stays")) == first, "the snapshot is what it was")
    for generation in generations(disk)[-4:]:
        if generation in held:
            must(hash(content(at(disk, f"g{generation}"))) == held[generation], f"g{generation} is what it was")
    ok(f"{how}: {len(made)} were made")
    done("KeepHistory Window=0s Force", control(disk))
    unsnapshot(disk, "stays")


def oldest_first():
    go_in_order("window.img", "Window=1s", 20)
    go_in_order("limit.img", "Window=1h Limit=4M", 20)


def store_bytes():
    """What old content takes of all disks."""
    past = os.path.join(PLACES["DISKS"], b".tandem", b"past")
    return sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for directory, _, names in os.walk(past)
               if os.path.basename(directory) == b"store" for name in names)


def space():
    """Each snapshot that goes gives back what nobody else needs, in whatever order they go; the last one all."""
    before, rng = store_bytes(), random.Random(6)
    make(b"space.img", bytes(32 * MIB))
    blocks = [0] * (32 * MIB // BLOCK)
    kept = {}
    for i in range(1, 9):
        for block in rng.sample(range(len(blocks)), len(blocks) // 4):
            write_at("space.img", block * BLOCK, rng.randbytes(BLOCK))
            blocks[block] = i
        kept[f"s{i}"] = list(blocks)
        snapshot("space.img", f"s{i}")
    write_at("space.img", 0, rng.randbytes(32 * MIB))
    done("Settle", control("space.img"))
    taken = []
    while True:
        # Not what was a hole.
        needed = len({(block, since) for held in kept.values() for block, since in enumerate(held) if since}) * BLOCK
        # Records are no whole pages: what lies between two that are kept shares one with each.
        most = needed + needed // 2 + STEP
        eventually(30 * patience(), lambda: store_bytes() - before <= most, f"{len(kept)} snapshots take at most {most} bytes")
        must(store_bytes() - before >= needed or not kept, f"{len(kept)} snapshots take {needed} bytes at least")
        taken.append(store_bytes() - before)
        if not kept:
            break
        gone = rng.choice(sorted(kept))
        unsnapshot("space.img", gone)
        del kept[gone]
    ok(f"MiB taken, by one less each time: {[bytes // MIB for bytes in taken]}")
    done("DeleteDisk Name=space.img")


# ---- Waiting ----

def waiting():
    make(b"v.img", bytes(MIB))
    snapshot("v.img", "one")
    where = tree(*replica("v.img", "one", "control"))

    def wait_path(states):
        return tree(*replica("v.img", "one", "wait", states))

    must(content(wait_path("Synchronized")) == b"Synchronized\n", "what is so already")
    must(content(wait_path("4,Broken")) == b"Synchronized\n", "by number")
    for states in "none", "16", "Broken,", ",":
        refused(E.ENOENT, f"wait/{states}", os.stat, wait_path(states))
    fd = os.open(wait_path("inactive"), os.O_RDONLY | os.O_NONBLOCK)
    refused(E.EAGAIN, "O_NONBLOCK", os.read, fd, 100)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    must(poller.poll(200) == [], "poll() waits")
    got, readers = [], []
    for _ in range(200):
        readers.append(threading.Thread(target=lambda: got.append(content(wait_path("Inactive,Split")))))
        readers[-1].start()
    time.sleep(0.2)
    done("Plan Rescan")
    must(got == [], "nobody is answered early, and the others are served")
    done("Deactivate", where)
    for reader in readers:
        reader.join()
    must(got == [b"Inactive\n"] * 200, "all are answered")
    must(poller.poll(10000 * patience()) and os.read(fd, 100) == b"Inactive\n" and os.read(fd, 100) == b"", "poll() wakes")
    os.close(fd)
    ok("200 who wait")
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError(errno.EINTR, "")))
    fd = os.open(wait_path("Split"), os.O_RDONLY)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    refused(E.EINTR, "a signal", os.read, fd, 100)
    threading.Timer(0.2, lambda: done("19", where)).start()
    refused(E.ENODEV, "the relationship goes", os.read, fd, 100)
    os.close(fd)


def polls():
    make(b"p.img", bytes(MIB))
    fd = os.open(tree("disks", "p.img", "status"), os.O_RDONLY)
    os.read(fd, 65536)
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    must(poller.poll(0) == [], "nothing has changed")
    threading.Timer(0.2, lambda: snapshot("p.img", "one")).start()
    must(poller.poll(10000 * patience()), "a snapshot wakes who polls the disk's status")
    eventually(5, lambda: os.path.exists(tree(*replica("p.img", "one"))), "the relationship is there")
    must(b"Snapshots: 1\n" in os.pread(fd, 65536, 0), "it is in the status")
    other = os.open(tree(*replica("p.img", "one", "status")), os.O_RDONLY)
    os.read(other, 65536)
    poller = select.poll()
    poller.register(other, select.POLLPRI)
    threading.Timer(0.2, lambda: done("Hold Tag=x", tree(*replica("p.img", "one", "control")))).start()
    while b"Hold: x\n" not in os.pread(other, 65536, 0):  # the end of the snapshot's command may wake it first
        must(poller.poll(10000 * patience()), "a hold wakes who polls the snapshot's status")
    seq = last_event()
    done("Unhold Tag=x", tree(*replica("p.img", "one", "control")))
    said = events(seq)
    must([(e["Kind"], e["Object"]) for e in said if e["Kind"] == "CommandDone"] == [("CommandDone", "replicas/p.img@one")],
         f"the event names the relationship: {said}")
    os.close(fd)
    os.close(other)
    done("unsnapshot one", control("p.img"))
    ok("poll()")


# ---- Beside a writer ----

PUNCHED = 1 << 63
BLOCKS = 4096


def journal(path):
    with open(path, "rb") as file:
        numbers = struct.unpack(f"<{2 * BLOCKS}Q", file.read(16 * BLOCKS))
    return numbers[0::2], numbers[1::2]


def check_moment(image, acknowledged, begun):
    for b in range(BLOCKS):
        block = image[b * 4096:(b + 1) * 4096]
        number = struct.unpack_from("<Q", block)[0]
        must(block == struct.pack("<Q", number) * 512, f"block {b} is whole")
        low, high = acknowledged[b] & ~PUNCHED, begun[b] & ~PUNCHED
        if number == 0:
            # A punch, or never written; which punch it was cannot be told.
            must(low == 0 or acknowledged[b] & PUNCHED or high > low, f"block {b}: write {low} is not in the snapshot")
        else:
            must(low <= number <= high, f"block {b}: it holds write {number}, not of {low} to {high}")


def writer(path, rounds):
    rng = random.Random(4)
    kept = {}
    for i in range(int(rounds)):
        _, acknowledged = journal(path)
        snapshot("w.img", f"s{i}")
        begun, _ = journal(path)
        image = content(raw("w.img", f"s{i}"))
        check_moment(image, acknowledged, begun)
        kept[f"s{i}"] = hash(image)
        again = rng.choice(sorted(kept))
        must(hash(content(raw("w.img", again))) == kept[again], f"{again} stays as it is")
        if len(kept) > 6:
            gone = rng.choice(sorted(kept))
            # Its last reader's close may be on the way still.
            eventually(5, lambda: deleted("w.img", gone), f"{gone} is deleted")
            del kept[gone]
    for name in kept:
        must(hash(content(raw("w.img", name))) == kept[name], f"{name} stays as it is")
    ok(f"{rounds} snapshots of a disk that is written")


def deleted(disk, name):
    with open(control(disk), "wb", buffering=0) as file:
        file.write(f"unsnapshot {name}".encode())
    return True


# ---- Over restarts ----

def three_moments():
    make(b"kept.img", bytes(4 * MIB))
    rng = random.Random(5)
    for name in "one", "two", "three":
        write_at("kept.img", rng.randrange(2 * MIB), rng.randbytes(MIB))
        snapshot("kept.img", name)
    write_at("kept.img", 0, rng.randbytes(3 * MIB))


def changed():
    make(b"c.img", bytes(MIB))
    write_at("c.img", 0, b"mine")
    snapshot("c.img", "one")
    write_at("c.img", 0, b"more")
    done("Settle", control("c.img"))
    fd = os.open(served(b"c.img"), os.O_RDONLY)
    with open(backing(b"c.img"), "r+b") as file:
        file.write(b"theirs")
    done("Rescan")
    eventually(10, lambda: status()["Disks"]["c.img"]["State"] == "Changed", "c.img is Changed")
    refused(E.ESTALE, "a snapshot of what others changed", open, raw("c.img", "one"), "rb")
    refused(E.ESTALE, "at/ of what others changed", open, at("c.img", "one"), "rb")
    refused(E.ESTALE, "changes/ of what others changed", open, tree("disks", "c.img", "changes", "one..now"), "rb")
    refuses((E.EBUSY, E.ESTALE), "snapshot two", control("c.img"))
    os.close(fd)
    ok("an image that others have changed")


if __name__ == "__main__":
    PLACES["MNT"], PLACES["DISKS"] = (os.fsencode(path) for path in sys.argv[2:4])
    globals()[sys.argv[1]](*sys.argv[4:])
