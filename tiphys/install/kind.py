"""``make cluster``: a cluster of this machine's own, in Docker by kind, with all that the pack stands on, pinned.

It cannot be run where Tiphys is built (there is no Docker); what it runs is what `tiphys doctor` tells people to run.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tiphys.install import images, pack, upstream

NAME = "tiphys"
S3 = "s3-local"
"""Namespace of the S3 server, as manifests/s3-local has it."""
ACCESS_KEY = "tiphys"
NODES = 3
WAIT = "300s"
_CONFIG = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n  - role: control-plane\n"
_NEXT = f"""
The cluster is there, with an S3 server. Next:
  export AWS_ACCESS_KEY_ID={ACCESS_KEY}
  export AWS_SECRET_ACCESS_KEY=$(kubectl -n {S3} get secret s3 -o jsonpath='{{.data.ROOT_SECRET_KEY}}' | base64 -d)
  tiphys install --s3-bucket tiphys --s3-endpoint http://s3.{S3}.svc:7070 --s3-region us-east-1
To take it away: kind delete cluster --name {NAME}"""
_NEEDED = {
    "docker": "https://docs.docker.com/engine/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}


def commands(config: Path, keys: Path, image: str | None) -> list[str]:
    """Return the commands that make the cluster, in order.

    Args:
        config: file with kind's configuration.
        keys: file with the S3 server's keys, as variables.
        image: of the steps, loaded onto the nodes; None leaves it to be pulled.
    """
    made = [f"kind create cluster --name {NAME} --config {shlex.quote(str(config))} --wait {WAIT}"]
    if image:
        # `kind load` cannot read an image to which Docker has added an attestation (kubernetes-sigs/kind#3795).
        made.append(f"env BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build -f images/step/Dockerfile -t {image} .")
        made.append(f"kind load docker-image --name {NAME} {image}")
    for part in upstream.ALL:
        made += part.how
    made.append(f"kubectl apply -k {shlex.quote(str(pack.folder() / S3))}")
    made.append(f"kubectl -n {S3} create secret generic s3 --from-env-file={shlex.quote(str(keys))}")
    for namespace in (*(part.namespace for part in upstream.ALL), S3):
        made.append(f"kubectl -n {namespace} wait --for=condition=Available deployment --all --timeout={WAIT}")
    return made


def main() -> None:
    """Make the cluster, or with --print say how."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the commands, run none")
    only_print = parser.parse_args().only_print
    image = f"{images.STEP}:{version('tiphys')}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kind.yaml"
        config.write_text(_CONFIG + "  - role: worker\n" * NODES)
        keys = Path(folder) / "s3.env"
        keys.touch(0o600)
        keys.write_text(f"ROOT_ACCESS_KEY={ACCESS_KEY}\nROOT_SECRET_KEY={secrets.token_urlsafe(24)}\n")
        wanted = commands(config, keys, image if Path("images/step/Dockerfile").is_file() else None)
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
    print(_NEXT)


if __name__ == "__main__":
    main()
