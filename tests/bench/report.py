# SPDX-License-Identifier: GPL-2.0-or-later
"""From raw rounds to medians, ratios, tables and verdicts. Pure: takes results, returns text and data."""
import statistics

from profiles import matching_qsd

MARKS = {"qsd-direct": "d", "qsd-cached": "c"}
MEDIANS = ("value", "client_us", "server_us", "machine_us")


def medians_of(measurements):
    """{profile: {system: {"value", "client_us", "server_us", "machine_us", "cpu_us", "rounds"}}}"""
    cells = {}
    for one in measurements:
        cells.setdefault(one.profile, {}).setdefault(one.system, []).append(one)
    return {profile: {system: {**{key: statistics.median(getattr(one, key) for one in many) for key in MEDIANS},
                               "cpu_us": statistics.median(one.cpu_us for one in many), "rounds": len(many)}
                      for system, many in row.items()}
            for profile, row in cells.items()}


def ratios_of(suite, place, medians):
    """{profile: {"qsd": name of the matching set-up, title: ratio or None}}"""
    result = {}
    for profile in (profile for profile in suite.profiles if profile.name in medians):
        values = {system: cell["value"] for system, cell in medians[profile.name].items()}
        qsd = matching_qsd(place, profile, values)
        pairs = {ratio.title: (values.get(ratio.of), values.get(qsd if ratio.base == "qsd" else ratio.base))
                 for ratio in suite.ratios}
        result[profile.name] = {"qsd": qsd, **{title: value / base if value is not None and base else None
                                               for title, (value, base) in pairs.items()}}
    return result


def targets_of(suite, place, rows):
    """One verdict per target of a suite in a place. met is None where a side is missing, or what limits the target."""
    titles = {ratio.base: ratio.title for ratio in suite.ratios if ratio.of == "tandemfs"}
    verdicts = []
    for target in (target for target in suite.targets if place.name in target.places):
        row = rows.get(target.profile)
        ratio = row and row[titles[target.base]]
        base = row["qsd"] if row and target.base == "qsd" else target.base
        limits = [{"factor": factor, "of": title, "ratio": row and row[title]} for factor, title in target.limits]
        known = all(one["ratio"] is not None for one in limits)
        at_least = min([target.at_least, *(one["factor"] * one["ratio"] for one in limits)]) if known else None
        verdicts.append({"suite": suite.name, "place": place.name, "profile": target.profile, "base": base,
                         "at_least": at_least, "wanted": target.at_least, "limits": limits, "ratio": ratio,
                         "met": None if ratio is None or at_least is None else ratio >= at_least})
    return verdicts


# --- text -------------------------------------------------------------------------------------------------------------

