# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, and what has to come out. A new row of the report is a new entry here.

Buffered rows: fio drops the page cache of the file it opened at the start of every pass over it. On a FUSE mount that is the
client's cache only; a server's page cache stays warm, as it does for every peer that has one. So buffered reads of the
`file` itself come from the disk and those through a server may not: compare them with the matching peer.
"""
from dataclasses import dataclass

RAMP_SECONDS = 0.5
BLOCK_BYTES = 2 << 20         # of VHD and VHDX: all have the same
PIECE_BYTES = 4 << 10         # what is written of each block where blocks are allocated


@dataclass(frozen=True)
class Profile:
    name: str
    rw: str
    block: str
    engine: str
    depth: int
    direct: bool
    unit: str                 # what the row shows: "MiB/s", "IOPS" or "blocks/s"
    more: tuple = ()          # further fio options
    fresh: bool = False       # not for a time: all blocks of an image that nobody has written to
    past: object = None       # a Past

    @property
    def writes(self):
        return "write" in self.rw

    def fio_options(self, direct):
        return (f"--rw={self.rw}", f"--bs={self.block}", f"--ioengine={self.engine}", f"--iodepth={self.depth}",
                f"--direct={int(direct)}", *self.more)

    def extent(self, size, seconds):
        """How much fio does. The runtime that it tells ends after the flush of end_fsync."""
        if self.past and self.past.writes:
            return ()         # which writes, is in a list that fio is given
        if self.fresh:
            return (f"--size={size}", f"--io_size={size // BLOCK_BYTES * PIECE_BYTES}", "--end_fsync=1")
        return (f"--size={size}", "--time_based", f"--runtime={round(seconds * 1000)}ms",
                f"--ramp_time={round(RAMP_SECONDS * 1000)}ms")

    @property
    def patience(self):
        """Seconds that it may take beyond what it is asked for."""
        return 600 if self.past and self.past.writes else 0

    @property
    def ramp(self):
        return 0 if self.fresh or self.past and self.past.writes else RAMP_SECONDS


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

# One piece of each block, in the order of the blocks, so that each write allocates; a flush at the end.
EACH_BLOCK = f"write:{BLOCK_BYTES - PIECE_BYTES}"
FORMAT_PROFILES = tuple(one for one in PROFILES if one.name in
                        ("read-1m", "randread-4k-qd1", "randread-4k-qd32", "randwrite-4k-qd32")) + (
    Profile("alloc-4k-qd1",       EACH_BLOCK,  "4k", "psync",   1, True,  "blocks/s", fresh=True),
    Profile("alloc-4k-qd32",      EACH_BLOCK,  "4k", "libaio", 32, True,  "blocks/s", fresh=True),
)

MIRROR_PROFILES = tuple(one for one in PROFILES if one.name in ("write-1m", "randwrite-4k-qd1", "randwrite-4k-qd32"))


@dataclass(frozen=True)
class Past:
    """What is kept of a disk while it is written, and which writes. Writes without number are for a time, anywhere."""
    keeps: str                # "snapshot": one, made just before; "history": of each second
    writes: float = 0         # number of them, for each TRACKED_BYTES of --size
    once: bool = True         # each to the beginning of a block of its own, in random order; else anywhere
    settled: bool = False     # the clock runs until everything is in its place and flushed
    times: int = 1            # the image is --size times this
    cold: bool = False        # nothing of the image is in the page cache, as with one that is larger than it

    @property
    def only_us(self):
        """None of the peers can do it."""
        return self.keeps == "history"


TRACKED_BYTES = 16 << 10      # a block, in our words: what is saved before it is written over

# With the default size: 64 MiB of writes for each "burst", which the write log can hold; 768 MiB for each "sustained",
# which is three times what it can hold.
BURST, SUSTAINED = 1 / 2, 6
PAST_ROWS = (
    ("first-burst",          "IOPS", Past("snapshot", BURST)),
    ("first-sustained",      "IOPS", Past("snapshot", SUSTAINED, settled=True, times=SUSTAINED)),
    ("first-cold",           "IOPS", Past("snapshot", SUSTAINED, settled=True, times=SUSTAINED, cold=True)),
    ("later",                "IOPS", Past("snapshot")),
    ("history-1s-burst",     "IOPS", Past("history", BURST, once=False)),
    ("history-1s-sustained", "IOPS", Past("history", SUSTAINED, once=False, settled=True)),
)
PAST_PROFILES = tuple(Profile(f"{name}-qd{depth}", "randwrite", "4k", engine, depth, True, unit, past=past)
                      for name, unit, past in PAST_ROWS for engine, depth in (("psync", 1), ("libaio", 32))
                      if depth > 1 or not past.cold)


@dataclass(frozen=True)
class Place:
    """Where the images lie. `match` names the qemu-storage-daemon set-up with the same caching as tandemfs, which
    passes the client's O_DIRECT through: given the profile and the medians of that row, by system."""
    name: str
    parent: str
    page_cache: bool
    match: object
    blocks: int               # of a fresh image: as many as take tandemfs a tenth of a second or more


