"""The image of the steps: what its recipe leaves out is needed by nobody, and its list of parts is whole."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from workflows.pack import IMAGE

TOP = Path(__file__).parents[2]
DOCKERFILE = (TOP / "images" / "step" / "Dockerfile").read_text()

WITHOUT = """
import sys, pkgutil, importlib, pathlib
gone = sys.argv[1].split(",")
class Gone:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in gone):
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Gone())
import steps
count = 0
for module in pkgutil.walk_packages(steps.__path__, "steps."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        count += 1
from steps.kube.client import connect
kube = connect("default")
try:
    kube.all("pods")
except Exception as error:
    assert type(error).__name__ == "Unreachable", repr(error)
import kubernetes.stream.ws_client, mysql.connector, mysql.connector.plugins.caching_sha2_password
assert not mysql.connector.HAVE_CEXT
print(count)
"""


def removed() -> list[str]:
    """The modules that the recipe removes from the Python environment."""
    (words,) = re.findall(r"rm -rf (kubernetes[^&]*)&&", DOCKERFILE)
    names = [word.replace("*.so", "").replace("/", ".") for word in words.split() if word != "\\"]
    assert "kubernetes.aio" in names and "_mysql_connector" in names
    return names


def test_no_step_imports_what_the_image_leaves_out(tmp_path: Path) -> None:
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
    }
    (tmp_path / "config").write_text(json.dumps(nowhere))
    command = [sys.executable, "-c", WITHOUT, ",".join(removed())]
    done = subprocess.run(
        command, cwd=TOP, env={"KUBECONFIG": str(tmp_path / "config")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


def test_the_services_of_aws_that_the_image_keeps_are_those_that_steps_ask() -> None:
    kept = set(re.findall(r"! -name ([a-z0-9-]+)", DOCKERFILE))
    asked: set[str] = set()
    for file in (TOP / "steps").rglob("*.py"):
        asked |= set(re.findall(r"""\.client\(\s*["']([a-z0-9-]+)["']""", file.read_text()))
    assert "s3" in asked and asked <= kept


def test_the_image_s_label_and_the_templates_name_one_version() -> None:
    version = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE and f"-t {IMAGE} " in DOCKERFILE
    assert IMAGE.endswith(f":{version}")


STATUS = """Package: libssl3t64
Status: install ok installed
Architecture: amd64
Version: 3.5.1-1+deb13u1
Description: Secure Sockets Layer toolkit
 Version: of nothing

Package: left
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def test_the_list_of_parts_has_what_is_installed_and_only_that() -> None:
    place = TOP / "images" / "step" / "sbom.py"
    spec = importlib.util.spec_from_file_location("sbom", place)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (one,) = module.debian_packages(STATUS)
    assert one["purl"] == "pkg:deb/debian/libssl3t64@3.5.1-1%2Bdeb13u1?arch=amd64"
    done = subprocess.run([sys.executable, str(place)], capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)
    found = {part["name"]: part for part in listed["components"]}
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) ", (TOP / "images/step/requirements.lock").read_text(), re.M))
    assert locked and {name: found[name]["version"] for name in locked} == locked
