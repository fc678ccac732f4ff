"""Whether two runs may be compared, and which row of one belongs to which row of the other.

Rows are joined by what was asked (the item hash of harness/fingerprint.py, and the pixels where
both runs looked at them), never by position. A run that is unfinished, of another task, or whose
numbers do not follow from its rows is refused; what two sound runs disagree on is listed.
Reads run folders only.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from harness import fingerprint, store
from harness.errors import DataError, unknown
from harness.record import Record, Row, read
from harness.seal import check_seal
from harness.stats import COUNTED, estimate_all
from harness.types import Metric

ASPECTS = ("data", "images", "scorer", "decoding", "preprocessing", "judge")
"""What must agree; any of them can be allowed to differ by name."""
FINISHED = ("complete", "incomplete")


@dataclass(frozen=True)
class Run:
    """A run folder that was checked, with its rows in memory."""

    folder: Path
    head: Mapping[str, Any]
    """run.json."""
    rows: Sequence[Row]
    repeats: Sequence["Run"] = ()
    """Runs of the same model on the same items of which this is the mean (reports/repeats.py)."""
    apart: Sequence["Difference"] = ()
    """What these do not agree on and was allowed."""

    @property
    def each(self) -> Sequence["Run"]:
        """The runs behind it: itself, or its repeats."""
        return self.repeats or (self,)

    @property
    def doubts(self) -> list[str]:
        """What a reader must know about how the record came to be."""
        found = []
        for run in self.each:
            if not run.head.get("seal"):
                found.append(
                    f"{run.folder} is not sealed (an older version wrote it): an edit by hand that "
                    "changes no number would not be seen"
                )
            found += [
                f"edited before the run went on: {told}" for told in run.head.get("edited", ())
            ]
        return found

    @property
    def task(self) -> str:
        """Name of the task with its variant."""
        return str(self.head["task"]["name"])

    @property
    def model(self) -> str:
        """The model as it was named on the command line."""
        return str(self.head["model"]["address"])

    @property
    def metrics(self) -> list[Metric]:
        """The definitions of the task's metrics."""
        return [Metric(**metric) for metric in self.head["task"]["metrics"]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two runs do not agree on."""

    name: str
    """One of ASPECTS."""
    base: str
    cand: str
    items: int
    """How many items it concerns."""

    def __str__(self) -> str:
        return f"{self.name}: {self.base} | {self.cand} ({self.items:,} items)"


@dataclass(frozen=True)
class Joined:
    """The items that two runs share, and what the runs do not agree on."""

    pairs: Sequence[tuple[Row, Row]]
    """In the order of the baseline."""
    only_base: Sequence[Row]
    only_cand: Sequence[Row]
    differences: Sequence[Difference]


def load(folder: Path | str) -> Run:
    """Read a run folder or a run in a store, and check that it is whole.

    Raises DataError with the reason.
    """
    record = read(folder)
    status = record.run.get("status")
    if status not in FINISHED:
        raise DataError(
            f"{record.folder}: the run is {status}, not finished; go on with it by "
            "`sightline run ... --resume` (or `sightline judge`), then compare"
        )
    check_seal(record.folder, record.run)
    rows = [_kept(row) for row in record.rows()]
    run = Run(record.folder, record.run, rows)
    try:
        _check_rows(run)
        _check_numbers(run)
        for name in ASPECTS[2:]:
            _told(run, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{record.folder}: run.json or its rows are not what a run writes "
            f"({type(error).__name__}: {error}); they were edited by hand"
        ) from error
    _check_table(record, run)
    return run


def folders_in(place: Path | str) -> list[Path]:
    """Return the run folders at a place; runs in a store are fetched. See `places_in`."""
    return [store.local(found) for found in places_in(place)]


def places_in(place: Path | str) -> list[Path | str]:
    """Return the runs at a place: itself, or those directly in it; a store may be there too.

    Raises DataError where there is none: an empty folder must never look like a good result.
    """
    at = store.as_path(place)
    found: list[Path | str] = []
    if isinstance(at, Path):
        if (at / "run.json").exists() or store.is_run(at):
            return [at]
        if not at.is_dir():
            raise DataError(f"{at}: no such folder; name a run folder or a folder of run folders")
        found += sorted(path.parent for path in at.glob("*/run.json"))
        found += map(Path, store.runs(at))
    else:
        found += store.runs(at)
    if not found:
        what = "none holds a run.json" if isinstance(at, Path) else "no manifest is there"
        raise DataError(f"{place}: no run folder in it ({what})")
    return found


def _kept(row: Row) -> Row:
    """Return a row without what comparing never reads; long prompts would fill the memory."""
    try:
        answer = row["answer"] or {}
        return {
            **{key: row[key] for key in _KEPT},
            "pixels": row.get("pixels") or [],
            "answer": row["answer"] and {k: v for k, v in answer.items() if k != "features"},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the row '{row.get('id')}' has no usable {error}") from error


_KEPT = ("index", "id", "item", "cluster", "status", "score", "parsed", "target", "groups", "stats",
         "error")  # fmt: skip


def _check_rows(run: Run) -> None:
    total = run.head["counts"]["total"]
    if len({row["id"] for row in run.rows}) < len(run.rows):
        raise DataError(f"{run.folder}: an id comes twice in its rows; the rows were edited")
    if len(run.rows) != total or not run.rows:
        raise DataError(
            f"{run.folder}: {len(run.rows):,} rows, but run.json says {total:,}; the rows were "
            "edited or cut"
        )
    found = fingerprint.data(row["item"] for row in run.rows)
    if found != run.head["fingerprint"]["data"]:
        raise DataError(
            f"{run.folder}: its items hash to {found}, run.json says "
            f"{run.head['fingerprint']['data']}; rows or run.json were edited"
        )


def _check_numbers(run: Run) -> None:
    """Compute the metrics again from the rows: numbers that do not follow were edited."""
    counts: defaultdict[str, int] = defaultdict(int)
    for row in run.rows:
        counts[row["status"]] += 1
    told = {name: n for name, n in run.head["counts"].items() if name != "total" and n}
    if dict(counts) != told:
        raise DataError(
            f"{run.folder}: its rows count {dict(counts)}, run.json says {told}; edited by hand?"
        )
    computed = estimate_all(run.rows, run.metrics)
    recorded = run.head.get("metrics") or {}
    wrong = [name for name in computed.keys() ^ recorded.keys()]
    for name in computed.keys() & recorded.keys():
        now, then = computed[name], recorded[name]
        if now.n != then["n"] or not _same(now.value, then["value"]):
            wrong.append(f"{name} (run.json {then['value']}, its rows give {now.value})")
    if wrong:
        raise DataError(
            f"{run.folder}: metrics do not follow from the rows: {', '.join(sorted(wrong)[:4])}; "
            "run.json or the rows were edited by hand"
        )


def _same(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _check_table(record: Record, run: Run) -> None:
    """Compare the rows with the table that the run wrote of them when it ended."""
    path = record.folder / "rows.parquet"
    if not path.exists():
        return
    import pyarrow.parquet as pq

    columns = ("id", "item", "status", "score", "parsed", "text", "cluster")
    try:
        table = pq.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    told = {row["id"]: row for row in table}
    for row in run.rows:
        flat = {key: row.get(key) for key in columns}
        flat["text"] = (row["answer"] or {}).get("text")
        then = told.get(_clean(row["id"]))
        if then is None or any(_clean(flat[key]) != then[key] for key in columns):
            what = [key for key in columns if then is None or _clean(flat[key]) != then[key]]
            raise DataError(
                f"{run.folder}: the row '{row['id']}' is not what the run wrote when it ended "
                f"({', '.join(what)} differ from rows.parquet); the rows were edited by hand"
            )


def _clean(value: Any) -> Any:
    """Return text as parquet can hold it (harness/parquet.py)."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def join(base: Run, cand: Run) -> Joined:
    """Pair the rows of two runs and list what the runs disagree on.

    Raises DataError when they are runs of different tasks.
    """
    if base.task != cand.task:
        raise DataError(
            f"{cand.folder} is a run of {cand.task}, {base.folder} of {base.task}; "
            "runs of one task are compared"
        )
    pairs, only_base, only_cand = _pair(base.rows, cand.rows)
    return Joined(
        pairs, only_base, only_cand, _differences(base, cand, pairs, only_base, only_cand)
    )


def _pair(
    base: Iterable[Row], cand: Iterable[Row]
) -> tuple[list[tuple[Row, Row]], list[Row], list[Row]]:
    """Join by item.

    The same question may be asked twice (POPE's splits share some): then by id too, then by
    group, so that what is left to pair is the same in every respect.
    """
    left, right = list(base), list(cand)
    pairs: list[tuple[Row, Row]] = []
    for key in (_with_id, _with_groups):
        waiting = defaultdict(list)
        for row in sorted(right, key=lambda r: str(r["id"])):
            waiting[key(row)].append(row)
        rest = []
        for row in left:
            found = waiting[key(row)]
            if found:
                pairs.append((row, found.pop(0)))
            else:
                rest.append(row)
        left, right = rest, [row for rows in waiting.values() for row in rows]
    pairs.sort(key=lambda pair: pair[0]["index"])
    return pairs, left, right


def _with_id(row: Row) -> tuple[str, ...]:
    return row["item"], row["id"]


def _with_groups(row: Row) -> tuple[str, ...]:
    return row["item"], json.dumps(row["groups"], sort_keys=True, default=str)


def _differences(
    base: Run,
    cand: Run,
    pairs: Sequence[tuple[Row, Row]],
    only_base: Sequence[Row],
    only_cand: Sequence[Row],
) -> list[Difference]:
    found = []
    if only_base or only_cand:
        found.append(
            Difference(
                "data",
                f"{len(base.rows):,} items, {len(only_base):,} of them in no row of the candidate",
                f"{len(cand.rows):,} items, {len(only_cand):,} of them not in the baseline",
                len(only_base) + len(only_cand),
            )
        )
    changed = [(a, b) for a, b in pairs if _other_pixels(a["pixels"], b["pixels"])]
    if changed:
        first = changed[0][0]["id"]
        found.append(Difference("images", f"pixels as in '{first}'", "other pixels", len(changed)))
    for name in ("scorer", "decoding", "preprocessing", "judge"):
        left, right = _told(base, name), _told(cand, name)
        if left != right:
            found.append(Difference(name, *_readable(left[1], right[1]), len(pairs)))
    return found


def _other_pixels(a: Sequence[str | None], b: Sequence[str | None]) -> bool:
    """Whether both runs saw an image and did not see the same one."""
    if not a or not b:
        return False
    return len(a) != len(b) or any(x and y and x != y for x, y in zip(a, b, strict=True))


def _told(run: Run, name: str) -> tuple[str, Any]:
    """Return the hash of an aspect and what people should read of it."""
    task, prints = run.head["task"], run.head["fingerprint"]
    if name == "decoding":  # another seed is another draw of the same thing
        how = {k: v for k, v in task["decoding"].items() if k != "seed"} | {"ask": task["ask"]}
        return fingerprint.digest(how), how
    if name == "scorer":
        return prints["scorer"], {"scorer": task["scorer"], "version": task["version"]}
    if name == "preprocessing":
        return prints["preprocessing"], run.head["model"]["description"].get("preprocessing")
    judging = run.head.get("judging")
    if not judging:
        return prints.get("judge", ""), None
    who = [judge["address"] for judge in judging["judges"]]
    rubric = f"{judging['rubric']['name']}@{judging['rubric']['version']}"
    return prints["judge"], {"judges": who, "rubric": rubric, "votes": judging["votes"]}


def _readable(a: Any, b: Any) -> tuple[str, str]:
    """Return two descriptions, cut down to what differs between them."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
        if keys:
            a, b = ({key: side.get(key) for key in keys} for side in (a, b))
        else:
            return "its rubric or files have another hash", "the same names, other contents"
    return _short(a), _short(b)


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 160 else text[:157] + "..."


_PARTS = re.compile(r"model|checkpoint-\d+")


def short(address: str) -> str:
    """Return a model's address without the folders of its path.

    What our own training leaves is called by the run that it comes from: `good/model` is `good`,
    and `good/checkpoint-40` stays so.
    """
    kind, colon, rest = address.rpartition(":")
    *folders, last = rest.rstrip("/").split("/")
    if folders and _PARTS.fullmatch(last):
        last = folders[-1] if last == "model" else f"{folders[-1]}/{last}"
    return f"{kind}{colon}{last}"


def check_names(allow: Iterable[str]) -> frozenset[str]:
    """Return the aspects that may differ. Raises UsageError for one that there is not."""
    names = frozenset(allow)
    for name in names:
        if name not in ASPECTS:
            raise unknown("aspect to allow", name, ASPECTS)
    return names


def refusal(base: Run, cand: Run, differences: Sequence[Difference]) -> DataError:
    """Return the error that says why two runs are not comparable, one line per difference."""
    lines = "".join(
        f"\n  {d.name} ({d.items:,} items)\n    baseline   {d.base}\n    candidate  {d.cand}"
        for d in differences
    )
    names = " ".join(f"--allow {name}" for name in dict.fromkeys(d.name for d in differences))
    return DataError(
        f"not comparable: {base.folder} and {cand.folder} ({base.task}) differ in what was "
        f"measured:{lines}\nuse runs that agree; {names} compares them anyway, as advice only"
    )


def counted(row: Row) -> bool:
    """Whether a row has a result; failed, missing and unjudged ones never get a score."""
    return row["status"] in COUNTED
