"""Lua scripts of Sensors, run as Argo Events runs them: on the whole event, with no way out of the sandbox.

Each run has a state of its own, limited in memory and instructions. What a script sees follows `mapToTable` and
`toGoValue` of argo-events (pkg/sensors/dependencies/transform.go): null members are left out, lists keep only
scalars and objects, and a table that has list items becomes a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lupa.lua51 import LuaError, LuaMemoryError, LuaRuntime, lua_type

MEMORY_BYTES = 16 * 1024 * 1024
INSTRUCTIONS = 2_000_000
"""A few tens of milliseconds; a filter of the pack needs some thousands."""

_HARNESS = """
local limit, source, getenv = ...
local function copy(library, ...)
  local made = {}
  for _, name in ipairs({...}) do made[name] = library[name] end
  return made
end
local world = copy(_G, "type", "pairs", "ipairs", "next", "tostring", "tonumber", "select", "unpack", "error",
  "assert", "pcall")
world.string = copy(string, "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep",
  "reverse", "sub", "upper")
world.table = copy(table, "concat", "insert", "remove", "sort", "maxn")
world.math = copy(math, "abs", "ceil", "floor", "huge", "max", "min", "fmod", "pow", "sqrt")
world.os = {getenv = function(name) return getenv[name] end}
local compile = loadstring
function world.loadstring(text)
  -- A sandbox must not be left by bytecode.
  if type(text) ~= "string" or text:byte(1) == 27 then return nil, "loadstring: expected the text of a Lua script" end
  local chunk, fault = compile(text, "=loadstring")
  return chunk and setfenv(chunk, world), fault
end
local sethook = debug.sethook
return world, function()
  local chunk, fault = loadstring(source, "=script")
  if not chunk then return false, fault end
  setfenv(chunk, world)
  local function stop()
    -- From now on every instruction fails, so that a pcall in the script cannot go on.
    sethook(stop, "", 1)
    error("ran for more than " .. limit .. " instructions", 0)
  end
  sethook(stop, "", limit)
  local result = {pcall(chunk)}
  sethook()
  return result[1], result[2]
end
"""


class ScriptError(Exception):
    """A script does not compile, failed, or went beyond its limits."""


@dataclass(frozen=True)
class Ran:
    """What a script did.

    Attributes:
        value: what it returned, as JSON values.
        reason: the text that it left in its global `reason`, or None.
    """

    value: Any
    reason: str | None


def run(script: str, event: dict[str, Any], environment: Mapping[str, str] | None = None) -> Ran:
    """Run a script on an event.

    Args:
        script: its text.
        event: what it sees as `event`.
        environment: what `os.getenv` gives it.

    Raises:
        ScriptError: if it fails or goes beyond its limits.
    """
    if script.startswith("\x1b"):
        raise ScriptError("is bytecode; expected the text of a Lua script")
    runtime = LuaRuntime(
        unpack_returned_tuples=True, register_eval=False, register_builtins=False, max_memory=MEMORY_BYTES
    )
    try:
        runtime.globals().python = None
        world, start = runtime.execute(_HARNESS, INSTRUCTIONS, script, runtime.table_from(environment or {}))
        world.event = _to_table(runtime, event)
        passed, value = start()
        if not passed:
            raise ScriptError(str(value))
        reason = world.reason
        return Ran(_to_value(value), reason if isinstance(reason, str) else None)
    except (LuaError, LuaMemoryError, UnicodeDecodeError) as error:
        # The first line is the fault; the rest is a trace of the harness.
        raise ScriptError(str(error).partition("\n")[0] or "needs more memory than it may have") from error


def _to_table(runtime: LuaRuntime, values: dict[str, Any]) -> Any:
    table = runtime.table()
    for key, value in values.items():
        if isinstance(value, dict):
            table[key] = _to_table(runtime, value)
        elif isinstance(value, list):
            kept = [item for item in value if item is not None and not isinstance(item, list)]
            items = (_to_table(runtime, item) if isinstance(item, dict) else _scalar(item) for item in kept)
            table[key] = runtime.table(*items)
        elif value is not None:
            table[key] = _scalar(value)
    return table


def _scalar(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_value(value: Any) -> Any:
    if lua_type(value) != "table":
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    length = max((key for key in value if isinstance(key, int) and not isinstance(key, bool)), default=0)
    if length:
        return [_to_value(value[index]) for index in range(1, length + 1)]
    return {str(key): _to_value(item) for key, item in value.items()}
