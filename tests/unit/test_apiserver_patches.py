"""Patches as pure functions, and server-side apply with its conflicts."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.local.apiserver.apply import applied
from tiphys.local.apiserver.fields import fields_of, pack, unpack
from tiphys.local.apiserver.patches import JSON, MERGE, STRATEGIC, merge, patched
from tiphys.local.apiserver.strategic import strategic_merge
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import by_plural

PODS, CLUSTERS = by_plural("pods"), by_plural("innodbclusters")
POD: dict[str, Any] = {
    "metadata": {"name": "a", "finalizers": ["one"], "ownerReferences": [{"uid": "u1", "name": "o"}]},
    "spec": {
        "containers": [
            {"name": "x", "image": "x:1", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 1}]},
            {"name": "y", "image": "y:1", "volumeMounts": [{"mountPath": "/a", "name": "v"}]},
        ],
        "tolerations": [{"key": "k"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
    "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


def test_strategic_merge_knows_which_lists_are_maps() -> None:
    patch = {
        "metadata": {"finalizers": ["two"], "ownerReferences": [{"uid": "u2", "name": "p"}]},
        "spec": {
            "containers": [
                {
                    "name": "x",
                    "image": "x:2",
                    "env": [{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}],
                    "ports": [{"containerPort": 2}],
                },
                {"name": "z", "image": "z:1"},
            ],
            "tolerations": [{"key": "l"}],
            "volumes": [{"name": "v", "emptyDir": None, "configMap": {"name": "c"}}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    before = repr(POD)
    made = strategic_merge(POD, patch)
    assert repr(POD) == before
    assert made["metadata"]["finalizers"] == ["one", "two"]
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == ["u1", "u2"]
    x, y, z = made["spec"]["containers"]
    assert x == {
        "name": "x",
        "image": "x:2",
        "env": [{"name": "B", "value": "2"}],
        "ports": [{"containerPort": 1}, {"containerPort": 2}],
    }
    assert y == POD["spec"]["containers"][1] and z["image"] == "z:1"
    assert made["spec"]["tolerations"] == [{"key": "l"}]
    assert made["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]
    assert made["status"]["conditions"] == [
        {"type": "Ready", "status": "True"},
        {"type": "Other", "status": "True"},
    ]


@pytest.mark.parametrize(
    ("patch", "names"),
    [
        ({"containers": [{"name": "x", "$patch": "delete"}]}, ["y"]),
        ({"containers": [{"name": "n"}, {"$patch": "replace"}]}, ["n"]),
        ({"$setElementOrder/containers": [{"name": "y"}, {"name": "x"}]}, ["y", "x"]),
        (
            {"containers": [{"name": "n"}], "$setElementOrder/containers": [{"name": "n"}, {"name": "y"}]},
            ["n", "y", "x"],
        ),
        ({"containers": None}, []),
        ({"$retainKeys": ["volumes"]}, []),
        ({"$patch": "replace", "containers": [{"name": "only"}]}, ["only"]),
    ],
)
def test_strategic_directives(patch: dict[str, Any], names: list[str]) -> None:
    made = strategic_merge(POD, {"spec": patch})["spec"]
    assert [item["name"] for item in made.get("containers", [])] == names


def test_strategic_lists_of_plain_values() -> None:
    made = strategic_merge(POD, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["one"], "finalizers": ["three"]}})
    assert made["metadata"]["finalizers"] == ["three"]
    with pytest.raises(ApiError, match="unknown directive"):
        strategic_merge(POD, {"$sideways/x": 1})
    with pytest.raises(ApiError, match=r"unknown \$patch directive"):
        strategic_merge(POD, {"spec": {"$patch": "sideways"}})


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([{"op": "test", "path": "/metadata/name", "value": "b"}], 422),
        ([{"op": "remove", "path": "/spec/none"}], 422),
        ([{"op": "replace", "path": "/spec/containers/9/image", "value": "x"}], 422),
        ([{"op": "fly", "path": "/spec"}], 400),
        ([{"path": "/spec"}], 400),
        (["x"], 400),
        ({"op": "remove"}, 400),
        ([{"op": "remove", "path": "/metadata"}], 400),
        ([{"op": "replace", "path": "", "value": 3}], 400),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(patch: Any, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        patched(PODS, POD, JSON, patch)
    assert refused.value.status == code


def test_a_json_patch_applies_in_order_to_a_copy() -> None:
    patch = [
        {"op": "test", "path": "/metadata/name", "value": "a"},
        {"op": "add", "path": "/metadata/labels", "value": {}},
        {"op": "add", "path": "/metadata/labels/x~1y", "value": "1"},
        {"op": "remove", "path": "/spec/containers/0"},
    ]
    before = repr(POD)
    made = patched(PODS, POD, JSON, patch)
    assert made["metadata"]["labels"] == {"x/y": "1"} and len(made["spec"]["containers"]) == 1
    assert repr(POD) == before


def test_custom_kinds_know_no_strategic_merge() -> None:
    with pytest.raises(ApiError) as refused:
        patched(CLUSTERS, {"metadata": {"name": "a"}}, STRATEGIC, {})
    assert refused.value.status == 415
    assert patched(CLUSTERS, {"metadata": {"name": "a"}}, MERGE, {"spec": {"x": 1}})["spec"] == {"x": 1}


# --- server-side apply


def intent(image: str = "x:1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "x", "image": image}], **spec}}


def test_what_a_manager_leaves_out_is_removed_and_the_rest_stays() -> None:
    first = applied(PODS, None, intent(nodeSelector={"a": "1", "b": "2"}, hostname="h"), "me", False)
    first["spec"]["containers"].append({"name": "side", "image": "injected:1"})
    first["spec"]["priority"] = 7
    second = applied(PODS, first, intent(nodeSelector={"a": "1"}), "me", False)
    assert second["spec"]["nodeSelector"] == {"a": "1"} and "hostname" not in second["spec"]
    assert second["spec"]["priority"] == 7 and len(second["spec"]["containers"]) == 2
    same = applied(PODS, second, intent(nodeSelector={"a": "1"}), "me", False)
    assert same == second


def test_an_item_of_a_list_goes_when_nobody_applies_it_any_more() -> None:
    two = intent()
    two["spec"]["containers"].append({"name": "y", "image": "y:1"})
    first = applied(PODS, None, two, "me", False)
    first["spec"]["containers"][1]["imagePullPolicy"] = "Always"  # a default: it does not hold the item
    second = applied(PODS, first, intent(), "me", False)
    assert [item["name"] for item in second["spec"]["containers"]] == ["x"]
    shared = applied(PODS, applied(PODS, None, two, "me", False), two, "other", False)
    assert len(applied(PODS, shared, intent(), "me", False)["spec"]["containers"]) == 2


def test_another_managers_value_is_a_conflict_unless_forced() -> None:
    first = applied(PODS, None, intent("x:1"), "me", False)
    with pytest.raises(ApiError, match='conflict with "me": .spec.containers') as refused:
        applied(PODS, first, intent("x:2"), "other", False)
    assert refused.value.status == 409
    assert refused.value.details["causes"][0]["field"] == '.spec.containers[name="x"].image'
    taken = applied(PODS, first, intent("x:2"), "other", True)
    assert taken["spec"]["containers"][0]["image"] == "x:2"
    with pytest.raises(ApiError, match='conflict with "other"'):
        applied(PODS, taken, intent("x:1"), "me", False)
    agreed = applied(PODS, taken, intent("x:2"), "me", False)
    assert agreed["spec"]["containers"][0]["image"] == "x:2"


def test_an_apply_needs_a_manager_and_no_managed_fields() -> None:
    with pytest.raises(ApiError, match="fieldManager is required"):
        applied(PODS, None, intent(), "", False)
    with pytest.raises(ApiError, match="managedFields must be nil"):
        applied(PODS, None, {"metadata": {"name": "a", "managedFields": [{}]}}, "me", False)


def test_field_sets_survive_being_written_down() -> None:
    for keyed in (True, False):
        fields = fields_of(POD, keyed)
        assert unpack(pack(fields)) == fields
    assert ("f:metadata", "f:name") not in fields_of(POD, True)
