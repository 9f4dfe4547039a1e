# SPDX-License-Identifier: GPL-2.0-or-later
"""One measurement: fio against one disk, and the CPU time that it cost on both sides.

The server's CPU time is sampled while fio runs, since fio counts operations after its ramp only: what counts is the
last `runtime` seconds before fio ended. Work that a server put off until after that (write-back) is charged to it
too, in the share that the counted time has of the whole; the next system starts when it is through.
"""
import bisect
import contextlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass

import process
from process import BenchError, Hung, interrupts

SETTLE_SECONDS = 600
FIO_GRACE_SECONDS = 120     # beyond the run itself: a server that hangs must not hang the benchmark
QUIET_SECONDS = 0.2         # a server that used at most a tick in this time is idle
DRAIN_SECONDS = 10


@dataclass
class Measurement:
    round: int
    profile: str
    system: str
    direct: bool              # whether fio had O_DIRECT in the end
    value: float              # in the unit of the profile
    iops: float
    mib_per_second: float
    operations: int
    runtime_seconds: float
    client_us: float          # CPU µs per operation
    server_us: float
    machine_us: float         # all CPUs, everything that ran meanwhile, kernel threads included
    others_cpus: float        # CPUs that other programs kept busy in user mode: kernel threads work for us, these do not
    drain_seconds: float      # until the server was idle again
    drained: bool

    @property
    def cpu_us(self):
        return self.client_us + self.server_us


class Sampler:
    """CPU clocks against the wall clock, 20 times a second; a sample costs about 50 µs."""

    def __init__(self, clock):
        self.clock, self.times, self.rows = clock, [], []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample_often, daemon=True)

    def sample(self):
        self.times.append(time.time())
        self.rows.append((*self.clock.read(), *process.machine_times()))

    def _sample_often(self):
        while not self.done.wait(0.05):
            self.sample()

    def __enter__(self):
        self.sample()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.sample()

    def _at(self, moment):
        after = min(max(bisect.bisect(self.times, moment), 1), len(self.times) - 1)
        (t0, t1), (r0, r1) = self.times[after - 1:after + 1], self.rows[after - 1:after + 1]
        part = min(max((moment - t0) / max(t1 - t0, 1e-9), 0), 1)
        return [a + (b - a) * part for a, b in zip(r0, r1)]

    def between(self, start, end):
        """CPU seconds (server user, server system, machine user, machine system)."""
        return [b - a for a, b in zip(self._at(start), self._at(end))]

    @property
    def last(self):
        return self.times[-1]


def _open_and_close(path, flags, before_closing=None):
    handle = os.open(path, flags)
    try:
        if before_closing:
            before_closing(handle)
    finally:
        os.close(handle)


def opens(running, flags=0):
    """Whether the disk can be opened; with O_DIRECT in flags, some FUSE servers and old tmpfs refuse."""
    try:
        process.within(FIO_GRACE_SECONDS, _open_and_close, running.path,
                       (os.O_RDWR if running.writable else os.O_RDONLY) | flags)
        return True
    except OSError:
        return False


def _run_fio(profile, running, size, seconds, more):
    command = ["fio", f"--name={profile.name}", f"--filename={running.path}", *profile.extent(size, seconds),
               "--allow_file_create=0", "--thread",      # one process, so that one pid ends all of it
               "--output-format=json", *profile.fio_options(profile.direct and running.direct), *running.more(profile), *more]
    fio = None
    try:
        with interrupts.held():
            fio = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)
        out, err = fio.communicate(timeout=seconds + profile.ramp + FIO_GRACE_SECONDS + profile.patience)
    except subprocess.TimeoutExpired:
        raise Hung("fio hangs") from None
    finally:
        if fio and fio.poll() is None:
            fio.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                fio.communicate(timeout=10)      # in a hung request it ends only after the unmount
    head, brace, body = out.partition("{")       # fio puts its complaints before the JSON
    try:
        report = json.loads(brace + body)
        job = report["jobs"][0]
    except (ValueError, LookupError):
        raise BenchError(process.first_line(err + head, f"fio ended with {fio.returncode}")) from None
    if fio.returncode or job["error"]:
        raise BenchError(process.first_line(err + head, f"fio: {os.strerror(job['error'])}"))
    return job, report["timestamp_ms"] / 1000


def _drain(profile, path, clock):
    """Brings a system to rest, so that nobody else pays for its writes. Returns (seconds, whether it came to rest)."""
    start = time.monotonic()
    if profile.writes:
        process.within(FIO_GRACE_SECONDS, _open_and_close, path, os.O_RDWR, os.fsync)
    before = sum(clock.read())
    while clock.ticks:
        time.sleep(QUIET_SECONDS)
        now = sum(clock.read())
        if now - before <= 1.5 / process.TICK:
            break
        if time.monotonic() - start > DRAIN_SECONDS:
            return time.monotonic() - start, False
        before = now
    return time.monotonic() - start, True


def _settle(running):
    """Returns when everything is where it belongs, durably: the clock runs until then."""
    running.settle()
    process.within(SETTLE_SECONDS, _open_and_close, running.path, os.O_RDWR, os.fsync)
    return time.time()


def measure(round_number, profile, system, running, size, seconds, more=()):
    """Raises BenchError, and OSError when the disk fails in the drain. more: further options of fio."""
    clock = process.ServerClock(running.pids())
    with Sampler(clock) as sampler:
        job, ended = _run_fio(profile, running, size, seconds, more)
        counts = job["write" if profile.writes else "read"]
        operations, iops = counts["total_ios"] // running.shares, counts["iops"] / running.shares
        runtime = counts["runtime"] / 1000
        if not operations:
            raise BenchError("fio completed no operation in the counted time")
        if profile.past and profile.past.settled:
            began, ended = ended - runtime, _settle(running)
            runtime = ended - began
        if profile.past and profile.past.writes:
            iops = operations / runtime       # fio leaves out what was under way when the list ended
        mib = counts["bw_bytes"] / counts["iops"] * iops / (1 << 20)
        drain_seconds, drained = _drain(profile, running.path, clock)
    server_user, server_system, machine_user, machine_system = sampler.between(ended - runtime, ended)
    late = sum(sampler.between(ended, sampler.last)[:2]) * runtime / (runtime + profile.ramp)
    client_user, client_system = (job[key] / 100 * job["job_runtime"] / 1000 for key in ("usr_cpu", "sys_cpu"))
    per_operation = 1e6 / operations
    return Measurement(round_number, profile.name, system, profile.direct and running.direct,
                       mib if profile.unit == "MiB/s" else iops, iops, mib, operations, runtime,
                       (client_user + client_system) * per_operation,
                       (server_user + server_system + late) * per_operation,
                       (machine_user + machine_system) * per_operation,
                       max(machine_user - server_user - client_user, 0) / runtime, drain_seconds, drained)
