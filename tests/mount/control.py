#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""control.py GROUP MOUNTPOINT DISKDIR [PLACE...]: what the control files take and refuse.

Each group is a function; control.test says what each proves.
"""
import ctypes
import errno
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

from disk_calls import PLACES, backing, eventually, make, must, name_of, ok, refused, served
from replication import (control, done, events, fields, last_event, parsed, percent, quoted, read, refuses, state_of, status,
                         steady, told, tree, unescaped, write)

E = errno
# Section 4: what a command that does not wait can be refused with.
ERRNOS = {E.EOPNOTSUPP: "1 Not Supported", E.EIO: "4 Failed", E.ETIMEDOUT: "3 Timeout", E.EBUSY: "4 Failed",
          E.EPERM: "4 Failed", E.EINVAL: "5 Invalid Parameter", E.E2BIG: "5 Invalid Parameter",
          E.EEXIST: "5 Invalid Parameter", E.ENOENT: "8 Object Not Found", E.EACCES: "40001 Access denied",
          E.ENOSPC: "40002 Not enough resources", E.ENOMEM: "40002 Not enough resources",
          E.ESTALE: "40003 Cache out of date", E.EAGAIN: "40009 Not supported while being upgraded"}
SUCCESS = ("0 Success", "4096 Method Parameters Checked - Job Started")


def exists(name):
    return os.path.lexists(backing(os.fsencode(name)))


def nothing_changes(number, command, where=None):
    """Refused with this errno, the ReturnValue that belongs to it, a reason, and no trace."""
    before = steady()
    result = refuses(number, command, where)
    numbers = number if isinstance(number, tuple) else (number,)
    must(result.get("ReturnValue") in [ERRNOS[n] for n in numbers],
         f"{command!r}: ReturnValue is {result.get('ReturnValue')}")
    must(result.get("Message"), f"{command!r}: there is a reason")
    must(steady() == before, f"{command!r} was refused, and something changed")
    return result


def plans(command, where=None):
    """`Plan` of what is fine succeeds, says something, and does nothing."""
    before = steady()
    result = done(b"Plan " + os.fsencode(command), where)
    must(result["Operation"].startswith("Plan "), f"the Operation of a plan is {result['Operation']}")
    must(result.get("Message"), f"the plan of {command!r} says nothing")
    must(steady() == before, f"the plan of {command!r} changed something")


# ---- How a command is written ----

def grammar():
    fine = [b"Rescan", b"rescan", b"RESCAN", b"Rescan\n", b"\n\n  Rescan \t\r\n\n", b"Plan Rescan", b"pLAN rEscan",
            b"Rescan wait", b"Rescan WAIT=5s", b"Rescan wait=500ms", b"Rescan wait=15m", b"Rescan wait=24h",
            b"Rescan wait=7d", b"Plan createdisk NAME=x.img sIzE=1m", b'Plan CreateDisk Name="a b.img" Size=1M',
            b'Plan CreateDisk Name="a\\"b.img" Size="1M"', b'Plan CreateDisk Name="a\\\\b.img" Size=1M',
            b"Plan CreateDisk\tName=x.img\tSize=1M", b"Plan CreateDisk Size=1M Name=x.img", "Plan CreateDisk Name=ü.img Size=1M",
            b"Plan CreateDisk Name=a=b.img Size=1M", b"Plan SetLogLevel Level=Info", b"Plan SetLogLevel Level=3",
            b"Plan SetLogLevel Level=iNFO"]
    for command in fine:
        before = steady()
        done(command)
        must(steady() == before, f"{command!r} changed something")
    ok("case, blanks, quotes, wait, Plan")

    wrong = [b"\n", b" ", b"\t", b"\r\n", b"\n \n", b"Plan", b"Plan Plan Rescan", b"wait", b"Force", b"Rescan Force",
             b"Nonsense", b"Rescan2", b"Re scan", b"=", b"=5", b"Rescan =", b"Rescan =5", b"Rescan X=1", b"Rescan 1",
             b"Rescan wait wait", b"Rescan wait=1s wait", b"Rescan wait=", b"Rescan wait=5x", b"Rescan wait=-1s",
             b"Rescan wait=1.5s", b"Rescan wait=99999999999999999999s",
             b"Rescan\x00", b"Res\x00can", b"\x00", b"Rescan\x01", b"Rescan\x7f", b"Rescan \x1b[0m",
             b'"Rescan"', b'Plan "Rescan"',
             b'CreateDisk Name="open.img Size=1M', b'CreateDisk Name=a"b".img Size=1M', b'CreateDisk Name="a"b Size=1M',
             b'CreateDisk Name="a\\nb.img" Size=1M', b'CreateDisk Name="a\\" Size=1M', b'CreateDisk Name="a\tb.img" Size=1M',
             b"CreateDisk Name= Size=1M", b'CreateDisk Name="" Size=1M', b"CreateDisk Name Size=1M",
             b"CreateDisk Size=1M", b"CreateDisk Name=y.img", b"CreateDisk", b"CreateDisk y.img 1M",
             b"CreateDisk Name=y.img Size=1M Name=z.img", b"CreateDisk Name=y.img Size=1M name=y.img",
             b"CreateDisk Name=y.img Size=1M Colour=red", b"CreateDisk Name=y.img Size=1M Force Force",
             b"SetLogLevel", b"SetLogLevel Level=", b"SetLogLevel Level=loud", b"SetLogLevel Level=9",
             b"SetLogLevel Level=-1", b"Set", b"Set Nothing=1", b"99999", b"-1", b"18446744073709551616"]
    for command in wrong:
        nothing_changes(E.EINVAL, command)
    ok("what is no command: EINVAL")

    for two in (b"CreateDisk Name=one.img Size=1M\nCreateDisk Name=two.img Size=1M\n",
                b"CreateDisk Name=one.img Size=1M\rCreateDisk Name=two.img Size=1M",
                b"Rescan\nRescan", b"Rescan\n\nRescan\n", b"\nRescan\n#\n", b"Rescan\n\x00"):
        nothing_changes(E.EINVAL, two)
    ok("a second line: EINVAL, nothing done")

    done(b"Rescan".ljust(4096))
    done(b"Rescan".ljust(4096, b"\n"))
    for size in (4097, 8192, 65536, 1 << 20, 10 << 20):
        for fill in (b" ", b"x", b"\x00", b"\xff"):
            nothing_changes(E.E2BIG, b"Rescan".ljust(size, fill))
    nothing_changes((E.E2BIG, E.EINVAL), b"CreateDisk Name=" + b"n" * 4000 + b".img Size=1M")
    nothing_changes(E.E2BIG, b"CreateDisk Name=" + b"n" * 65536 + b".img Size=1M")
    ok("more than 4096 bytes: E2BIG")


# ---- Results ----

def results():
    result = done("CreateDisk Name=r.img Size=1M")
    must(result["Operation"] == "CreateDisk" and result["ReturnValue"] in SUCCESS, f"a result of success: {result}")
    must(result["ElementName"] == "r.img" and result["Uid"] == str(os.getuid()), f"a result of success: {result}")
    result = refuses(E.EEXIST, "CreateDisk Name=r.img Size=1M")
    must(result["CIMStatusCode"].split()[0].isdigit() and result["PerceivedSeverity"].split()[0].isdigit()
         and result["MessageID"] and result["Time"].endswith("Z"), f"a result of refusal: {result}")
    ok("the keys of a result")

    fd = os.open(control(), os.O_RDWR)
    first = read("control")
    must(fields(first)["ReturnValue"].startswith("5"), "a fresh open tells of the last command, a refused one")
    must(os.read(fd, 65536) == first, "an open file that wrote nothing tells the same")
    must(write(fd, "Plan Rescan") == 0, "Plan Rescan")
    at = os.lseek(fd, 0, os.SEEK_CUR)
    pieces = b""
    while piece := os.read(fd, 7):
        pieces += piece
    must(fields(pieces)["Operation"] == "Plan Rescan", "the result from the present offset, in pieces of 7 bytes")
    must(os.pread(fd, 65536, at) == pieces, "the result again, by pread")
    os.lseek(fd, 0, os.SEEK_SET)
    must(os.read(fd, 65536) == pieces, "the result again, from the start")
    must(os.pread(fd, 10, 10**18) == b"", "nothing at offset 10^18")
    other = os.open(control(), os.O_RDWR)
    must(write(other, "Nonsense") == E.EINVAL, "Nonsense")
    os.lseek(fd, 0, os.SEEK_SET)
    must(os.read(fd, 65536) == pieces, "a command of another open file changes nothing here")
    must(b"Nonsense" in os.read(other, 65536), "the result of a refused command")
    for i in range(20):
        number = write(fd, "Plan Rescan" if i % 2 else "Nonsense %d" % i)
        text = os.read(fd, 65536)
        must(fields(text)["ReturnValue"] in (SUCCESS if number == 0 else ["5 Invalid Parameter"]),
             f"result {i} of 20 commands of one open file: {text}")
    os.close(fd)
    os.close(other)
    ok("each open file has its own result")

    make(b"own.img")
    done("Plan Resize Size=1M", control("own.img"))
    must(fields(read("control"))["Operation"] == "Plan Rescan", "the whole has its own last command")
    must(fields(read("disks", "own.img", "control"))["Operation"] == "Plan Resize", "a disk has its own")
    with open(control(), "wb", buffering=0) as only_written:
        only_written.write(b"Plan Rescan\n")
    must(fields(read("control"))["Operation"] == "Plan Rescan", "the last command of a file that could not be read")
    refused(E.EBADF, "reading what was opened for writing only", lambda: os.read(os.open(control(), os.O_WRONLY), 10))
    done("DeleteDisk Name=r.img")
    done("DeleteDisk Name=own.img")

    for shell in "bash", "dash":
        if not shutil.which(shell):
            continue
        script = ('exec 3<>"$1" && echo Plan Rescan >&3 && cat <&3 && ! echo Nonsense >&3 2>/dev/null && cat <&3 &&'
                  'echo Plan Rescan >"$1" && cat "$1" && echo Plan Rescan >>"$1" && printf %s "Plan Rescan" >"$1"')
        text = subprocess.run([shell, "-c", script, "-", control()], check=True, stdout=subprocess.PIPE).stdout
        values = [line for line in text.splitlines() if line.startswith(b"ReturnValue")]
        must(values == [b"ReturnValue: 0 Success", b"ReturnValue: 5 Invalid Parameter", b"ReturnValue: 0 Success"],
             f"{shell} reads {text}")
        ok(f"{shell} reads its results")


# ---- Ways to write ----

def ways():
    before = steady()
    fd = os.open(control(), os.O_RDWR)
    for byte in b"CreateDisk Name=b.img Size=1M\n":
        must(write(fd, bytes([byte])) == E.EINVAL, f"the command {bytes([byte])}: EINVAL")
    must(steady() == before, "a command byte by byte does nothing")
    must(os.lseek(fd, 0, os.SEEK_CUR) == 0, "refused writes leave the offset")
    ok("byte by byte")
    must(os.pwrite(fd, b"Plan Rescan", 10**18) == 11, "pwrite at 10^18")
    must(os.pread(fd, 9, 10**18 + 11) == b"Operation", "the result follows the offset")
    must(os.writev(fd, [b"Plan ", b"Res", b"can", b"\n"]) == 12, "writev is one command")
    must(os.write(fd, b"") == 0, "nothing is no write")
    os.close(fd)
    ok("pwrite, writev")

    number, result = told("Plan Rescan", flags=os.O_RDWR | os.O_APPEND)
    must(number == 0 and result["Operation"] == "Plan Rescan", "O_APPEND")
    number, result = told("Plan Rescan", flags=os.O_RDWR | os.O_TRUNC | os.O_CREAT | os.O_SYNC | os.O_NONBLOCK)
    must(number == 0 and result["Operation"] == "Plan Rescan", "O_TRUNC, O_CREAT, O_SYNC, O_NONBLOCK")
    ok("O_APPEND, O_TRUNC")

    with open(os.path.join(os.path.dirname(PLACES["DISKS"]), b"command"), "w+b") as source:
        source.write(b"Plan Rescan wait\n")
        source.flush()
        with open(control(), "r+b", buffering=0) as sink:
            must(os.sendfile(sink.fileno(), source.fileno(), 0, 1000) == 17, "sendfile")
            must(fields(sink.read(65536))["Operation"] == "Plan Rescan", "the result of sendfile")
        with open(control(), "r+b", buffering=0) as sink:
            down, up = os.pipe()
            os.write(up, b"Plan Rescan")
            must(os.splice(down, sink.fileno(), 1000) == 11, "splice")
            must(fields(sink.read(65536))["Operation"] == "Plan Rescan", "the result of splice")
            os.write(up, b"Nonsense")
            refused(E.EINVAL, "a wrong command by splice", os.splice, down, sink.fileno(), 1000)
            os.close(down)
            os.close(up)
        with open(control(), "wb", buffering=0) as sink:
            try:
                os.copy_file_range(source.fileno(), sink.fileno(), 17, 0)
            except OSError:
                pass
    ok("sendfile, splice, copy_file_range")

    before = steady()
    with open(control(), "r+b", buffering=0) as file:
        for size in (1, 4096, 2**31, 2**63 - 1):
            refused((E.EINVAL, E.EPERM, E.EFBIG), f"truncate to {size}", os.truncate, control(), size)
            refused((E.EINVAL, E.EPERM, E.EFBIG), f"ftruncate to {size}", os.ftruncate, file.fileno(), size)
        os.ftruncate(file.fileno(), 0)
        refused((E.EOPNOTSUPP, E.EINVAL, E.EPERM), "fallocate", os.posix_fallocate, file.fileno(), 0, 4096)
        must(file.seek(0, os.SEEK_END) == 0, "the end is at 0")
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "chmod", os.chmod, control(), 0o666)
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "unlink", os.unlink, control())
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP, E.EXDEV), "rename", os.rename, control(), tree("other"))
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP, E.EXDEV), "rename into the disks", os.rename, control(), served(b"c.img"))
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "link", os.link, control(), tree("other"))
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "mkdir", os.mkdir, tree("directory"))
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "mkdir in groups", os.mkdir, tree("groups", "directory"))
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP), "a new file", os.open, tree("file"), os.O_CREAT | os.O_WRONLY)
    refused((E.EPERM, E.EACCES, E.EOPNOTSUPP, E.ENOTEMPTY, E.EBUSY), "rmdir", os.rmdir, tree("disks"))
    must(steady() == before, "none of these changed anything")
    mapping()
    must(steady() == before, "a mapping changed nothing")
    ok("mmap")


def mapping():
    """In a child, which may get SIGBUS."""
    pid = os.fork()
    if pid == 0:
        fd = os.open(control(), os.O_RDWR)
        try:
            with mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED) as memory:
                memory[:30] = b"CreateDisk Name=m.img Size=1M\n"
                memory.flush()
        except (OSError, ValueError):
            pass
        os._exit(0)
    end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    must(end in (0, -signal.SIGBUS), f"the one who maps ends with {end}")


def threads():
    count, wrong = 64, []
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        number, result = told(f"CreateDisk Name=thread-{i}.img Size={512 * (i + 1)}")
        if number or result.get("ElementName") != f"thread-{i}.img":
            wrong.append((i, number, result))
        number, result = told(f"Nonsense-{i}")
        if number != E.EINVAL or result.get("Operation") != f"Nonsense-{i}":
            wrong.append((i, number, result))
        number, result = told(f"DeleteDisk Name=thread-{i}.img")
        if number or f"thread-{i}.img" not in result.get("Message", ""):
            wrong.append((i, number, result))

    before, seq = steady(), last_event()
    everybody = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in everybody:
        thread.start()
    for thread in everybody:
        thread.join()
    must(not wrong, f"each of 64 threads reads its own results: {wrong[:3]}")
    must(steady() == before, "all is as it was")
    said = [event for event in events(seq) if event["Kind"] == "CommandDone"]
    must(len(said) == 2 * count, f"{len(said)} events of {2 * count} commands that were done")
    said = [event for event in events(seq) if event["Kind"] == "CommandRefused"]
    must(len(said) == count, f"{len(said)} events of {count} commands that were refused")
    must(all(event["Values"]["Uid"] == str(os.getuid()) and int(event["Values"]["Pid"]) > 0 for event in said),
         "the events name uid and pid")
    ok("64 threads at once")


# ---- Operations ----

def create_disk():
    for name, size, number in (("x.img", "1M", 1 << 20), ("x.raw", "512", 512), ("x.ISO", "1k", 1024),
                               ("X.img", "10G", 10 << 30), ("plain", "4096", 4096), ("big.img", "4T", 4 << 40),
                               ("%s%n.img", "1M", 1 << 20), ("a b.img", "1M", 1 << 20), ('q"b\\.img', "1M", 1 << 20),
                               ("ü.img", "1M", 1 << 20), ("n" * 251 + ".img", "1M", 1 << 20), ("_.img", "1M", 1 << 20)):
        command = b"CreateDisk Size=" + size.encode() + b" Name=" + quoted(name)
        plans(command)
        must(not exists(name), f"a plan made {name}")
        result = done(command)
        must(unescaped(result["ElementName"]) == os.fsencode(name), f"the ElementName of {name}: {result}")
        must(os.stat(served(os.fsencode(name))).st_size == number, f"the size of {name}")
        must(status()["Disks"][name]["State"] == "Ready", f"the state of {name}")
        nothing_changes(E.EEXIST, command)
        done(b"DeleteDisk Name=" + quoted(name))
        must(not exists(name), f"{name} is deleted")
    ok("names and sizes that are right")

    number, result = told(b"CreateDisk Size=512 Name=\xff\xfe.img")
    if number == 0:
        must(exists(b"\xff\xfe.img"), "the name that is no UTF-8, to the byte")
        done(b"DeleteDisk Name=\xff\xfe.img")
    else:
        must(number == E.EINVAL, f"a name that is no UTF-8: {name_of(number)}")
    os.symlink("nowhere", backing(b"dangling.img"))
    os.mkdir(backing(b"directory.img"))
    os.mkfifo(backing(b"fifo.img"))
    make(b"taken.img", size=512)
    for name in b"dangling.img", b"directory.img", b"fifo.img", b"taken.img":
        nothing_changes(E.EEXIST, b"CreateDisk Size=512 Name=" + name)
    os.unlink(backing(b"dangling.img"))
    os.rmdir(backing(b"directory.img"))
    os.unlink(backing(b"fifo.img"))
    os.unlink(backing(b"taken.img"))
    eventually(5, lambda: state_of("taken.img") is None, "taken.img goes")
    for name in (".", "..", "../x.img", "../../x.img", "/x.img", "/etc/x.img", "a/b.img", "a/../x.img", "x.img/",
                 ".hidden.img", ".replication", ".replication/x.img", ".tandem/x.img", "x.txt", "x.img.txt", "x.", ".img"):
        nothing_changes(E.EINVAL, b"CreateDisk Size=512 Name=" + quoted(name))
    nothing_changes((E.EINVAL, E.E2BIG), "CreateDisk Size=512 Name=" + "n" * 252 + ".img")
    for name in "nopool:x.img", ":x.img", "p" * 300 + ":x.img":
        nothing_changes((E.ENOENT, E.EINVAL), b"CreateDisk Size=512 Name=" + quoted(name))
    number, _ = told("CreateDisk Size=512 Name=-rf.img")
    must(number == E.EINVAL or (number == 0 and exists("-rf.img")), "-rf.img is made, or refused")
    if number == 0:
        done("DeleteDisk Name=-rf.img")
    ok("names that are wrong")
    numbers()
    ok("sizes that are wrong")
    nothing_changes(E.EOPNOTSUPP, "CreateDisk Size=1M Name=x.img Format=nonsense")
    nothing_changes(E.EINVAL, "CreateDisk Size=1M Name=x.img Format=")
    nothing_changes(E.EINVAL, "CreateDisk Size=1M Name=x.img Format=vhdx")
    nothing_changes(E.EINVAL, "CreateDisk Size=1M Name=x.vhdx Format=raw")
    nothing_changes(E.EINVAL, "CreateDisk Size=1M Name=plain Format=vhd")
    nothing_changes(E.ENOENT, "CreateDisk Size=1M Name=x.img Parent=y.img")
    plans("CreateDisk Size=1M Name=x.img Format=RAW")
    ok("formats")


def numbers():
    for size in ("0", "-1", "-512", "1", "511", "513", "+512", "1e9", "0x200", "' 512'", "5x", "NaN", "inf", "1.5K", "1KB",
                 "1MiB", "512,", "5 12", "１０２４", "9223372036854775808", "18446744073709551616", "18446744073709552128",
                 "8388608T", "16777216T", "16777217T", "18014398509481984K", "340282366920938463463374607431768211456",
                 "512 ", " 512", "K", "--512", "00x200", "1P", "1E"):
        nothing_changes(E.EINVAL, b"CreateDisk Name=x.img Size=" + quoted(size))
    for size in str(2**31), str(2**32), "2G", "4194304K", "0512":
        plans(f"CreateDisk Name=x.img Size={size}")
    # What no file system here holds.
    nothing_changes((E.EINVAL, E.ENOSPC), f"CreateDisk Name=x.img Size={2**63 - 512}")


def delete_disk():
    make(b"d.img")
    for command, number in ((b"DeleteDisk", E.EINVAL), (b"DeleteDisk Name=none.img", E.ENOENT),
                            (b"DeleteDisk Name=.tandem", E.ENOENT), (b"DeleteDisk Name=..", E.ENOENT),
                            (b"DeleteDisk Name=" + quoted(backing(b"d.img")), E.ENOENT),
                            (b"DeleteDisk Name=D.IMG", E.ENOENT), (b"DeleteDisk Name=d.img.raw", E.ENOENT),
                            (b"DeleteDisk Name=:d.img", E.ENOENT), (b"DeleteDisk Name=d.img Size=1", E.EINVAL),
                            (b"DeleteDisk Name=.replication", E.ENOENT), (b"DeleteDisk Name=" + b"n" * 3000, E.ENOENT)):
        nothing_changes(number, command)
    with open(served(b"d.img"), "rb"):
        nothing_changes(E.EBUSY, "DeleteDisk Name=d.img")
        nothing_changes(E.EBUSY, "DeleteDisk Name=d.img Force")
        nothing_changes(E.EBUSY, "Plan DeleteDisk Name=d.img")
    eventually(5, lambda: status()["Disks"]["d.img"]["Openers"] == 0, "d.img is closed")
    plans("DeleteDisk Name=d.img")
    own = os.open(control("d.img"), os.O_RDWR)
    done("DeleteDisk Name=d.img")
    must(not exists("d.img") and not os.path.exists(served(b"d.img")) and not os.path.exists(tree("disks", "d.img")),
         "a deleted disk is gone")
    must(write(own, "Resize Size=1M") in (E.ENOENT, E.ENODEV, E.ESTALE), "a command to a disk that is gone")
    os.close(own)
    ok("DeleteDisk")


def resize():
    make(b"s.img", size=65536)
    where = control("s.img")

    def size():
        sizes = os.stat(served(b"s.img")).st_size, os.stat(backing(b"s.img")).st_size, status()["Disks"]["s.img"]["Size"]
        must(len(set(sizes)) == 1, f"the sizes of s.img, of its image, and in status.json agree: {sizes}")
        return sizes[0]

    plans("Resize Size=1M", where)
    done("Resize Size=1M", where)
    must(size() == 1 << 20, "it has grown")
    done("Resize Size=1M", where)
    plans("Resize Size=64K Force", where)
    nothing_changes(E.EPERM, "Resize Size=64K", where)
    nothing_changes(E.EPERM, "Plan Resize Size=64K", where)
    done("Resize Size=64K Force", where)
    must(size() == 65536, "it has shrunk")
    for wrong in ("0", "511", "513", "-1", "1e9", "0x10000", "5x", "NaN", "9223372036854775808", "18446744073709551616",
                  "16777217T", ""):
        nothing_changes(E.EINVAL, f"Resize Size={wrong} Force", where)
    nothing_changes((E.EINVAL, E.ENOSPC), f"Resize Size={2**63 - 512}", where)
    nothing_changes(E.EINVAL, "Resize", where)
    nothing_changes(E.EINVAL, "Resize Size=1M Size=2M", where)
    with open(served(b"s.img"), "r+b", buffering=0) as file:
        done("Resize Size=128K", where)
        must(file.seek(0, os.SEEK_END) == 128 << 10, "who has it open sees the new size")
        file.write(b"the end of it".ljust(512))
        nothing_changes((E.EBUSY, E.EPERM), "Resize Size=64K", where)
        nothing_changes(E.EBUSY, "Resize Size=64K Force", where)
    must(size() == (128 << 10) + 512, "grown by a write")
    os.truncate(served(b"s.img"), 256 << 10)
    must(size() == 256 << 10, "grown by truncate")
    eventually(5, lambda: status()["Disks"]["s.img"]["Openers"] == 0, "s.img is closed")
    done("DeleteDisk Name=s.img")
    ok("Resize")


def disk_settings():
    make(b"t.img", size=65536)
    where = control("t.img")
    for command in ("Set", "Set ReadOnly", "Set ReadOnly=", "Set ReadOnly=maybe", "Set ReadOnly=2", "Set ReadOnly=-1",
                    "Set Colour=red", "Set ReadOnly=true ReadOnly=true"):
        nothing_changes(E.EINVAL, command, where)
    plans("Set ReadOnly=true", where)
    done("Set ReadOnly=true", where)
    must(state_of("t.img") == "ReadOnly" and status()["Disks"]["t.img"]["ReadOnly"] is True, "t.img is ReadOnly")
    refused(E.EROFS, "opening for writing", os.open, served(b"t.img"), os.O_RDWR)
    refused((E.EROFS, E.EPERM, E.EINVAL), "truncating", os.truncate, served(b"t.img"), 1 << 20)
    nothing_changes((E.EBUSY, E.EPERM), "Resize Size=1M", where)
    with open(served(b"t.img"), "rb"):
        nothing_changes(E.EBUSY, "Set ReadOnly=false", where)
    eventually(5, lambda: status()["Disks"]["t.img"]["Openers"] == 0, "t.img is closed")
    done("set readonly=0", where)
    must(state_of("t.img") == "Ready", "t.img is Ready")
    with open(served(b"t.img"), "r+b"):
        nothing_changes(E.EBUSY, "Set ReadOnly=true", where)
    eventually(5, lambda: status()["Disks"]["t.img"]["Openers"] == 0, "t.img is closed")
    nothing_changes(E.EBUSY, "Accept Force", where)
    nothing_changes(E.EBUSY, "Accept", where)
    nothing_changes(E.EINVAL, "Accept Force=1", where)
    done("Set ReadOnly=1", where)
    ok("Set and Accept of a disk")


def root_settings():
    for command in ("Set BlockSize=0", "Set BlockSize=4095", "Set BlockSize=12K", "Set BlockSize=2M", "Set BlockSize=2K",
                    "Set BlockSize=4294971392", "Set BlockSize=18446744073709555712", "Set BlockSize=-4096",
                    "Set RescanInterval=0s", "Set RescanInterval=500ms", "Set RescanInterval=60",
                    "Set RescanInterval=4294967297s", "Set RescanInterval=-1s", "Set StopTimeout=5x",
                    "Set StopTimeout=4294967296s", "Set LogLevel=loud", "Set LogLevel=5",
                    "Set BlockSize=32K LogLevel=loud", "Set BlockSize=32K RescanInterval=0s"):
        nothing_changes(E.EINVAL, command)
    must("BlockSize=8192" in done("Plan Set LogLevel=info")["Message"], "no refused Set has set anything")
    for command in ("Set BlockSize=4K", "Set BlockSize=1M", "Set RescanInterval=1s", "Set StopTimeout=24h",
                    "Set LogLevel=debug", "Set LogLevel=1", "SetLogLevel Level=debug", "SetLogLevel Level=2"):
        plans(command)
    must("BlockSize=8192" in done("Plan Set LogLevel=info")["Message"], "no Plan has set anything")
    done("Set StopTimeout=77s RescanInterval=5m LogLevel=info")
    for level in "error", "2", "DEBUG", "info":
        done(f"SetLogLevel Level={level}")
    ok("Set and SetLogLevel")


def kept_settings():
    message = done("Plan Set LogLevel=info")["Message"]
    must("StopTimeout=77s" in message and "RescanInterval=300s" in message, f"settings after a restart: {message}")
    must(state_of("t.img") == "ReadOnly", "ReadOnly after a restart")
    done("Set ReadOnly=false", control("t.img"))
    done("DeleteDisk Name=t.img")
    ok("settings are kept")


def later_operations():
    """Those of the manual that this version does not have say so; what nobody has is EINVAL."""
    known = {line.split(": ")[0]: line.split(": ", 1)[1].split(", ")
             for line in read("capabilities").decode().splitlines()}
    make(b"l.img")
    for operation in ("CreateGroup Name=g", "DeleteGroup Name=g", "AddPeer Name=p Uri=nbd://h/e", "RemovePeer Name=p",
                      "Scrub", "Release"):
        if operation.split()[0] not in known["operations"]:
            nothing_changes(E.EOPNOTSUPP, operation)
    for operation in ("CreateReplica SyncType=Mirror", "snapshot", "snapshot s", "unsnapshot s", "mirror m.img",
                      "clone c.img", "KeepHistory Window=24h", "Verify"):
        if operation.split()[0] not in known["disk-operations"]:
            nothing_changes(E.EOPNOTSUPP, operation, control("l.img"))
    for operation in known["operations"]:
        must(operation.encode() in read("help"), f"help has {operation}")
    for operation in set(known["operations"]) - set(known["disk-operations"]):
        nothing_changes((E.EINVAL, E.EOPNOTSUPP), operation, control("l.img"))
    for operation in set(known["disk-operations"]) - set(known["operations"]):
        nothing_changes((E.EINVAL, E.EOPNOTSUPP), operation)
    done("DeleteDisk Name=l.img")
    ok("operations that are not here")


def pools(first, second):
    """first and second are empty directories."""
    with open(os.path.join(first, "p.img"), "wb") as file:
        file.write(b"pool".ljust(512))
    for name in (".", "..", "a/b", "a@b", "a:b", ".p", "-p", "a..b", "now", "NOW", "force", "Force", "wait", "g5", "-15m",
                 "@1234", "2026-11-20T16:50:03Z", "n" * 201, "é" * 101):
        nothing_changes((E.EINVAL, E.E2BIG), b"AddPool Dir=" + quoted(first) + b" Name=" + quoted(name))
    nothing_changes(E.EINVAL, b"AddPool Name=\xff\xfe Dir=" + quoted(first))
    make(b"same.img")
    nothing_changes(E.EEXIST, b"AddPool Name=same.img Dir=" + quoted(first))
    done("DeleteDisk Name=same.img")
    ok("names of pools that are wrong")
    mnt, disks = os.fsdecode(PLACES["MNT"]), os.fsdecode(PLACES["DISKS"])
    for directory, number in ((first + "/none", E.ENOENT), ("relative", E.EINVAL), ("../x", E.EINVAL), (".", E.EINVAL),
                              (first + "/p.img", (E.EINVAL, E.ENOENT)), ("/proc/self/mem", E.EINVAL),
                              (disks, (E.EEXIST, E.EINVAL, E.EBUSY)), (disks + "/../" + os.path.basename(disks), (E.EEXIST, E.EINVAL, E.EBUSY)),
                              (disks + "/.tandem", (E.EINVAL, E.EEXIST, E.EBUSY)), ("/" + "d" * 3000, (E.EINVAL, E.E2BIG, E.ENOENT))):
        nothing_changes(number, b"AddPool Name=wrong Dir=" + quoted(directory))
    for directory in mnt, mnt + "/.replication", mnt + "/.replication/disks":
        nothing_changes((E.EINVAL, E.EBUSY, E.EEXIST), b"AddPool Name=own Dir=" + quoted(directory))
    for command in "AddPool", "AddPool Name=p", f"AddPool Dir={first}", f"AddPool Name=p Dir={first} Dir={first}":
        nothing_changes(E.EINVAL, command)
    ok("directories of pools that are wrong")

    plans(b"AddPool Name=one Dir=" + quoted(first))
    done(b"AddPool Name=one Dir=" + quoted(first))
    must(os.listdir(served(b"one")) == [b"p.img"], "the pool has its disk")
    must(os.path.isdir(tree("pools", "one")) and state_of("one:p.img") == "Ready", "one:p.img is Ready")
    nothing_changes(E.EEXIST, b"AddPool Name=one Dir=" + quoted(second))
    nothing_changes(E.EEXIST, b"AddPool Name=other Dir=" + quoted(first))
    os.symlink(first, second + "/link")
    nothing_changes(E.EEXIST, b"AddPool Name=other Dir=" + quoted(second + "/link"))
    os.unlink(second + "/link")
    nothing_changes(E.EEXIST, "CreateDisk Name=one Size=1M")
    done("CreateDisk Name=one:new.img Size=1M")
    must(os.path.exists(os.path.join(first, "new.img")) and os.path.exists(served(b"one/new.img")), "one:new.img is made")
    nothing_changes(E.EEXIST, "CreateDisk Name=one:new.img Size=1M")
    for name in "one:../x.img", "one:a/b.img", "one:one:x.img", "one:", "one:.x.img", "one:x.txt":
        nothing_changes(E.EINVAL, b"CreateDisk Size=1M Name=" + quoted(name))
    done("Resize Size=2M", control("one:new.img"))
    mount_name = status()["Disks"]["one:new.img"]["Name"]
    nothing_changes(E.EBUSY, "Accept Force", control("one:new.img"))
    plans(b"DeleteDisk Name=" + quoted(mount_name))
    done("DeleteDisk Name=one:new.img")
    ok("AddPool, and disks in pools")

    nothing_changes(E.ENOENT, "RemovePool Name=none")
    nothing_changes((E.ENOENT, E.EINVAL), 'RemovePool Name=""')
    nothing_changes(E.ENOENT, "RemovePool Name=ONE")
    nothing_changes(E.EINVAL, "RemovePool")
    with open(served(b"one/p.img"), "rb"):
        nothing_changes(E.EBUSY, "RemovePool Name=one")
    eventually(5, lambda: status()["Disks"]["one:p.img"]["Openers"] == 0, "one:p.img is closed")
    plans("RemovePool Name=one")
    done("RemovePool Name=one")
    must(not os.path.exists(served(b"one")) and not os.path.exists(tree("pools", "one")) and not state_of("one:p.img"),
         "the pool is gone")
    must(os.path.exists(os.path.join(first, "p.img")), "its images stay")
    for name in "ü pool", "n" * 200, "%s%n", "it's":
        done(b"AddPool Name=" + quoted(name) + b" Dir=" + quoted(second))
        must(os.path.isdir(served(os.fsencode(name))) and name in status()["Pools"], f"the pool {name}")
        must(os.path.isdir(tree("pools", name)), f"pools/{name}")
        done(b"RemovePool Name=" + quoted(name))
    ok("RemovePool")


def no_space(directory):
    """On a file system that has no inode left."""
    done(b"AddPool Name=full Dir=" + quoted(directory))
    nothing_changes(E.ENOSPC, "CreateDisk Name=full:x.img Size=1M")
    done("RemovePool Name=full")
    ok("ENOSPC")


def read_only():
    for command in "CreateDisk Name=new.img Size=1M", "DeleteDisk Name=ro.img":
        nothing_changes((E.EBUSY, E.EPERM, E.EACCES), command)
    nothing_changes((E.EBUSY, E.EPERM, E.EACCES), "Resize Size=4M", control("ro.img"))
    done("Rescan")
    ok("commands on a read-only mount")


# ---- Noise ----

TEMPLATES = [b"CreateDisk Name=n1.img Size=1M", b'CreateDisk Name="n 2.img" Size=2M Format=raw', b"DeleteDisk Name=n1.img",
             b'DeleteDisk Name="n 2.img"', b"CreateDisk Name=n3.vhd Size=1M", b"CreateDisk Name=n4.vhd Parent=n3.vhd",
             b"CreateDisk Name=n5.vhdx Size=4M Format=vhdx-fixed BlockSize=1M LogicalSectorSize=4096",
             b"DeleteDisk Name=n3.vhd", b"DeleteDisk Name=n4.vhd", b"DeleteDisk Name=n5.vhdx", b"RemovePool Name=pool", b"Rescan", b"Rescan wait=5s", b"Plan Rescan",
             b"Set BlockSize=16K", b"Set RescanInterval=60s StopTimeout=90s", b"SetLogLevel Level=info",
             b"Resize Size=2M", b"Resize Size=1M Force", b"Accept Force", b"Set ReadOnly=true", b"Set ReadOnly=false",
             b"snapshot s At=-15m", b"CreateReplica SyncType=Mirror Mode=Synchronous", b"12"]
# Or done only in part when the next one comes.
ONLY_PLANNED = [b"CreateReplica SyncType=Mirror TargetStorageVolume=m.img Mode=Synchronous", b"AddPool Name=pool Dir=/nowhere/at/all", b"DeleteDisk Name=kept.img", b"DeleteDisk Name=kept.img Force"]
WORDS = sorted({word for template in TEMPLATES for word in template.split()} | {b"Force", b"Plan", b"wait", b'"', b"=", b"\\"})


def mutated(rng, command):
    command = bytearray(command)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(command) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(command):
            command[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(command):
            del command[at:at + rng.choice((1, 1, 2, 9))]
        elif kind == 2:
            command[at:at] = rng.randbytes(rng.choice((1, 1, 2, 9)))
        elif kind == 3:
            command[at:at] = rng.choice((b" ", b'"', b"=", b"\\", b"\n", b"\x00", b"\t", b"  ", b"/", b"..", b"%n", b"\xff"))
        elif kind == 4:
            command[at:at] = command[rng.randrange(len(command) + 1):]
        elif kind == 5 and at < len(command):
            command[at:at + 1] = rng.choice((b"0", b"9" * 30, b"-", b"e9", b"T"))
        else:
            command[at:at] = b"x" * rng.choice((255, 4096, 1))
    return bytes(command)


def noise_of(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.choice((1, 2, 7, 64, 511, 4095, 4096, 4097, 9000)))
    if kind == 1:
        return bytes(rng.randrange(32, 127) for _ in range(rng.randrange(1, 200)))
    if kind == 2:
        return bytes([rng.randrange(256)]) * rng.randrange(1, 4100)
    if kind == 3:
        return b" ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 9)))
    if kind == 4:
        return b"Plan " + mutated(rng, rng.choice(ONLY_PLANNED))
    if kind == 5:
        return b" ".join([rng.choice(TEMPLATES)] + [b"%s=%s" % (rng.choice(WORDS), rng.choice(WORDS)) for _ in range(rng.randrange(70))])
    command = rng.choice(TEMPLATES)
    return mutated(rng, command) if rng.randrange(3) else command


def noise():
    seed = int(os.environ.get("TANDEMFS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed} (TANDEMFS_SEED)")
    rng = random.Random(seed)
    kept = make(b"kept.img", size=65536)
    make(b"noise.img", size=1 << 20)
    wanted = set(ERRNOS) - {E.EIO, E.ETIMEDOUT, E.ENOMEM, E.EAGAIN, E.EACCES}
    pid = status()["Daemon"]["Pid"]
    for where in control(), control("noise.img"):
        accepted = 0
        before = steady()
        for i in range(percent(10000)):
            command = noise_of(rng)
            fd = os.open(where, os.O_WRONLY)
            number = write(fd, command)
            os.close(fd)
            now = steady()
            if number == 0:
                accepted += 1
            else:
                must(number in wanted, f"noise {i}, {command!r}: {name_of(number)}")
                must(now == before, f"noise {i}, {command!r}, was refused and changed something: {before} {now}")
            before = now
        ok(f"noise into {where.decode()}: {accepted} were commands")
    must(status()["Daemon"]["Pid"] == pid, "it is still the same daemon")
    with open(served(b"kept.img"), "rb") as file:
        must(file.read() == kept, "kept.img is as it was")
    events()
    while others := {name: disk for name, disk in status()["Disks"].items() if name != "kept.img"}:
        for name in [name for name, disk in others.items() if not disk["Children"]]:
            done(b"DeleteDisk Force Name=" + quoted(name))
    done("DeleteDisk Name=kept.img")


# ---- Who may ----

def as_nobody(call):
    """The exit status of a child that is nobody, and has the descriptors of the parent."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(call() or 0)
        except OSError as error:
            os._exit(error.errno)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def others():
    make(b"o.img")
    for path in control(), control("o.img"):
        must(os.stat(path).st_mode == 0o100600, f"{path} is 0600")
        for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR:
            got = as_nobody(lambda path=path, flags=flags: os.close(os.open(path, flags)))
            must(got == E.EACCES, f"another user opens {path} with flags {flags}: {name_of(got)}")
        fd = os.open(path, os.O_RDWR)
        before, seq = steady(), last_event()
        for command in "CreateDisk Name=nobody.img Size=1M", "Resize Size=1M", "Plan Rescan", "Nonsense", "x" * 5000:
            got = as_nobody(lambda fd=fd, command=command: write(fd, command))
            must(got == E.EACCES, f"another user writes '{command[:40]}' to a descriptor that he was given: {name_of(got)}")
        must(steady() == before, "what another user wrote did nothing")
        said = [event["Values"].get("Uid") for event in events(seq) if event["Kind"] == "CommandRefused"]
        must(said == ["65534"] * 5, f"the events say who it was: {said}")
        must(fields(os.read(fd, 65536))["Uid"] == "65534", "and the result")
        os.close(fd)
    for path in tree("status"), tree("status.json"), tree("events"), tree("metrics"), tree("disks", "o.img", "status"):
        must(os.stat(path).st_mode == 0o100444, f"{path} is 0444")
        got = as_nobody(lambda path=path: 0 if open(path, "rb").read() else 1)
        must(got == 0, f"another user reads {path}: {name_of(got)}")
        refused(E.EACCES, f"opening {path.decode()} for writing", os.open, path, os.O_WRONLY)
    done("DeleteDisk Name=o.img")
    ok("other users")


