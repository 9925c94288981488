"""The story of a failover from samples, and the proof of each fault."""

import math
from dataclasses import replace
from pathlib import Path

import drill_story as story
import pytest
from drill_story import measurement, replace_pod, verified

from steps.drill import timeline as timeline_module
from steps.drill.attempts import Outcome, outcome_of_error
from steps.drill.evidence import Evidence, Proof, first_effect, left_group
from steps.drill.faults import FAULTS
from steps.drill.measurement import from_json, load, save, to_json
from steps.drill.page import render
from steps.drill.parameters import DrillParameters
from steps.drill.result import evaluate
from steps.drill.samples import MemberSample, PodSample, observe, pod_sample
from steps.drill.steady import steady_since, unsteady
from steps.drill.timeline import NEVER_LOST, Moment, bands, phases, timeline
from steps.drill.watch import Limits, last_acknowledged
from steps.errors import BadParameters


def test_every_moment_of_a_crash_is_found() -> None:
    m = measurement()
    found = timeline(m.target, m.evidence(), m.proof, m.of_kind("write"))
    expected = {
        "injected": story.FAULT_AT,
        "landed": story.FAULT_AT + 0.1,
        "unreachable": story.UNREACHABLE_AT,
        "left": story.EXPELLED_AT,
        "elected": story.EXPELLED_AT,
        "routed": story.BACK_AT,
        "first-write": story.BACK_AT,
        "whole": story.WHOLE_AT,
    }
    for key, at in expected.items():
        assert found.at(key) == pytest.approx(at, abs=0.15), key
    lengths = {phase.key: phase.length for phase in found.phases}
    assert sum(lengths.values()) == pytest.approx(story.WHOLE_AT - story.FAULT_AT, abs=0.15)
    assert all(length >= 0 for length in lengths.values())


def test_clients_may_prove_an_election_before_the_samples_show_it() -> None:
    m = measurement()
    late = [sample for sample in m.members if not story.EXPELLED_AT <= sample.end < story.BACK_AT + 1]
    evidence = Evidence(story.FAULT_AT, m.pods, late, list(observe("demo", 3, late)))
    found = timeline(m.target, evidence, m.proof, m.of_kind("write"))
    assert found.at("elected") == pytest.approx(story.BACK_AT, abs=0.05)


def test_redundancy_that_is_lost_again_is_not_full_redundancy() -> None:
    m = measurement(members=[s for s in story.member_samples() if s.end < story.WHOLE_AT])
    assert timeline(m.target, m.evidence(), m.proof, m.of_kind("write")).at("whole") is None


def test_phases_follow_time_and_leave_out_what_was_not_seen() -> None:
    moments = [
        Moment("injected", "", 1.0),
        Moment("landed", "", 1.5),
        Moment("unreachable", "", None),
        Moment("elected", "", 3.0),
        Moment("whole", "", 2.0),
    ]
    assert [(p.key, p.start, p.end) for p in phases(moments)] == [
        ("landed", 1.0, 1.5),
        ("whole", 1.5, 2.0),
        ("elected", 2.0, 3.0),
    ]


def test_every_moment_has_a_colour_on_the_page() -> None:
    page = (Path(timeline_module.__file__).parent / "report.html.j2").read_text("utf-8")
    assert [key for key in ("injected", *timeline_module.PHASE_TITLES) if f".c-{key}" not in page] == []


def test_bands_show_each_members_states_without_a_gap() -> None:
    m = measurement()
    found = bands(m.observed(), story.PODS, story.END)
    assert [band.state for band in found["uuid-a"]] == ["PRIMARY", "UNREACHABLE", "ABSENT", "RECOVERING", "SECONDARY"]
    assert [band.state for band in found["uuid-b"]] == ["SECONDARY", "PRIMARY"]
    for row in found.values():
        assert all(one.end == other.start for one, other in zip(row, row[1:], strict=False))
        assert row[-1].end == story.END


def test_bands_do_not_invent_what_nobody_saw() -> None:
    m = measurement(members=[s for s in story.member_samples() if not 6.0 < s.end < 8.0])
    row = bands(m.observed(), ["uuid-b"], story.END)["uuid-b"]
    assert "UNKNOWN" in [band.state for band in row]


def test_a_crash_is_proven_by_another_process_and_a_member_that_left() -> None:
    m = measurement()
    proof = FAULTS["crash"].proof(m.target, m.evidence())
    assert proof is not None and "restartCount 0 to 1" in proof.text
    assert proof.at == pytest.approx(story.FAULT_AT + 0.1, abs=0.05)
    same_container = measurement(pods=m.pods[:1])
    by_uptime = FAULTS["crash"].proof(m.target, same_container.evidence())
    assert by_uptime is not None and "another process" in by_uptime.text


