"""Task x model -> rows -> record: the one loop.

Samples are asked in the task's order, answered in whatever order the model prefers, scored at once
and appended to the record as they come. A sample that fails becomes a failed row; only when more
than `max_failures` of them fail does the run stop, with its record intact. Nothing here knows
what a task asks or how a model answers.
"""

import time
from array import array
from base64 import b64encode
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from harness import environment, fingerprint
from harness.collect import seldom
from harness.errors import DataError, RunStopped, SightlineError, UsageError
from harness.record import SCHEMA, Record, Row, Writer, read, read_rows
from harness.seal import seal
from harness.stats import COUNTED
from harness.types import Answer, Failure, Image, Model, Sample, Score, Task

OUTCOMES = ("scored", "unparsed", "unjudged", "failed", "missing")


class Watcher(Protocol):
    """What a progress display needs to know."""

    def begin(self, total: int, done: int) -> None:
        """Say how many samples there are, and how many were done before."""

    def row(self, row: Row) -> None:
        """Show one finished row."""

    def end(self) -> None:
        """Put the display away."""


@dataclass
class Plan:
    """A run that is ready to start: samples checked, fingerprints taken."""

    task: Task
    model: Model
    address: str
    """The model as it was named on the command line."""
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    samples: list[Sample] = field(default_factory=list)
    items: list[str] = field(default_factory=list)