def not_others():
    got = as_nobody(lambda: len(os.listdir(PLACES["MNT"])) * 0)
    must(got == E.EACCES, f"another user in a mount without allow-other: {name_of(got)}")
    ok("no other users without allow-other")


# ---- Names of images ----

def names():
    odd = [b"a b.img", b"new\nline.img", b"%s%n%d.img", b"\xff\xfe.img", b"n" * 251 + b".img", b'quote".img', b"back\\slash.img",
           b"back\\012.img", "ünïcödé.img".encode(), b"<>&'.img", b"tab\t.img", b"\x01\x1b[0m.img", b"\x7f.img", b"-rf.img", b" .img",
           b"\xc3.img", b"\xed\xa0\x80.img", b"\xf4\x90\x80\x80.img", "\U0001f4be.img".encode(), b"{}.img", b"$(id).img", b"=.img",
           b"ends .img", b"\r.img", b"\\.img", b"null", b"\xe2\x80\xae.img", b"'.img"]
    seq = last_event()
    for name in odd:
        make(name, size=512)
    must(set(os.listdir(PLACES["MNT"])) == set(odd) | {b".replication"}, "the mount has these names")
    must(set(os.listdir(tree("disks"))) == set(odd), "disks/ has these names")
    found = {os.fsencode(name): disk for name, disk in status()["Disks"].items()}
    must(set(found) == set(odd), f"status.json has these names: {set(found) ^ set(odd)}")
    for name in odd:
        must(found[name]["State"] == "Ready" and os.fsencode(found[name]["Image"]) == name
             and os.fsencode(found[name]["Name"]) == name, f"status.json of {name}: {found[name]}")
    ok("status.json has every name to the byte")
    table = read("status").split(b"\n\n")[1].split(b"\n")[1:]
    must({unescaped(row.split()[0]) for row in table} == set(odd), "the table has each name, escaped")
    must(all(len(row.split()) == 8 for row in table), "each row has eight columns")
    must({unescaped(row.split()[7]) for row in table} == set(odd), "and its NAME")
    added = {unescaped(event["Object"]) for event in events(seq) if event["Kind"] == "DiskAdded"}
    must(added == {b"disks/" + name for name in odd}, f"an event for each: {added ^ {b'disks/' + name for name in odd}}")
    ok("status and events escape them")
    for name in odd:
        must(unescaped(fields(read("disks", name, "status"))["Image"]) == name, f"the status of {name}")
        must(os.fsencode(parsed(read("disks", name, "status.json"))["Image"]) == name, f"the status.json of {name}")
        result = done("Resize Size=1K", control(name))
        must(result["ReturnValue"] == "0 Success", f"Resize of {name}")
    for name in odd:
        if min(name) < 32 or 127 in name:
            os.unlink(served(name))
        else:
            seq = last_event()
            done(b"DeleteDisk Name=" + quoted(name))
            removed = [unescaped(event["Object"]) for event in events(seq) if event["Kind"] == "DiskRemoved"]
            must(removed == [b"disks/" + name], f"the event of {name} that goes: {removed}")
    must(os.listdir(tree("disks")) == [], "all are gone")
    ok("commands with such names")
    too_long = b"n" * 252 + b".img"
    refused((E.ENAMETOOLONG, E.ENOENT), "looking for a name of 256 bytes", os.stat, served(too_long))
    refused((E.ENAMETOOLONG, E.EPERM, E.EINVAL), "creating it", os.open, served(too_long), os.O_CREAT | os.O_WRONLY)
    make_invalid(b"a:b.img")
    ok("a colon")


