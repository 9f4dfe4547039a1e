# SPDX-License-Identifier: GPL-2.0-or-later
"""Which systems are compared in which profiles: each suite is a table of the report for each place."""
from dataclasses import dataclass, replace

from mirrors import MIRROR_SYSTEMS
from past import PAST_SYSTEMS
from profiles import (BOTH, FORMAT_PROFILES, FORMAT_RATIOS, FORMAT_TARGETS, MIRROR_PROFILES, MIRROR_RATIOS,
                      MIRROR_TARGETS, PAST_PROFILES, PAST_RATIOS, PAST_TARGETS, PROFILES, RATIOS, TARGETS)
from systems import SYSTEMS, VHD_SYSTEMS, VHDX_SYSTEMS


@dataclass(frozen=True)
class Suite:
    name: str
    profiles: tuple
    systems: tuple            # the one called tandemfs is divided by the others
    ratios: tuple
    targets: tuple
    places: tuple = BOTH      # by name

    def only(self, profiles, systems):
        """What is left of it with the entries that have these names."""
        return replace(self, profiles=tuple(one for one in self.profiles if one.name in profiles),
                       systems=tuple(one for one in self.systems if one.name in systems))


SUITES = (
    Suite("raw",  PROFILES,        SYSTEMS,      RATIOS,        TARGETS),
    Suite("vhd",  FORMAT_PROFILES, VHD_SYSTEMS,  FORMAT_RATIOS, FORMAT_TARGETS),
    Suite("vhdx", FORMAT_PROFILES, VHDX_SYSTEMS, FORMAT_RATIOS, FORMAT_TARGETS),
    Suite("past", PAST_PROFILES,   PAST_SYSTEMS, PAST_RATIOS,   PAST_TARGETS, ("disk",)),
    Suite("mirrors", MIRROR_PROFILES, MIRROR_SYSTEMS, MIRROR_RATIOS, MIRROR_TARGETS, ("disk",)),
)


def entries(key):
    """Every name once, in the order of the suites."""
    return tuple({one.name: one for suite in SUITES for one in getattr(suite, key)}.values())
