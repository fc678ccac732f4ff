"""The gate's configuration: YAML or TOML, checked to the last key, with the line of every error.

    gate:
      baseline: llava-7b@2026-08
      margin: 1.0
      tasks:
        pope: {tier: critical, also: [yes_ratio in 0.40..0.60]}

An unknown key is an error: a misspelt `margin` that is passed over would be a gate that is open.
Imports pydantic (a configuration is written by strangers), yaml inside, and harness.errors.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.errors import UsageError

Tier = Literal["critical", "standard", "advisory"]
Share = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = Annotated[tuple[float, float], Field(min_length=2, max_length=2)]

_CONDITION = re.compile(r"^\s*(\S+)\s+in\s+(-?[\d.]*\d)\s*\.\.\s*(-?\d[\d.]*)\s*$")
Place = tuple[str | int, ...]
Lines = Mapping[Place, int]


class ConfigError(UsageError):
    """The configuration is wrong; nothing was gated."""

    exit_code = 64


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Strict):
    """What must hold whatever the mean does; a task may set its own."""

    coverage: Share | None = None
    """Least share of the baseline's items with a result in both runs."""
    parse_fail: Share | None = None
    """Largest share of answers that the rule cannot read."""
    refusals: Share | None = None
    """By how much the share of refusals may change."""
    truncation: Share | None = None
    """By how much the share of answers that were cut off may change."""
    length: Range | None = None
    """Mean length of an answer, as a multiple of the baseline's."""
    tokens: Range | None = None
    """Tokens that an answer takes, as a multiple of the baseline's."""
    seconds: Range | None = None
    """Seconds that an answer takes, as a multiple of the baseline's."""

    @field_validator("length", "tokens", "seconds")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not 0 <= value[0] < value[1]:
            raise ValueError(f"a range must be two rising numbers, found {list(value)}")
        return value


class TaskConfig(Limits):
    """One task of the gate."""

    tier: Tier = "standard"
    margin: Points | None = None
    metric: str = ""
    """Instead of the task's headline."""
    also: tuple[str, ...] = ()
    """Conditions on metrics of the candidate, `NAME in LOW..HIGH`."""
    must_pass: tuple[str, ...] = ()
    """Ids of items of the baseline that must not go from right to wrong."""

    @field_validator("must_pass", mode="before")
    @classmethod
    def _ids(cls, value: Any) -> Any:
        return [str(id) if isinstance(id, int) else id for id in value]

    @field_validator("also")
    @classmethod
    def _conditions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            condition(text)
        return value


class Waiver(_Strict):
    """Leave for one task to be worse, until a day."""

    task: str
    until: date
    max_drop: Points
    why: Annotated[str, Field(min_length=1)]


class Anchor(_Strict):
    """Answers that people labelled, which the judge of a task must agree with."""

    run: Annotated[str, Field(min_length=1)]
    """A run folder that the judge of the candidate judged; its answers never change."""
    labels: Annotated[str, Field(min_length=1)]
    """A csv of people's labels of these answers."""
    sha256: str = ""
    """Of the csv, or its beginning."""
    agreement: Share | None = None
    """Least share of equal labels."""
    kappa: Annotated[float, Field(ge=-1, le=1)] | None = None
    pearson: Annotated[float, Field(ge=-1, le=1)] | None = None
    spearman: Annotated[float, Field(ge=-1, le=1)] | None = None
    items: Annotated[int, Field(ge=1)] = 20
    """Least number of answers with a label and a verdict."""
    days: Annotated[int, Field(ge=0)] | None = None
    """How long ago they may have been judged, at most."""

    @model_validator(mode="after")
    def _bounded(self) -> "Anchor":
        if (self.agreement, self.kappa, self.pearson, self.spearman) == (None,) * 4:
            raise ValueError("needs a bound: agreement, kappa, pearson or spearman")
        return self


