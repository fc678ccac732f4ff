"""A name becomes a file becomes `make()`. The file system is the registry.

`tasks/pope.py` exists, so `pope` works; `pope/lmms` is its variant `lmms`. Likewise
`harness/models/openai.py` serves `openai:<address>`. Nothing is imported until it is named;
listing reads the docstring and the VARIANTS table from the source without running it.
"""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.collect import seldom
from harness.errors import UsageError, unknown
from harness.types import Model, Task

_HOME = Path(__file__).resolve().parent.parent
_FOLDERS = {
    "task": ("tasks", _HOME / "tasks"),
    "model": ("harness.models", _HOME / "harness/models"),
}


@dataclass(frozen=True)
class Entry:
    """One file of a folder: its name, the first line of its docstring, its variants."""

    name: str
    summary: str
    variants: Mapping[str, str] = field(default_factory=dict)


def entries(what: str) -> list[Entry]:
    """List the tasks or models (`what` is "task" or "model") without importing them."""
    return [_entry(path) for path in sorted(_FOLDERS[what][1].glob("[!_]*.py"))]


def make_task(name: str, data: str | None = None) -> Task:
    """Build the task called `name` ("pope", "pope/lmms") on the data at `data`."""
    stem, _, variant = name.partition("/")
    module = _module("task", stem)
    if variant and variant not in module.VARIANTS:
        raise unknown(f"variant of {stem}", variant, module.VARIANTS)
    with seldom():
        task: Task = module.make(variant=variant, data=data)
    return task


def make_model(address: str, options: Mapping[str, Any] | None = None) -> Model:
    """Build the model at `address` ("openai:gpt-4.1", "constant:yes", "oracle")."""
    kind, _, rest = address.partition(":")
    module = _module("model", kind)
    parameters = inspect.signature(module.make).parameters.values()
    known = {p.name for p in parameters if p.name != "address" and p.kind is not p.VAR_KEYWORD}
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters)  # `blind` hands them to its model
    for option in options or {}:
        if option not in known and not passes_on:
            raise unknown(f"option of the model '{kind}'", option, known)
    model: Model = module.make(rest, **(options or {}))
    return model


def _module(what: str, name: str) -> Any:
    package, folder = _FOLDERS[what]
    names = [path.stem for path in folder.glob("[!_]*.py")]
    if name not in names:
        raise unknown(what, name, names)
    return import_module(f"{package}.{name}")


def _entry(path: Path) -> Entry:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    for node in tree.body:
        names = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        if isinstance(node, ast.Assign) and names == ["VARIANTS"]:
            try:
                return Entry(path.stem, summary, ast.literal_eval(node.value))
            except ValueError as error:
                raise UsageError(f"{path}: VARIANTS must be a plain dict of strings") from error
    return Entry(path.stem, summary)
