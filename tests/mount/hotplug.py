#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hotplug.py GROUP MOUNTPOINT DISKDIR [PLACE...]: images that come, change and go behind the mount.

Each group is a function; hotplug.test says what each proves.
"""
import errno
import os
import random
import socket
import subprocess
import sys
import threading
import time

from disk_calls import PLACES, Opened, backing, bytes_of, eventually, make, must, name_of, ok, refused, served
from replication import (control, done, events, fields, last_event, percent, quoted, read, state_of, status,
                         told, tree)

SECONDS = 5  # for what inotify tells


def soon(truth, what):
    eventually(SECONDS, truth, what)


def identity(name):
    return status()["Disks"].get(os.fsdecode(name), {}).get("Identity")


def in_mount(name):
    return os.path.lexists(served(name))


def appears(name):
    soon(lambda: in_mount(name) and state_of(os.fsdecode(name)) == "Ready", f"{name} appears")


def vanishes(name):
    soon(lambda: not in_mount(name) and state_of(os.fsdecode(name)) is None, f"{name} vanishes")


def kinds(after, *wanted):
    return [(event["Kind"], event["Object"]) for event in events(after) if event["Kind"] in wanted]


def clear():
    for entry in list(os.scandir(PLACES["DISKS"])):
        if entry.name != b".tandem":
            os.rmdir(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
    soon(lambda: not status()["Disks"], "all vanish")


def same(name):
    must(bytes_of(served(name)) == bytes_of(backing(name)), f"{name} has the bytes of its image")


# ---- Coming and going ----

def appear(other_directory):
    """Each way in which an image gets there."""
    source = os.path.join(os.fsencode(other_directory), b"source.img")
    with open(source, "wb") as file:
        file.write(random.randbytes(300000 // 512 * 512))
    after = last_event()
    subprocess.run([b"cp", source, backing(b"cp.img")], check=True)
    appears(b"cp.img")
    same(b"cp.img")
    subprocess.run([b"cp", "--reflink=never", source, backing(b"moved.img.part")], check=True)
    must(not in_mount(b"moved.img.part"), "another ending is not shown")
    os.rename(backing(b"moved.img.part"), backing(b"renamed.img"))
    appears(b"renamed.img")
    subprocess.run([b"mv", source, backing(b"moved.raw")], check=True)
    appears(b"moved.raw")
    subprocess.run([b"truncate", b"-s", b"1M", backing(b"truncated.ISO")], check=True)
    appears(b"truncated.ISO")
    subprocess.run([b"dd", b"if=/dev/urandom", b"of=" + backing(b"dd.img"), b"bs=64k", b"count=3", b"status=none"], check=True)
    appears(b"dd.img")
    same(b"dd.img")
    if subprocess.run(["which", "qemu-img"], stdout=subprocess.DEVNULL, check=False).returncode == 0:
        subprocess.run([b"qemu-img", b"create", b"-q", b"-f", b"raw", backing(b"qemu.img"), b"10M"], check=True)
        appears(b"qemu.img")
        must(os.stat(served(b"qemu.img")).st_size == 10 << 20, "the size that qemu-img gave it")
    fd = os.open(PLACES["DISKS"], os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, bytes(4096))
    subprocess.run([b"ln", b"-L", b"/proc/%d/fd/%d" % (os.getpid(), fd), backing(b"linked.img")], check=True)
    os.close(fd)
    appears(b"linked.img")
    added = [os.fsdecode(name) for name in os.listdir(PLACES["DISKS"]) if name != b".tandem"]
    said = kinds(after, "DiskAdded")
    must({f"disks/{name}" for name in added} == {name for _, name in said}, f"an event for each: {said}")
    ok("cp, mv, truncate, dd, qemu-img, link")

    os.mkfifo(backing(b"fifo.img"))
    os.mkdir(backing(b"directory.img"))
    os.symlink(backing(b"cp.img"), backing(b"symlink.img"))
    os.symlink("nowhere", backing(b"dangling.img"))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(os.fsdecode(backing(b"socket.img")))
    unix.close()
    for name, size in (b"notes.txt", 512), (b".hidden.img", 512), (b"odd", 511), (b"empty", 0), (b"image.img.bak", 512):
        make_unserved(name, size)
    done("Rescan")
    wrong = {b"fifo.img", b"directory.img", b"symlink.img", b"dangling.img", b"socket.img", b"notes.txt", b".hidden.img",
             b"odd", b"empty", b"image.img.bak"}
    must(not wrong & set(os.listdir(PLACES["MNT"])) and not wrong & set(os.listdir(tree("disks"))), "none of these is a disk")
    make_unserved(b"sectors", 1024)
    appears(b"sectors")
    make_unserved(b"empty.img", 0)
    appears(b"empty.img")
    ok("what is no disk")
    clear()


def make_unserved(name, size):
    with open(backing(name), "wb") as file:
        file.write(bytes(size))


def hard_links(other_directory):
    content = make(b"h.img")
    link = os.path.join(os.fsencode(other_directory), b"link")
    os.link(backing(b"h.img"), link)
    done("Rescan")
    before = state_of("h.img")
    os.unlink(link)
    make(b"i.img")
    os.link(backing(b"i.img"), backing(b"j.img"))
    done("Rescan")
    soon(lambda: not in_mount(b"i.img") and not in_mount(b"j.img"), "an image with two links is not in the mount")
    said = [(disk["State"], disk["Reason"]) for name, disk in status()["Disks"].items() if name in ("i.img", "j.img")]
    must(said and all(state == "Invalid" and "link" in reason for state, reason in said), f"with the reason: {said}")
    os.unlink(backing(b"j.img"))
    vanishes(b"j.img")
    done("Rescan")
    appears(b"i.img")
    must(bytes_of(served(b"h.img")) == content, f"h.img is as it was; with its link it was {before}")
    ok("hard links")
    clear()


def slow_copy():
    """Not shown while somebody writes it."""
    first, second = random.randbytes(1 << 20), random.randbytes(1 << 20)
    with open(backing(b"slow.img"), "wb", buffering=0) as file:
        file.write(first)
        done("Rescan")
        make(b"quick.img")
        must(not in_mount(b"slow.img"), "slow.img is not shown while it is written")
        file.write(second)
        done("Rescan")
        must(not in_mount(b"slow.img"), "slow.img is not shown while it is still written")
    appears(b"slow.img")
    must(bytes_of(served(b"slow.img")) == first + second, "slow.img is whole")
    ok("not shown while it is written")
    clear()


def vanish():
    make(b"v.img")
    after = last_event()
    os.unlink(backing(b"v.img"))
    vanishes(b"v.img")
    must(kinds(after, "DiskRemoved") == [("DiskRemoved", "disks/v.img")], "the event")
    make(b"w.img")
    with Opened(b"w.img") as fd:
        os.unlink(backing(b"w.img"))
        soon(lambda: state_of("w.img") == "Missing", "an open disk without image is Missing")
        must(not in_mount(b"w.img"), "it is not in the mount")
        refused(errno.ENOENT, "opening it once more", os.open, served(b"w.img"), os.O_RDONLY)
        refused(errno.EIO, "reading it", os.pread, fd, 512, 0)
        refused(errno.EIO, "writing it", os.pwrite, fd, b"x" * 512, 0)
        must(status()["Health"]["State"] == "FAIL", "Health is FAIL")
    vanishes(b"w.img")
    ok("images that are removed")
    after = last_event()
    make(b"x.img")
    old = identity(b"x.img")
    os.unlink(backing(b"x.img"))
    vanishes(b"x.img")
    make(b"x.img")
    must(identity(b"x.img") != old, "a new image of an old name is another disk")
    ok("a new image of an old name")
    clear()


# ---- Renaming ----

def rename_closed():
    content = make(b"a.img")
    old, after = identity(b"a.img"), last_event()
    os.rename(backing(b"a.img"), backing(b"b.img"))
    appears(b"b.img")
    soon(lambda: state_of("a.img") is None, "the old name goes")
    must(bytes_of(served(b"b.img")) == content and identity(b"b.img") == old, "the same disk")
    said = kinds(after, "DiskAdded", "DiskRemoved", "DiskRenamed", "StateChanged", "DiskFailed")
    must(said == [("DiskRenamed", "disks/b.img")], f"the events are {said}")
    for i in range(20):
        os.rename(backing(b"b%d.img" % (i - 1) if i else b"b.img"), backing(b"b%d.img" % i))
    appears(b"b19.img")
    soon(lambda: list(status()["Disks"]) == ["b19.img"], "the last name stays")
    must(identity(b"b19.img") == old, "after twenty renames still the same disk")
    done("Set ReadOnly=true", control("b19.img"))
    os.rename(backing(b"b19.img"), backing(b"ro.img"))
    soon(lambda: state_of("ro.img") == "ReadOnly", "a setting follows")
    must(identity(b"ro.img") == old, "the same disk")
    ok("renamed while closed")
    clear()


def rename_open():
    content = bytearray(make(b"a.img"))
    old, after = identity(b"a.img"), last_event()
    with Opened(b"a.img") as fd:
        must(os.pwrite(fd, b"before", 0) == 6, "a write before")
        content[:6] = b"before"
        os.rename(backing(b"a.img"), backing(b"b.img"))
        until = time.monotonic() + 1
        while time.monotonic() < until:
            must(os.pwrite(fd, b"during", 100) == 6, "a write during")
            os.fsync(fd)
        content[100:106] = b"during"
        appears(b"b.img")
        soon(lambda: state_of("a.img") is None, "the old name goes")
        must(identity(b"b.img") == old and status()["Disks"]["b.img"]["Openers"] == 1, "the same disk, and open")
        must(os.pwrite(fd, b"after", 200) == 5, "a write after")
        content[200:205] = b"after"
        must(os.pread(fd, 1 << 20, 0) == content, "who has it open reads on")
        must(bytes_of(served(b"b.img")) == content, "the same under the new name")
        make(b"a.img")
        must(identity(b"a.img") != old, "the old name is free for another image")
        must(os.pread(fd, 1 << 20, 0) == content, "who has it open still has the first")
    must(bytes_of(backing(b"b.img")) == content, "all of it is in the image")
    soon(lambda: state_of("b.img") == "Ready", "b.img is Ready")
    said = kinds(after, "DiskRenamed", "DiskRemoved", "StateChanged", "DiskFailed", "DiskChanged")
    must(said == [("DiskRenamed", "disks/b.img")], f"the events are {said}")
    ok("renamed while open")
    clear()


def changed_and_renamed():
    """In one go, so that one look finds both."""
    for i in range(percent(20)):
        make(b"y.img")
        old = identity(b"y.img")
        os.truncate(backing(b"y.img"), 1 << 20)
        os.rename(backing(b"y.img"), backing(b"z.img"))
        appears(b"z.img")
        must(identity(b"z.img") == old, "the same disk")
        soon(lambda: os.stat(served(b"z.img")).st_size == 1 << 20, "with its new size")
        overwrite(b"z.img", b"foreign")
        os.rename(backing(b"z.img"), backing(b"y.img"))
        appears(b"y.img")
        soon(lambda: bytes_of(served(b"y.img"))[:7] == b"foreign", "with its new bytes")
        done("DeleteDisk Name=y.img")
    ok("changed and renamed at once")
    clear()


def moved_away(other_directory):
    """Out of DISKDIR and back."""
    away = os.path.join(os.fsencode(other_directory), b"away.img")
    content = bytearray(make(b"m.img"))
    old = identity(b"m.img")
    os.rename(backing(b"m.img"), away)
    vanishes(b"m.img")
    os.rename(away, backing(b"m.img"))
    appears(b"m.img")
    must(identity(b"m.img") == old and bytes_of(served(b"m.img")) == content, "the same disk comes back")
    with Opened(b"m.img") as fd:
        os.rename(backing(b"m.img"), away)
        soon(lambda: state_of("m.img") == "Missing", "m.img is Missing")
        os.rename(away, backing(b"n.img"))
        appears(b"n.img")
        must(identity(b"n.img") == old, "the same disk under another name")
        must(os.pwrite(fd, b"back", 0) == 4, "who has it open writes again")
        content[:4] = b"back"
        must(bytes_of(served(b"n.img")) == content, "and it is read")
    must(bytes_of(backing(b"n.img")) == content, "and is in the image")
    ok("moved away and back")
    clear()


def replaced():
    make(b"r.img")
    old = identity(b"r.img")
    new = make(b"s.img", size=131072)
    new_identity = identity(b"s.img")
    os.rename(backing(b"s.img"), backing(b"r.img"))
    soon(lambda: list(status()["Disks"]) == ["r.img"] and identity(b"r.img") == new_identity, "r.img is what was s.img")
    soon(lambda: in_mount(b"r.img") and bytes_of(served(b"r.img")) == new, "with its bytes")
    must(old != new_identity, "two disks have two identities")
    with open(backing(b".t"), "wb") as file:
        file.write(random.randbytes(65536))
    os.rename(backing(b".t"), backing(b"r.img"))
    soon(lambda: state_of("r.img") == "Ready" and identity(b"r.img") not in (None, old, new_identity),
         "a file that was none")
    same(b"r.img")
    ok("replaced by a rename")
    with Opened(b"r.img") as fd:
        with open(backing(b".t"), "wb") as file:
            file.write(random.randbytes(65536))
        os.rename(backing(b".t"), backing(b"r.img"))
        soon(lambda: state_of("r.img") in ("Missing", "Conflict", "Changed", "Ready"), "it is known")
        eventually(SECONDS, lambda: fails(errno.EIO, fd), "who has the old one open gets EIO")
    soon(lambda: state_of("r.img") == "Ready" and in_mount(b"r.img"), "the new one is Ready")
    same(b"r.img")
    must(os.stat(served(b"r.img")).st_size == 65536, "it has its size")
    ok("replaced while open")
    first, second = make(b"e.img"), make(b"f.img")
    ids = identity(b"e.img"), identity(b"f.img")
    libc_exchange(backing(b"e.img"), backing(b"f.img"))
    soon(lambda: (identity(b"e.img"), identity(b"f.img")) == ids[::-1], "the two are exchanged")
    soon(lambda: bytes_of(served(b"e.img")) == second and bytes_of(served(b"f.img")) == first, "with their bytes")
    ok("exchanged")
    clear()


def fails(number, fd):
    try:
        os.pread(fd, 512, 0)
    except OSError as error:
        return error.errno == number
    return False


def libc_exchange(one, other):
    from disk_calls import EXCHANGE, renameat2
    renameat2(one, other, EXCHANGE)


# ---- Foreign writes ----

def overwrite(name, content, offset=0):
    with open(backing(name), "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(content)


def changed_closed():
    make(b"c.img")
    old, after = identity(b"c.img"), last_event()
    overwrite(b"c.img", b"foreign")
    soon(lambda: kinds(after, "DiskChanged") == [("DiskChanged", "disks/c.img")], "DiskChanged")
    soon(lambda: state_of("c.img") == "Ready" and in_mount(b"c.img"), "c.img is Ready")
    must(bytes_of(served(b"c.img"))[:7] == b"foreign", "the change is there")
    must(identity(b"c.img") == old, "the same disk")
    os.truncate(backing(b"c.img"), 1 << 20)
    done("Rescan")
    soon(lambda: in_mount(b"c.img") and os.stat(served(b"c.img")).st_size == 1 << 20, "it has grown")
    must(status()["Disks"]["c.img"]["Size"] == 1 << 20, "in status.json too")
    os.truncate(backing(b"c.img"), 4096)
    done("Rescan")
    soon(lambda: in_mount(b"c.img") and os.stat(served(b"c.img")).st_size == 4096, "it has shrunk")
    same(b"c.img")
    ok("changed while closed")
    for i in range(percent(30)):
        with Opened(b"c.img") as fd:
            os.pwrite(fd, b"ours %d" % i, 0)
    time.sleep(0.1)
    must(len(kinds(after, "DiskChanged")) <= 3, f"our own writes are no foreign changes: {kinds(after, 'DiskChanged')}")
    ok("our own writes are none")
    clear()


def changed_open():
    make(b"o.img")
    after = last_event()
    with Opened(b"o.img") as fd:
        overwrite(b"o.img", b"foreign", 4096)
        soon(lambda: state_of("o.img") == "Changed", "o.img is Changed")
        event = [event for event in events(after) if event["Kind"] == "DiskChanged"]
        must(len(event) == 1 and event[0]["Object"] == "disks/o.img", f"the event: {event}")
        must([event for event in events(after) if event["Kind"] == "StateChanged" and event["Values"]["From"] == "Ready"
              and event["Values"]["To"] == "Changed"], "StateChanged From=Ready To=Changed")
        must(status()["Health"]["Problems"][0]["Object"] == "disks/o.img", "Health names it")
        refused(errno.ENOENT, "opening it once more", os.open, served(b"o.img"), os.O_RDONLY)
        must(os.pread(fd, 7, 4096) == b"foreign", "who has it open reads on")
        number, _ = told("Accept", control("o.img"))
        must(number in (errno.EPERM, errno.EBUSY), f"Accept without Force: {name_of(number)}")
        number, _ = told("Accept Force", control("o.img"))
        must(number in (0, errno.EBUSY), f"Accept Force while it is open: {name_of(number)}")
        must((state_of("o.img") == "Ready") == (number == 0), "and the state that follows")
    soon(lambda: state_of("o.img") == "Ready" and in_mount(b"o.img"), "after closing it is Ready")
    same(b"o.img")
    with Opened(b"o.img") as fd:
        os.pwrite(fd, b"ours", 0)
        overwrite(b"o.img", b"foreign", 8192)
        soon(lambda: state_of("o.img") == "Changed", "o.img is Changed, also after writes of ours")
        must(os.pread(fd, 7, 8192) == b"foreign", "who has it open reads on")
    soon(lambda: state_of("o.img") == "Ready" and in_mount(b"o.img"), "after closing it is Ready")
    with Opened(b"o.img") as fd:
        os.truncate(backing(b"o.img"), 512)
        done("Rescan")
        soon(lambda: state_of("o.img") == "Changed", "o.img is Changed when it is cut off")
        must(fails(errno.EIO, fd) or os.pread(fd, 512, 0), "who has it open is answered")
    soon(lambda: state_of("o.img") == "Ready" and in_mount(b"o.img"), "after closing it is Ready")
    must(os.stat(served(b"o.img")).st_size == 512, "with its new size")
    ok("changed while open")
    clear()


# ---- Many at once ----

def overflow():
    """The queue of inotify is short; the test has made it so."""
    after = last_event()
    for i in range(300):
        with open(backing(b"q%d.img" % i), "wb") as file:
            file.write(bytes(512))
    for i in range(0, 300, 3):
        os.unlink(backing(b"q%d.img" % i))
    for i in range(1, 300, 3):
        os.rename(backing(b"q%d.img" % i), backing(b"moved%d.img" % i))
    equal(20)
    must(kinds(after, "WatchOverflow"), "events of inotify were lost, and it was noticed")
    ok("everything is found after an overflow")
    clear()


def equal(seconds):
    """disks/ and the mount have what DISKDIR has, and each is Ready."""
    def images():
        return {name for name in os.listdir(PLACES["DISKS"]) if name.endswith(b".img") and not name.startswith(b".")}

    def is_equal():
        disks = status()["Disks"]
        return (images() == {os.fsencode(name) for name in disks} == set(os.listdir(PLACES["MNT"])) - {b".replication"}
                == set(os.listdir(tree("disks"))) and all(disk["State"] == "Ready" for disk in disks.values()))
    try:
        eventually(seconds, is_equal, "disks/ and the mount equal DISKDIR")
    except SystemExit:
        disks = status()["Disks"]
        print("DISKDIR differs:", images() ^ {os.fsencode(name) for name in disks})
        print("not Ready:", {name: (disk["State"], disk.get("Reason")) for name, disk in disks.items() if disk["State"] != "Ready"})
        raise
    for name in images():
        sizes = os.stat(served(name)).st_size, os.stat(backing(name)).st_size
        must(sizes[0] == sizes[1], f"the size of {name} and that of its image: {sizes}")


def many_in_one_scan():
    """New ones, replaced ones and vanished ones; Rescan may be faster than the events."""
    for i in range(percent(10)):
        for j in range(40):
            make_unserved(b"s%d.img" % j, 512)
        done("Rescan")
        for j in range(40):
            make_unserved(b".new", 1024)
            os.rename(backing(b".new"), backing(b"s%d.img" % j))
            make_unserved(b"t%d-%d.img" % (i, j), 512)
        done("Rescan")
        equal(10)
        for j in range(40):
            os.unlink(backing(b"t%d-%d.img" % (i, j)))
    ok("Rescan beside the events")
    clear()


def churn():
    seed = int(os.environ.get("TANDEMFS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed} (TANDEMFS_SEED)")
    rng = random.Random(seed)
    names = [b"k%d.img" % i for i in range(500)]
    ends, count = time.monotonic() + percent(5), 0
    descriptors = []
    while time.monotonic() < ends:
        one, other = backing(rng.choice(names)), backing(rng.choice(names))
        kind = rng.randrange(7)
        try:
            if kind <= 1:
                with open(one, "wb") as file:
                    file.write(bytes(512 * rng.randrange(20)))
            elif kind == 2:
                os.unlink(one)
            elif kind <= 4:
                os.rename(one, other)
            elif kind == 5:
                descriptors.append(os.open(served(os.path.basename(one)), rng.choice((os.O_RDONLY, os.O_RDWR))))
                if rng.randrange(2):
                    os.pwrite(descriptors[-1], b"x", 0)
            else:
                os.truncate(one, 512 * rng.randrange(20))
        except OSError as error:
            must(error.errno in (errno.ENOENT, errno.EBADF, errno.EIO, errno.EBUSY, errno.EROFS, errno.ESTALE), f"{kind}: {error}")
        while len(descriptors) > rng.randrange(1, 30):
            os.close(descriptors.pop(rng.randrange(len(descriptors))))
        count += 1
    for fd in descriptors:
        os.close(fd)
    print(f"{count} changes")
    done("Rescan")
    equal(30)
    ok("disks/ equals DISKDIR after a churn")
    clear()


def exchanged_with_a_link(other_directory):
    """An image and a link to a file outside take turns under one name, while the disk is opened, read and written."""
    inside, outside = b"i" * 65536, b"o" * 65536
    target = os.path.join(os.fsencode(other_directory), b"outside.img")
    with open(target, "wb") as file:
        file.write(outside)
    make(b"l.img", inside)
    os.symlink(target, backing(b".link"))
    tried, used, rounds, failures = threading.Event(), threading.Event(), percent(2000), []

    def anew(event):
        event.clear()
        event.wait()

    def exchange():
        """Mostly as fast as it goes; at times until somebody wanted the link, or got the image."""
        try:
            for i in range(rounds):
                libc_exchange(backing(b"l.img"), backing(b".link"))
                if i % 4 == 1:
                    anew(tried)
                libc_exchange(backing(b"l.img"), backing(b".link"))
                if i % 4 == 3:
                    anew(used)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=exchange, daemon=True)
    thread.start()
    tries = opened = 0
    while thread.is_alive():
        tries += 1
        try:
            with Opened(b"l.img") as fd:
                opened += 1
                for _ in range(10):
                    found = os.pread(fd, 65536, 0)
                    must(found == inside, f"what is read is the image's: {found[:20]}, {len(found)} bytes")
                    must(os.pwrite(fd, inside[:512], 512) == 512, "a write")
                used.set()
        except OSError as error:
            must(error.errno in (errno.ENOENT, errno.EIO, errno.EBUSY, errno.ESTALE), f"using it: {error}")
        tried.set()
    must(not failures, f"exchanging them: {failures}")
    print(f"{2 * rounds} exchanges, {opened} of {tries} times opened")
    appears(b"l.img")
    must(bytes_of(served(b"l.img")) == bytes_of(backing(b"l.img")) == inside, "the image has what it had")
    must(bytes_of(target) == outside, "what is outside was not written")
    libc_exchange(backing(b"l.img"), backing(b".link"))
    vanishes(b"l.img")
    ok("an image that is exchanged with a link")
    clear()


# ---- Restarts ----

def before_restart():
    make(b"kept.img")
    make(b"renamed.img")
    make(b"removed.img")
    make(b"changed.img")
    make(b"both.img")
    with open(os.path.join(os.path.dirname(PLACES["DISKS"]), b"identities"), "w", encoding="ascii") as file:
        for name in b"kept.img", b"renamed.img", b"changed.img", b"removed.img", b"both.img":
            print(identity(name), file=file)
        print(last_event(), file=file)


def while_stopped():
    os.rename(backing(b"renamed.img"), backing(b"new-name.img"))
    os.unlink(backing(b"removed.img"))
    overwrite(b"changed.img", b"foreign")
    overwrite(b"both.img", b"foreign")
    os.rename(backing(b"both.img"), backing(b"both-name.img"))
    with open(backing(b"added.img"), "wb") as file:
        file.write(bytes(512))


def after_restart():
    with open(os.path.join(os.path.dirname(PLACES["DISKS"]), b"identities"), encoding="ascii") as file:
        kept, renamed, changed, _, both, last = file.read().split()
    must(set(status()["Disks"]) == {"kept.img", "new-name.img", "changed.img", "added.img", "both-name.img"}, "the disks are those of DISKDIR")
    must(identity(b"kept.img") == kept and identity(b"new-name.img") == renamed and identity(b"changed.img") == changed
         and identity(b"both-name.img") == both, "each keeps its identity")
    found = [(event["Kind"], event["Object"]) for event in events(int(last))]
    must(("DiskChanged", "disks/changed.img") in found, f"the change is told: {found}")
    must(("DiskChanged", "disks/kept.img") not in found, f"what was not changed is not: {found}")
    must(("DiskAdded", "disks/added.img") in found, f"the new one is told: {found}")
    must([name for kind, name in found if kind == "DiskChanged" and "both" in name], f"the other change is told: {found}")
    clear()
    ok("identities and changes across a restart")


# ---- Pools ----

def pool_is(name, state):
    pool = status()["Pools"].get(name)
    return pool and pool["State"] == state and fields(read("pools", name, "status"))["State"] == state


def pool_added(directory):
    done(b"AddPool Name=hot Dir=" + quoted(directory))
    must(os.path.isdir(served(b"hot")) and pool_is("hot", "Ready"), "the pool is there")
    with open(os.path.join(directory, "p.img"), "wb") as file:
        file.write(random.randbytes(65536))
    appears_in_pool(directory, "p.img")
    os.rename(os.path.join(directory, "p.img"), os.path.join(directory, "q.img"))
    appears_in_pool(directory, "q.img")
    ok("a pool and its images")
    # From one directory to another of the same file system.
    old = status()["Disks"]["hot:q.img"]["Identity"]
    os.rename(os.path.join(directory, "q.img"), backing(b"q.img"))
    appears(b"q.img")
    soon(lambda: state_of("hot:q.img") is None, "it leaves the pool")
    must(identity(b"q.img") == old, "the same disk elsewhere")
    with Opened(b"q.img"):
        os.rename(backing(b"q.img"), os.path.join(os.fsencode(directory), b"q.img"))
        soon(lambda: state_of("q.img") in (None, "Missing"), "an open one that goes to the pool")
    appears_in_pool(directory, "q.img")
    must(status()["Disks"]["hot:q.img"]["Identity"] == old, "once more the same disk")
    ok("moved between pools")


def appears_in_pool(directory, name):
    soon(lambda: os.path.exists(served(os.fsencode(f"hot/{name}"))) and state_of(f"hot:{name}") == "Ready", f"hot/{name}")
    with open(os.path.join(directory, name), "rb") as file:
        must(file.read() == bytes_of(served(os.fsencode(f"hot/{name}"))), f"hot/{name} has its bytes")


def pool_kept(directory):
    must(pool_is("hot", "Ready"), "the pool is still there")
    appears_in_pool(directory, "q.img")
    ok("a pool after a restart")


def pool_missing():
    must(pool_is("hot", "Missing"), f"the pool is Missing: {status()['Pools']}")
    must(status()["Health"]["State"] == "FAIL" and status()["Health"]["Problems"][0]["Object"] == "pools/hot", "Health says so")
    must(os.listdir(served(b"hot")) == [], "its directory is empty")
    number, _ = told("CreateDisk Name=hot:n.img Size=1M")
    must(number == errno.EBUSY, f"CreateDisk there: {name_of(number)}")
    make(b"other.img")
    same(b"other.img")
    told("Rescan")
    must(pool_is("hot", "Missing"), "it is Missing after Rescan")
    ok("a pool that is missing at the start")


def pool_back(directory):
    done("Rescan")
    must(pool_is("hot", "Ready"), "the pool is back")
    appears_in_pool(directory, "q.img")
    with open(os.path.join(directory, "late.img"), "wb") as file:
        file.write(bytes(512))
    appears_in_pool(directory, "late.img")
    must(status()["Health"]["State"] == "OK", "Health is OK")
    ok("a pool that comes back")


def conflicts(directory):
    """The same name for a pool and a disk; for two images."""
    make_unserved(b"hot", 512)
    done("Rescan")
    must(state_of("hot") == "Conflict", f"a disk that is called like a pool: {state_of('hot')}")
    must(status()["Disks"]["hot"]["Name"] is None and os.path.isdir(served(b"hot")), "the pool keeps the name")
    number, _ = told("CreateDisk Name=hot Size=1M")
    must(number == errno.EEXIST, f"CreateDisk of that name: {name_of(number)}")
    with open(os.path.join(directory, "other.img"), "wb") as file:
        file.write(b"in the pool".ljust(512))
    soon(lambda: state_of("hot:other.img") == "Ready" and state_of("other.img") == "Ready", "one name in two places")
    must(bytes_of(served(b"hot/other.img")) != bytes_of(served(b"other.img")), "are two disks")
    soon(lambda: status()["Disks"]["hot:other.img"]["Openers"] == 0, "it is closed")
    done("RemovePool Name=hot")
    soon(lambda: state_of("hot") == "Ready" and os.path.isfile(served(b"hot")), "the name is free for the disk")
    number, _ = told(b"AddPool Name=hot Dir=" + quoted(directory))
    must(number == errno.EEXIST, f"AddPool of its name: {name_of(number)}")
    ok("conflicts of names")
    clear()


if __name__ == "__main__":
    PLACES["MNT"], PLACES["DISKS"] = (os.fsencode(path) for path in sys.argv[2:4])
    globals()[sys.argv[1]](*sys.argv[4:])
