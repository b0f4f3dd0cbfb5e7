"""The keys of the configuration, as the models have them: what each is, what it may be, and its default.

Owns the walk over the models; a key's text is the string below its field. Called by docs.py, whose pages are made
of it. Imports the installed package and touches nothing. It must not know any key's name, but for those in NOT_WRITTEN.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from appliance.fields import many
from appliance.models import Config
from appliance.values import Reader

NAME = "NAME"  # stands for the name of an entry, in the path of a key
# Defaults that an operator cannot write: in mode host the inside is the machine itself.
NOT_WRITTEN = ("inside",)


class Incomplete(Exception):
    """A field that says too little to be documented."""


@dataclass(frozen=True)
class Key:
    """One key. `default` is as in the file, None where there is none to write; `model` is what stands below it."""

    name: str
    text: str
    schema: Mapping[str, Any]
    default: str | None
    needed: bool
    model: type[BaseModel] | None
    named: bool  # the model stands below names of the operator's choice


def sections(model: type[BaseModel] = Config, path: str = "") -> Iterator[tuple[str, str, tuple[Key, ...]]]:
    """Path, text and keys of a model, then of each one below it."""
    here = keys(model)
    yield path, paragraph(inspect.getdoc(model) or ""), here
    for key in here:
        if key.model is not None:
            below = f"{path}.{key.name}".lstrip(".")
            yield from sections(key.model, f"{below}.{NAME}" if key.named else below)


@cache
def keys(model: type[BaseModel]) -> tuple[Key, ...]:
    """The keys of one model, in the order of the file. Raises Incomplete."""
    said = _texts(model)
    found = []
    for name, field in model.model_fields.items():
        if name not in said:
            raise Incomplete(f"{model.__name__}.{name} has no text: a string below the field, for the operator")
        below, named = _below(field.annotation)
        found.append(
            Key(
                field.alias or name,
                said[name],
                {} if below else _schema(field.annotation, field.metadata, f"{model.__name__}.{name}"),
                None if below or name in NOT_WRITTEN else _default(field),
                field.is_required(),
                below,
                named,
            )
        )
    return tuple(found)


def paragraph(text: str) -> str:
    """Lines of a paragraph joined, paragraphs kept."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the string below it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    return {
        field.target.id: paragraph(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _below(annotation: object) -> tuple[type[BaseModel] | None, bool]:
    """The model that stands below a key, and whether below names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is Mapping:
        return _below(get_args(annotation)[1])[0], True
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := _below(part))[0]), (None, False))
    return None, False


def _reader(metadata: list[Any] | tuple[Any, ...]) -> Reader[Any] | None:
    return next((one.func for one in metadata if isinstance(getattr(one, "func", None), Reader)), None)


def _schema(annotation: Any, metadata: list[Any] | tuple[Any, ...], where: str) -> Mapping[str, Any]:
    """What a value may be. Raises Incomplete."""
    reader = _reader(metadata)
    if reader is not None:
        return reader.schema
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _schema(parts[0], parts[1:], where)
    if origin in (Union, types.UnionType):
        return _schema(next(part for part in parts if part is not type(None)), (), where)
    if origin is tuple:
        items = _schema(parts[0], (), where)
        least = {"minItems": 1} if any(getattr(one, "func", None) is many for one in metadata) else {}
        return {"type": "array", "items": items, **least, "description": f"a list; each entry: {words(items)}"}
    raise Incomplete(f"{where} has no schema: its reader is to be a Reader of appliance/values.py")


def _default(field: FieldInfo) -> str | None:
    """As it would be written; None where it is needed, computed, or nothing."""
    value = field.default
    if field.is_required() or field.default_factory is not None or value is None:
        # `wscale` has a default and can be none, too: that one is written.
        return None
    if isinstance(value, bool):
        return str(value).lower()
    reader = _reader(field.metadata)
    return "[]" if value == () else reader.text(value) if reader else str(value)


def words(schema: Mapping[str, Any]) -> str:
    """What a schema accepts, for people."""
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        choices = [f"`{choice}`" for choice in schema["enum"]]
        return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else choices[0]
    if schema.get("type") == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return f"{low} to {high}" if low < high else str(low)
    if schema.get("type") == "boolean":
        return "`true` or `false`"
    raise Incomplete(f"no words for {schema}")