class Config(Limits):
    """The whole gate."""

    baseline: str | tuple[str, ...] = ()
    """A blessed name, or run folders."""
    baselines: str = "baselines"
    """Folder of blessed baselines, waivers and the ledger."""
    margin: Points = 1.0
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    suite_margin: Points = 0.0
    looks: Annotated[int, Field(ge=1, le=10)] = 1
    """Looks planned beforehand; the level is split among them and none is left after them."""
    warnings: Annotated[int, Field(ge=1)] | None = 3
    """Small losses since the last major baseline, this one among them, that are too many."""
    suspicious: Literal["warn", "undecided"] = "warn"
    undecided: Literal["skipped", "failure"] = "failure"
    """What an undecided task is in JUnit."""
    allow: tuple[str, ...] = ()
    seed: int = 0
    coverage: Share = 0.99
    parse_fail: Share = 0.01
    refusals: Share = 0.01
    truncation: Share = 0.01
    length: Range = (0.5, 2.0)
    rejudged: Mapping[str, str] = {}
    """By task: a copy of the baseline's run that the candidate's judge judged again."""
    anchors: Mapping[str, Anchor] = {}
    """By task: what its judge must agree with."""
    tasks: Mapping[str, TaskConfig] | None = None
    """None: every task of the baseline, as standard."""
    waivers: tuple[Waiver, ...] = ()

    @field_validator("tasks", mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        """Take `vcr:` without anything behind it for a task with the defaults."""
        if not isinstance(value, Mapping):
            return value
        return {key: {} if found is None else found for key, found in value.items()}

    def limit(self, task: TaskConfig, name: str) -> Any:
        """Return a limit of a task, its own or the gate's."""
        own = getattr(task, name)
        return getattr(self, name) if own is None else own


def condition(text: str) -> tuple[str, float, float]:
    """Return (metric, low, high) of `yes_ratio in 0.40..0.60`. Raises ValueError."""
    found = _CONDITION.match(text)
    if not found:
        raise ValueError(f"a condition reads `METRIC in LOW..HIGH`, found '{text}'")
    low, high = float(found[2]), float(found[3])
    if low >= high:
        raise ValueError(f"the range of '{text}' is empty")
    return found[1], low, high


def load(path: Path | str, *, known: Iterable[str] = (), today: date | None = None) -> Config:
    """Read a configuration file. Raises ConfigError with file and line.

    `known` are the tasks that there are; a task is known with any of its variants. `today` is the
    day on which waivers are looked at.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    data, lines = (_toml if path.suffix == ".toml" else _yaml)(path, text)
    if not isinstance(data, Mapping) or set(data) != {"gate"} or not data["gate"]:
        raise ConfigError(f"{path}, line 1: one key `gate:` with the configuration was expected")
    try:
        config = Config.model_validate(data["gate"])
    except ValidationError as error:
        raise ConfigError(_explained(path, error, lines)) from None
    _check(path, config, lines, frozenset(known), today or date.today())
    return config


def _check(path: Path, config: Config, lines: Lines, known: frozenset[str], today: date) -> None:
    from harness.errors import unknown
    from reports.comparable import check_names

    for task in (config.tasks or {}) if known else ():
        if task not in known and task.partition("/")[0] not in known:
            at = _line(lines, ("gate", "tasks", task))
            raise ConfigError(f"{path}, line {at}: {unknown('task', task, known)}")
    for task in config.anchors if config.tasks is not None else ():
        if task not in (config.tasks or {}):
            at = _line(lines, ("gate", "anchors", task))
            raise ConfigError(f"{path}, line {at}: anchors of {task}, which is not gated")
    for i, waiver in enumerate(config.waivers):
        at = _line(lines, ("gate", "waivers", i, "until"))
        if waiver.until < today:
            raise ConfigError(
                f"{path}, line {at}: the waiver of {waiver.task} expired on {waiver.until}; "
                "remove it, or decide again"
            )
        if config.tasks is not None and waiver.task not in config.tasks:
            at = _line(lines, ("gate", "waivers", i, "task"))
            raise ConfigError(f"{path}, line {at}: waives {waiver.task}, which is not gated")
    try:
        check_names(config.allow)
    except UsageError as error:
        raise ConfigError(f"{path}, line {_line(lines, ('gate', 'allow'))}: {error}") from error


def _explained(path: Path, error: ValidationError, lines: Lines) -> str:
    told = []
    for found in error.errors(include_url=False)[:5]:
        where = ("gate", *found["loc"])
        name = ".".join(map(str, found["loc"])) or "gate"
        what = found["msg"]
        if found["type"] == "extra_forbidden":
            what = f"there is no such key; {_keys(found['loc'])}"
        told.append(f"{path}, line {_line(lines, where)}: {name}: {what}")
    return "\n".join(told)


def _keys(where: tuple[str | int, ...]) -> str:
    model: type[BaseModel] = Config
    if where[0] == "tasks" and len(where) > 2:
        model = TaskConfig
    elif where[0] == "waivers":
        model = Waiver
    elif where[0] == "anchors" and len(where) > 2:
        model = Anchor
    return "known: " + ", ".join(model.model_fields)


def _line(lines: Lines, where: Place) -> int:
    """Return the line of a place, or of the nearest place around it."""
    for end in range(len(where), 0, -1):
        if where[:end] in lines:
            return lines[where[:end]]
    return 1


@cache
def _yaml_module() -> Any:
    from importlib import import_module  # it has no types of its own

    return import_module("yaml")


def _yaml(path: Path, text: str) -> tuple[Any, Lines]:
    """Read YAML with the line of each key. A key that comes twice is an error."""
    yaml = _yaml_module()
    lines: dict[Place, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()

        def build(found: Any, where: Place) -> Any:
            lines.setdefault(where, found.start_mark.line + 1)
            if found.id == "sequence":
                return [build(item, (*where, i)) for i, item in enumerate(found.value)]
            if found.id != "mapping":
                return loader.construct_object(found, deep=True)
            built: dict[Any, Any] = {}
            for key_node, value_node in found.value:
                key = loader.construct_object(key_node, deep=True)
                line = key_node.start_mark.line + 1
                if not isinstance(key, str) or key in built:
                    what = "comes twice" if key in built else "is no text"
                    raise ConfigError(f"{path}, line {line}: the key '{key}' {what}")
                lines[*where, key] = line
                built[key] = build(value_node, (*where, key))
            return built

        return (None if node is None else build(node, ())), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}, line {line}: not YAML: {what}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested without end") from error


_TABLE = re.compile(r"^\s*\[+([^\[\]]+)\]+\s*(#.*)?$")
_KEY = re.compile(r"""^\s*([\w.\-"'/]+)\s*=""")


def _toml(path: Path, text: str) -> tuple[Any, Lines]:
    """Read TOML; its lines are found by looking for the keys at the start of lines."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"{path}, line {found[1] if found else 1}: not TOML: {error}") from error
    lines: dict[Place, int] = {}
    here: Place = ()
    seen: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        table, key = _TABLE.match(line), _KEY.match(line)
        if table:
            here = _dotted(table[1])
            if line.lstrip().startswith("[["):
                seen[here] = seen.get(here, -1) + 1
                here = (*here, seen[here])
            lines[here] = number
        elif key:
            lines[*here, *_dotted(key[1])] = number
            for inner in re.findall(r"""[{,]\s*([\w"'/\-]+)\s*=""", line):
                lines[*here, *_dotted(key[1]), *_dotted(inner)] = number
    return data, lines


def _dotted(text: str) -> Place:
    parts = re.findall(r"""'([^']*)'|"([^"]*)"|([^.\s]+)""", text)
    return tuple(next(part for part in found if part) for found in parts if any(found))