def in_back_off(ended: str, last: str = "c1", restarts: int = 3) -> dict[str, object]:
    """A pod whose container `mysql` ended and waits to be restarted, as Kubernetes publishes it; `last` is its id."""
    status = {
        "name": "mysql",
        "containerID": last,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"containerID": ended, "exitCode": 137, "reason": "Error"}},
    }
    return {"metadata": {"name": "demo-0", "uid": "uid-1"}, "status": {"containerStatuses": [status]}}


def test_a_crash_is_proven_by_a_container_that_ended_and_waits_to_be_restarted() -> None:
    m = measurement()
    before = story.replace_pod(m.target.before, restarts=3, ended="c0", exit_code=137)
    target = replace(m.target, before=before)
    dead = [s for s in m.members if not (s.pod == "demo-0" and s.end > story.FAULT_AT)]

    def proof(*pods: PodSample, members: list[MemberSample] = dead) -> Proof | None:
        evidence = Evidence(story.FAULT_AT, [before, *pods], members, list(observe("demo", 3, members)))
        return FAULTS["crash"].proof(target, evidence)

    waiting = pod_sample(4.3, in_back_off("c1"))
    found = proof(waiting)
    assert found is not None and "ended with exit code 137, and had not been restarted yet" in found.text
    assert found.seen_at == pytest.approx(story.UNREACHABLE_AT, abs=0.15), "when the member had left as well"
    terminated = in_back_off("c1")
    terminated["status"]["containerStatuses"][0]["state"] = {"terminated": {"containerID": "c1", "exitCode": 137}}  # type: ignore[index]
    assert proof(pod_sample(4.3, terminated)) is not None

    assert proof() is None, "a member that is gone alone is no proof: the network may be to blame"
    assert proof(pod_sample(4.3, in_back_off("c0"))) is None, "an earlier container's end is none of this one's"
    assert proof(pod_sample(4.3, in_back_off("c9"))) is None, "nor is the end of one that the drill never saw"
    assert proof(pod_sample(3.9, in_back_off("c1"))) is None, "it ended before the fault"
    assert proof(replace_pod(waiting, uid="uid-2")) is None, "another pod's container"
    nameless = in_back_off("")
    assert pod_sample(4.3, nameless).exit_code is None and proof(pod_sample(4.3, nameless)) is None
    calm = [s._replace(start=s.start + 4.1, end=s.end + 4.1) for s in story.member_samples(story.FAULT_AT - 0.2)]
    assert proof(waiting, members=calm) is None, "the member is still in the group"


def test_no_proof_without_a_change_or_without_the_member_leaving() -> None:
    m = measurement()
    calm = [s for s in story.member_samples(story.FAULT_AT - 0.2)]
    never_left = [s._replace(start=s.start + 4.1, end=s.end + 4.1) for s in calm]
    restarted = Evidence(story.FAULT_AT, m.pods, never_left, list(observe("demo", 3, never_left)))
    assert left_group(m.target, restarted) is None
    assert FAULTS["crash"].proof(m.target, restarted) is None
    nothing = Evidence(story.FAULT_AT, m.pods[:1], never_left, restarted.observed)
    for fault in FAULTS.values():
        assert fault.proof(m.target, nothing) is None, fault.name
    assert first_effect(m.target, nothing) is None


def test_a_pod_that_only_became_unready_proves_nothing() -> None:
    m = measurement(pods=[])
    unready = story.replace_pod(m.target.before, at=6.0, ready=False)
    calm = [s._replace(server_started=None) for s in m.members]
    evidence = Evidence(story.FAULT_AT, [unready], calm, m.observed())
    assert left_group(m.target, evidence) is not None
    assert FAULTS["crash"].proof(m.target, evidence) is None
    assert FAULTS["delete-pod"].proof(m.target, evidence) is None


def test_a_deleted_pod_is_proven_by_its_uid_only() -> None:
    m = measurement()
    assert FAULTS["delete-pod"].proof(m.target, m.evidence()) is None, "a restarted container is no deleted pod"
    replaced = measurement(pods=[*m.pods, story.replace_pod(m.pods[0], at=7.0, uid="uid-2")])
    proof = FAULTS["delete-pod"].proof(m.target, replaced.evidence())
    assert proof is not None and "uid-2" in proof.text


def test_a_switchover_is_proven_by_the_role() -> None:
    m = measurement()
    proof = FAULTS["switchover"].proof(m.target, m.evidence())
    assert proof is not None and "now demo-1" in proof.text


def test_a_measurement_survives_its_file(tmp_path: Path) -> None:
    m = measurement()
    path = tmp_path / "m.json.gz"
    save(m, path)
    again = load(path)
    assert to_json(again) == to_json(m)
    assert again.writes(Outcome.ACKNOWLEDGED) == m.writes(Outcome.ACKNOWLEDGED)
    assert again.target == m.target and again.proof == m.proof
    path.write_bytes(b"no gzip")
    with pytest.raises(BadParameters, match="no measurement"):
        load(path)
    with pytest.raises(BadParameters, match="schema 99"):
        from_json({**to_json(m), "schema": 99})