def number(value):
    if value is None:
        return "-"
    if value >= 100_000:
        return f"{value / 1000:.0f}k"
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def columns(rows, left=1):
    """Lines with every column as wide as its widest cell; the first `left` columns to the left."""
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    return ["  ".join(cell.ljust(width) if index < left else cell.rjust(width)
                      for index, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def cpu(cell, mark=""):
    return f"{number(cell['cpu_us'])}/{number(cell['machine_us'])}{mark}" if cell else "-"


def table(suite, place, medians, ratios):
    head = ["profile", "unit", *(one.name for one in suite.systems), *(one.title for one in suite.ratios),
            "cpu t", "cpu qsd"]
    caching = ["caching", "", *(one.caching if place.page_cache else "ram" for one in suite.systems)]
    rows = [head, caching + [""] * (len(head) - len(caching))]
    for profile in suite.profiles:
        row, ratio = medians.get(profile.name, {}), ratios.get(profile.name, {})
        mark = MARKS.get(ratio.get("qsd"), "")
        cells = [number(row[system.name]["value"]) if system.name in row else "-" for system in suite.systems]
        factors = ["-" if ratio.get(one.title) is None else f"{ratio[one.title]:.2f}{mark if one.base == 'qsd' else ''}"
                   for one in suite.ratios]
        rows.append([profile.name, profile.unit, *cells, *factors,
                     cpu(row.get("tandemfs")), cpu(row.get(ratio.get("qsd")), mark)])
    return columns(rows, left=2)


LEGEND = (
    "Medians. caching: what the server's side caches of the disk (as asked: O_DIRECT goes through). Direct rows compare with",
    "qsd-direct (d), buffered ones with qsd-cached (c), on tmpfs all with the faster. cpu: µs per operation, client + server /",
    "whole machine, which counts others' work too and only by clock ticks, so it may be less. Buffered reads drop the client's",
    "page cache at each pass, a server's stays warm.",
)
FORMATS_LEGEND = (
    "vhd, vhdx: dynamic, blocks of 2 MiB. All are allocated, tandemfs and tandemfs-raw by writing through them, the others by",
    "qemu-img convert. alloc: 4 KiB into each block of a new image of qemu-img create, then a flush; the client has O_DIRECT, and",
    "t/qsd takes the faster one. mostly: tandemfs goes through the page cache where a block's data is not aligned to pages, as in",
    "7 of 8 blocks of a VHD that QEMU made. vhdimount only reads.",
)
PAST_LEGEND = (
    "past: 4 KiB random writes, the client has O_DIRECT; each measurement has an image, a server and a snapshot of its own, and",
    "every system gets the same writes. first-burst: each into a block of 16 KiB that was not written since the snapshot, as many",
    "as the write log holds, no flush. first-sustained: three times as many as it holds, over 6 times --size; the clock stops when",
    "all is settled and flushed. first-cold: the same, and nothing of the image is in the page cache at first. later: into what",
    "was written since the snapshot, and is settled. history-1s: anywhere, with KeepHistory Granularity=1s. plain: the same",
    "without. qsd-direct, qsd-cached: a new overlay over a written qcow2, t/qsd takes the faster one; qsd-plain: that qcow2,",
    "direct. xfs: after cp --reflink, on a loop device with direct I/O. log only: the write log and the store are cached.",
)
MIRRORS_LEGEND = (
    "mirrors: tandemfs with a synchronous mirror of the disk, in step; plain: without. two-files: fio itself writes both files, with",
    "twice as many requests under way, and half of what it does counts: what the device allows. two-disks: the same with two",
    "disks of one tandemfs, without a mirror. qsd-direct: blockdev-mirror, copy-mode=write-blocking, over NBD, because QEMU does",
    "not mirror what it exports with FUSE; qsd-plain: without. at-flush: with AcknowledgeAt=Flush; f/plain is that by plain.",
    "Targets: t/plain is to be 1.15 times q/plain of the same run, but neither more than 0.97 nor more than two/plain. t/two is to",
    "be 0.9 for write-1m; 4 KiB cost FUSE more than the device, so there it is t/disks.",
)


def legend(suites):
    names = {suite.name for suite in suites}
    return LEGEND + (FORMATS_LEGEND if names & {"vhd", "vhdx"} else ()) + (PAST_LEGEND if "past" in names else ()) \
        + (MIRRORS_LEGEND if "mirrors" in names else ())


def verdict(met):
    return {True: "met", False: "NOT MET", None: "not measured"}[met]


def reason(one):
    """What makes a target what it is in this run."""
    if not one["limits"]:
        return ""
    limits = (f"{limit['factor']:g} x {limit['of']} " + ("-" if limit["ratio"] is None else f"{limit['ratio']:.2f}")
              for limit in one["limits"])
    return f": least of {one['wanted']:g}, " + ", ".join(limits)


def asked(extra):
    if extra["at_least"] is not None:
        return f">= {extra['at_least']}"
    return "" if extra["at_most"] is None else f"<= {extra['at_most']}"


def targets(verdicts, extras):
    rows = [[f"{one['suite']}, {one['place']}", f"{one['profile']} / {one['base']}",
             "-" if one["at_least"] is None else f">= {one['at_least']:.3g}",
             "-" if one["ratio"] is None else f"{one['ratio']:.2f}", verdict(one["met"]) + reason(one)] for one in verdicts]
    rows += [["", one["text"], f"in {one['unit']}" if asked(one) == "" else f"{asked(one)} {one['unit']}",
              "-" if one["median"] is None else f"{one['median']:.2f}",
              "" if asked(one) == "" and not one["why"] else
              verdict(one["met"]) + (f": {one['why']}" if one["why"] else "")] for one in extras]
    return [f"{line}  {row[-1]}" for line, row in zip(columns([row[:-1] for row in rows], left=2), rows)]
