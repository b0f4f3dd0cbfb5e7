"""The JSON schema of the configuration, for editors: completion, descriptions, bounds.

Owns configs/levee.schema.json's shape. It accepts whatever `levee check` accepts; what needs more than one value to
judge is left to `levee check`. Called by docs.py.
"""

from __future__ import annotations

import json
from typing import Any

from keys import Key, keys
from pydantic import BaseModel

from appliance.models import Config

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def text() -> str:
    """The whole file."""
    head = {
        "$schema": DRAFT,
        "title": "levee.yaml",
        "description": "The configuration of Levee, a SYN-flood appliance.",
    }
    return json.dumps(head | _model(Config) | {"allOf": _sides()}, indent=2) + "\n"


def _sides() -> list[dict[str, Any]]:
    """Which interfaces are to be named depends on the mode, and without one the mode is bridge."""

    def with_mode(*modes: str) -> dict[str, Any]:
        return {"properties": {"mode": {"enum": list(modes)}}, "required": ["mode"]}

    return [
        {"if": with_mode("host"), "then": {"properties": {"inside": False}}, "else": {"required": ["inside"]}},
        {
            "if": with_mode("host", "routed"),
            "then": {"properties": {"bridge": False}},
            "else": {"required": ["bridge"]},
        },
    ]


def _model(model: type[BaseModel]) -> dict[str, Any]:
    here = keys(model)
    needed = [key.name for key in here if key.needed]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key(key) for key in here},
        **({"required": needed} if needed else {}),
    }


def _key(key: Key) -> dict[str, Any]:
    said = {"description": key.text.replace("`", "")}
    if key.model is not None and key.named:
        return {"type": "object", "minProperties": 1, "additionalProperties": _model(key.model)} | said
    if key.model is not None:
        return _model(key.model) | said
    return {**_plain(key.schema), **said, **_default(key)}


def _plain(schema: Any) -> Any:
    """Without the descriptions of values: an editor shows the key's."""
    if isinstance(schema, dict):
        return {name: _plain(value) for name, value in schema.items() if name != "description"}
    return [_plain(value) for value in schema] if isinstance(schema, list) else schema


def _default(key: Key) -> dict[str, Any]:
    if key.default is None:
        return {}
    kinds = {key.schema.get("type"), *(one.get("type") for one in key.schema.get("anyOf", ()))}
    if kinds & {"integer", "boolean", "array"}:
        return {"default": json.loads(key.default)}
    return {"default": key.default}
