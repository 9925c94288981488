"""Who is primary, by the majority: pure functions of the members' views."""

from __future__ import annotations

from steps.mysql.topology import IN_GROUP, Member, Topology, View, judge, place

A, B, C = "uuid-a", "uuid-b", "uuid-c"


def member(id: str, state: str = "ONLINE", role: str = "SECONDARY") -> Member:
    return Member(id, f"{id}.demo-instances.tiphys.svc", 3306, state, role, "9.7.4", pod=id.replace("uuid", "demo"))


def view(own: str, *states: str, primary: str = A, ids: tuple[str, ...] = (A, B, C)) -> View:
    rows = zip(ids, states, strict=True)
    return View(own, tuple(member(i, state, "PRIMARY" if i == primary else "SECONDARY") for i, state in rows))


def whole(own: str, primary: str = A) -> View:
    return view(own, "ONLINE", "ONLINE", "ONLINE", primary=primary)


def topology(*views: View, expected: int = 3) -> Topology:
    return judge("demo", expected, {v.own_id.replace("uuid", "demo"): v for v in views}, {})


def test_all_agree() -> None:
    seen = topology(whole(A), whole(B), whole(C))
    assert seen.quorum and seen.is_whole and seen.online == 3
    assert seen.primary is not None and seen.primary.pod == "demo-a"
    assert [m.id for m in seen.secondaries] == [B, C]
    assert seen.summary() == "3/3 ONLINE, primary demo-a"


def test_two_of_three_are_enough_and_one_is_not() -> None:
    assert topology(whole(B), whole(C)).primary is not None
    alone = topology(whole(B))
    assert alone.primary is None and not alone.quorum
    assert alone.summary() == "no majority view: 1 of 3 servers answer"


def test_a_cut_off_primary_is_not_believed() -> None:
    cut_off = view(A, "ONLINE", "UNREACHABLE", "UNREACHABLE")
    rest = [view(own, "UNREACHABLE", "ONLINE", "ONLINE") for own in (B, C)]
    seen = topology(cut_off, *rest)
    assert seen.quorum and seen.primary is None and seen.online == 2, "the old primary is not ONLINE for the majority"
    after = [view(own, "ONLINE", "ONLINE", primary=B, ids=(B, C)) for own in (B, C)]
    seen = topology(cut_off, *after)
    assert seen.primary is not None and seen.primary.id == B
    assert not seen.is_whole


def test_a_view_without_quorum_elects_nobody() -> None:
    lonely = view(C, "UNREACHABLE", "UNREACHABLE", "ONLINE", primary=C)
    assert topology(lonely).primary is None


def test_an_expelled_member_speaks_for_itself_only() -> None:
    expelled = View(A, (member(A, "ERROR", ""),))
    assert expelled.group == () and not expelled.has_quorum
    seen = topology(expelled, *[view(own, "ONLINE", "ONLINE", primary=B, ids=(B, C)) for own in (B, C)])
    assert seen.primary is not None and seen.primary.id == B and seen.online == 2


def test_two_groups_of_one_size_have_no_primary() -> None:
    one = view(A, "ONLINE", primary=A, ids=(A,))
    other = view(B, "ONLINE", primary=B, ids=(B,))
    assert topology(one, other).primary is None and not topology(one, other).quorum
    pair = [view(own, "ONLINE", "ONLINE", primary=B, ids=(B, C)) for own in (B, C)]
    larger = topology(one, *pair)
    assert larger.primary is not None and larger.primary.id == B


def test_views_that_differ_on_the_primary_elect_nobody() -> None:
    split = topology(whole(A, primary=A), whole(B, primary=B))
    assert split.quorum and split.primary is None


def test_many_primaries_are_no_primary() -> None:
    both = tuple(member(i, role="PRIMARY") for i in (A, B, C))
    assert topology(*[View(own, both) for own in (A, B, C)]).primary is None


def test_a_joining_member_counts_but_is_not_online() -> None:
    states = ("ONLINE", "ONLINE", "RECOVERING")
    seen = topology(*[view(own, *states) for own in (A, B, C)])
    assert seen.online == 2 and not seen.is_whole
    assert seen.summary() == "2/3 ONLINE, 1 RECOVERING, primary demo-a"
    assert "RECOVERING" in IN_GROUP


def test_members_are_matched_to_pods_by_server_id_then_by_host() -> None:
    bare = View(
        A,
        (
            Member(A, "anything", 3306, "ONLINE", "PRIMARY", "9.7.4"),
            Member(B, "demo-1.demo-instances.x", 3306, "UNREACHABLE", "SECONDARY", "9.7.4"),
            Member(C, "10.0.0.3", 3306, "ONLINE", "SECONDARY", "9.7.4"),
        ),
    )
    addresses = {"demo-0": "10.0.0.1", "demo-1": "10.0.0.2", "demo-2": "10.0.0.3"}
    placed = place({"demo-0": bare}, addresses)["demo-0"]
    assert [(m.pod, m.address) for m in placed.members] == list(addresses.items())


def test_a_host_name_never_takes_a_pod_that_speaks_for_itself() -> None:
    views = {
        "demo-0": View(A, (Member(B, "demo-0.x", 3306, "ONLINE", "PRIMARY", "9.7.4"),)),
    }
    placed = place(views, {"demo-0": "10.0.0.1"})["demo-0"]
    assert placed.members[0].pod == ""
