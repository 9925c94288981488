"""The sandbox of the Sensors' scripts, and the paths by which values are taken and put."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.local.events.lua import ScriptError, run
from tiphys.local.events.paths import PathError, as_text, look_up, put


def test_an_event_comes_back_as_argo_events_would_return_it() -> None:
    seen = run("return event", {"body": {"a": 1, "b": None, "c": [1, None, "x", [2]], "d": {}, "e": [], "f": False}})
    assert seen.value == {"body": {"a": 1.0, "c": [1.0, "x"], "d": {}, "e": {}, "f": False}}


@pytest.mark.parametrize(
    "name",
    ["io", "debug", "require", "package", "load", "dofile", "loadfile", "python", "getmetatable", "string.dump"]
    + [
        "os.execute",
        "os.remove",
        "os.rename",
        "os.exit",
        "os.tmpname",
        "setmetatable",
        "rawset",
        "getfenv",
        "setfenv",
        "coroutine",
        "module",
        "newproxy",
        "collectgarbage",
        "_G",
    ],
)
def test_the_way_out_is_closed(name: str) -> None:
    assert run(f"return {name} == nil", {}).value is True
    assert run(f"return loadstring('return {name}')() == nil", {}).value is True, "what a script compiles is no freer"


def test_a_script_compiles_text_and_no_bytecode() -> None:
    # No string.dump is there to make any, but an event could bring some.
    assert run("local chunk, why = loadstring('\\27Lua') return why", {}).value == (
        "loadstring: expected the text of a Lua script"
    )
    assert run("return loadstring('return 1 + 1')()", {}).value == 2
    with pytest.raises(ScriptError, match="ran for more than"):
        run("loadstring('while true do end')()", {})


@pytest.mark.parametrize(
    "script",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = {i} end",
        "return ('x'):rep(1e9)",
        "local function f() return f() + 1 end return f()",
        "error('no')",
        "return nothing.at.all",
        "this is no Lua",
        "\x1bLuaQ",
    ],
)
def test_a_script_that_fails_or_runs_away_is_an_error(script: str) -> None:
    with pytest.raises(ScriptError) as error:
        run(script, {})
    assert str(error.value) and "\n" not in str(error.value)


def test_runs_know_nothing_of_each_other() -> None:
    assert run("leak = 5 string.find = nil reason = 'r' return true", {}).reason == "r"
    after = run("return leak == nil and ('a'):find('a') == 1 and string.find ~= nil", {})
    assert after.value is True and after.reason is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1.5, "1.5"), (1e-7, "0.0000001"), (600000.0, "600000"), (True, "true"), (None, ""), ("x", "x")],
)
def test_scalars_become_texts_as_gjson_writes_them(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_paths() -> None:
    value = {"header": {"X-A": ["one", "two"]}, "body": {"a.b": 1}}
    assert look_up(value, "header.X-A.1") == "two"
    assert look_up(value, r"body.a\.b") == 1
    for path in ("header.X-A.2", "body.a.b", "body.a*", "body.#", "", "a..b", "header.X-A.-1"):
        with pytest.raises(PathError):
            look_up(value, path)
    target: dict[str, Any] = {"list": [{"name": "a"}]}
    put(target, "list.0.value", "x")
    put(target, "list.1", "end")
    put(target, "new.deep", 1)
    assert target == {"list": [{"name": "a", "value": "x"}, "end"], "new": {"deep": 1}}
    for path in ("list.3.value", "list.x", "list.1.value", "list.9"):
        with pytest.raises(PathError):
            put(target, path, 1)
