"""A pod that is really cut off from everybody by a NetworkPolicy, and what is not enforced."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pods_help import Cluster, cluster, condition, pod, until, wait_pod

from tiphys.local.client import Kube
from tiphys.local.kubelet import cutting, tcp_keys
from tiphys.local.kubelet.cutting import Cutter
from tiphys.local.kubelet.launch import Launch
from tiphys.local.kubelet.policies import ANNOTATION, cut_off, not_enforced
from tiphys.local.kubelet.probes import Target, check

PORT = 7000
PROGRAM = """
import os, socket, threading, time

ip, far = os.environ["IP"], ("127.0.0.1", int(os.environ["FAR"]))

def echo(connection):
    while data := connection.recv(4096):
        connection.sendall(data)

def serve():
    while True:
        threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()

def to_itself(old):
    while True:
        new = socket.create_connection((ip, 7000))
        for name, connection in (("old", old), ("new", new)):
            connection.sendall(b"x")
            connection.recv(1)
            print(name, flush=True)
        time.sleep(0.05)

def later():
    connection = socket.create_connection(far)
    time.sleep(2)  # whoever looks for new connections has found this one, however busy the machine is
    connection.sendall(b"anew")
    time.sleep(0.5)

def anew():
    while True:
        threading.Thread(target=later, daemon=True).start()
        time.sleep(0.4)

server = socket.create_server((ip, 7000))
threading.Thread(target=serve, daemon=True).start()
threading.Thread(target=to_itself, args=(socket.create_connection((ip, 7000)),), daemon=True).start()
ticking = socket.create_connection(far)
threading.Thread(target=anew, daemon=True).start()
while True:
    ticking.sendall(b"tick")
    time.sleep(0.02)
"""


def policy(name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "tiphys"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"], **spec},
    }


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, "kubelet") as made:
        yield made


class Far:
    """Everybody else: whom the pod connects to, and who connects to the pod."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        self.port = self.listener.getsockname()[1]
        self.from_pod: list[socket.socket] = []

    def connect(self, address: str, seconds: float) -> socket.socket:
        return self._stack.enter_context(socket.create_connection((address, PORT), timeout=seconds))

    def heard(self, seconds: float, *more: socket.socket) -> dict[socket.socket, bytes]:
        """Return what arrived within some time on the pod's own connections, and on others."""
        limit = time.monotonic() + seconds
        found: dict[socket.socket, bytes] = {}
        while (left := limit - time.monotonic()) > 0:
            for ready in select.select([self.listener, *self.from_pod, *more], [], [], left)[0]:
                if ready is self.listener:
                    self.from_pod.append(self._stack.enter_context(ready.accept()[0]))
                else:
                    data = ready.recv(65536)
                    found[ready] = found.get(ready, b"") + data
                    if not data:
                        assert ready not in more, "the connection was ended"
                        self.from_pod.remove(ready)
        return found


