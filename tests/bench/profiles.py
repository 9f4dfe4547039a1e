# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, and what has to come out. A new row of the report is a new entry here.

Buffered rows: fio drops the page cache of the file it opened at the start of every pass over it. On a FUSE mount that is the
client's cache only; a server's page cache stays warm, as it does for every peer that has one. So buffered reads of the
`file` itself come from the disk and those through a server may not: compare them with the matching peer.
"""
from dataclasses import dataclass

RAMP_SECONDS = 0.5


@dataclass(frozen=True)
class Profile:
    name: str
    rw: str
    block: str
    engine: str
    depth: int
    direct: bool
    unit: str                 # what the row shows: "MiB/s" or "IOPS"
    more: tuple = ()          # further fio options

    @property
    def writes(self):
        return "write" in self.rw

    def fio_options(self, direct):
        return (f"--rw={self.rw}", f"--bs={self.block}", f"--ioengine={self.engine}", f"--iodepth={self.depth}",
                f"--direct={int(direct)}", *self.more)


PROFILES = (
    #       name                  rw           bs    engine    QD  direct unit     more
    Profile("read-1m",            "read",      "1M", "libaio",  8, True,  "MiB/s"),
    Profile("write-1m",           "write",     "1M", "libaio",  8, True,  "MiB/s"),
    Profile("read-1m-buffered",   "read",      "1M", "psync",   1, False, "MiB/s"),
    Profile("write-1m-buffered",  "write",     "1M", "psync",   1, False, "MiB/s"),
    Profile("randread-4k-qd1",    "randread",  "4k", "psync",   1, True,  "IOPS"),
    Profile("randwrite-4k-qd1",   "randwrite", "4k", "psync",   1, True,  "IOPS"),
    Profile("randread-4k-qd32",   "randread",  "4k", "libaio", 32, True,  "IOPS"),
    Profile("randwrite-4k-qd32",  "randwrite", "4k", "libaio", 32, True,  "IOPS"),
    Profile("randwrite-4k-buffered", "randwrite", "4k", "psync", 1, False, "IOPS"),
    Profile("randwrite-4k-fsync", "randwrite", "4k", "psync",   1, False, "IOPS", ("--fsync=1",)),
)


@dataclass(frozen=True)
class Place:
    """Where the images lie. `match` names the qemu-storage-daemon set-up with the same caching as tandemfs, which
    passes the client's O_DIRECT through: given the profile and the medians of that row, by system."""
    name: str
    parent: str
    page_cache: bool
    match: object


def same_caching(profile, _row):
    return "qsd-direct" if profile.direct else "qsd-cached"


def faster_qsd(_profile, row):
    """On tmpfs the page cache is the medium, cache.direct changes the code path only: so the better one counts."""
    known = {name: row[name] for name in ("qsd-direct", "qsd-cached") if row.get(name) is not None}
    return max(known, key=known.get) if known else "qsd-direct"


PLACES = (
    Place("disk", "/var/tmp", True, same_caching),
    Place("tmpfs", "/dev/shm", False, faster_qsd),
)


@dataclass(frozen=True)
class Ratio:
    """tandemfs divided by a system; "qsd" is the one that Place.match names."""
    title: str
    base: str


RATIOS = (Ratio("t/file", "file"), Ratio("t/qsd", "qsd"), Ratio("t/nbdfuse", "nbdfuse"))


@dataclass(frozen=True)
class Target:
    profile: str
    base: str
    at_least: float
    places: tuple


BOTH = ("disk", "tmpfs")
TARGETS = (
    Target("read-1m",           "file", 0.9, BOTH),
    Target("write-1m",          "file", 0.9, BOTH),
    Target("randread-4k-qd32",  "qsd",  1.2, ("disk",)),
    Target("randwrite-4k-qd32", "qsd",  1.2, ("disk",)),
    Target("randread-4k-qd1",   "qsd",  1.0, ("disk",)),
    Target("randwrite-4k-qd1",  "qsd",  1.0, ("disk",)),
    Target("randread-4k-qd32",  "qsd",  4.0, ("tmpfs",)),
    Target("randwrite-4k-qd32", "qsd",  4.0, ("tmpfs",)),
    Target("randread-4k-qd1",   "qsd",  2.0, ("tmpfs",)),
    Target("randwrite-4k-qd1",  "qsd",  2.0, ("tmpfs",)),
)
