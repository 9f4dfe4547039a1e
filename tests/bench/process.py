# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes and mounts of the benchmark: started, found, timed, and ended again whatever happens.

Invariant: between the moment something exists (a process, a mount, a directory) and the moment its undo is registered
no signal is taken (Interrupts.held), so an interrupt at any point leaves nothing behind.
"""
import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

START_SECONDS = 60      # a server that has not mounted by then will not
STOP_SECONDS = 120      # more than tandemfs's own --stop-timeout of 90 s
TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Why one system, cell or extra could not be measured; the text goes to the reader."""


class Absent(BenchError):
    """What is not installed is not broken."""


class Hung(BenchError):
    """A server does not answer: it is not asked again."""


def within(seconds, call, *arguments):
    """What call gives, or its error; Hung when it does not return. A file call on a FUSE mount whose server hangs can't
    be interrupted, so it waits in a thread, which ends when the clean-up ends the server."""
    answer = []

    def work():
        try:
            answer.append((call(*arguments), None))
        except (OSError, BenchError) as error:
            answer.append((None, error))
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise Hung(f"no answer within {seconds} s")
    value, error = answer[0]
    if error:
        raise error
    return value


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, but not in the middle of held()."""

    def __init__(self):
        self.depth, self.pending, self.fired = 0, False, False

    def install(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number, _frame):
        if self.fired:
            return      # a second Ctrl-C must not interrupt the cleaning up
        if self.depth:
            self.pending = True
            return
        self.fired = True
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if self.pending and not self.depth:
                self.pending, self.fired = False, True
                raise KeyboardInterrupt


interrupts = Interrupts()


def _close(undo):
    with interrupts.held():
        undo.close()


@contextlib.contextmanager
def cleaning(leftovers):
    """Gives a stack of undos, closed at the end; after an interrupt nobody prints leftovers later, so it does.
    atexit, should the interrupt come between `finally` and held()."""
    undo = contextlib.ExitStack()
    atexit.register(_close, undo)
    try:
        yield undo
    finally:
        _close(undo)
        if interrupts.fired:
            print("\n".join(leftovers), file=sys.stderr, end="\n" if leftovers else "")


@contextlib.contextmanager
def cleaning_in(undo):
    """A stack of undos for a part of the work, closed at its end, and with `undo` at the latest."""
    with interrupts.held():
        part = contextlib.ExitStack()
        undo.callback(part.close)
    try:
        yield part
    finally:
        _close(part)


def first_line(text, otherwise):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else otherwise


# --- mounts -----------------------------------------------------------------------------------------------------------

def _mounts():
    """Rows of mountinfo as (device "major:minor", mount point, filesystem type, source)."""
    def plain(text):
        return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.rstrip("\n").partition(" - ")
            fields, (kind, source) = before.split(" "), after.split(" ")[:2]
            yield fields[2], plain(fields[4]), kind, plain(source)


def is_mounted(path):
    return any(point == path for _, point, _, _ in _mounts())


def mounted_below(path):
    return [point for _, point, _, _ in _mounts() if (point + "/").startswith(path + "/")]


def filesystem_of(path):
    """(type, source) of the filesystem that holds path; ("?", "?") where the kernel shows no such device."""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return next(((kind, source) for row, _, kind, source in _mounts() if row == device), ("?", "?"))


def unmount(path, leftovers):
    """Unmounts a FUSE mount; lazily when it stays busy, and says so."""
    deadline = time.monotonic() + 10
    while is_mounted(path):
        lazy = time.monotonic() > deadline
        if lazy:
            leftovers.append(f"{os.path.basename(path)} stayed busy and was unmounted lazily")
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(["fusermount3", "-u", *(["-z"] if lazy else []), path],
                                  capture_output=True, text=True, timeout=STOP_SECONDS, start_new_session=True)
            if done.returncode == 0:
                return
        if lazy:
            leftovers.append(f"{path} is still mounted")
            return
        time.sleep(0.1)


def wait_mounted(path, server, errors):
    """Returns when something is mounted at path; raises with the server's own words when it ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while not is_mounted(path):
        if server.poll() is not None:
            with open(errors, encoding="utf-8", errors="replace") as text:
                raise BenchError(first_line(text.read(), f"ended with {server.returncode}"))
        if time.monotonic() > deadline:
            raise BenchError(f"did not mount within {START_SECONDS} s")
        time.sleep(0.02)