def same_caching(profile, _row):
    return "qsd-direct" if profile.direct else "qsd-cached"


def faster_qsd(_profile, row):
    """On tmpfs the page cache is the medium, cache.direct changes the code path only: so the better one counts."""
    known = {name: row[name] for name in ("qsd-direct", "qsd-cached") if row.get(name) is not None}
    return max(known, key=known.get) if known else "qsd-direct"


def matching_qsd(place, profile, row):
    """The set-up that t/qsd divides by. Allocating is a matter of flushes more than of caching: the better one counts.
    Our write log goes through the page cache, what is settled does not: there too."""
    return (faster_qsd if profile.fresh or profile.past else place.match)(profile, row)


PLACES = (
    Place("disk", "/var/tmp", True, same_caching, 2048),
    Place("tmpfs", "/dev/shm", False, faster_qsd, 16384),
)


@dataclass(frozen=True)
class Ratio:
    """A system divided by another; "qsd" is the one that Place.match names."""
    title: str
    base: str
    of: str = "tandemfs"


RATIOS = (Ratio("t/file", "file"), Ratio("t/qsd", "qsd"), Ratio("t/nbdfuse", "nbdfuse"))
FORMAT_RATIOS = (Ratio("t/raw", "tandemfs-raw"), Ratio("t/qsd", "qsd"), Ratio("t/vhdimount", "vhdimount"))
PAST_RATIOS = (Ratio("t/plain", "tandemfs-plain"), Ratio("t/qsd", "qsd"), Ratio("t/xfs", "xfs"),
               Ratio("q/plain", "qsd-plain", "qsd-direct"), Ratio("x/plain", "xfs-plain", "xfs"))
MIRROR_RATIOS = (Ratio("t/two", "two-files"), Ratio("t/disks", "two-disks"), Ratio("t/plain", "tandemfs-plain"),
                 Ratio("f/plain", "tandemfs-plain", "at-flush"), Ratio("t/qsd", "qsd"),
                 Ratio("q/plain", "qsd-plain", "qsd-direct"), Ratio("two/plain", "tandemfs-plain", "two-files"))


@dataclass(frozen=True)
class Target:
    profile: str
    base: str
    at_least: float
    places: tuple
    limits: tuple = ()        # (factor, title of a ratio): it asks for no more than so many times that of the same run


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
FORMAT_TARGETS = (
    Target("read-1m",           "tandemfs-raw", 0.9, BOTH),
    Target("randread-4k-qd32",  "tandemfs-raw", 0.9, BOTH),
    Target("randwrite-4k-qd32", "tandemfs-raw", 0.9, BOTH),
    Target("alloc-4k-qd1",      "qsd",          3.0, BOTH),
    Target("alloc-4k-qd32",     "qsd",          3.0, BOTH),
)
PAST_TARGETS = tuple(Target(f"{row}-{depth}", base, ratio, ("disk",)) for row, base, ratio in (
    ("first-burst",     "tandemfs-plain", 0.8),
    ("first-sustained", "tandemfs-plain", 0.45),
    ("first-sustained", "qsd",            1.0),
    ("first-sustained", "xfs",            1.0),
    ("later",           "tandemfs-plain", 0.97),
    ("history-1s-burst",     "tandemfs-plain", 0.8),
    ("history-1s-sustained", "tandemfs-plain", 0.45),
) for depth in ("qd1", "qd32"))
# Of the plain disk: clearly more than what is left to QEMU of its own plain speed, but neither more than a plain disk, less
# what noise is, nor more than the device gives to two copies. Requests of 4 KiB cost FUSE more than the device, so their
# least is that of two disks of ours.
MIRROR_PLAIN, MIRROR_LIMITS = 0.97, ((1.15, "q/plain"), (1.0, "two/plain"))
MIRROR_TARGETS = tuple(target for row, least in (
    ("randwrite-4k-qd1", "two-disks"), ("randwrite-4k-qd32", "two-disks"), ("write-1m", "two-files"),
) for target in (Target(row, least, 0.9, ("disk",)), Target(row, "tandemfs-plain", MIRROR_PLAIN, ("disk",), MIRROR_LIMITS)))
