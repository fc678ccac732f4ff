"""What people say of runs, and what follows from how a model was reached.

    # labels.yaml: a run by its id or folder, or all runs of a model by its address
    transformers:out/llava-ours: {trainer: our lab, weights: open}
    runs/2026-08/pope: {note: rerun}

Without a label, a model behind somebody's server has closed weights, and one that ran here, in this
process or behind a server of this machine or network, open ones; of recorded answers nothing is
known. The trainer is what the model's description says. Imports yaml inside.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import UsageError, unknown
from reports._page_read import Run

_LONG = 80
Labels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Label:
    """One `--label RUN:KEY=VALUE`."""

    run: str
    key: str
    value: str


def parse(texts: Iterable[str]) -> list[Label]:
    """Read labels of the command line, as RUN:KEY=VALUE; a run's own name may hold colons.

    Raises UsageError for one that is none.
    """
    found = []
    for text in texts:
        named = re.fullmatch(r"(.+):([^:=]+)=(.+)", text, re.S)
        if not named or not all(part.strip() for part in named.groups()):
            raise UsageError(f"--label {text}: expected RUN:KEY=VALUE, as runs/a:weights=open")
        run, key, value = (part.strip() for part in named.groups())
        found.append(Label(run, key[:_LONG], value[:_LONG]))
    return found


def read(path: Path) -> list[Label]:
    """Read a file of labels. Raises UsageError with what is wrong in it."""
    yaml = import_module("yaml")  # its types are not installed
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise UsageError(f"--labels {path}: expected lines such as `RUN: {{weights: open}}`")
    return [
        Label(str(run), str(key)[:_LONG], _text(value)[:_LONG])
        for run, labels in found.items()
        for key, value in labels.items()
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def given(runs: Sequence[Run], labels: Iterable[Label]) -> list[dict[str, str]]:
    """Return the labels of each run; the last of a key stands.

    Raises UsageError for a label of a run that there is not.
    """
    names = [_names(run) for run in runs]
    found: list[dict[str, str]] = [{} for _ in runs]
    for label in labels:
        mine = [i for i, own in enumerate(names) if label.run.rstrip("/") in own]
        if not mine:
            known = {name for own in names for name in own}
            raise unknown("run or model to label", label.run, known)
        for i in mine:
            found[i][label.key] = label.value
    return found


def _names(run: Run) -> set[str]:
    folder = run.record.folder
    places = {str(folder).rstrip("/"), str(folder.resolve()), folder.name}
    return {*places, str(run.info["id"]), run.checked.model, run.model}


def facets(run: Run, labels: Mapping[str, str]) -> dict[str, str]:
    """Return what a run can be filtered by; labels before what is guessed."""
    kind = run.checked.model.partition(":")[0]
    described = run.info["model"]["description"]
    judges = (run.info.get("judging") or {}).get("judges") or ()
    found = {
        "reached by": kind,
        "role": run.role or "model",
        "judge": ", ".join(judge["address"] for judge in judges),
        "weights": "" if run.role else _weights(kind, run.info["model"]),
        "trainer": described.get("trainer") if isinstance(described.get("trainer"), str) else "",
        "size": _size(described.get("parameters")),
    }
    return {name: str(value) for name, value in {**found, **labels}.items() if value}


def _weights(kind: str, model: Mapping[str, Any]) -> str:
    if kind == "openai":
        server = str(model["description"].get("server") or "")
        return "open" if _near(server) else "closed"
    return "open" if kind == "transformers" else "not known"


def _near(server: str) -> bool:
    """Whether a server is on this machine or in a private network."""
    text = server if "//" in server else f"//{server}"
    try:
        host = urlsplit(text).hostname or ""
        return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False  # a name, and not an address


def _size(count: Any) -> str:
    if not isinstance(count, int | float) or isinstance(count, bool) or count <= 0:
        return ""
    ends = ((1e9, "under 1 B"), (4e9, "1 to 4 B"), (1e10, "4 to 10 B"), (4e10, "10 to 40 B"))
    return next((name for end, name in ends if count < end), "40 B and more")
