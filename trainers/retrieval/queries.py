"""What a pool is asked: class names in the templates of a task, or captions.

A class with several names is called by all of them and asked for by the first (the released code's
way). Standard library and harness only.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from harness.fingerprint import digest

PLAIN = "a photo of a {}."
"""The template where none is given."""


@dataclass(frozen=True)
class Query:
    """One text, and what it asks for."""

    label: str
    """The class; `SET: CLASS` where there are several data sets; of a caption, the caption."""
    template: int
    """Number of the template among those of its data set."""
    text: str


@dataclass(frozen=True)
class Queries:
    """All that is asked, each class and template once."""

    all: tuple[Query, ...]
    source: str

    @property
    def labels(self) -> list[str]:
        """The classes, in their order."""
        return list(dict.fromkeys(query.label for query in self.all))

    @property
    def digest(self) -> str:
        """Hash of all texts and what they ask for."""
        return digest([[query.label, query.template, query.text] for query in self.all])


def of_task(task: Any) -> Queries:
    """Return the prompts that a task gives a dual encoder for its classes.

    Raises UsageError where it gives none.
    """
    sets: dict[str, Any] = {}
    for sample in task.samples():
        if "prompts" in sample.facts:
            sets.setdefault(str(sample.groups.get("set", "")), sample.facts["prompts"])
    if not sets:
        raise UsageError(
            f"the task {task.name} has no class names with templates (elevater has); give "
            "--classes and --templates, or --captions"
        )
    found = (
        Query(_label(name, label, sets), number, text)
        for name, prompts in sets.items()
        for label, texts in prompts.items()
        for number, text in enumerate(texts)
    )
    return _queries(found, task.name)


def of_files(classes: Path, templates: Path | None = None) -> Queries:
    """Return class names put into templates.

    Args:
        classes: A text file with a class on each line, names divided by `|`; a JSON list of names
            or lists of names; or ELEVATER's {set: {"classes": [...], "templates": [...]}}.
        templates: A text file with a template on each line, `{}` where the name goes.

    Raises DataError for files that are something else.
    """
    own = _lines(templates) if templates else [PLAIN]
    if classes.suffix == ".json":
        found = _json(classes)
    else:
        found = [line.split("|") for line in _lines(classes)]
    sets = found if isinstance(found, dict) else {"": {"classes": found, "templates": own}}
    asked: list[Query] = []
    for name, one in sets.items():
        try:
            labels = [[each] if isinstance(each, str) else [*each] for each in one["classes"]]
            wanted = own if templates else [str(template) for template in one["templates"]]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{classes}, {name or 'the list'}: expected names of classes, or an object with "
                f"'classes' and 'templates' ({error!r})"
            ) from error
        if not all("{}" in template for template in wanted):
            raise DataError(f"{templates or classes}: every template needs a place {{}}")
        for names in labels:
            names = [str(each).strip() for each in names if str(each).strip()]
            label = _label(name, ", ".join(names), sets)
            asked += [
                Query(label, number, template.replace("{}", names[0]))
                for number, template in enumerate(wanted)
                if names
            ]
    return _queries(asked, classes.name)


def of_captions(path: Path) -> Queries:
    """Return captions as queries: lines of a text file, or COCO's captions; each once.

    Raises DataError where there are none.
    """
    if path.suffix == ".json":
        try:
            lines = [str(row["caption"]) for row in _json(path)["annotations"]]
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: expected COCO's captions ({error!r})") from error
    else:
        lines = _lines(path)
    texts = dict.fromkeys(" ".join(line.split()) for line in lines)
    return _queries((Query(text, 0, text) for text in texts if text), path.name)


def _label(name: str, label: str, sets: Sequence[str] | dict[str, Any]) -> str:
    return f"{name}: {label}" if len(sets) > 1 else label


def _queries(found: Iterable[Query], source: str) -> Queries:
    once = {(query.label, query.template): query for query in found}
    if not once:
        raise DataError(f"{source} has nothing to ask for")
    return Queries(tuple(once.values()), source)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no text file can be read ({error})") from error
    if not any(lines):
        raise DataError(f"{path} is empty")
    return [line for line in lines if line]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no JSON can be read ({error})") from error
