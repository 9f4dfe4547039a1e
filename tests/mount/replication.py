# SPDX-License-Identifier: GPL-2.0-or-later
"""How the tests of what is below MOUNTPOINT/.replication/ give commands and read what is there.

begin() is called first, with the mount point and DISKDIR.
"""
import json
import os
import re
import time

from disk_calls import PLACES, must, name_of, ok

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
# SEQ TIME SEVERITY KIND OBJECT [Key=Value]...
EVENT = re.compile(
    rf"(\d+) ({TIME}) (Information|Warning|Minor|Major|Critical) ([A-Z][A-Za-z]*) (\S+)((?: [A-Z][A-Za-z]*=\S*)*)", re.ASCII)
# What changes in status.json although nobody did anything.
VOLATILE = re.compile(rb'"(Time|LastEvent|BusySeconds|Free|Allocated|Openers|Unsettled|Bytes)":("[^"]*"|[0-9.]+|null)')


def begin(mount_point, disk_dir):
    PLACES["MNT"] = os.fsencode(mount_point)
    PLACES["DISKS"] = os.fsencode(disk_dir)


def tree(*parts):
    return os.path.join(PLACES["MNT"], b".replication", *(os.fsencode(part) for part in parts))


def read(*parts):
    with open(tree(*parts), "rb") as file:
        return file.read()


def lines_of(text):
    """Not splitlines(), for which a name that is in an event may have several."""
    text = text.decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").split("\n") if text else []


def lines(*parts):
    return lines_of(read(*parts))


def fields(text):
    """Of `Key: value` lines; a second line of the same key would be a mistake."""
    found = {}
    for line in lines_of(text):
        key, colon, value = line.partition(": ")
        must(colon and key not in found, f"'{line}' is one more 'Key: value' line")
        found[key] = value
    return found


def control(disk=None):
    return tree("control") if disk is None else tree("disks", disk, "control")


def told(command, where=None, flags=os.O_RDWR):
    """The errno of one command, 0 when it is done, and its result as the same open file tells it."""
    fd = os.open(where or control(), flags)
    try:
        number = write(fd, command)
        return number, fields(os.read(fd, 65536))
    finally:
        os.close(fd)


def write(fd, command):
    command = os.fsencode(command)
    try:
        written = os.write(fd, command)
    except OSError as error:
        return error.errno
    must(written == len(command), f"{written} of {len(command)} bytes were taken")
    return 0


def done(command, where=None):
    number, result = told(command, where)
    must(number == 0, f"{command!r}: {name_of(number)}: {result.get('Message')}")
    return result


def refuses(number, command, where=None):
    numbers = number if isinstance(number, tuple) else (number,)
    wanted = " or ".join(map(name_of, numbers))
    got, result = told(command, where)
    must(got in numbers, f"{command!r}: {name_of(got) if got else 'done'}, not {wanted}: {result.get('Message')}")
    return result


def status_bytes():
    return read("status.json")


def parsed(text):
    return json.loads(text.decode("utf-8", "surrogateescape"))


def status():
    return parsed(status_bytes())


def steady():
    """status.json without what always changes, and the names in DISKDIR with their sizes."""
    images = {entry.name: entry.stat(follow_symlinks=False).st_size
              for entry in os.scandir(PLACES["DISKS"]) if entry.name != b".tandem"}
    return VOLATILE.sub(b"", status_bytes()), images


def state_of(disk):
    return status()["Disks"].get(disk, {}).get("State")


def event_of(line):
    match = EVENT.fullmatch(line)
    must(match, f"'{line}' is an event line")
    return {"Seq": int(match[1]), "Time": match[2], "Severity": match[3], "Kind": match[4], "Object": match[5],
            "Values": dict(word.split("=", 1) for word in match[6].split())}


def events(after=0):
    found = [event_of(line) for line in lines("events")]
    return [event for event in found if event["Seq"] > after]


def last_event():
    return status()["LastEvent"]


def unescaped(word):
    """The bytes behind \\ooo."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), os.fsencode(word))


def quoted(name):
    return b'"' + os.fsencode(name).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def median_of(times):
    return sorted(times)[len(times) // 2]


def seconds_of(call):
    begins = time.monotonic()
    call()
    return time.monotonic() - begins


def patience():
    return float(os.environ.get("TANDEMFS_PATIENCE", "1"))


def percent(number):
    return max(1, number * int(os.environ.get("TANDEMFS_SCALE", "100")) // 100)


__all__ = [name for name in dir() if not name.startswith("_") and name not in ("json", "re")] + ["ok"]
