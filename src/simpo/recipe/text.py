"""Recipes as YAML text: read without YAML 1.1's traps, and written with each value's origin beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_SCIENTIFIC = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-6` as text and forgives a key given twice; a recipe does neither."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as numbers."""


def _scientific(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


_Loader.add_constructor("!scientific", _scientific)
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("!scientific", _SCIENTIFIC, list("-+0123456789"))


def read_yaml(text: str) -> Any:
    """The value of a YAML text; raises `yaml.YAMLError`."""
    return yaml.load(text, Loader=_Loader)


def key_lines(text: str) -> dict[str, int]:
    """The line, counted from 1, on which each dotted key of a YAML text stands."""
    lines: dict[str, int] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[f"{prefix}{key.value}"] = key.start_mark.line + 1
                walk(value, f"{prefix}{key.value}.")

    walk(yaml.compose(text, Loader=_Loader), "")
    return lines


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections as one mapping of dotted keys; a mapping inside a section (`data.columns`) is a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and not prefix:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_yaml(values: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Dotted keys of at most one section deep as YAML, one line each, with the key's comment at its end.

    The keys of a section must stand together.
    """
    lines: list[str] = []
    for key, value in values.items():
        section, _, leaf = key.rpartition(".")
        if section and f"{section}:" not in lines:
            lines.append(f"{section}:")
        comment = " ".join(comments.get(key, "").split())
        lines.append(
            f"{'  ' if section else ''}{leaf}: {_scalar(value)}" + (f"  # {comment}" if comment else "")
        )
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    # In a list of one, so that whatever the text holds it is written on one line and needs no block indentation.
    text = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=10**9, allow_unicode=True)
    if len(text.splitlines()) > 1:  # a line break inside a quoted text, of any kind: write it as \n, \N ...
        text = yaml.dump(
            [value],
            Dumper=_Dumper,
            default_flow_style=True,
            width=10**9,
            allow_unicode=True,
            default_style='"',
        )
    return text.strip()[1:-1]
