"""Which version of MySQL may follow which, and which way leads back. Pure functions of version numbers.

MySQL's own rules (manual, "Upgrade Paths" and "Downgrade Paths"): from an LTS series to any later series up to the
next LTS series, from an innovation release to any later release up to the next LTS series; no LTS series is skipped.
In place, only patch releases of one LTS series go back: an older series does not start on the data files of a newer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LTS = ((8, 0), (8, 4), (9, 7))
"""Long-term series; 8.0, a bugfix series since 8.0.34, follows the same rules."""
OLDEST = (8, 0)


class Back(StrEnum):
    """How a member that runs the new version gets the old one again."""

    IN_PLACE = "in place"
    COPY = "by a new copy of the data"


@dataclass(frozen=True, order=True)
class Version:
    """A version of MySQL, such as 9.7.4."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        """Return it as a server and an image's tag say it."""
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def series(self) -> tuple[int, int]:
        """Its series: 9.7 for 9.7.4."""
        return self.major, self.minor

    @property
    def is_lts(self) -> bool:
        """Whether its series is a long-term one."""
        return self.series in LTS


@dataclass(frozen=True)
class Path:
    """A way from one version to another.

    Attributes:
        current: the lowest version of the servers.
        target: what is asked for.
        refused: why MySQL does not go that way, and which way it does; empty where it does.
        back: how a member goes back.
        notes: what whoever goes that way should know.
    """

    current: Version
    target: Version
    refused: str = ""
    back: Back = Back.IN_PLACE
    notes: tuple[str, ...] = ()


def parse(text: str) -> Version | None:
    """Return the version at the beginning of what a server or an image's tag says; None where it says none."""
    found = re.match(r"(\d{1,3})\.(\d{1,3})\.(\d{1,4})(?![\d.])", text)
    return Version(*map(int, found.groups())) if found else None


def judge(current: Version, target: Version) -> Path:
    """Return whether and how MySQL goes from one version to another."""
    if target.series < OLDEST or current.series < OLDEST:
        return Path(current, target, f"{min(current, target)} is older than 8.0, which the operator does not know")
    same = current.series == target.series
    # No release of 8.0 starts on the data files of a later one.
    goes_back = same and current.is_lts and current.series != (8, 0)
    if target < current:
        if goes_back:
            note = "this is a downgrade, which MySQL allows within one LTS series"
            return Path(current, target, notes=(note,))
        return Path(
            current,
            target,
            f"{current} to {target} is a downgrade, and data files go back only within one LTS series of MySQL: back "
            f"it up (runbook backup) and restore it into a new cluster of version {target}",
            Back.COPY,
        )
    if between := [series for series in LTS if current.series < series < target.series]:
        first = ".".join(map(str, between[0]))
        return Path(
            current,
            target,
            f"{current} to {target} skips the LTS series {first}: upgrade to a release of {first} first, then on",
            Back.COPY,
        )
    notes = []
    if target.series > LTS[-1]:
        last = ".".join(map(str, LTS[-1]))
        notes.append(f"the newest LTS series known here is {last}: see in the release notes that none lies between")
    if not target.is_lts and not same:
        notes.append(f"{target} is an innovation release: it gets fixes only until the next release")
    return Path(current, target, "", Back.IN_PLACE if goes_back else Back.COPY, tuple(notes))


def lowest(versions: Sequence[Version]) -> Version:
    """Return the version that the way begins at: what the group as a whole is able to."""
    return min(versions)
