#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tree.py GROUP MOUNTPOINT DISKDIR [PLACE...]: what is read below .replication/.

Each group is a function; tree.test says what each proves.
"""
import errno
import os
import re
import select
import signal
import sys
import threading
import time

from disk_calls import PLACES, Opened, backing, eventually, make, must, name_of, ok, refused, served
from replication import (control, done, event_of, events, fields, last_event, lines, median_of, parsed, patience,
                         percent, read, seconds_of, state_of, status, tree, unescaped)

ROOT_FILES = {"help", "control", "status", "status.json", "capabilities", "events", "metrics"}
ROOT_DIRECTORIES = {"disks", "replicas", "groups", "jobs", "pools", "peers"}
DISK_FILES = {"control", "status", "status.json"}
DISK_LATER = {"history", "snapshots", "at", "changes"}
HEADS = ("DISK STATE SIZE USED OPEN SNAPSHOTS HISTORY NAME",
         "REPLICA TYPE MODE SOURCE TARGET COPYSTATE PROGRESS PERCENT BEHIND RPO",
         "JOB OBJECT OPERATION STATE PERCENT RATE LEFT WAITS-FOR")


def names_in(*parts):
    return {os.fsdecode(name) for name in os.listdir(tree(*parts))}


# ---- What is there ----

def layout():
    began = time.time()
    make(b"a.img", size=1 << 20)
    must(names_in() == ROOT_FILES | ROOT_DIRECTORIES, f".replication has {names_in()}")
    must(names_in("disks") == set(status()["Disks"]), f"disks/ has {names_in('disks')}")
    must(names_in("pools") == set(status()["Pools"]), f"pools/ has {names_in('pools')}")
    for disk in names_in("disks"):
        found = names_in("disks", disk)
        must(DISK_FILES <= found <= DISK_FILES | DISK_LATER, f"disks/{disk} has {found}")
    for pool in names_in("pools"):
        must(names_in("pools", pool) == {"status"}, f"pools/{pool} has {names_in('pools', pool)}")
    for directory in "replicas", "groups", "jobs", "peers":
        must(names_in(directory) == set(), f"{directory}/ is empty")
    ok("each directory has what it should")
    count = 0
    for parent, directories, files in os.walk(tree()):
        for name in directories + files:
            path = os.path.join(parent, name)
            st = os.lstat(path)
            must(st.st_size == 0, f"{path}: st_size is {st.st_size}")
            must(began - 3600 < st.st_mtime <= time.time() + 1, f"{path}: mtime is {st.st_mtime}")
            wanted = 0o40555 if name in directories else 0o100600 if name == b"control" else 0o100444
            must(st.st_mode == wanted, f"{path}: mode is {oct(st.st_mode)}")
            must(st.st_uid == os.getuid(), f"{path}: uid is {st.st_uid}")
            count += 1
    must(count > 16, f"{count} files were looked at")
    for path in "none", "disks/none.img", "pools/none", "replicas/none", "disks/a.img/none", "status/none", ".replication":
        refused((errno.ENOENT, errno.ENOTDIR), path, os.stat, tree(path))
    must(os.stat(tree("events_pipe")).st_mode == 0o100444, "events_pipe is there, though not listed")
    must(b".replication" in os.listdir(PLACES["MNT"]), ".replication is listed")
    ok("sizes, times, modes")


def whole_texts():
    """Whole and consistent when read from the start, in pieces or at once."""
    for parts in ("help",), ("status",), ("status.json",), ("metrics",), ("capabilities",), ("disks", "a.img", "status"):
        at_once = read(*parts)
        must(at_once.endswith(b"\n") and at_once, f"{parts} ends with a newline")
        must(b"\x00" not in at_once, f"{parts} has no NUL")
        fd = os.open(tree(*parts), os.O_RDONLY)
        pieces = []
        while piece := os.read(fd, 11):
            pieces.append(piece)
            if len(pieces) == 2 and parts == ("status.json",):
                done("CreateDisk Name=between.img Size=1M")
        if parts == ("status.json",):
            must(b"between.img" not in b"".join(pieces), "a text is of one moment")
            parsed(b"".join(pieces))
            os.lseek(fd, 0, os.SEEK_SET)
            again = b"".join(iter(lambda: os.read(fd, 65536), b""))
            must(b"between.img" in again, "from the start it is rendered again")
            done("DeleteDisk Name=between.img")
        must(os.pread(fd, 100, 10**15) == b"", "nothing past the end")
        os.close(fd)
    text = read("help").decode()
    must(text.count("\n") <= 24 and max(map(len, text.splitlines())) <= 80, "help is one screen")
    for line in lines("capabilities"):
        must(re.fullmatch(r"[a-z0-9-]+: \S.*", line), f"'{line}' is a line of capabilities")
    ok("texts are whole")


# ---- status, status.json, metrics ----

def bytes_of(human):
    return int(float(human[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[human[-1]]) \
        if human[-1] in "KMGT" else int(human)


def tables():
    text = read("status").decode("utf-8", "surrogateescape")
    parts = text.split("\n\n")
    must(len(parts) == 4, f"status has a head and three tables with blank lines between: {len(parts)}")
    head = parts[0].splitlines()
    must(re.fullmatch(r"Daemon: \d+  Version: \S+  Up: (\d+[dhms]){1,2}", head[0]), f"the first line is '{head[0]}'")
    must(re.fullmatch(r"Health: (OK|(WARN|FAIL) \S+ .+)", head[1]), f"the second line is '{head[1]}'")
    must(re.fullmatch(r"StoreFullIn: (unknown|not growing \(over the last \w+\)|\w+ \(.+\))", head[2]) and len(head) == 3,
         f"the third line is '{head[2:]}'")
    rows = []
    for part, wanted in zip(parts[1:], HEADS):
        found = part.strip("\n").split("\n")
        must(re.sub(" +", " ", found[0]).strip() == wanted, f"a head is '{found[0]}'")
        starts = [match.start() for match in re.finditer(r"\S+", found[0])]
        for row in found[1:]:
            cells = row.split()
            must(len(cells) == len(wanted.split()), f"the row '{row}' has {len(cells)} cells")
            must(not row.isascii() or [match.start() for match in re.finditer(r"\S+", row)] == starts,
                 f"the row '{row}' is aligned")
            rows.append(dict(zip(wanted.split(), cells)))
    return head, rows


def metrics():
    """By name and labels; each name has its HELP and TYPE, once and before."""
    values, types = {}, {}
    for line in lines("metrics"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            must(name not in types, f"{name} has one TYPE")
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'(tandemfs_[a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)', line)
            must(match, f"'{line}' is a line of metrics")
            base = re.sub("_(bucket|sum|count)$", "", match[1])
            must(match[1] in types or types.get(base) == "histogram", f"{match[1]} has a TYPE")
            must((match[1], match[2]) not in values, f"{line} is there once")
            values[match[1], match[2]] = float(match[3])
    return values


SCHEMA = {"Schema": int, "Time": str, "LastEvent": int, "Daemon": dict, "Health": dict, "Store": dict, "Disks": dict,
          "Replicas": dict, "Groups": dict, "Jobs": dict, "Pools": dict, "Peers": dict}
STORE_SCHEMA = {key: (int, type(None)) for key in ("Free", "GrowthPerHour", "GrowthSeconds", "FullInSeconds")}
DISK_SCHEMA = {"State": str, "Name": (str, type(None)), "Image": str, "Format": (str, type(None)),
               "Size": (int, type(None)), "Allocated": (int, type(None)), "Openers": int,
               "LogicalSectorSize": (int, type(None)), "BlockSize": (int, type(None)), "Parent": (str, type(None)),
               "Children": int, "Warning": (str, type(None)), "Generation": (int, type(None)), "History": dict,
               "Snapshots": dict}


def holds(schema, value, what):
    for key, kind in schema.items():
        must(key in value and isinstance(value[key], kind), f"{what} has {key}: {value.get(key)!r}")


# Kind, sector size, block size, parent and number of children of those that are not raw.
AGREED = {"base.vhd": ("vhd", 512, 1 << 20, None, 1), "child.vhd": ("vhd-differencing", 512, 2 << 20, "base.vhd", 0),
          "c.vhdx": ("vhdx", 4096, 2 << 20, None, 0)}


def agreement():
    make(b"a.img", size=1 << 20)
    make(b"b c.img", size=12345 * 512)
    done("CreateDisk Name=sparse.img Size=10G")
    done("CreateDisk Name=base.vhd Size=20M BlockSize=1M")
    done("CreateDisk Name=child.vhd Parent=base.vhd")
    done("CreateDisk Name=c.vhdx Size=1G LogicalSectorSize=4096")
    with Opened(b"c.vhdx.raw") as fd:
        os.pwrite(fd, b"x" * 4096, 5 << 20)
    eventually(5, lambda: status()["Disks"]["c.vhdx"]["Openers"] == 0, "c.vhdx is closed")
    with open(backing(b"u.vmdk"), "wb") as file:
        file.write(b"no image of this kind")
    eventually(5, lambda: state_of("u.vmdk") == "Invalid", "u.vmdk is Invalid")
    with Opened(b"a.img") as fd, Opened(b"a.img"):
        os.pwrite(fd, b"x" * 4096, 0)
        os.pread(fd, 8192, 0)
        whole, values = status(), metrics()
        head, rows = tables()
    holds(SCHEMA, whole, "status.json")
    must(whole["Schema"] == 1 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", whole["Time"]), "Schema and Time")
    holds({"Pid": int, "Version": str, "StartTime": str}, whole["Daemon"], "Daemon")
    holds({"State": str, "Problems": list}, whole["Health"], "Health")
    holds(STORE_SCHEMA, whole["Store"], "Store")
    must(head[0].split()[1] == str(whole["Daemon"]["Pid"]), "the pid in both")
    must(head[0].split()[3] == whole["Daemon"]["Version"], "the version in both")
    must(whole["Health"]["State"] == head[1].split()[1] == "WARN", "the health in both")
    must(values["tandemfs_health", None] == 1, "and in metrics")
    problem = whole["Health"]["Problems"][0]
    must(problem["Object"] == "disks/u.vmdk" and problem["Severity"] and problem["Message"], f"the problem is {problem}")
    must("disks/u.vmdk" in head[1], f"the problem is in '{head[1]}'")
    build = [key for key in values if key[0] == "tandemfs_build_info"]
    must(len(build) == 1 and f'version="{whole["Daemon"]["Version"]}"' in build[0][1] and values[build[0]] == 1, "build_info")
    table = {os.fsdecode(unescaped(row["DISK"])): row for row in rows}
    must(set(table) == set(whole["Disks"]) == names_in("disks"), "the same disks in status, status.json, disks/")
    for name, disk in whole["Disks"].items():
        holds(DISK_SCHEMA, disk, name)
        row, own, own_json = table[name], fields(read("disks", name, "status")), parsed(read("disks", name, "status.json"))
        must(row["STATE"] == disk["State"] == own["State"] == own_json["State"], f"the State of {name}")
        must(row["OPEN"] == str(disk["Openers"]), f"the Openers of {name}")
        must(os.fsdecode(unescaped(own["Image"])) == disk["Image"] == own_json["Image"], f"the Image of {name}")
        must(set(DISK_SCHEMA) <= set(own_json), f"the status.json of {name}")
        for state in "Ready", "ReadOnly", "Invalid", "Conflict", "Missing", "Failed", "Changed":
            must(values["tandemfs_disk_state", f'{{disk="{name}",state="{state}"}}'] == (disk["State"] == state),
                 f"tandemfs_disk_state of {name}, {state}")
        if disk["State"] not in ("Ready", "ReadOnly"):
            must(disk["Size"] is None and disk["Name"] is None and row["SIZE"] == "-" and row["NAME"] == "-"
                 and disk.get("Reason"), f"{name} is not in the mount, with a reason")
            continue
        st = os.stat(served(os.fsencode(disk["Name"])))
        must(st.st_size == disk["Size"] == own_json["Size"] == int(own["Size"].split()[0]), f"the Size of {name}")
        must(st.st_blocks * 512 == disk["Allocated"], f"what is allocated of {name}: {st.st_blocks * 512}, {disk['Allocated']}")
        must(abs(bytes_of(row["SIZE"]) - st.st_size) <= 0.1 * st.st_size, f"the SIZE of {name}: {row['SIZE']}")
        must(os.fsdecode(unescaped(row["NAME"])) == disk["Name"], f"the NAME of {name}")
        kind, sector, block, parent, children = AGREED.get(name, ("raw", 512, None, None, 0))
        must((disk["Format"], disk["LogicalSectorSize"], disk["BlockSize"], disk["Parent"], disk["Children"])
             == (kind, sector, block, parent, children), f"{name} is {disk}")
        for key in "Format", "LogicalSectorSize", "BlockSize", "Parent", "Children", "Warning":
            must(own[key] == ("-" if disk[key] is None else str(disk[key])), f"{key} in the status of {name}: {own[key]}")
        must(disk["Name"] == (name if kind == "raw" else name + ".raw"), f"{name} is called {disk['Name']} in the mount")
    must(whole["Disks"]["a.img"]["Openers"] == 2, "a.img is open twice")
    must(values["tandemfs_disk_written_bytes_total", '{disk="a.img"}'] == 4096, "the bytes that were written")
    must(values["tandemfs_disk_read_bytes_total", '{disk="a.img"}'] == 8192, "the bytes that were read")
    must(values["tandemfs_disk_operations_total", '{disk="a.img",op="write"}'] == 1, "one write")
    must(values["tandemfs_disk_errors_total", '{disk="a.img",op="write"}'] == 0, "no error")
    must(values["tandemfs_disk_request_seconds_count", '{disk="a.img",op="write"}'] == 1, "its time was taken")
    must(values["tandemfs_store_free_bytes", None] > 0, "store_free_bytes")
    must(any(key[0] == "tandemfs_commands_total" and 'operation="CreateDisk"' in key[1] for key in values), "commands_total")
    done("DeleteDisk Name=child.vhd")
    for name in b"a.img", b"b c.img", b"sparse.img", b"base.vhd", b"c.vhdx", b"u.vmdk":
        os.unlink(backing(name))
    eventually(5, lambda: not status()["Disks"], "all go")
    must(status()["Health"]["State"] == "OK" and tables()[0][1] == "Health: OK", "the health is OK")
    ok("status, status.json, metrics and the disks agree")


# ---- events ----

def in_sequence(found):
    for one, next_one in zip(found, found[1:]):
        must(next_one["Seq"] == one["Seq"] + 1, f"event {next_one['Seq']} follows {one['Seq']}")


def event_lines():
    first = last_event()
    with open(backing(b".e"), "wb") as file:
        file.write(bytes(4096))
    os.rename(backing(b".e"), backing(b"e 1.img"))
    eventually(5, lambda: state_of("e 1.img"), "e 1.img appears")
    os.rename(backing(b"e 1.img"), backing(b"e2.img"))
    eventually(5, lambda: state_of("e2.img"), "e2.img appears")
    os.unlink(backing(b"e2.img"))
    eventually(5, lambda: not state_of("e2.img"), "e2.img goes")
    done("Rescan")
    found = events(first)
    in_sequence(found)
    said = [(event["Kind"], event["Object"]) for event in found]
    must(said == [("DiskAdded", "disks/e\\0401.img"), ("DiskRenamed", "disks/e2.img"), ("DiskRemoved", "disks/e2.img"),
                  ("CommandDone", said[-1][1])], f"the events are {said}")
    must(found[1]["Values"]["From"] == "e\\0401.img", f"From is {found[1]['Values']}")
    must({"Uid", "Pid", "Operation"} <= set(found[3]["Values"]), f"a command's event has {found[3]['Values']}")
    must(last_event() == found[-1]["Seq"], "LastEvent is the last")
    ok("event lines")


def event_flood():
    """More than are kept."""
    fd = os.open(control(), os.O_WRONLY)
    first = last_event()
    for _ in range(10050):
        os.write(fd, b"Plan Rescan")
    os.close(fd)
    found = lines("events")
    must(len(found) == 10000, f"{len(found)} lines are kept")
    found = [event_of(line) for line in found]
    in_sequence(found)
    must(found[-1]["Seq"] == first + 10050, "the last line is the last event")
    ok("10,000 lines are kept")


def event_run(last):
    """After a restart; `last` was the last number before."""
    found = [event_of(line) for line in lines("events")]
    in_sequence(found)
    must(found[-1]["Seq"] > int(last), f"the numbers go on after {last}: {found[-1]['Seq']}")
    started = [event for event in found if event["Kind"] == "Started"][-1]
    must(started["Seq"] > int(last) and started["Object"] == "daemon", f"it has started: {started}")
    must(len(found) <= 10000, f"{len(found)} lines are kept")
    ok("events go on after a restart")


def full_event_run(last):
    event_run(last)
    must(len(lines("events")) == 10000, "10,000 lines across a restart")


# ---- events_pipe ----

def readable(fd, seconds):
    return bool(select.select([fd], [], [], seconds * patience())[0])


def pipe():
    path = tree("events_pipe")
    must(b"events_pipe" not in os.listdir(tree()), "events_pipe is not listed")
    fd = os.open(path, os.O_RDONLY)
    slow = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    refused(errno.EAGAIN, "O_NONBLOCK", os.read, slow, 100)
    refused(errno.EACCES, "writing events_pipe", os.open, path, os.O_WRONLY)
    must(not readable(fd, 0.2 / patience()), "poll() waits while nothing happens")
    poller = select.epoll()
    poller.register(fd, select.EPOLLIN | select.EPOLLET)
    first = last_event()
    threading.Timer(0.2, lambda: done("Plan Rescan")).start()
    must(poller.poll(10 * patience()) == [(fd, select.EPOLLIN)], "epoll wakes")
    must(readable(fd, 10) and readable(slow, 10), "poll() wakes")
    event = event_of(os.read(fd, 65536).decode().rstrip("\n"))
    must(event["Seq"] == first + 1 and event["Kind"] == "CommandDone", f"the event is {event}")
    must(not readable(fd, 0), "nothing more")
    done("Plan Rescan")
    text = os.read(slow, 65536).decode().splitlines()
    must([event_of(line)["Seq"] for line in text] == [first + 1, first + 2], f"two events wait for the slow: {text}")
    ok("poll(), epoll, O_NONBLOCK")

    got = []
    reader = threading.Thread(target=lambda: got.append((os.read(fd, 65536), os.read(fd, 65536))))
    reader.start()
    while reader.is_alive():
        done("Plan Rescan")
        time.sleep(0.02)
    reader.join()
    must(event_of(got[0][0].decode().splitlines()[0])["Seq"] == first + 2, "a blocked read wakes")
    ok("a read waits")

    must(os.read(slow, 65536), "what has come meanwhile")
    done("Plan Rescan")
    refused(errno.EINVAL, "a read without room for a line", os.read, slow, 5)
    event_of(os.read(slow, 65536).decode().rstrip("\n"))
    ok("nothing is lost by that")
    seeking = os.open(path, os.O_RDONLY)
    refused((errno.ESPIPE, errno.EAGAIN), "pread", lambda: os.pread(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 10, 100))
    os.close(seeking)
    interrupted()
    many = [os.open(path, os.O_RDONLY) for _ in range(200)]
    blocked = [threading.Thread(target=os.read, args=(one, 65536)) for one in many]
    for thread in blocked:
        thread.start()
    must(seconds_of(lambda: read("status")) < 1 * patience(), "200 readers wait, and status answers")
    must(seconds_of(lambda: done("Plan Rescan")) < 1 * patience(), "and commands")
    for thread in blocked:
        thread.join(30 * patience())
    must(not any(thread.is_alive() for thread in blocked), "all 200 wake")
    for one in many:
        os.close(one)
    ok("200 readers that wait")
    os.close(fd)
    os.close(slow)


def interrupted():
    """A signal ends a read with EINTR; SIGKILL ends a reader."""
    for number in signal.SIGUSR1, signal.SIGKILL:
        down, up = os.pipe()
        pid = os.fork()
        if pid == 0:
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            signal.signal(signal.SIGUSR1, lambda *_: None)
            signal.siginterrupt(signal.SIGUSR1, True)
            fd = os.open(tree("events_pipe"), os.O_RDONLY)
            os.write(up, b"x")
            result = libc.read(fd, ctypes.create_string_buffer(100), 100)
            os._exit(ctypes.get_errno() if result < 0 else 0)
        os.read(down, 1)
        eventually(10, lambda: waits(pid), "the reader waits")
        os.kill(pid, number)
        end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        must(end == (errno.EINTR if number == signal.SIGUSR1 else -number), f"after signal {number} the reader ends with {end}")
        os.close(down)
        os.close(up)
    ok("signals end a read")


def waits(pid):
    """In a read; by that its system call is read's, number 0."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        words = file.read().split()
    if words[0] == "running":
        return False
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return "request" in file.read()


