"""What tools an assistant has, calls of them and what they answer: as rows hold them, to what chat templates take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simpo.data.parse import parse_inside
from simpo.data.reasons import BadRow, kind_of, shown

# What a template may ask of a tool's answer, beside its text.
_OF_AN_ANSWER = ("name", "tool_call_id")


def calls_of(value: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The calls of an assistant turn (OpenAI's `tool_calls` or `function_call`, a list or one as JSON text), if any."""
    given = value.get("tool_calls")
    if not given:
        given = value.get("function_call")
        if not given:
            return []
    return called(given, where)


def called(given: object, where: str) -> list[dict[str, Any]]:
    """One call or a list of them, objects or JSON text, as chat templates take them: arguments as an object.

    Templates write the arguments as JSON, so OpenAI's text of them would be quoted twice; servers read it first too.
    Text that is no JSON object stays text. Raises `BadRow` for what is no call.
    """
    if isinstance(given, str):
        given = parse_inside(given)
    calls = [_call(one, where) for one in (given if isinstance(given, list) else [given])]
    if not calls:
        raise BadRow("tool_calls", f"{where} calls no tool: {shown(given)}")
    return calls


def _call(value: object, where: str) -> dict[str, Any]:
    inner = value.get("function", value) if isinstance(value, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(value, dict) or not isinstance(inner, dict) or not isinstance(name, str) or not name:
        raise BadRow("tool_calls", f"{where} holds a call without the name of a tool: {shown(value)}")
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        parsed = parse_inside(arguments) if arguments.strip() else {}
        arguments = parsed if isinstance(parsed, dict) else arguments
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, (dict, str)):
        raise BadRow(
            "tool_calls",
            f"{where} calls {shown(name)} with {kind_of(arguments)}, not an object: {shown(arguments)}",
        )
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": value["id"], **call} if isinstance(value.get("id"), str) else call


def answer_of(value: Mapping[str, Any]) -> dict[str, str]:
    """Which call a tool's turn answers, where it says so."""
    return {key: value[key] for key in _OF_AN_ANSWER if isinstance(value.get(key), str) and value[key]}


def tools_of(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The tools that a row's assistant has, from its column `tools` (or `input.tools`): a list, or one as JSON text.

    A column of that name that describes no functions is a column like any other. Raises `BadRow` for JSON text that is
    broken.
    """
    given = _column(row)
    if isinstance(given, str):
        if given.lstrip()[:1] not in ("[", "{"):
            return ()
        given = parse_inside(given)
        if isinstance(given, BadRow):
            raise BadRow("tool_calls", f'"tools" is no valid JSON: {given.detail}')
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not all(_describes_function(one) for one in given):
        return ()
    # Templates ask for OpenAI's form, {"type": "function", "function": {...}}.
    return tuple(one if "function" in one else {"type": "function", "function": one} for one in given)


def _column(row: Mapping[str, Any]) -> object:
    given = row.get("tools")
    inside = row.get("input")
    return inside.get("tools") if given is None and isinstance(inside, dict) else given


def _describes_function(value: object) -> bool:
    inner = value.get("function", value) if isinstance(value, dict) else None
    return isinstance(inner, dict) and isinstance(inner.get("name"), str) and bool(inner["name"])


__all__ = ["answer_of", "called", "calls_of", "tools_of"]
