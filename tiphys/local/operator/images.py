"""What the containers of Oracle's images become here: mysqld, mysqlrouter, and the operator's own helpers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from tiphys.local.kubelet.launch import Launch, LaunchError
from tiphys.local.mysql_installation import MySQL, MySQLUnavailable
from tiphys.local.mysql_versions import FOLDER, folder, resolve
from tiphys.local.operator import names
from tiphys.local.operator.backups import AWS_FOLDER
from tiphys.local.operator.mycnf import Identity, compose
from tiphys.local.operator.rundir import short_link
from tiphys.local.settings import cache_folder

CACHE = "TIPHYS_CACHE"
CLIENTS = ("mysql", "mysqladmin", "mysqldump", "mysqlbinlog")


def launch(container: dict[str, Any], pod: dict[str, Any], mounts: dict[str, Path], home: Path | None) -> Launch:
    """Return the process for a container of one of the MySQL images.

    Without a home it is one of a real cluster: its helpers find the API by their pod's account.

    Raises:
        LaunchError: nothing of the tag's series is installed, or the container lacks what its image needs.
    """
    image = str(container["image"]).rpartition(":")[0]
    if image == names.OPERATOR_IMAGE and (container.get("command") or [])[:1] == ["backup"]:
        return _helper("backup_run", pod, home, *container["command"][1:], str(_mount(mounts, container, AWS_FOLDER)))
    if image == names.OPERATOR_IMAGE:
        return _helper("sidecar", pod, home, str(_socket(_mount(mounts, container, "/var/run/mysqld"))))
    if image not in (names.ROUTER_IMAGE, names.SERVER_IMAGE):
        raise LaunchError(f"container {container['name']!r}: nothing is known of image {container['image']!r}")
    try:
        chosen = resolve(str(container["image"]))
    except MySQLUnavailable as error:
        raise LaunchError(str(error), reason="ErrImagePull") from error
    if image == names.ROUTER_IMAGE:
        return replace(_helper("router_start", pod, home, str(container["image"])), note=chosen.note)
    data = _mount(mounts, container, "/var/lib/mysql")
    if any(item["name"] == "MYSQL_INITIALIZE_ONLY" for item in container.get("env") or []):
        return _helper("initmysql", pod, home, str(data), str(container["image"]))
    return replace(_server(chosen.mysql, container, pod, mounts, home), note=chosen.note)


def _mount(mounts: Mapping[str, Path], container: Mapping[str, Any], path: str) -> Path:
    if path not in mounts:
        raise LaunchError(
            f"container {container['name']!r}: a volume must be mounted at {path}; there are {sorted(mounts)}"
        )
    return mounts[path]


def _socket(run: Path) -> Path:
    return short_link(run) / "mysql.sock"


def _helper(module: str, pod: Mapping[str, Any], home: Path | None, *args: str) -> Launch:
    meta = pod["metadata"]
    place = ["--home", str(home)] if home else []
    words = [*place, "--namespace", meta["namespace"], "--pod", meta["name"], *args]
    # A container's HOME is its own, so the helper is told where the user's cache is.
    env = {CACHE: str(cache_folder()), FOLDER: str(folder())}
    return Launch([sys.executable, "-m", f"tiphys.local.operator.{module}", *words], env)


def _server(
    mysql: MySQL, container: Mapping[str, Any], pod: Mapping[str, Any], mounts: Mapping[str, Path], home: Path | None
) -> Launch:
    meta = pod["metadata"]
    ordinal = int(meta["name"].rpartition("-")[2])
    env = {item["name"]: str(item.get("value", "")) for item in container.get("env") or []}
    run = _mount(mounts, container, "/var/run/mysqld")
    identity = Identity(
        address=str(pod["status"]["podIP"]),
        server_id=int(env.get(names.BASE_SERVER_ID) or 1000) + ordinal,
        data=_mount(mounts, container, "/var/lib/mysql"),
        run=run,
        socket=_socket(run),
        pid_file=run / "mysqld.pid",
    )
    # The kubelet starts a container only when its last run is dead, so these are leftovers; mysqld would not
    # start if the number in the socket's lock file had passed on to some other process.
    for leftover in ("mysql.sock", "mysql.sock.lock", "mysqld.pid"):
        (run / leftover).unlink(missing_ok=True)
    own = home / "pods" / meta["uid"] if home else Path(gettempdir())
    config = own / "my.cnf"
    config.write_text(compose(identity, mounts.get("/etc/my.cnf.d")))
    config.chmod(0o600)  # mysqld ignores a file that others may write
    extra = [word for word in (container.get("args") or [])[1:] if not word.startswith("--user")]
    argv = mysql.command("mysqld", f"--defaults-file={config}", *mysql.server_options, *extra)
    env = {**mysql.environment, "MYSQL_UNIX_PORT": str(identity.socket)}
    if home:  # what is run beside mysqld (probes, hooks, exec) has the variables of mysqld itself
        write_clients(mysql, own / "bin")
        env["PATH"] = f"{own / 'bin'}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return Launch(argv, env)


def write_clients(mysql: MySQL, tools: Path) -> None:
    """Put the clients into the folder `tools` as small scripts, since those of Debian's packages need their loader."""
    tools.mkdir(exist_ok=True, mode=0o755)
    for client in CLIENTS:
        try:
            words = mysql.command(client)
        except MySQLUnavailable:
            continue
        settings = [f"{key}={value}" for key, value in mysql.environment.items()]
        script = tools / client
        script.write_text(f'#!/bin/sh\nexec {shlex.join(["env", *settings, *words])} "$@"\n')
        script.chmod(0o755)
