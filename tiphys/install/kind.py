"""``make cluster``: a cluster of this machine's own, in Docker by kind, with all that the pack stands on, pinned.

It cannot be run where Tiphys is built (there is no Docker); what it runs is what `tiphys doctor` tells people to run.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tiphys.install import upstream

NAME = "tiphys"
NODES = 3
WAIT = "300s"
_CONFIG = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n  - role: control-plane\n"
_NEEDED = {
    "docker": "https://docs.docker.com/engine/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}


def commands(config: Path, image: str | None) -> list[str]:
    """Return the commands that make the cluster, in order.

    Args:
        config: file with kind's configuration.
        image: of the steps, loaded onto the nodes; None leaves it to be pulled.
    """
    made = [f"kind create cluster --name {NAME} --config {shlex.quote(str(config))} --wait {WAIT}"]
    if image:
        made.append(f"docker build -f images/step/Dockerfile -t {image} .")
        made.append(f"kind load docker-image --name {NAME} {image}")
    for part in upstream.ALL:
        made += part.how
    for part in upstream.ALL:
        made.append(f"kubectl -n {part.namespace} wait --for=condition=Available deployment --all --timeout={WAIT}")
    return made


def main() -> None:
    """Make the cluster, or with --print say how."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the commands, run none")
    only_print = parser.parse_args().only_print
    image = f"ghcr.io/tiphys/step:{version('tiphys')}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kind.yaml"
        config.write_text(_CONFIG + "  - role: worker\n" * NODES)
        wanted = commands(config, image if Path("images/step/Dockerfile").is_file() else None)
        if only_print:
            print("\n".join(wanted))
            return
        if missing := [name for name in _NEEDED if not shutil.which(name)]:
            told = ", ".join(f"{name} ({_NEEDED[name]})" for name in missing)
            sys.exit(f"make cluster needs {told}. Without Docker, `make demo` runs the same on the local platform")
        for command in wanted:
            print(f"+ {command}", flush=True)
            if subprocess.run(shlex.split(command)).returncode:
                sys.exit(f"failed: {command}. To start anew: kind delete cluster --name {NAME}")
    print("\nThe cluster is there. Next: tiphys doctor, then tiphys install --s3-bucket ... (docs/install.md)")


if __name__ == "__main__":
    main()
