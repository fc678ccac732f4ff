"""Typed settings without room for keys that nobody reads, and how single keys are changed.

A `Part` is frozen data; wrong keys are refused with the near ones. Recipes and the options of
objectives are made of them. Imports pydantic and harness.errors only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UsageError, unknown


class Part(BaseModel):
    """Frozen, and without room for keys that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


_P = TypeVar("_P", bound=Part)


def check(kind: type[_P], data: Any, what: str) -> _P:
    """Return `data` as a `kind`. Raises UsageError with every fault, near names for wrong keys."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UsageError("; ".join(_faults(error, kind, what))) from error


def _faults(error: ValidationError, kind: type[Part], what: str) -> Iterator[str]:
    for fault in error.errors():
        place = ".".join(str(step) for step in fault["loc"])
        if fault["type"] == "extra_forbidden":
            owner = _owner(kind, fault["loc"][:-1])
            yield str(unknown(f"key of {what}", str(fault["loc"][-1]), owner.model_fields))
        else:
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{what}: {f'{place}: ' if place else ''}{message}"


def _owner(kind: type[Part], steps: tuple[Any, ...]) -> type[Part]:
    for step in steps:
        if isinstance(step, str) and (inner := _part(kind, step)):
            kind = inner
    return kind


def _part(kind: type[Part], name: str) -> type[Part] | None:
    """Return the Part that the field `name` holds, alone, optional or in a tuple."""
    if name not in kind.model_fields:
        return None
    found = kind.model_fields[name].annotation
    for one in (found, *get_args(found)):
        if isinstance(one, type) and issubclass(one, Part):
            return one
    return None


def changed(kind: type[Part], data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data`, the fields of a `kind`, with `changes`; keys of inner parts are written a.b.

    A mapping given for an inner part, or for a field that is a mapping, changes the named keys of
    it and leaves the others. Raises UsageError naming near keys.
    """
    for key, value in changes.items():
        _put(data, kind, key.split("."), value, key, kind)
    return data


def _put(
    data: dict[str, Any], kind: type[Part], steps: list[str], value: Any, key: str, root: type[Part]
) -> None:
    name, *rest = steps
    field = kind.model_fields.get(name)
    if field is None:
        raise unknown("key of a recipe", key, _keys(root))
    inner = _part(kind, name)
    is_mapping = isinstance(data.get(name), dict) and inner is None
    if is_mapping and rest:
        data[name] = {**data[name], ".".join(rest): value}
    elif is_mapping and isinstance(value, Mapping):
        data[name] = {**data[name], **value}
    elif rest and inner is not None and not isinstance(data.get(name), tuple | list):
        data[name] = data.get(name) or {}
        _put(data[name], inner, rest, value, key, root)
    elif rest:
        raise unknown("key of a recipe", key, _keys(root))
    elif isinstance(value, Mapping) and inner is not None and isinstance(data.get(name), dict):
        for one, new in value.items():
            _put(data[name], inner, [one], new, f"{key}.{one}", root)
    else:
        data[name] = value


def _keys(kind: type[Part], prefix: str = "") -> Iterator[str]:
    for name in kind.model_fields:
        yield prefix + name
        inner = _part(kind, name)
        if inner is not None and not prefix:
            yield from _keys(inner, f"{name}.")
