# SPDX-License-Identifier: GPL-2.0-or-later
"""What tandemfs costs apart from I/O: memory, and time with very many disks. A new figure is an entry of EXTRAS."""
import contextlib
import os
import statistics
import subprocess
import time
from dataclasses import dataclass

import process
from process import BenchError
from mirror_extras import MIRROR_EXTRAS
from past_extras import LATER_EXTRAS, PAST_EXTRAS
from systems import Tandem

SPARSE_BYTES = 1 << 30


@dataclass(frozen=True)
class Extra:
    name: str
    text: str
    unit: str
    at_most: float            # None: no target
    measure: object           # call(Fleet) → list of values, in unit; the median counts
    suite: str = "raw"        # with which it is measured if nothing else is said
    at_least: float = None


class Fleet:
    """A mount of many sparse raw images in a directory of its own."""

    def __init__(self, settings, workspace, undo, leftovers):
        self.settings, self.workspace, self.undo, self.leftovers = settings, workspace, undo, leftovers

    @contextlib.contextmanager
    def of(self, count):
        """A tandemfs over count images, not started yet; stopped at the end."""
        diskdir = os.path.join(self.workspace, f"disks-{count}")
        os.makedirs(diskdir, exist_ok=True)
        for number in range(count):
            with open(os.path.join(diskdir, f"disk{number:04}.img"), "wb") as image:
                image.truncate(SPARSE_BYTES)
        tandem = Tandem(self.settings, diskdir, self.leftovers)
        try:
            yield tandem
        finally:
            tandem.stop()

    def mount(self, tandem, count):
        """Seconds that mounting took; a mount that does not show every disk is no success."""
        took = tandem.start(self.undo)
        shown = sum(not name.startswith(".") for name in
                    process.within(process.START_SECONDS, os.listdir, tandem.mountpoint))
        if shown != count:
            raise BenchError(f"{shown} of {count} disks are shown")
        return took


def idle_memory(fleet):
    with fleet.of(100) as tandem:
        fleet.mount(tandem, 100)
        time.sleep(1)
        pids = tandem.pids()
        if not pids:
            raise BenchError("no process names the mount point")
        return [process.resident_bytes(pids) / (1 << 20)]


def mount_time(fleet):
    """Three times: the first finds no state and makes it, the others find it."""
    seconds = []
    with fleet.of(1000) as tandem:
        for _ in range(3):
            seconds.append(fleet.mount(tandem, 1000))
            tandem.stop()
    return seconds


def status_time(fleet):
    with fleet.of(1000) as tandem:
        fleet.mount(tandem, 1000)
        status = os.path.join(tandem.mountpoint, ".replication", "status")
        milliseconds = []
        for _ in range(20):
            before = time.monotonic()
            done = subprocess.run(["cat", status], capture_output=True, timeout=process.START_SECONDS,
                                  start_new_session=True)
            milliseconds.append((time.monotonic() - before) * 1000)
            if done.returncode or not done.stdout:
                raise BenchError("cat status: " + process.first_line(done.stderr.decode(errors="replace"), "empty"))
        return milliseconds


EXTRAS = (
    Extra("rss",    "memory of the daemon with 100 idle disks",   "MiB", 32, idle_memory),
    Extra("mount",  "until tandemfs returns, 1,000 images",       "s",    1, mount_time),
    Extra("status", "cat .replication/status, 1,000 disks",       "ms",  50, status_time),
    *(Extra(*row, suite="past") for row in PAST_EXTRAS),
    *(Extra(*row) for row in (*LATER_EXTRAS, *MIRROR_EXTRAS)),
)


def run_extra(extra, settings, parent, leftovers):
    """{"name", "text", "unit", "values", "median", "at_most", "at_least", "met", "why"}; without a value met is None and why
    says why."""
    result = {"name": extra.name, "text": extra.text, "unit": extra.unit, "at_most": extra.at_most,
              "at_least": extra.at_least, "values": [], "median": None, "met": None, "why": None}
    try:
        if not settings.tandemfs:
            raise BenchError("no tandemfs")
        with process.cleaning(leftovers) as undo:
            workspace = process.make_workspace(parent, undo, leftovers)
            result["values"] = extra.measure(Fleet(settings, workspace, undo, leftovers))
        result["median"] = statistics.median(result["values"])
        if extra.at_most is not None:
            result["met"] = result["median"] <= extra.at_most
        if extra.at_least is not None:
            result["met"] = result["median"] >= extra.at_least
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        result["why"] = str(error)
    return result
