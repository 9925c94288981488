"""An installed package has the manifests, and says the same of what it stands on in all places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiphys.install import kind, kustomize, pack, upstream
from tiphys.local.s3 import build

PROJECT = Path(__file__).parents[2]


def test_the_package_brings_its_manifests_along(tmp_path: Path) -> None:
    info, lib = tmp_path / "info", tmp_path / "lib"
    info.mkdir()
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "egg_info",
        "--egg-base",
        str(info),
        "build_py",
        "--build-lib",
        str(lib),
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    look = "from tiphys.install import pack; print(len(pack.load(pack.Choice(), 'x').objects), pack.folder())"
    said = subprocess.run([sys.executable, "-c", look], cwd=lib, capture_output=True, text=True, check=True).stdout
    count, folder = said.split()
    assert Path(folder) == lib / "tiphys" / "manifests"
    assert int(count) > 60


def test_pinned_versions_are_the_documented_ones() -> None:
    page = (PROJECT / "docs" / "install.md").read_text()
    commands = kind.commands(Path("kind.yaml"), Path("s3.env"), "image:1")
    for part in upstream.ALL:
        assert part.version in page, f"docs/install.md names another version of {part.name}"
        assert all(part.version in line for line in part.how if "https://" in line)
        places = [commands.index(line) for line in part.how]
        waits = next(index for index, line in enumerate(commands) if f"-n {part.namespace} wait" in line)
        assert places == sorted(places) and places[-1] < waits
    made_with = [upstream.parsed(part.version) for part in upstream.ALL]
    assert all(version and version >= part.oldest for version, part in zip(made_with, upstream.ALL, strict=True))


def test_the_trial_cluster_s_s3_is_pinned_confined_and_the_one_that_is_told_of(tmp_path: Path) -> None:
    objects = {one["kind"]: one for one in kustomize.build(pack.folder() / kind.S3)}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    main, first = pod["containers"][0], pod["initContainers"][0]
    assert main["image"] == first["image"] == f"docker.io/versity/versitygw:v{build.VERSION}", "as the local platform's"
    for container in (main, first):
        assert container["securityContext"]["readOnlyRootFilesystem"] and container["resources"]["requests"]
    address = f"http://{objects['Service']['metadata']['name']}.{objects['Namespace']['metadata']['name']}.svc"
    port = objects["Service"]["spec"]["ports"][0]["port"]
    assert f"--s3-endpoint {address}:{port} " in kind._NEXT
    bucket = first["command"][2].rpartition("/")[2]
    assert f"--s3-bucket {bucket} " in kind._NEXT and main["args"][-1] == first["command"][2].rpartition("/")[0]
    assert str(port) in main["args"][1] and main["args"][3] in kind._NEXT
    keys = tmp_path / "s3.env"
    (secret,) = (line for line in kind.commands(Path("kind.yaml"), keys, None) if "create secret" in line)
    assert secret.endswith(f"{main['envFrom'][0]['secretRef']['name']} --from-env-file={keys}")
