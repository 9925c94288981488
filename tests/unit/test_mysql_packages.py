from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiphys.local import debian_packages, mysql_packages
from tiphys.local.debian_packages import DownloadFailed
from tiphys.local.debian_sources import Source, archive_sources, one_line_sources, stanza_sources
from tiphys.local.mysql_packages import MySQLUnavailable

STANZAS = """\
# A comment before.
Types: deb deb-src
URIs: http://one.example/debian
 http://two.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://vendor.example/apt
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/vendor.gpg

Types: deb
URIs: http://inline.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_deb822_sources_name_the_archive_and_nothing_else() -> None:
    found = archive_sources(list(stanza_sources(STANZAS)))
    assert [source.uri for source in found] == [
        "http://one.example/debian",
        "http://two.example/debian",
        "http://inline.example/debian",
    ]
    assert found[2].for_suite("sid", "unused").endswith("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n")


def test_one_line_sources() -> None:
    text = """
    # deb http://commented.example/debian bookworm main
    deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian bookworm main
    deb-src http://m.example/debian bookworm main
    deb http://m.example/debian bookworm-updates main # the same mirror again
    deb http://sec.example/debian-security bookworm-security main
    deb http://plain.example/debian trixie main non-free
    deb http://other.example/debian trixie contrib
    deb cdrom:[Debian]/ bookworm main
    """
    found = archive_sources(list(one_line_sources(text)))
    assert [source.uri for source in found] == ["http://m.example/debian", "http://plain.example/debian"]
    assert found[0].signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert "Signed-By: /some/keyring" in found[1].for_suite("sid", "/some/keyring")
    assert "Suites: sid\n" in found[1].for_suite("sid", "/some/keyring")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", (9, 7, 4)),
        ("MySQL Router  Ver 8.4.0 for Linux on x86_64 (MySQL Community - GPL)", (8, 4, 0)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert mysql_packages.parse_version(text) == version


def program(folder: Path, name: str, says: str, code: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("server", "code", "reason"),
    [
        ("mysqld  Ver 8.0.36 for Linux on x86_64", 0, "mysqld is 8.0.36, older than 8.4"),
        ("mysqld  Ver 11.8.2-MariaDB for debian-linux-gnu on x86_64", 0, "it is MariaDB"),
        ("hello", 0, "its --version says no version"),
        ("error while loading shared libraries", 127, "it does not run: error while loading"),
        ("mysqld  Ver 9.7.4 for Linux on x86_64", 0, "has no plugin group_replication.so"),
    ],
)
def test_a_server_of_no_use_on_path_is_passed_over_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, code: int, reason: str
) -> None:
    program(tmp_path / "bin", "mysqld", server, code)
    program(tmp_path / "bin", "mysqlrouter", "MySQL Router  Ver 9.7.4 for Linux on x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    # Nothing in the cache either: both reasons must be told.
    monkeypatch.setenv("TIPHYS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MySQLUnavailable, match=reason) as caught:
        mysql_packages.find()
    assert "no packages in" in str(caught.value)


def test_without_mysql_and_without_apt_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("TIPHYS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MySQLUnavailable) as caught:
        mysql_packages.ensure()
    said = str(caught.value)
    for words in ("8.4 or newer was looked for", "no mysqld and no mysqlrouter on PATH", "no apt-get", "Install"):
        assert words in said


def mirror(folder: Path, key_home: Path | None) -> Source:
    """Make a Debian archive with one small package in `folder`, signed if there is a key."""
    package = folder / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr" / "bin").mkdir(parents=True)
    (package / "usr" / "bin" / "tiny").write_text("here\n")
    control = "Package: tiny\nVersion: 1.2-3\nArchitecture: all\nMaintainer: T <t@example>\nDescription: tiny\n"
    (package / "DEBIAN" / "control").write_text(control)
    archive = folder / "pool" / "tiny_1.2-3_all.deb"
    archive.parent.mkdir()
    subprocess.run(["dpkg-deb", "--build", str(package), str(archive)], check=True, capture_output=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip()
    lists = folder / "dists" / "sid" / "main" / f"binary-{architecture}"
    lists.mkdir(parents=True)
    index = f"{control}Filename: pool/{archive.name}\nSize: {archive.stat().st_size}\nSHA256: {digest}\n"
    (lists / "Packages").write_text(index)
    sums = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} main/binary-{architecture}/Packages\n"
    release = f"Suite: sid\nCodename: sid\nArchitectures: {architecture}\nComponents: main\nSHA256:\n{sums}"
    (folder / "dists" / "sid" / "Release").write_text(release)
    signed_by = ""
    if key_home:
        gpg = ["gpg", "--homedir", str(key_home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        gpg += ["--passphrase", ""]
        subprocess.run([*gpg, "--quick-generate-key", "t@example", "ed25519", "sign"], check=True)
        subprocess.run(
            [*gpg, "--output", str(folder / "dists/sid/InRelease"), "--clear-sign", str(folder / "dists/sid/Release")],
            check=True,
        )
        signed_by = str(folder / "debian-test.gpg")
        subprocess.run([*gpg, "--output", signed_by, "--export"], check=True)
    return Source(f"file:{folder}", ("bookworm",), ("main",), signed_by)


def test_packages_are_fetched_only_from_a_signed_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsigned = mirror(tmp_path / "unsigned", None)
    monkeypatch.setattr(debian_packages, "read_sources", lambda: [unsigned])
    with pytest.raises(DownloadFailed, match="not signed"):
        debian_packages.download(["tiny"], tmp_path / "root", lambda *_: None)
    assert not (tmp_path / "root").exists()

    if not shutil.which("gpg"):
        return
    keys = Path("/tmp") / f"tiphys-keys-{os.getpid()}"  # gpg's agent wants a short path for its socket
    keys.mkdir(mode=0o700)
    try:
        signed = mirror(tmp_path / "signed", keys)
        monkeypatch.setattr(debian_packages, "read_sources", lambda: [unsigned, signed])
        told: list[str] = []
        versions = debian_packages.download(["tiny"], tmp_path / "root", lambda message, _: told.append(message))
        assert versions == {"tiny": "1.2-3"}
        assert (tmp_path / "root" / "usr" / "bin" / "tiny").read_text() == "here\n"
        assert "unpacking" in told
        assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "signed", "unsigned"]

        # A package that is not what the signed list says is refused.
        with (tmp_path / "signed" / "pool" / "tiny_1.2-3_all.deb").open("ab") as file:
            file.write(b"more")
        with pytest.raises(DownloadFailed):
            debian_packages.download(["tiny"], tmp_path / "other", lambda *_: None)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(keys), "--kill", "all"], check=False)
        shutil.rmtree(keys)


def test_every_program_runs() -> None:
    mysql = mysql_packages.ensure()
    for name in ("mysqld", "mysqlrouter"):
        ran = subprocess.run(
            mysql.command(name, "--version"), capture_output=True, text=True, env=dict(mysql.environment), check=True
        )
        assert mysql_packages.parse_version(ran.stdout) >= (8, 4)
    with pytest.raises(MySQLUnavailable, match="has no program nothing-like-it"):
        mysql.command("nothing-like-it")


def test_two_processes_make_one_template_and_copies_have_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql = mysql_packages.ensure()
    cache = tmp_path / "cache"
    cache.mkdir()
    if mysql.origin == "debian":
        (cache / "mysql").symlink_to(mysql.basedir.parents[1])
    script = "from tiphys.local.mysql_packages import data_template as d; t = d(); print(t, t.stat().st_ino)"
    environment = {**os.environ, "TIPHYS_CACHE": str(cache)}
    both = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    answers = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(answers) == 1

    monkeypatch.setenv("TIPHYS_CACHE", str(cache))
    member = tmp_path / "volumes" / "member"
    member.mkdir(parents=True)
    mysql_packages.copy_data(member)
    assert (member / "mysql.ibd").stat().st_size > 0
    assert not (member / "auto.cnf").exists()
    with pytest.raises(FileExistsError, match="not empty"):
        mysql_packages.copy_data(member)
    assert list(member.parent.iterdir()) == [member]
