"""The machine's own apt sources, read so that another suite can be asked of the same mirror.

Both formats are read: one line a source (``sources.list(5)``), and deb822 stanzas (``*.sources``).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/etc/apt/trusted.gpg.d/debian-archive-keyring.gpg"),
)
"""Where the package debian-archive-keyring puts the keys of Debian's archive."""


@dataclass(frozen=True)
class Source:
    """One place to fetch packages from.

    Attributes:
        uri: the mirror, as apt writes it (http, https, file, mirror+file, ...).
        suites: the suites that the machine takes from it.
        components: such as ``main``.
        signed_by: a keyring's path or an armoured key, as in the source; empty where it names none.
    """

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    def for_suite(self, suite: str, keyring: str) -> str:
        """Return a deb822 stanza that takes `suite` of this mirror, signed by `keyring` if none is named."""
        signed_by = self.signed_by or keyring
        # apt reads a file: mirror in place; from a copy: mirror it takes the packages to its own folder.
        uri = self.uri.replace("file:", "copy:", 1) if self.uri.startswith("file:") else self.uri
        return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {signed_by}\n"


def one_line_sources(text: str) -> Iterator[Source]:
    """Yield the binary sources of a ``sources.list`` file; comments and deb-src lines are passed over."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>[^#]+)", line)
        if not found:
            continue
        words = found["rest"].split()
        if len(words) < 2:
            continue
        options = dict(option.split("=", 1) for option in (found["options"] or "").split() if "=" in option)
        yield Source(words[0], (words[1],), tuple(words[2:]), options.get("signed-by", ""))


def stanza_sources(text: str) -> Iterator[Source]:
    """Yield the enabled binary sources of a deb822 ``*.sources`` file, one for each URI."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").strip().lower() not in ("no", "false", "0", "off")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", "").rstrip(),
            )


def archive_sources(sources: list[Source]) -> list[Source]:
    """Return those sources that look like the distribution's main archive, each mirror once.

    The security archive has no suite of the whole distribution, and a vendor's archive no ``main`` of it or a
    key of its own; a wrong guess costs one refused download.
    """
    kept: dict[str, Source] = {}
    for source in sources:
        security = any(suite.endswith(("-security", "/updates")) for suite in source.suites)
        # A keyring of a vendor means a vendor's archive, whatever its components are called.
        foreign = source.signed_by.startswith("/") and "debian" not in Path(source.signed_by).name
        if "main" in source.components and not security and not foreign:
            if source.uri.startswith("cdrom:"):
                continue
            kept.setdefault(source.uri, source)
    return list(kept.values())


def read_sources() -> list[Source]:
    """Read the machine's apt sources from where its apt configuration puts them."""
    shell = subprocess.run(
        ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    places = dict(word.split("=", 1) for word in shlex.split(shell))
    files = [Path(places.get("LIST", "/etc/apt/sources.list"))]
    parts = Path(places.get("PARTS", "/etc/apt/sources.list.d"))
    files += sorted(parts.glob("*.list")) + sorted(parts.glob("*.sources"))
    sources: list[Source] = []
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        sources += stanza_sources(text) if file.suffix == ".sources" else one_line_sources(text)
    return sources