def test_what_an_error_proves() -> None:
    assert outcome_of_error(2003, sent=False, from_server=False) is Outcome.REFUSED
    assert outcome_of_error(2013, sent=True, from_server=False) is Outcome.IN_DOUBT
    assert outcome_of_error(1290, sent=True, from_server=True) is Outcome.REFUSED
    assert outcome_of_error(1290, sent=True, from_server=False) is Outcome.IN_DOUBT
    # The primary rolled back, but may already have sent the transaction to the others.
    assert outcome_of_error(3100, sent=True, from_server=True) is Outcome.IN_DOUBT


def test_steady_means_that_every_client_succeeds_now() -> None:
    m = measurement()
    clients = [[a for a in attempts if a.end is not None and a.end < 3.9] for attempts in m.of_kind("write")]
    since = steady_since(clients, 3.9)
    assert since == pytest.approx(1.01, abs=0.01)
    assert steady_since(clients, 6.0) is None, "nobody has answered for two seconds"
    assert steady_since([*clients, []], 3.9) is None, "one client has not begun"
    failing = [[a for a in attempts if a.end is not None and a.end < 5.0] for attempts in m.of_kind("write")]
    since = steady_since(failing, 5.0)
    assert since is not None and since > 4.9
    assert "error 2003" in unsteady(failing, 1.0, 5.0)


def test_limits_break_after_a_long_time_without_quorum_and_without_primary() -> None:
    seen = measurement().observed()
    limits = Limits(quorum_seconds=30.0, primary_seconds=90.0)
    for one in seen:
        limits.see(one)
    assert limits.broken(story.END, story.END) == ""
    gone = seen[-1]._replace(at=30.0, topology=seen[0].topology.__class__("demo", 3))
    limits.see(gone)
    assert limits.broken(60.0, 180.0) == ""
    assert "common view for 31 s (limit 30 s)" in limits.broken(61.0, 180.0)
    headless = replace(seen[-1].topology, primary=None)
    limits.see(seen[-1]._replace(at=61.0, topology=headless))
    assert limits.broken(120.0, 180.0) == "", "a quorum is back"
    assert "no primary for 91 s (limit 90 s)" in limits.broken(121.0, 180.0)
    assert "without a primary when the time was up" in limits.broken(110.0, 110.0)
    limits.see(seen[-1])
    assert limits.broken(500.0, 180.0) == ""


def test_writes_that_are_down_for_long_end_a_drill_but_no_outage_that_was_asked_for() -> None:
    def limit(outage: bool = False, **given: float) -> float:
        return Limits.of(DrillParameters(**given), outage=outage).writes_seconds  # type: ignore[arg-type]

    assert limit(max_write_downtime_seconds=5.0) == 120.0, "a usual drill is never stopped"
    assert limit(max_write_downtime_seconds=60.0) == 240.0, "nor one with a large budget"
    assert limit(outage=True) == math.inf
    assert limit(abort_write_downtime_seconds=7.0) == limit(True, abort_write_downtime_seconds=7.0) == 7.0

    m = measurement()
    cut = [[a for a in attempts if a.end is not None and a.end < 10.0] for attempts in m.of_kind("write")]
    last = last_acknowledged(cut)
    assert last == pytest.approx(story.FAULT_AT, abs=0.05), "refused writes count for nothing"
    assert last_acknowledged([[], []]) is None
    limits = Limits(writes_seconds=7.0, outage=True)
    assert limits.broken(1000.0, 180.0) == "", "nothing was injected yet"
    limits.wrote(last, story.FAULT_AT + 0.5)
    assert limits.broken(story.FAULT_AT + 7.4, 180.0) == "", "counted from the fault"
    assert "no write was acknowledged for 8 s (limit 7 s)" in limits.broken(story.FAULT_AT + 8.0, 180.0)
    limits.wrote(story.FAULT_AT + 5.0, story.FAULT_AT + 0.5)
    assert limits.broken(story.FAULT_AT + 8.0, 180.0) == ""


def test_a_switchover_loses_no_redundancy_and_lands_before_the_election() -> None:
    samples = []
    for sample in story.member_samples():
        server = next(server for server, pod in story.PODS.items() if pod == sample.pod)
        primary = "uuid-a" if sample.end < story.FAULT_AT + 0.5 else "uuid-b"
        samples.append(sample._replace(view=story.view(server, dict.fromkeys(story.PODS, "ONLINE"), primary)))
    m = measurement(fault="switchover", members=samples)
    proof = FAULTS["switchover"].proof(m.target, m.evidence())
    assert proof is not None
    late = replace(proof, at=proof.at + 0.2)
    found = timeline(m.target, m.evidence(), late, m.of_kind("write"))
    assert found.at("whole") is None and found.at("left") is None
    assert found.at("landed") == found.at("elected") == pytest.approx(story.FAULT_AT + 0.6, abs=0.15)
    page = render(evaluate(m, verified(m)))
    assert NEVER_LOST in page and ">kept<" in page