def plan(
    task: Task,
    model: Model,
    *,
    address: str = "",
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Plan:
    """Read and check the samples. Raises DataError for no samples or an id that comes twice."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}; it must be 1 or more")
    with seldom():
        samples = list(task.samples())
    ids = {sample.id for sample in samples}
    if not samples:
        raise DataError(f"{task.name}: no samples in {task.source.address}; the split is empty")
    if len(ids) < len(samples):
        seen: set[str] = set()
        twice = next(s.id for s in samples if s.id in seen or seen.add(s.id))  # type: ignore[func-returns-value]
        raise DataError(f"{task.name}: the id '{twice}' comes twice; ids must be unique")
    if hasattr(model, "check_ids"):
        model.check_ids(ids.union(*(sample.aliases for sample in samples)))
    chosen = samples if limit is None else samples[:limit]
    _can_fit(task, model, chosen)
    if hasattr(model, "prepare"):
        model.prepare(chosen)
    task = replace(task, decoding=replace(task.decoding, seed=seed))
    with seldom():
        items = [fingerprint.item(sample) for sample in chosen]
    return Plan(task, model, address or model.name, options or {}, limit, seed, chosen, items)


def _can_fit(task: Task, model: Model, samples: Sequence[Sample]) -> None:
    """Refuse a model that would not be trained where the task wants it (harness/fit.py).

    Floors and recorded answers, which never look at images, need no training.
    """
    fits = getattr(model, "fits", not getattr(model, "looks", True))
    if not fits and any("fit" in sample.facts for sample in samples):
        raise UsageError(
            f"{task.name} is about a model that is trained on the task's images, and "
            f"'{model.name}' cannot be: take a dual encoder (transformers: with a CLIP or SigLIP), "
            "or another variant of the task"
        )
    maps = getattr(model, "dense", not getattr(model, "looks", True))
    if not maps and any(sample.facts.get("dense") == "map" for sample in samples):
        raise UsageError(
            f"{task.name} asks for a map of classes over the picture, and '{model.name}' answers "
            "in words: take a dual encoder (transformers: with a CLIP or SigLIP)"
        )


def run(
    planned: Plan,
    out: Path,
    *,
    resume: bool = False,
    max_failures: float = 0.01,
    watcher: Watcher | None = None,
) -> Record:
    """Carry out a plan and return its record.

    `max_failures` is the share of samples that may fail (at least one may). Raises UsageError
    when `out` holds something else, RunStopped when too many samples fail or the model breaks.
    """
    if not 0 <= max_failures <= 1:
        raise UsageError(f"--max-failures is {max_failures}; it is a share between 0 and 1")
    started = time.monotonic()
    with Writer(out, _header(planned), resume=resume) as writer:
        todo = [i for i, sample in enumerate(planned.samples) if sample.id not in writer.done]
        if watcher:
            watcher.begin(len(planned.samples), len(planned.samples) - len(todo))
        try:
            with closing(_rows(planned, todo)) as rows:
                _write(planned, rows, writer, max_failures, watcher)
            _derive(planned, writer)
            outcome: BaseException | None = None
        except BaseException as error:  # the record is closed properly whatever happened
            outcome = error
        finally:
            if watcher:
                watcher.end()
        _finish(planned, writer, outcome, time.monotonic() - started)
    if outcome is not None:
        raise _explained(outcome, out) from outcome
    return read(out)


def _write(
    planned: Plan,
    rows: Iterable[Row],
    writer: Writer,
    max_failures: float,
    watcher: Watcher | None,
) -> None:
    failed = 0
    allowed = max(1, int(max_failures * len(planned.samples)))
    for row in rows:
        writer.write(row)
        if watcher:
            watcher.row(row)
        if row["status"] == "failed":
            failed += 1
            if failed > allowed:
                raise RunStopped(
                    f"{failed} samples failed, more than --max-failures allows ({allowed} of "
                    f"{len(planned.samples)}); the last one, {row['id']}: {row['error']}"
                )


def _derive(planned: Plan, writer: Writer) -> None:
    """Let the task compute what it can only have from all answers together."""
    if planned.task.derive is None:
        return
    counted = [row for row in read_rows(writer.folder) if row["status"] in COUNTED]
    try:
        extras = planned.task.derive(counted) if counted else {}
    except SightlineError:
        raise
    except Exception as raised:  # a task's bug: the answers are safe and can be scored again
        raise RunStopped(
            f"{planned.task.name} could not score the answers together: {type(raised).__name__}: "
            f"{raised}"
        ) from raised
    writer.derive(extras)


def _rows(planned: Plan, todo: Sequence[int]) -> Generator[Row]:
    """Ask the model and yield one row per sample, each exactly once."""
    task, model = planned.task, planned.model
    asked = [planned.samples[i] for i in todo]
    answered = bytearray(len(asked))
    replies = model.answer(asked, task.ask, task.decoding) if asked else iter(())
    with ExitStack() as stack:
        stack.enter_context(closing(_Closable(replies)))
        looks = getattr(model, "looks", True)
        pixels = stack.enter_context(closing(_Pixels(asked))) if looks else None
        for at, reply in replies:
            if not 0 <= at < len(asked) or answered[at]:
                raise RunStopped(
                    f"the model '{model.name}' answered position {at} twice or never asked"
                )
            answered[at] = 1
            yield _row(planned, todo[at], reply, pixels)
        silent = Failure("the model gave no reply for this sample")
        for at, index in enumerate(todo):
            if not answered[at]:
                yield _row(planned, index, silent, pixels)


def _row(planned: Plan, index: int, reply: Answer | Failure, pixels: "_Pixels | None") -> Row:
    sample = planned.samples[index]
    answer = reply if isinstance(reply, Answer) else None
    error = reply.error if isinstance(reply, Failure) else None
    score: Score | None = None
    if answer is not None:
        try:
            score = planned.task.score(sample, answer)
        except Exception as raised:  # a scorer's bug must cost a row, not the run
            error = f"the scorer {planned.task.scorer} raised {type(raised).__name__}: {raised}"
    failed = reply.kind if isinstance(reply, Failure) else "failed"
    return {
        "index": index,
        "id": sample.id,
        "cluster": sample.cluster or sample.id,
        "status": score.status if score else failed,
        "score": score.value if score else None,
        "parsed": score.parsed if score else None,
        "target": sample.target,
        "answer": _plain(answer) if answer else None,
        "groups": dict(sample.groups),
        "stats": dict(score.stats) if score else {},
        "prompt": fingerprint.prompt_parts(sample),
        "choices": list(sample.choices),
        "regions": [
            {"box": list(r.box), "label": r.label, "image": r.image} for r in sample.regions
        ],
        "item": planned.items[index],
        "pixels": pixels.of(sample) if pixels else [],
        "error": error or (score.reason or None if score else None),
    }


def _plain(answer: Answer) -> dict[str, Any]:
    """Return the fields that were set; most answers are a text and nothing else.

    Features are little-endian float32 in base64: as decimal text they would be four times as long.
    """
    found: dict[str, Any] = {"text": answer.text, "stop": answer.stop}
    for name in ("choice", "tokens_in", "tokens_out", "seconds"):
        if (value := getattr(answer, name)) is not None:
            found[name] = value
    if answer.scores:
        found["scores"] = list(answer.scores)
    if answer.features:
        found["features"] = b64encode(array("f", answer.features).tobytes()).decode()
    return found


class _Pixels:
    """Pixel hashes of the images of some samples, computed once each, beside the model's work."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        images = {part.name: part for s in samples for part in s.prompt if isinstance(part, Image)}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pixels")
        self._known = {name: self._worker.submit(_pixels, image) for name, image in images.items()}

    def of(self, sample: Sample) -> list[str | None]:
        """Return one hash per image of a sample; None where it cannot be decoded."""
        return [self._known[p.name].result() for p in sample.prompt if isinstance(p, Image)]

    def close(self) -> None:
        """Drop what is not yet computed."""
        self._worker.shutdown(cancel_futures=True)


def _pixels(image: Image) -> str | None:
    try:
        return fingerprint.pixels(image)
    except (SightlineError, OSError, SyntaxError, ValueError):
        return None  # the model says what is wrong with it, in the row of each of its samples


class _Closable:
    """Close a reply generator early, so that threads and requests behind it end."""

    def __init__(self, replies: Any) -> None:
        self.close = getattr(replies, "close", lambda: None)


def _header(planned: Plan) -> dict[str, Any]:
    task, model = planned.task, planned.model
    now = datetime.now(UTC).isoformat(timespec="seconds")
    described = dict(model.describe())
    return {
        "schema": SCHEMA,
        "id": f"{task.name}-{model.name}-{now}-{token_hex(3)}".replace("/", "-").replace(":", ""),
        "status": "running",
        "task": {
            "name": task.name,
            "version": task.version,
            "scorer": task.scorer,
            "ask": task.ask,
            "decoding": asdict(task.decoding),
            "headline": task.headline,
            "chance": task.chance,
            "metrics": [asdict(metric) for metric in task.metrics],
            "notes": list(task.notes),
            "judge": fingerprint.rubric(task.judge) if task.judge else None,
        },
        "source": {**asdict(task.source), "files": dict(task.source.files)},
        "model": {
            "address": environment.redact(planned.address),
            "name": model.name,
            "options": dict(planned.options),
            "description": described,
        },
        "seed": planned.seed,
        "limit": planned.limit,
        "started": now,
        "now": now,
        "environment": environment.capture(),
        "fingerprint": fingerprint.of_run(task, described, planned.items),
        "counts": {"total": len(planned.samples)},
        "metrics": {},
    }


def _finish(planned: Plan, writer: Writer, outcome: BaseException | None, seconds: float) -> None:
    """Write counts, metrics and status. A full disk was already told; it must not hide that."""
    described = dict(planned.model.describe())
    nothing_asked = len(writer.done) == len(planned.samples)
    if writer.before and nothing_asked:  # what was known stays known
        described = dict(writer.before["model"]["description"])
    fingerprints = {**writer.header["fingerprint"], **fingerprint.of_model(described)}
    changes = {
        **summarise(writer.folder, planned.task, planned.samples, stopped=outcome is not None),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(writer.header.get("seconds", 0.0) + seconds, 3),
        "model": {**writer.header["model"], "description": described},
        "environment": environment.capture(),
        "fingerprint": fingerprints,
        "error": f"{type(outcome).__name__}: {outcome}" if outcome else None,
    }
    try:
        writer.save(**changes)
    except RunStopped:
        if outcome is None:
            raise


def summarise(
    folder: Path, task: Task, samples: Sequence[Sample], *, stopped: bool
) -> dict[str, Any]:
    """Return the status, counts, metrics and seal that follow from the rows of a run of `samples`.

    Writes rows.parquet beside them, unless the run was `stopped`; then there is no seal either.
    """
    from harness import parquet
    from harness.stats import estimate_all

    counts = dict.fromkeys(OUTCOMES, 0)

    def counted(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            counts[row["status"]] += 1
            yield row

    rows = counted(read_rows(folder))
    if not stopped:
        groups = dict.fromkeys(name for sample in samples for name in sample.groups)
        rows = parquet.write(folder, rows, groups)
    with seldom():
        metrics = estimate_all(rows, task.metrics)
    complete = counts["scored"] + counts["unparsed"] == len(samples)
    return {
        "status": "stopped" if stopped else "complete" if complete else "incomplete",
        "counts": {"total": len(samples), **counts},
        "metrics": {name: asdict(value) for name, value in metrics.items()},
        "seal": None if stopped else seal(folder),
    }


def _explained(outcome: BaseException, out: Path) -> BaseException:
    """Turn what ended the run into one line that says what is kept and how to go on."""
    if isinstance(outcome, KeyboardInterrupt | SystemExit | GeneratorExit):
        return outcome
    kept = f"The record in {out} is intact; `--resume` goes on from there."
    if isinstance(outcome, SightlineError):
        if "--resume" in str(outcome) or not isinstance(outcome, RunStopped):
            return outcome
        return RunStopped(f"{outcome}. {kept}")
    return RunStopped(f"the model raised {type(outcome).__name__}: {outcome}. {kept}")