# ---- poll() of texts ----

def poll_of(fd, milliseconds):
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    found = poller.poll(milliseconds * patience())
    return found[0][1] if found else 0


def polls():
    make(b"p.img", size=1 << 20)
    make(b"q.img", size=1 << 20)
    done("Rescan")
    news = select.POLLERR | select.POLLPRI
    opened = {parts: os.open(tree(*parts), os.O_RDONLY)
              for parts in (("status",), ("status.json",), ("metrics",), ("events",), ("disks", "p.img", "status"),
                            ("disks", "p.img", "status.json"), ("disks", "q.img", "status"))}

    def drain():
        for fd in opened.values():
            os.lseek(fd, 0, os.SEEK_SET)
            while os.read(fd, 65536):
                pass

    def wakes(parts, change):
        drain()
        eventually(10, lambda: quiet(drain, opened[parts]), f"{parts} is quiet")
        timer = threading.Timer(0.1, change)
        timer.start()
        got = poll_of(opened[parts], 10000)
        timer.join()
        must(got & news == news, f"{parts}: poll() gives {got}")
        must(poll_of(opened[parts], 0) & news == news, f"{parts}: poll() gives it again until it is read")

    grow = iter(range(2, 100))
    for parts in opened:
        if parts[0] != "events" and parts != ("disks", "q.img", "status"):
            wakes(parts, lambda: done(f"Resize Size={next(grow)}M", control("p.img")))
    wakes(("events",), lambda: done("Plan Rescan"))
    ok("poll() wakes for a change")
    drain()
    must(poll_of(opened["disks", "q.img", "status"], 0) & news == 0, "q.img is quiet")
    done(f"Resize Size={next(grow)}M", control("p.img"))
    must(poll_of(opened["disks", "q.img", "status"], 300 / patience()) & news == 0,
         "a change of p.img is none of q.img's")
    drain()
    must(poll_of(opened["status",], 0) & news == 0, "reading makes it quiet")
    must(poll_of(opened["status",], 500 / patience()) == 0, "and it stays quiet while nothing changes")
    epoll = select.epoll()
    epoll.register(opened["status",], select.EPOLLPRI | select.EPOLLET)
    epoll.poll(0)
    drain()
    done("CreateDisk Name=polled.img Size=1M")
    found = epoll.poll(10 * patience())
    must(found and found[0][1] & select.EPOLLPRI, f"epoll, edge-triggered, gives {found}")
    done("DeleteDisk Name=polled.img")
    ok("poll() is quiet while nothing changes")
    gone = os.open(tree("disks", "q.img", "status"), os.O_RDONLY)
    must(os.read(gone, 65536), "the status of q.img")
    os.unlink(backing(b"q.img"))
    must(poll_of(gone, 10000) & news == news, "poll() wakes when the disk goes")
    refused((errno.ENOENT, errno.ENODEV, errno.ESTALE), "its status then", os.pread, gone, 10, 0)
    for fd in (*opened.values(), gone):
        os.close(fd)
    os.unlink(backing(b"p.img"))
    eventually(5, lambda: not status()["Disks"], "all go")
    ok("poll() of what goes")