def make_invalid(name):
    with open(backing(name), "wb") as file:
        file.write(bytes(512))
    eventually(5, lambda: state_of(os.fsdecode(name)) == "Invalid", f"{name} is Invalid")
    must(not os.path.exists(served(name)), f"{name} is not in the mount")
    os.unlink(backing(name))
    eventually(5, lambda: state_of(os.fsdecode(name)) is None, f"{name} goes")


def long_names_in_pools(directory):
    pool, name = "p" * 200, "n" * 251 + ".img"
    done(f"AddPool Name={pool} Dir={directory}")
    with open(os.path.join(directory, name), "wb") as file:
        file.write(bytes(512))
    eventually(5, lambda: os.path.exists(served(os.fsencode(f"{pool}/{name}"))), "the disk appears")
    must(os.listdir(tree("disks")) == [os.fsencode(f"{pool}:{name}")], "disks/ has a name of 456 bytes")
    must(fields(read("disks", f"{pool}:{name}", "status"))["State"] == "Ready", "and it can be looked at")
    must(list(status()["Disks"]) == [f"{pool}:{name}"], "status.json has it")
    done("Resize Size=1K", control(f"{pool}:{name}"))
    done(f"DeleteDisk Name={pool}:{name}")
    done(f"RemovePool Name={pool}")
    ok("the longest names")


if __name__ == "__main__":
    PLACES["MNT"], PLACES["DISKS"] = (os.fsencode(path) for path in sys.argv[2:4])
    globals()[sys.argv[1]](*sys.argv[4:])
