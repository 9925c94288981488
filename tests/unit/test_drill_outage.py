"""Outages: who is hit, what proves it, and what the story is when the old primary is the new one."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import drill_story as story
import pytest
from test_drill_guards import facts, topology

from steps.drill import outage_faults
from steps.drill.attempts import Attempt, Outcome
from steps.drill.evidence import Target, new_primary, quorum_lost
from steps.drill.fault import Scene
from steps.drill.faults import FAULTS, fault_of
from steps.drill.guards import refusals, told_plan
from steps.drill.measurement import Measurement, from_json, to_json
from steps.drill.outage_faults import FullOutage, QuorumLoss
from steps.drill.result import evaluate
from steps.drill.samples import MemberSample, PodSample
from steps.drill.target import memory
from steps.errors import StepError
from steps.kube.client import Executed, Kube
from steps.mysql.connection import Credentials

NOTICED_AT, FORCED_AT, BACK_AT, WHOLE_AT = 9.0, 12.0, 12.4, 20.0
"""When the survivor sees that it is alone, when it is a group of its own, when it takes writes, when all are back."""


def pods(fault: QuorumLoss | FullOutage, servers: int) -> list[str]:
    return [member.pod for member in fault.victims(topology(servers))]


def test_so_many_are_killed_that_the_rest_is_no_majority() -> None:
    assert pods(QuorumLoss(), 3) == ["demo-1", "demo-2"]
    assert pods(QuorumLoss("secondary"), 3) == ["demo-0", "demo-1"]
    for servers in (3, 4, 5, 7, 9):
        for survivor in ("primary", "secondary"):
            killed = pods(QuorumLoss(survivor), servers)
            assert 2 * (servers - len(killed)) <= servers < 2 * (servers - len(killed) + 1), "and not one more"
            assert ("demo-0" in killed) == (survivor == "secondary") and len(set(killed)) == len(killed)
    assert pods(FullOutage(), 3) == ["demo-0", "demo-1", "demo-2"]
    assert "full-outage" in QuorumLoss().guard(topology(2))[0] and FullOutage().guard(topology(1)) == []
    assert isinstance(fault_of("quorum-loss", survivor="secondary"), QuorumLoss)
    assert fault_of("crash", survivor="secondary") is FAULTS["crash"]


@pytest.mark.parametrize("name", ["quorum-loss", "full-outage"])
def test_an_outage_needs_a_persons_leave_and_the_plan_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    (reason,) = refusals(facts(), fault)
    assert "stops the whole cluster" in reason and "allow-outage=true" in reason
    allowed = facts(allow_outage=True)
    assert refusals(allowed, fault) == []
    assert "not whole" in refusals(facts(allow_outage=True, topology=topology(3, online=2)), fault)[0]
    told = told_plan(
        allowed, fault, fault.describe(target(kept="uuid-a" if name == "quorum-loss" else "")), dry_run=True
    )
    assert all(pod in told for pod in (["demo-1", "demo-2"] if name == "quorum-loss" else story.PODS.values()))
    assert f"leaves {1 if name == 'quorum-loss' else 0} of 3 servers, 2 are a quorum: an outage" in told


def target(kept: str = "") -> Target:
    """All but `kept` are hit; the primary is uuid-a."""
    hit = [
        Target(pod, server, PodSample(0.0, pod, f"uid-{pod}", True, 0, f"c-{pod}"), -100.0)
        for server, pod in story.PODS.items()
        if server != kept
    ]
    return replace(hit[0], also=tuple(hit[1:]), outage=True, primary="uuid-a" if kept == "uuid-a" else "")


def samples(kept: str, heir: str) -> list[MemberSample]:
    """What the members say; the killed ones run again after 3 s, and are out of the group until 15 s."""
    made = []
    for step in range(260):
        at = step * 0.1
        for server, pod in story.PODS.items():
            started = -100.0
            states = dict.fromkeys(story.PODS, "ONLINE")
            primary = "uuid-a" if at < FORCED_AT else heir
            if server != kept and story.FAULT_AT < at < 15.0:
                started = 7.0
                if at < 7.0 or (server != heir or at < FORCED_AT):
                    view = story.view(server, {server: "OFFLINE"}, "") if at >= 7.0 else None
                    made.append(
                        MemberSample(pod, at, at + 0.001, view, "" if view else "2003", started if view else None)
                    )
                    continue
            if server == kept and NOTICED_AT <= at < FORCED_AT:
                states = {each: "ONLINE" if each == kept else "UNREACHABLE" for each in states}
            if FORCED_AT <= at < 15.0:
                states = {heir: "ONLINE"}
            elif 15.0 <= at < WHOLE_AT:
                states = {each: "ONLINE" if each == heir else "RECOVERING" for each in states}
            made.append(
                MemberSample(
                    pod,
                    at,
                    at + 0.001,
                    story.view(server, states, primary),
                    "",
                    7.0 if server != kept and at > 7 else started,
                )
            )
    return made


def writes(heir: str) -> list[Attempt]:
    """A write every 100 ms; the last one before the fault is answered shortly after it was injected."""
    made = []
    for sequence in range(250):
        start = 1.0 + sequence * 0.1
        if start <= story.FAULT_AT:
            made.append(Attempt(sequence, start, start + 0.02, Outcome.ACKNOWLEDGED, 0, "uuid-a"))
        elif start < BACK_AT:
            made.append(Attempt(sequence, start, start + 0.01, Outcome.REFUSED, 2003))
        else:
            first = made[-1].outcome is Outcome.REFUSED
            made.append(
                Attempt(sequence, start, start + 0.02, Outcome.ACKNOWLEDGED, 0, heir, start + 0.01 if first else None)
            )
    return made


def outage(kept: str, heir: str, **changes: Any) -> Measurement:
    aimed = target(kept)
    m = story.measurement(
        fault="quorum-loss" if kept else "full-outage",
        event="all servers were killed",
        target=aimed,
        members=samples(kept, heir),
        pods=[one.before._replace(at=5.0, ended=one.before.container, exit_code=137) for one in aimed.hit],
        **changes,
    )
    m.clients[0].attempts, m.clients[1].attempts = writes(heir), []
    m.clients = m.clients[:1] + m.clients[2:]
    return m


@pytest.mark.parametrize(("kept", "heir"), [("uuid-a", "uuid-a"), ("uuid-c", "uuid-c"), ("", "uuid-a"), ("", "uuid-b")])
def test_the_story_of_an_outage_is_told_whoever_is_primary_afterwards(kept: str, heir: str) -> None:
    m = outage(kept, heir)
    fault = FAULTS[m.fault]
    m.proof = fault.proof(m.target, m.evidence())
    assert m.proof is not None and all(one.pod in m.proof.text for one in m.target.hit)
    assert ("saw no quorum" if kept else "no server was in a group") in m.proof.text
    assert story.FAULT_AT < m.proof.at < m.proof.seen_at
    found = evaluate(m, story.verified(m))
    assert found.new_primary == story.PODS[heir] and found.verdict.outcome == "PASS"
    at = {moment.key: moment.at for moment in found.timeline.moments}
    assert at["left"] is None and at["unreachable"] is None
    noticed = NOTICED_AT if kept else story.FAULT_AT
    assert at["no-quorum"] == pytest.approx(noticed, abs=1.2), "a survivor's word counts once it has noticed"
    assert at["elected"] == pytest.approx(FORCED_AT, abs=0.15)
    assert at["first-write"] == pytest.approx(BACK_AT, abs=0.15), "not the answer that came after the injection"
    assert at["whole"] == pytest.approx(WHOLE_AT, abs=0.15)
    assert from_json(to_json(m)).target == m.target, "several members are kept in the measurement"


def test_a_write_that_hung_since_before_the_outage_does_not_end_it() -> None:
    m = outage("uuid-a", "uuid-a")
    m.proof = FAULTS[m.fault].proof(m.target, m.evidence())
    hung = Attempt(900, story.FAULT_AT + 0.05, NOTICED_AT + 2, Outcome.ACKNOWLEDGED, 0, "uuid-a")
    m.clients[0].attempts = sorted([*m.clients[0].attempts, hung], key=lambda attempt: attempt.start)
    found = evaluate(m, story.verified(m))
    at = {moment.key: moment.at for moment in found.timeline.moments}
    assert NOTICED_AT + 2 < FORCED_AT - 0.5, "its answer came before there was a primary again"
    assert at["elected"] == pytest.approx(FORCED_AT, abs=0.15)
    assert at["first-write"] == pytest.approx(BACK_AT, abs=0.15)


def test_no_proof_where_one_server_lives_or_the_rest_has_a_quorum() -> None:
    for kept in ("uuid-a", ""):
        m = outage(kept, "uuid-a")
        fault, evidence = FAULTS[m.fault], m.evidence()
        assert fault.proof(m.target, evidence) is not None
        one = m.target.also[-1]
        lives = [
            s._replace(server_started=-100.0 if s.server_started else None) if s.pod == one.pod else s
            for s in m.members
        ]
        ended = [p for p in m.pods if p.pod != one.pod]
        assert fault.proof(m.target, replace(evidence, members=lives, pods=ended)) is None
        unnoticed = [seen for seen in evidence.observed if seen.topology.members or not seen.topology.views]
        assert quorum_lost(m.target, replace(evidence, observed=unnoticed)) is None or not kept
    m = story.measurement()
    aimed = replace(target("uuid-b"), outage=True)
    assert quorum_lost(aimed, m.evidence()) is None and new_primary(aimed, m.evidence()) is None
    assert FAULTS["quorum-loss"].proof(aimed, m.evidence()) is None


def test_a_lost_write_fails_an_outage_and_so_does_a_group_that_does_not_come_back() -> None:
    m = outage("uuid-c", "uuid-c")
    lost = evaluate(m, story.verified(m, lose={(0, 3)}))
    assert lost.verdict.outcome == "FAIL" and lost.lost == 1
    stays = outage("", "uuid-a", end="timeout", end_reason="not recovered within 180 s: no majority view")
    assert evaluate(stays, story.verified(stays)).verdict.outcome == "FAIL"


class Servers:
    """An API server whose containers note what is killed in them, and when all had been asked to."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.killed = broken, list[str]()
        self.together = threading.Barrier(3)

    def execute(self, pod: str, container: str, command: Sequence[str], *, timeout: float) -> Executed:
        self.together.wait(5.0)  # nobody is killed before all are about to be
        self.killed.append(f"{pod} {container} {command[-1]}")
        return Executed(1, "", "no such process") if pod == self.broken else Executed(0, "", "")


def test_all_are_killed_at_the_same_moment_and_a_failure_names_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage_faults, "pid_file", lambda scene, one: f"/run/{one.pod}.pid")
    servers = Servers()
    scene = Scene(cast(Kube, servers), "demo", Credentials("root", "x"))
    assert str(FullOutage().inject(scene, target())).startswith("3 servers were killed within 0.")
    assert sorted(text.split()[0] for text in servers.killed) == list(story.PODS.values())
    assert all("mysql pid=$(cat /run/demo-" in text and 'kill -9 "$pid"' in text for text in servers.killed)
    broken = Scene(cast(Kube, Servers("demo-1")), "demo", scene.credentials)
    with pytest.raises(StepError, match="1 of 3 servers could not be killed: The kill in demo-1 failed"):
        FullOutage().inject(broken, target())
    assert memory(target())["also"] == ["demo-1", "demo-2"]
