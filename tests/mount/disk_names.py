#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""disk_names.py GROUP MNT DISKS

Which files are disks, and how they are made, renamed and removed, through the mount and behind it. The groups are the
functions below that end in _group; files.test runs them.
"""
import errno
import os
import random
import resource
import socket
import stat
import sys
import time

from disk_calls import (EXCHANGE, NOREPLACE, Opened, as_nobody, backing, bytes_of, eventually, make, must, name_of, ok,
                        open_and_close, refused, remove, rename, renameat2, run, same_attributes, served)


# ---- Which files are shown ----

SHOWN = {
    b"plain.img": 65536, b"UPPER.IMG": 4096, b"b.raw": 8192, b"c.iso": 2048, b"noending": 4096,
    b"odd.img": 1000, b"one.img": 1, b"empty.img": 0, b"a sector and a byte.raw": 513, b"-rf.img": 512,
    b"%s%n.img": 512, b"dots.in.name.img": 512, "ünï.img".encode(): 512, b"new\nline.img": 512,
    b"back\\slash.img": 512, b"quote\"'.img": 512, b"no-utf8\xff\xfe.img": 512, b"n" * 251 + b".img": 512,
}

NOT_SHOWN = {
    b".hidden.img": 4096, b"notes.txt": 4096, b"noending-odd": 1000, b"noending-empty": 0, b"disk.v1": 4096,
    b"garbage.vhd": 4096, b"garbage.vhdx": 65536, b"x.img.bak": 4096,
}


def prepare_group():
    """Before anything is served: files of all kinds in DISKDIR."""
    for name, size in (SHOWN | NOT_SHOWN).items():
        with open(backing(name), "wb") as file:
            file.write(random.randbytes(size))
    os.symlink(b"plain.img", backing(b"link.img"))
    os.symlink(b"nowhere.img", backing(b"dangling.img"))
    os.mkfifo(backing(b"fifo.img"))
    os.mkdir(backing(b"directory.img"))
    os.mkdir(backing(b"directory"))
    with open(backing(b"directory/inside.img"), "wb") as file:
        file.write(bytes(4096))
    unix = socket.socket(socket.AF_UNIX)
    os.chdir(backing(b""))
    unix.bind(b"socket.img")
    if os.geteuid() == 0:
        os.mknod(b"device.img", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(backing(b"twin.img"), "wb") as file:
        file.write(bytes(4096))
    os.link(backing(b"twin.img"), backing(b"other-twin.img"))


def shown_group():
    names = set(os.listdir(served(b""))) - {b".replication"}
    twins = names & {b"twin.img", b"other-twin.img"}
    must(len(twins) < 2, "one file with two names is not two disks")
    must(names - twins == set(SHOWN),
         f"listed and should not be: {names - twins - set(SHOWN)}, missing: {set(SHOWN) - names}")
    ok("the list is that of the disks")
    for name in SHOWN:
        same_attributes(name)
        must(bytes_of(served(name)) == bytes_of(backing(name)), f"{name}: the bytes of the image")
    ok("names, attributes and bytes are those of the images")
    others = [b"link.img", b"dangling.img", b"fifo.img", b"directory.img", b"directory", b"directory/inside.img",
              b"socket.img", b"device.img", b".tandem", b"never.img"]
    for name in list(NOT_SHOWN) + others:
        refused(errno.ENOENT, f"stat {name}", os.lstat, served(name))
    for entry in os.scandir(served(b"")):
        must(entry.is_dir(follow_symlinks=False) == (entry.name == b".replication"), f"{entry.name}: its d_type")
    ok("d_type is right")
    with Opened(b"odd.img", os.O_RDONLY) as fd:
        must(len(os.pread(fd, 4096, 900)) == 100 and os.pread(fd, 10, 1000) == b"", "reading ends where the disk does")


# ---- Refusals ----

def truncation_group():
    content = make(b"t.img")
    for flags in os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC:
        refused(errno.EPERM, f"open with O_TRUNC ({flags:#o})", open_and_close, b"t.img", flags)
    with Opened(b"t.img") as fd:
        for size in 0, 1, 512, len(content) - 1:
            refused(errno.EINVAL, f"truncate to {size}", os.truncate, served(b"t.img"), size)
            refused(errno.EINVAL, f"ftruncate to {size}", os.ftruncate, fd, size)
        refused(errno.EINVAL, "truncate to -1", os.truncate, served(b"t.img"), -1)
        os.ftruncate(fd, len(content))
        ok("ftruncate to the size it has")
    must(bytes_of(served(b"t.img")) == content, "nothing of that changed the bytes")
    must(os.stat(backing(b"t.img")).st_size == len(content), "nor the size of the image")
    os.truncate(served(b"t.img"), 100001)
    must(bytes_of(served(b"t.img")) == content + bytes(100001 - len(content)), "what truncate adds is zeros")
    must(os.stat(backing(b"t.img")).st_size == 100001, "the image grows")
    ok("truncate to grow")
    huge_truncation()


def huge_truncation():
    make(b"huge.img", b"x" * 512)
    for size in 1 << 62, (1 << 63) - 1:
        try:
            os.truncate(served(b"huge.img"), size)
        except OSError as error:
            must(error.errno in (errno.EFBIG, errno.EINVAL), f"truncate to {size}: {name_of(error.errno)}")
        must(os.stat(served(b"huge.img")).st_size == os.stat(backing(b"huge.img")).st_size, "the size stays true")
    with Opened(b"huge.img") as fd:
        refused((errno.EFBIG, errno.EINVAL), "a write at 2^63 - 512", os.pwrite, fd, bytes(1024), (1 << 63) - 512)
    must(bytes_of(served(b"huge.img"))[:512] == b"x" * 512 if os.stat(served(b"huge.img")).st_size < 1 << 20 else True,
         "the bytes stay")
    remove(b"huge.img")
    ok("sizes that no file can have")


OTHER_NAMES = [b"note.txt", b"x.vhd", b"x.avhd", b"x.vhdx", b"X.VHDX", b"x.avhdx", b"x.qcow2", b"x.vmdk", b"x.vdi",
               b"x.bak", b".dot.img", b".img", b".tandem", b".tandem2"]

# In DISKDIR from the start, by prepare, and no disks.
TAKEN_NAMES = [b"link.img", b"dangling.img", b"fifo.img", b"socket.img", b"directory.img"]


def creation_group():
    make(b"there.img")
    create = os.O_RDWR | os.O_CREAT
    for name in OTHER_NAMES:
        refused(errno.EPERM, f"creating {name}", open_and_close, name, create)
        must(not os.path.lexists(backing(name)) or name == b".tandem", f"{name} was made in DISKDIR")
    for name in TAKEN_NAMES:
        before = os.lstat(backing(name))
        refused((errno.EPERM, errno.EEXIST, errno.EISDIR), f"creating {name}", open_and_close, name, create)
        must(os.lstat(backing(name)) == before, f"{name} was touched")
    must(not os.path.lexists(backing(b"nowhere.img")), "a link was followed")
    refused(errno.EEXIST, "O_EXCL on a disk", open_and_close, b"there.img", create | os.O_EXCL)
    refused((errno.ENAMETOOLONG, errno.EPERM), "a name of 256 bytes", open_and_close, b"n" * 252 + b".img", create)
    refused(errno.ENOENT, "opening what is not there", open_and_close, b"never.img", os.O_RDWR)
    refused(errno.ENOTDIR, "a name below a disk", open_and_close, b"there.img/x.img", create)
    refused(errno.ENOENT, "a name below what is not there", open_and_close, b"sub/x.img", create)
    refused(errno.EOPNOTSUPP, "O_TMPFILE", os.open, served(b""), os.O_RDWR | os.O_TMPFILE, 0o600)
    for name in b"new.img", b"new.raw", b"NEW.IMG", b"n" * 251 + b".raw":
        with Opened(name, create | os.O_EXCL, 0o640) as fd:
            must(os.fstat(fd).st_size == 0, f"{name} is empty")
            os.pwrite(fd, b"content", 4096)
        must(os.stat(backing(name)).st_mode == stat.S_IFREG | 0o640, f"{name}: the mode it was created with")
        must(bytes_of(backing(name)) == bytes(4096) + b"content", f"{name}: the image has what was written")
        must(name in os.listdir(served(b"")), f"{name} is listed")
        remove(name)
        must(not os.path.lexists(backing(name)), f"{name} is removed from DISKDIR")
        ok(f"{name[:20]}: created, written, removed")


def kinds_group():
    """Only disks live here: nothing else can be made."""
    make(b"there.img")
    for name in b"new", b"new.img":
        path = served(name)
        refused(errno.EPERM, f"mkdir {name}", os.mkdir, path)
        refused(errno.EPERM, f"symlink {name}", os.symlink, b"there.img", path)
        refused(errno.EPERM, f"link {name}", os.link, served(b"there.img"), path)
        refused(errno.EPERM, f"mkfifo {name}", os.mkfifo, path)
        if os.geteuid() == 0:
            refused(errno.EPERM, f"mknod {name}", os.mknod, path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
            refused(errno.EPERM, f"mknod block {name}", os.mknod, path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
        must(not os.path.lexists(backing(name)), f"{name} was made in DISKDIR")
    refused(errno.ENOTDIR, "rmdir of a disk", os.rmdir, served(b"there.img"))
    refused(errno.EINVAL, "readlink of a disk", os.readlink, served(b"there.img"))


# ---- Names that change ----

def rename_group():
    content = make(b"r1.img")
    inode = os.stat(served(b"r1.img")).st_ino
    for name in OTHER_NAMES:
        refused(errno.EPERM, f"renaming to {name}", os.rename, served(b"r1.img"), served(name))
    for name in TAKEN_NAMES:
        before = os.lstat(backing(name))
        refused((errno.EPERM, errno.EEXIST, errno.EISDIR, errno.EBUSY), f"renaming to {name}", os.rename,
                served(b"r1.img"), served(name))
        must(os.lstat(backing(name)) == before, f"{name} was touched")
    refused(errno.ENOENT, "renaming what is not there", os.rename, served(b"never.img"), served(b"r2.img"))
    refused((errno.ENAMETOOLONG, errno.EPERM), "renaming to 256 bytes", os.rename, served(b"r1.img"),
            served(b"n" * 252 + b".img"))
    for old, new in (b".replication", b"c.img"), (b"r1.img", b".replication/r1.img"), (b".replication/help", b"c.img"):
        refused((errno.EPERM, errno.EACCES, errno.EXDEV, errno.EBUSY, errno.ENOENT), f"renaming {old} to {new}",
                os.rename, served(old), served(new))
    rename(b"r1.img", b"r2.raw")
    must(not os.path.lexists(served(b"r1.img")) and not os.path.lexists(backing(b"r1.img")), "the old name is gone")
    must(bytes_of(served(b"r2.raw")) == content == bytes_of(backing(b"r2.raw")), "the bytes are under the new name")
    must(os.stat(served(b"r2.raw")).st_ino == inode, "it is the same inode")
    ok("a disk renamed")
    other = make(b"r3.img")
    refused((errno.EEXIST, errno.EINVAL), "RENAME_NOREPLACE on a disk", renameat2, served(b"r2.raw"),
            served(b"r3.img"), NOREPLACE)
    refused(errno.EINVAL, "RENAME_EXCHANGE", renameat2, served(b"r2.raw"), served(b"r3.img"), EXCHANGE)
    must(bytes_of(served(b"r3.img")) == other, "nothing was replaced")
    rename(b"r2.raw", b"r3.img")
    must(bytes_of(served(b"r3.img")) == content == bytes_of(backing(b"r3.img")), "renaming over a disk replaces it")
    must(b"r2.raw" not in os.listdir(served(b"")), "and takes the old name away")
    ok("a disk renamed over another")


def busy_group():
    content, other = make(b"b1.img"), make(b"b2.img")
    for flags in os.O_RDONLY, os.O_RDWR:
        with Opened(b"b1.img", flags) as fd:
            refused(errno.EBUSY, "rm of an open disk", os.unlink, served(b"b1.img"))
            refused(errno.EBUSY, "mv of an open disk", os.rename, served(b"b1.img"), served(b"b3.img"))
            refused(errno.EBUSY, "mv over an open disk", os.rename, served(b"b2.img"), served(b"b1.img"))
            must(os.pread(fd, 65536, 0) == content, "its bytes are untouched")
    must(bytes_of(backing(b"b1.img")) == content and bytes_of(backing(b"b2.img")) == other, "and the images")
    rename(b"b2.img", b"b1.img")
    remove(b"b1.img")
    refused(errno.ENOENT, "rm of what is gone", os.unlink, served(b"b1.img"))


def close_then_remove_group():
    """close() returns before the daemon has heard of it; who calls rm next must not notice."""
    for turn in range(300):
        with Opened(b"quick.img", os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            os.write(fd, b"x" * 4096)
        try:
            if turn % 2:
                os.rename(served(b"quick.img"), served(b"quicker.img"))
                os.unlink(served(b"quicker.img"))
            else:
                os.unlink(served(b"quick.img"))
        except OSError as error:
            sys.exit(f"FAIL: rm just after close, turn {turn}: {name_of(error.errno)}")
    ok("rm and mv just after close, 300 times")


# ---- Behind the mount's back ----

def dropped_group():
    """Images that come, are renamed and go in DISKDIR, without a remount."""
    content = make(b"d1.img")
    inode = os.stat(served(b"d1.img")).st_ino
    with Opened(b"d1.img", os.O_RDONLY) as fd:
        os.rename(backing(b"d1.img"), backing(b"d2.img"))
        eventually(5, lambda: os.path.exists(served(b"d2.img")), "the new name appears")
        eventually(5, lambda: not os.path.lexists(served(b"d1.img")), "the old name vanishes")
        must(os.stat(served(b"d2.img")).st_ino == inode, "it is the same inode")
        must(os.pread(fd, 65536, 0) == content, "who has it open notices nothing")
    must(bytes_of(served(b"d2.img")) == content, "the bytes are under the new name")
    os.unlink(backing(b"d2.img"))
    eventually(5, lambda: not os.path.lexists(served(b"d2.img")), "a removed image vanishes")
    eventually(5, lambda: b"d2.img" not in os.listdir(served(b"")), "also from the list")
    make(b"d3.img")
    replaced = make(b"d3.img", size=8192)
    eventually(5, lambda: bytes_of(served(b"d3.img")) == replaced, "an image renamed over another takes its place")
    os.unlink(backing(b"d3.img"))
    again = make(b"d3.img", size=4096)
    eventually(5, lambda: bytes_of(served(b"d3.img")) == again, "a new image under an old name has its own bytes")
    os.rename(backing(b"d3.img"), backing(b"d3.txt"))
    eventually(5, lambda: not os.path.lexists(served(b"d3.img")), "an image renamed to no image vanishes")
    os.rename(backing(b"d3.txt"), backing(b"d3.raw"))
    eventually(5, lambda: bytes_of(served(b"d3.raw")) == again, "and comes back by its name")
    ok("images come, go and change their names")


def thousand_group():
    """More disks, and more of them open, than the usual limit of descriptors."""
    count = 1100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    names = [b"thousand%d.img" % i for i in range(count)]
    for name in names:
        with open(backing(name), "wb") as file:
            file.write(name.ljust(512))
    eventually(30, lambda: set(names) <= set(os.listdir(served(b""))), "all are listed")
    begun = time.monotonic()
    opened = [os.open(served(name), os.O_RDWR) for name in names]
    for name, fd in zip(names, opened):
        must(os.pread(fd, 512, 0) == name.ljust(512), f"{name}: its bytes")
        os.pwrite(fd, b"written", 500)
    ok(f"{count} disks open at once, in {time.monotonic() - begun:.1f} s")
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for name in names:
        must(bytes_of(backing(name)) == name.ljust(500) + b"written" + b" " * 5, f"{name}: its image")
        os.unlink(backing(name))
    eventually(30, lambda: not set(names) & set(os.listdir(served(b""))), "all have gone")


# ---- Mounts of other kinds ----

def read_only_group():
    """DISKDIR has ro.img, served read-only."""
    must(bytes_of(served(b"ro.img")) == bytes_of(backing(b"ro.img")), "the bytes")
    refused(errno.EROFS, "open for writing", open_and_close, b"ro.img", os.O_WRONLY)
    refused(errno.EROFS, "open for reading and writing", open_and_close, b"ro.img", os.O_RDWR)
    refused((errno.EROFS, errno.EPERM), "open with O_TRUNC", open_and_close, b"ro.img", os.O_WRONLY | os.O_TRUNC)
    refused(errno.EROFS, "creating", open_and_close, b"new.img", os.O_RDWR | os.O_CREAT)
    refused(errno.EROFS, "rm", os.unlink, served(b"ro.img"))
    refused(errno.EROFS, "mv", os.rename, served(b"ro.img"), served(b"rw.img"))
    refused(errno.EROFS, "truncate", os.truncate, served(b"ro.img"), 1 << 20)
    refused(errno.EROFS, "chmod", os.chmod, served(b"ro.img"), 0o600)
    refused(errno.EROFS, "utimens", os.utime, served(b"ro.img"))
    refused(errno.EROFS, "mkdir", os.mkdir, served(b"new"))
    with Opened(b"ro.img", os.O_RDONLY) as fd:
        must(os.lseek(fd, 0, os.SEEK_DATA) == 0, "SEEK_DATA")
        os.fsync(fd)
    ok("fsync and SEEK_DATA work")


def others_group():
    """Served with --allow-other: the image's mode decides what others may do."""
    make(b"o.img")
    table = [
        (0o644, os.O_RDONLY, 0), (0o644, os.O_RDWR, errno.EACCES), (0o644, os.O_WRONLY, errno.EACCES),
        (0o600, os.O_RDONLY, errno.EACCES), (0o666, os.O_RDWR, 0), (0o622, os.O_RDONLY, errno.EACCES),
    ]
    for mode, flags, wanted in table:
        os.chmod(served(b"o.img"), mode)
        got = as_nobody(open_and_close, b"o.img", flags)
        must(got == wanted, f"mode {mode:o}, open {flags:#o} by another user: {name_of(got)}, not {name_of(wanted)}")
    ok("open obeys the mode")
    os.chmod(served(b"o.img"), 0o666)
    for what, call, args in [("rm", os.unlink, ()), ("mv", os.rename, (served(b"p.img"),)),
                             ("truncate", os.truncate, (1 << 20,)), ("chmod", os.chmod, (0o777,)),
                             ("chown", os.chown, (65534, 65534)), ("utimens", os.utime, (None,))]:
        got = as_nobody(call, served(b"o.img"), *args)
        allowed = (0,) if what in ("truncate", "utimens") else (errno.EACCES, errno.EPERM)
        must(got in allowed, f"{what} by another user: {name_of(got)}")
    got = as_nobody(open_and_close, b"new.img", os.O_RDWR | os.O_CREAT)
    must(got == errno.EACCES, f"creating by another user: {name_of(got)}")
    ok("names, mode and owner are not theirs to change")


run(globals())