def quiet(drain, fd):
    drain()
    return poll_of(fd, 50) & (select.POLLERR | select.POLLPRI) == 0


# ---- Many ----

def thousand():
    count = len(os.listdir(PLACES["DISKS"])) - 1
    must(len(status()["Disks"]) == count, f"{count} disks")

    def median(call):
        return median_of([seconds_of(call) for _ in range(20)])

    took = {"status": median(lambda: read("status")), "status.json": median(lambda: read("status.json")),
            "a disk's status": median(lambda: read("disks", "d500.img", "status")),
            "ls -l": seconds_of(lambda: [entry.stat() for entry in os.scandir(PLACES["MNT"])]),
            "metrics": seconds_of(lambda: read("metrics")),
            "every status": seconds_of(lambda: [read("disks", name, "status") for name in names_in("disks")])}
    print("  ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in took.items()))
    for name, limit in (("status", 0.05), ("status.json", 0.05), ("a disk's status", 0.05), ("metrics", 1), ("ls -l", 1)):
        must(took[name] < limit * patience(), f"{name} takes {took[name]:.3f} s with {count} disks")
    ok(f"{count} disks")


def readers():
    """Fifty read status while disks come and go; each text is whole."""
    ends = time.monotonic() + percent(3)
    counts, wrong = [], []

    def run():
        count = 0
        try:
            while not count or time.monotonic() < ends:
                tables()
                parsed(read("status.json"))
                count += 1
        except (OSError, SystemExit, ValueError) as error:
            wrong.append(error)
        counts.append(count)

    everybody = [threading.Thread(target=run) for _ in range(50)]
    for thread in everybody:
        thread.start()
    slowest, changes = 0, 0
    while not changes or time.monotonic() < ends:
        slowest = max(slowest, seconds_of(lambda: done("CreateDisk Name=came.img Size=1M")))
        slowest = max(slowest, seconds_of(lambda: done("DeleteDisk Name=came.img")))
        changes += 1
    for thread in everybody:
        thread.join()
    must(not wrong, f"each text is whole: {wrong[:2]}")
    print(f"{sum(counts)} readings by 50, {changes} changes, the slowest command {slowest * 1000:.0f} ms")
    must(min(counts) > 0 and changes > 0, "everybody gets something")
    ok("fifty readers at once")


if __name__ == "__main__":
    PLACES["MNT"], PLACES["DISKS"] = (os.fsencode(path) for path in sys.argv[2:4])
    globals()[sys.argv[1]](*sys.argv[4:])
