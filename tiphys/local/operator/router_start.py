"""Container `router`: writes MySQL Router's configuration from what the API knows, then becomes the Router."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from tiphys.local.mysql_installation import MySQL
from tiphys.local.mysql_versions import resolve
from tiphys.local.operator import names
from tiphys.local.operator.accounts import Account, account
from tiphys.local.operator.helper import Api, options, say
from tiphys.local.operator.spec import parse


def router_id(pod_uid: str) -> int:
    """Return the number by which a Router pod is known in the metadata."""
    return zlib.crc32(pod_uid.encode()) or 1


def configuration(
    name: str, number: int, address: str, cluster: str, user: str, folder: Path, plugins: Path | None
) -> str:
    """Return the text of mysqlrouter.conf.

    The metadata is read twice a second, since a failover is over for a client only when Router has seen it.
    Clients' TLS passes through, so they log in with any authentication that the server offers.
    """
    where = f"plugin_folder={plugins}\n" if plugins else ""
    route = "bind_address={address}\nbind_port={port}\ndestinations=metadata-cache://{cluster}/?role={role}\nrouting_strategy={strategy}\nprotocol=classic\n"
    primary = route.format(
        address=address, port=names.ROUTER_RW_PORT, cluster=cluster, role="PRIMARY", strategy="first-available"
    )
    secondaries = route.format(
        address=address,
        port=names.ROUTER_RO_PORT,
        cluster=cluster,
        role="SECONDARY",
        strategy="round-robin-with-fallback",
    )
    return f"""\
[DEFAULT]
name={name}
{where}logging_folder=
runtime_folder={folder}
data_folder={folder}
keyring_path={folder}/keyring
master_key_path={folder}/keyring.key
dynamic_state={folder}/state.json
connect_timeout=2
read_timeout=5
client_ssl_mode=PASSTHROUGH
server_ssl_mode=AS_CLIENT
server_ssl_verify=DISABLED
max_total_connections=1024
unknown_config_option=warning
[logger]
level=INFO
[metadata_cache:bootstrap]
cluster_type=gr
router_id={number}
user={user}
metadata_cluster={cluster}
ttl=0.5
auth_cache_ttl=-1
auth_cache_refresh_interval=2
use_gr_notifications=0
[routing:rw]
{primary}[routing:ro]
{secondaries}"""


def state(group: str, addresses: Sequence[str]) -> str:
    """Return the text of the file with the servers that Router asks first; it keeps the file up itself."""
    servers = [f"mysql://{address}:{names.SERVER_PORT}" for address in addresses]
    cache = {"group-replication-id": group, "cluster-metadata-servers": servers}
    return json.dumps({"metadata-cache": cache, "version": "1.0.0"})


def write_keyring(mysql: MySQL, folder: Path, who: Account) -> None:
    """Make the keyring from which Router reads its password; the password goes through a pipe."""
    ring, key = folder / "keyring", folder / "keyring.key"
    ring.unlink(missing_ok=True)
    key.unlink(missing_ok=True)
    for words, text in (
        (["init", str(ring), "--master-key-file", str(key)], ""),
        (["set", str(ring), who.user, "password", "--master-key-file", str(key)], who.password),
    ):
        ran = subprocess.run(
            mysql.command("mysqlrouter_keyring", *words),
            input=text,
            capture_output=True,
            text=True,
            env={**os.environ, **mysql.environment},
        )
        if ran.returncode:
            raise SystemExit(f"mysqlrouter_keyring {words[0]} failed: {ran.stderr.strip()[:300]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the container."""
    given = options("router_start", argv, "image")
    api = Api(given.home, given.namespace)
    pod = api.pod(given.pod)
    spec = parse(api.cluster(pod["metadata"]["labels"][names.LABEL_CLUSTER]))
    who = account(api.secret(f"{spec.name}-router"), "routerUsername", "routerPassword")
    selector = f"component=mysqld,{names.LABEL_CLUSTER}={spec.name}"
    while not (addresses := [ip for peer in api.pods(selector) if (ip := peer.get("status", {}).get("podIP"))]):
        say("waiting", reason=f"cluster {spec.name} has no server pod with an address")
        time.sleep(1)
    mysql = resolve(given.image).mysql
    config = Path(os.environ["TIPHYS_ROOT"]) / names.ROUTER_CONFIG
    folder = config.parent
    folder.mkdir(exist_ok=True, parents=True, mode=0o700)
    write_keyring(mysql, folder, who)
    number = router_id(pod["metadata"]["uid"])
    text = configuration(given.pod, number, os.environ["POD_IP"], spec.name, who.user, folder, mysql.router_plugin_dir)
    (folder / "state.json").write_text(state(spec.group_name, addresses))
    config.write_text(text)
    argv = mysql.command("mysqlrouter", "--config", str(config))
    os.execve(argv[0], argv, {**os.environ, **mysql.environment})


if __name__ == "__main__":
    sys.exit(main())