async def test_a_pod_is_cut_off_in_silence_whoever_restarts_and_goes_on_where_it_was(
    platform: Cluster, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        far = Far(stack)
        async with Kube.from_home(platform.home) as kube:
            await kube.wait_ready()
            env = [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "FAR", "value": str(far.port)},
            ]
            probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "timeoutSeconds": 5}
            made = await kube.create(
                "pods",
                pod(
                    "talker",
                    ["python3", "-c", PROGRAM],
                    labels={"who": "talker"},
                    env=env,
                    readinessProbe=probe,
                    restartPolicy="Always",
                ),
            )
            ready = await wait_pod(kube, "talker", lambda each: condition(each, "Ready").get("status") == "True")
            address = ready["status"]["podIP"]
            old = far.connect(address, 10)
            old.sendall(b"before")
            await until(lambda: far.heard(0.1, old).get(old) == b"before", "an answer before the cut")
            await until(lambda: any(data.startswith(b"tick") for data in far.heard(0.1).values()), "a tick")

            def own() -> int:
                words = (platform.folder(made) / "main.log").read_text().split()
                return min(words.count("old"), words.count("new"))

            async def cut() -> None:
                await kube.create("networkpolicies", policy("cut", {"who": "talker"}))
                await until(lambda: not far.heard(0.5, old), "silence")

            async def is_cut(watched: bool = True) -> None:
                before = own()
                old.sendall(b"during")
                with pytest.raises(TimeoutError):
                    far.connect(address, 0.5)
                heard = far.heard(0.5, old)
                if not watched:  # what the pod itself opens anew is cut by the next kubelet only
                    heard = {who: what for who, what in heard.items() if who in (old, far.from_pod[0])}
                assert heard == {}, "in neither direction, and without a reset"
                if watched:
                    await until(lambda: own() > before + 2, "the pod's talking to itself, also anew")
                now = await kube.get("pods", "talker", "tiphys")
                assert condition(now, "Ready").get("status") == "True", "its node may always reach it"

            async def is_whole(answer: bytes) -> None:
                answered: list[bytes] = []

                def look() -> bool:
                    found = far.heard(0.1, old)
                    answered.append(found.pop(old, b""))
                    return any(data.startswith(b"tick") for data in found.values()) and b"".join(answered) == answer

                await until(look, "what was said meanwhile, in order")
                new = far.connect(address, 10)
                new.sendall(b"after")
                await until(lambda: far.heard(0.1, new).get(new) == b"after", "an answer to somebody new")

            await cut()
            await is_cut()
            await kube.delete("networkpolicies", "cut", "tiphys")
            await is_whole(b"during")
            await until(lambda: "no longer cut off" in platform.log("kubelet"))

            await cut()
            platform.kill("kubelet")
            await is_cut(watched=False)
            platform.start("kubelet")
            await until(lambda: platform.log("kubelet").count('"Enforced"') == 3, "the policy is known again")
            await until(lambda: not far.heard(0.5, old), "silence, of what was opened meanwhile too")
            await is_cut()
            platform.kill("kubelet")
            await kube.delete("networkpolicies", "cut", "tiphys")
            platform.start("kubelet")
            await is_whole(b"duringduring")
            await until(lambda: "healed what was still cut off" in platform.log("kubelet"))
            now = await kube.get("pods", "talker", "tiphys")
            assert now["status"]["containerStatuses"][0]["restartCount"] == 0
            assert ANNOTATION not in (now["metadata"].get("annotations") or {})


async def test_a_policy_that_is_not_enforced_says_so(platform: Cluster) -> None:
    async with Kube.from_home(platform.home) as kube:
        await kube.wait_ready()
        rule: list[Any] = [{"from": [{"podSelector": {}}]}]
        await kube.create("networkpolicies", policy("open", {"who": "all"}, ingress=rule))

        async def told() -> str:
            events = await kube.list("events", "tiphys")
            return next((e["message"] for e in events if e["reason"] == "NotEnforced"), "")

        assert (await until(told, "an Event")).endswith("not this one: it has rules for ingress.")


def test_only_policies_that_let_nothing_through_are_enforced() -> None:
    assert not_enforced(policy("a", {})) == ""
    assert not_enforced(policy("a", {}, egress=[])) == ""
    assert "rules for egress" in not_enforced(policy("a", {}, egress=[{}]))
    assert "Ingress only" in not_enforced(policy("a", {}, policyTypes=["Ingress"]))
    assert "Ingress only" in not_enforced(policy("a", {}, policyTypes=[]))
    strange = {"matchExpressions": [{"key": "who", "operator": "Like", "values": ["x"]}]}
    assert "not understood" in not_enforced(policy("a", {}, podSelector=strange))


