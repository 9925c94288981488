"""rolling-restart on the whole local platform, under clients that write."""

from __future__ import annotations

from platform_run import Platform
from test_failover_drill import eventually, ledgers, noted
from whole_cluster import topology, until_whole

from steps.kube.pods import is_ready


def test_every_pod_is_another_one_and_clients_wrote_all_the_time(platform: Platform, demo: str) -> None:
    until_whole(platform, demo)
    eventually("the servers are ready", lambda: sum(map(is_ready, platform.kube.servers(demo))) == 3)
    before = {str(pod["metadata"]["name"]): pod["metadata"]["uid"] for pod in platform.kube.servers(demo)}
    old = topology(platform, demo).primary
    assert old is not None
    planned = platform.succeeds("rolling-restart", cluster=demo, dry_run="true")
    assert f"switch the primary from {old.pod}" in planned.outputs["summary"]
    assert {str(pod["metadata"]["name"]): pod["metadata"]["uid"] for pod in platform.kube.servers(demo)} == before

    done = platform.succeeds("rolling-restart", cluster=demo)

    restarted = done.outputs["restarted"].split(",")
    assert restarted[-1] == old.pod and set(restarted) == set(before)
    assert done.outputs["lost-writes"] == "0" and float(done.outputs["write-downtime-seconds"]) > 0
    after = topology(platform, demo)
    assert after.is_whole and after.primary is not None
    assert after.primary.pod == done.outputs["new-primary"] != old.pod
    assert all(pod["metadata"]["uid"] != before[pod["metadata"]["name"]] for pod in platform.kube.servers(demo))
    assert noted(platform, demo) is None and ledgers(platform, demo) == []

    again = platform.succeeds("rolling-restart", cluster=demo, since=done.outputs["since"], measure="false")
    assert again.outputs["restarted"] == "" and "had been restarted before" in again.outputs["summary"]
