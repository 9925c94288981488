"""What an upgrade would do, what speaks against it, and how one goes back: for the dry run and for errors. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.mysql.upgrade_checks import Finding
from steps.mysql.upgrade_path import Back, Path, Version

WIDTH = 80
"""Columns of a terminal, which a plan keeps to."""


@dataclass(frozen=True)
class Plan:
    """What is to be done to one cluster.

    Attributes:
        cluster: its name.
        path: from which version to which.
        versions: what each server says it is, by pod.
        images: tag of each server pod's image.
        order: server pods in the order in which they are replaced; the primary, if among them, is the last.
        primary: pod of the primary.
        routers: number of Routers.
        routers_behind: those of another version, with it, for people.
        old: the version to go back to.
        held: whether an earlier run has left the StatefulSet with the update strategy OnDelete.
        backup: what is known of the newest backup, for people.
        make_backup: whether one is made first.
        findings: what was noticed.
        against: why it is not begun.
        warnings: what whoever reads the plan should know.
    """

    cluster: str
    path: Path
    versions: Mapping[str, Version]
    images: Mapping[str, str]
    order: tuple[str, ...]
    primary: str
    routers: int
    routers_behind: tuple[str, ...]
    old: str
    backup: str = ""
    make_backup: bool = False
    findings: tuple[Finding, ...] = ()
    against: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    held: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: every image and every server is of the target version."""
        return not (self.order or self.routers_behind or self.against or self.held)

    def now(self) -> str:
        """Say what runs now, in one line."""
        real = ", ".join(sorted({str(one) for one in self.versions.values()}))
        tags = ", ".join(sorted(set(self.images.values())))
        return f"servers are {real}" + (f" (images say {tags})" if tags != real else "")

    def steps(self) -> list[str]:
        """Return what is done, in order, for people."""
        target = self.path.target
        told = [f"make a backup first: {self.backup}"] if self.make_backup else []
        told += [
            "have the StatefulSet replace no pod by itself (update strategy OnDelete), and set spec.version "
            f"{self.old} -> {target}: the operator changes the images",
        ]
        if self.routers:
            told.append(f"wait until {self.routers} of {self.routers} Routers run {target} and are ready")
        for pod in self.order:
            if pod == self.primary and len(self.order) > 1:
                told.append(f"switch the primary from {pod} to the best of the others")
            elif pod == self.primary:
                told.append(f"switch the primary away from {pod}")
            told.append(f"evict {pod}; it has to come back in step, with @@version {target}")
        told.append(f"verify every member's @@version ({target}), every Router, the group and the writes")
        told.append("give the StatefulSet its update strategy back")
        return told

    def way_back(self) -> list[str]:
        """Return how one goes back, for people."""
        target = self.path.target
        ways = [
            f"a failed run goes back by itself where it may: spec.version {target} -> {self.old}, pods that did not "
            "come up are deleted, members that run the new version are replaced one by one"
        ]
        if self.path.back is Back.COPY:
            ways.append(
                f"it may only until the first server has run {target}: {self.old} does not start on data files of "
                "another series. From then on either go forward (run this again, it goes on where it stopped), or, "
                "while the primary is an old member: set spec.version back, and for each upgraded member delete "
                "first its claim (datadir-POD), then its pod: it copies the data from an old member; at last "
                f"upgrade-cluster with version={self.old} gives the StatefulSet its strategy back"
            )
            ways.append("after the last member: restore the backup into a new cluster of the old version")
        else:
            ways.append(
                f"after a run that succeeded: upgrade-cluster with version={self.old} (both are of one LTS series)"
            )
        return ways

    def told(self, *, dry_run: bool) -> str:
        """Return all of it, in lines for a terminal."""
        path = self.path
        head = f"{self.cluster}: {path.current} -> {path.target}; {self.now()}"
        lines = textwrap.wrap(head, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        if self.against:
            lines += ["Dry run, nothing was changed. It would be refused:"] if dry_run else ["It is refused:"]
            lines += numbered(self.against)
            if path.refused:  # there is no plan for a way that leads nowhere
                return "\n".join(lines)
        elif self.is_done:
            lines.append("Nothing to do: every server, Router and image is of that version.")
        if not self.is_done:
            does = "With that mended it" if self.against else "Dry run, nothing was changed. This" if dry_run else "It"
            lines += [f"{does} would:" if dry_run or self.against else f"{does} will:", *numbered(self.steps())]
        notes = [*self.path.notes, *(str(one) for one in self.findings if not one.stops), *self.warnings]
        if self.backup and not self.make_backup and self.backup not in self.against:
            notes.insert(0, f"backup: {self.backup}")
        if notes:
            lines += ["To know:", *numbered(notes)]
        if not self.is_done:
            lines += ["Going back:", *numbered(self.way_back())]
        return "\n".join(lines)


def numbered(items: Sequence[str]) -> list[str]:
    """Return sentences as a numbered list, in lines for a terminal."""
    lines: list[str] = []
    for number, item in enumerate(items, start=1):
        lines += textwrap.wrap(
            item, WIDTH, initial_indent=f"{number:>3}. ", subsequent_indent="     ", break_on_hyphens=False
        )
    return lines