# --- processes --------------------------------------------------------------------------------------------------------

def spawn(argv, errors, cwd=None):
    """A server in a session of its own: a Ctrl-C at the terminal is for us, we end the servers in the right order."""
    with open(errors, "ab") as sink:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=cwd, start_new_session=True)


def end(server, leftovers, patience=10):
    """Ends a process that spawn() started, politely first. It may have ended by itself."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.5 if number is None else patience)
            return
    leftovers.append(f"process {server.pid} ({server.args[0]}) does not end")


def _processes():
    """pid → (parent's pid, argument list) of everything that runs."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/cmdline", "rb") as text:
                words = text.read().split(b"\0")
            found[int(name)] = (int(_stat(name)[1]), words)
    return found


def processes_naming(path):
    """Pids of the processes with path as an argument of its own, and their descendants. A daemon has left its parent,
    so this is how it is found: path is in a directory that only this run knows, hence the process is ours."""
    everything = _processes()
    ours = {pid for pid, (_, words) in everything.items() if os.fsencode(path) in words} - {os.getpid()}
    more = ours
    while more:
        more = {pid for pid, (parent, _) in everything.items() if parent in ours} - ours
        ours |= more
    return sorted(ours)


def end_pids(find, leftovers, patience=10):
    """Ends the processes that find() names, which are not our children."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        for pid in find() if number is not None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                leftovers.append(f"process {pid} had to be ended with {signal.Signals(number).name}")
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not find():
                return
            time.sleep(0.05)
    leftovers.append(f"processes {find()} do not end")


# --- CPU and memory ---------------------------------------------------------------------------------------------------

def _stat(pid):
    """Fields of /proc/PID/stat from the state on: the name before it may hold blanks and parentheses."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as text:
        return text.read().rpartition(")")[2].split()


class ServerClock:
    """CPU time of a server's processes, all threads, ended threads too. Never runs backwards when one ends."""

    def __init__(self, pids):
        self.ticks = dict.fromkeys(pids, (0, 0))

    def read(self):
        """(user, system) in seconds."""
        for pid in self.ticks:
            with contextlib.suppress(OSError):
                self.ticks[pid] = tuple(map(int, _stat(pid)[11:13]))
        return tuple(sum(ticks[part] for ticks in self.ticks.values()) / TICK for part in (0, 1))


def machine_times():
    """(user, system) seconds of everything, kernel threads and interrupts included, but not what the hypervisor stole."""
    with open("/proc/stat", encoding="ascii") as text:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, text.readline().split()[1:8])
    return (user + nice) / TICK, (system + irq + softirq) / TICK


def resident_bytes(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as text:
            total += sum(int(line.split()[1]) * 1024 for line in text if line.startswith("VmRSS:"))
    return total


# --- directories ------------------------------------------------------------------------------------------------------

def make_workspace(parent, undo, leftovers):
    """A new directory below parent, removed by undo unless something is still mounted in it."""
    with interrupts.held():
        root = os.path.realpath(tempfile.mkdtemp(prefix="tandemfs-bench-", dir=parent))
        undo.callback(_remove_workspace, root, leftovers)
    return root


def _remove_workspace(root, leftovers):
    left = mounted_below(root)
    if left:
        leftovers.append(f"{root} is left behind: still mounted: {', '.join(left)}")
        return
    shutil.rmtree(root, onerror=lambda _call, path, info: leftovers.append(f"cannot remove {path}: {info[1]}"))