def test_who_is_cut_off() -> None:
    def there(uid: str, **more: Any) -> dict[str, Any]:
        meta = {"name": uid, "namespace": "tiphys", "uid": uid, "labels": {"who": "x"}}
        return {"metadata": meta, "spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}, **more}

    other = there("other")
    other["metadata"]["namespace"] = "default"
    pods = [
        there("hit"),
        other,
        there("far", spec={"nodeName": "elsewhere"}),
        there("done", status={"phase": "Succeeded"}),
    ]
    assert set(cut_off([policy("a", {"who": "x"})], pods, {"node-1"})) == {"hit"}
    assert cut_off([policy("a", {"who": "y"})], pods, {"node-1"}) == {}
    assert cut_off([policy("a", {"who": "x"}, ingress=[{}])], pods, {"node-1"}) == {}


def test_whoever_may_not_reach_into_a_process_is_told_what_to_do(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # another user, in a process of its own
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reading, writing = os.pipe()
            ours = os.getpid()
            if (child := os.fork()) == 0:
                try:
                    os.setuid(65534)
                    tcp_keys.borrow(ours, listener.fileno())
                except tcp_keys.CannotCutError as error:
                    os.write(writing, str(error).encode())
                finally:
                    os._exit(0)
            os.close(writing)
            os.waitpid(child, 0)
            with os.fdopen(reading) as said:
                assert "sysctl -w kernel.yama.ptrace_scope=0" in said.read()
    else:
        with pytest.raises(tcp_keys.CannotCutError, match="sysctl -w kernel.yama.ptrace_scope=0"):
            tcp_keys.sockets(1)
    assert Cutter(tmp_path).obstacle("0000-uid") == "", "without a process there is nothing to say"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pod_is_healed_though_what_cut_it_off_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    mark = {"TIPHYS_ROOT": str(tmp_path / "uid" / "root")}
    command = [sys.executable, "-c", f"{program}; time.sleep(600)"]
    with subprocess.Popen(command, env=mark, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            place = ("127.0.0.1", int(child.stdout.readline()))
            cutter = Cutter(tmp_path)
            cutter.set({"uid": ""})
            assert cutter.settle() == {}
            with pytest.raises(TimeoutError):
                socket.create_connection(place, timeout=0.5)
            thread = cutter._thread
            assert thread is not None
            with monkeypatch.context() as broken:
                broken.setattr(Cutter, "_walk", lambda *_: 1 / 0)
                thread.join(30)
            assert not thread.is_alive()
            cutter.set({})
            assert cutter.settle() == {}
            socket.create_connection(place, timeout=30).close()
            cutter.close()
        finally:
            child.kill()


def test_a_socket_of_both_versions_of_ip_is_cut_and_healed_too() -> None:
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        except OSError:
            pytest.skip("this machine has no IPv6")
        for host in ("127.0.0.1", "::1"):
            near = stack.enter_context(socket.create_connection((host, listener.getsockname()[1]), timeout=10))
            far = stack.enter_context(listener.accept()[0])
            tcp_keys.sign(far, b"key")
            near.sendall(b"x")
            assert select.select([far], [], [], 0.3)[0] == []
            tcp_keys.sign(near, b"key")
            far.settimeout(10)
            assert far.recv(1) == b"x", "two with the same key understand each other"
            assert [tcp_keys.unsign(each) for each in (near, far, near, far)] == [True, True, False, False]
            far.sendall(b"y")
            assert near.recv(1) == b"y"


async def test_a_node_reaches_its_pods_also_while_they_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        key = cutting.key_of("0000-uid")
        tcp_keys.sign(listener, key)
        address, port = listener.getsockname()
        target = Target(address, {"name": "main"}, lambda argv: Launch(argv))
        probes: list[dict[str, Any]] = [{"tcpSocket": {"port": port}}, {"httpGet": {"port": port}}]
        async with await asyncio.start_server(answer, sock=listener):
            for probe in probes:
                assert await check({**probe, "timeoutSeconds": 0.3}, target) == (False, "no answer within 0.3 s")
            monkeypatch.setitem(cutting.keys, address, key)
            for probe in probes:
                good, seen = await check({**probe, "timeoutSeconds": 30}, target)
                assert good, seen
