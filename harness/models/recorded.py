"""Answers that were given before: `recorded:FILE` scores a file that some other tool wrote.

Most formats name the sample of each answer, and where they also carry the question it must be
the sample's own: an answer to another version of the benchmark is an error, not a wrong answer.
POPE's official answer files carry no ids; they are joined by position after every question was
compared. The formats are in harness/models/_recorded_formats.py. No answer for a sample is a
missing row, never a wrong one.

Imports the standard library, harness.types, harness.errors and the formats.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError, unknown
from harness.models._recorded_formats import Columns, Entry, Recording, read
from harness.types import Answer, Ask, Decoding, Failure, Reply, Sample

_SHOWN = 5


def make(
    address: str,
    *,
    format: str = "auto",
    id_field: str | None = None,
    answer_field: str | None = None,
    prompt_field: str | None = None,
    extra: str = "error",
) -> "Recorded":
    """Read the answers in the file `address`.

    Args:
        address: The file; gzip is allowed.
        format: One of harness.models._recorded_formats.FORMATS.
        id_field: The column that holds the ids, where the names do not tell.
        answer_field: The column that holds the answers, where the names do not tell.
        prompt_field: The column that holds what was asked.
        extra: What to do with answers to samples that the task does not have: `error`, `ignore`.
    """
    if not address:
        raise UsageError("'recorded' needs a file of answers: recorded:FILE")
    if extra not in ("error", "ignore"):
        raise unknown("value of extra", extra, ("error", "ignore"))
    columns = Columns(id_field, answer_field, prompt_field)
    named = {"id": id_field, "answer": answer_field, "prompt": prompt_field}
    recording = read(Path(address).expanduser(), format, columns)
    return Recorded(recording, extra, {k: v for k, v in named.items() if v})


class Recorded:
    """A model that repeats what a file says."""

    looks = False

    def __init__(
        self, recording: Recording, extra: str = "error", columns: Mapping[str, str] | None = None
    ) -> None:
        """Hold a file of answers; `columns` are those that were named by hand."""
        self.name = f"recorded-{recording.path.name}"
        self._file = recording
        # The official GQA scorer leaves predictions for other questions aside.
        self._lenient = extra == "ignore" or recording.format == "gqa"
        self._columns = dict(columns or {})
        self._extras: int | None = None
        self._placed: dict[str, Entry] | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return the file, its hash, the format recognised and how many answers it holds."""
        return {
            "kind": "recorded",
            "file": self._file.path.name,
            "sha256": self._file.sha256,
            "format": self._file.format,
            "columns": self._columns,  # two columns of one file are two models
            "answers": len(self._file.entries),
            "extras": self._extras,
        }

    def check_ids(self, known: Collection[str]) -> None:
        """Compare the file's ids with all ids and aliases of a task, whatever is asked later.

        Raises DataError when the file holds ids that the task does not have.
        """
        if not self._file.has_ids:
            return
        strangers = [name for name in self._file.by_id if name not in known]
        everything = len(strangers) == len(self._file.by_id)
        if strangers and (everything or not self._lenient):
            raise DataError(
                f"{self._file.path}: {len(strangers)} of {len(self._file.by_id)} ids are not in "
                f"this task: {_some(strangers)}; the task has {_some(sorted(known))}. Is it the "
                "right file, column (--option id_field=COLUMN) and task variant?"
                + ("" if everything else " --option extra=ignore leaves them out")
            )
        self._extras = len(strangers)

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Place answers without ids among all samples of a run, so that a part can be resumed.

        Raises DataError when the answers belong to other questions, or are more or fewer.
        """
        if not self._file.has_ids:
            self._placed = _by_position(self._file, samples)
            self._extras = 0

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Give the recorded answer of each sample; `Failure("missing")` where there is none.

        Raises UsageError when the file does not hold what `ask` needs, DataError when an answer
        belongs to another question; both before the first reply.
        """
        self._check_ask(samples, ask)
        found = self._join(samples)
        for sample, entry in zip(samples, found, strict=True):
            if entry is not None:
                _check_entry(self._file, sample, entry, ask)
        return enumerate(
            _reply(self._file, sample, entry, ask)
            for sample, entry in zip(samples, found, strict=True)
        )

    def _check_ask(self, samples: Sequence[Sample], ask: Ask) -> None:
        entries = self._file.entries
        if ask == "encode":
            raise UsageError(f"{self._file.path}: recorded answers hold no features to encode")
        if ask == "rank" and not any(e.scores or e.choice is not None for e in entries):
            raise UsageError(
                f"{self._file.path}: this task ranks its choices; the file must hold 'scores' (one "
                "per choice) or 'choice' (the position taken), it holds texts only"
            )
        positions = all(e.choice is not None or e.scores for e in entries)
        without_text = positions and not any(e.text for e in entries)
        if ask == "generate" and without_text and not all(s.choices for s in samples):
            raise UsageError(
                f"{self._file.path}: the file holds positions of choices and no texts, but this "
                "task has no choices: it asks for a text"
            )

    def _join(self, samples: Sequence[Sample]) -> list[Entry | None]:
        if not self._file.has_ids:
            placed = self._placed
            if placed is None:
                placed = _by_position(self._file, samples)
            return [placed.get(sample.id) for sample in samples]
        joined = [self._by_name(sample) for sample in samples]
        claimed: dict[str | None, str] = {}
        for sample, entry in zip(samples, joined, strict=True):
            if entry is None:
                continue
            other = claimed.setdefault(entry.id, sample.id)
            if other != sample.id:
                raise DataError(
                    f"{self._file.path}, {entry.where}: the id '{entry.id}' could mean the samples "
                    f"'{other}' and '{sample.id}'; use the ids of this task"
                )
        return joined

    def _by_name(self, sample: Sample) -> Entry | None:
        names = dict.fromkeys((sample.id, *sample.aliases))
        entries = [self._file.by_id[name] for name in names if name in self._file.by_id]
        if len(entries) > 1:
            raise DataError(
                f"{self._file.path}: the ids '{entries[0].id}' and '{entries[1].id}' mean the same "
                f"sample '{sample.id}'; each sample may have one answer"
            )
        return entries[0] if entries else None


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(repr(name[:60]) for name in names[:_SHOWN]) + more


def _plain(text: str) -> str:
    """Return a text without image tokens and with single spaces, for comparison."""
    return " ".join(text.replace("<image>", " ").split())


def _expected(sample: Sample) -> list[str]:
    """Return texts of which one must stand in what was asked: the question, else the prompt."""
    question = sample.facts.get("question")
    if isinstance(question, str):
        return [_plain(question)]
    prompt = "\n".join(part for part in sample.prompt if isinstance(part, str)).strip()
    return [_plain(prompt), _plain(prompt.partition("\n")[0])]


def _same_question(sample: Sample, asked: str) -> bool:
    """Whether one of the two texts contains the other; instructions around them may differ."""
    found = _plain(asked)
    return any(expected in found or found in expected for expected in _expected(sample))


def _by_position(file: Recording, samples: Sequence[Sample]) -> dict[str, Entry]:
    """Return the entries by sample id, joined by position to the whole set or to one split.

    Raises DataError naming the first question that differs, or the lengths.
    """
    ordered = _file_order(samples)
    splits: dict[Any, list[Sample]] = {}
    for sample in ordered:
        splits.setdefault(sample.groups.get("split"), []).append(sample)
    candidates = [ordered, *(splits.values() if len(splits) > 1 else [])]
    fitting = [part for part in candidates if len(part) == len(file.entries)]
    if not fitting:
        lengths = ", ".join(f"{len(part):,}" for part in candidates)
        raise DataError(
            f"{file.path}: {len(file.entries):,} answers without ids, but this run has {lengths} "
            "samples (all, then each split). Such a file must cover a whole split in the order of "
            "its file; it cannot be used with --limit"
        )
    differs = [_differences(file.entries, part) for part in fitting]
    same = [part for part, found in zip(fitting, differs, strict=True) if not found]
    if len(same) > 1:
        raise DataError(
            f"{file.path}: its questions are those of {len(same)} splits alike, so the answers "
            "cannot be placed; add ids to the file"
        )
    if same:
        return {s.id: e for s, e in zip(same[0], file.entries, strict=True)}
    nearest = min(range(len(fitting)), key=lambda i: len(differs[i]))
    at = differs[nearest][0]
    raise DataError(_mismatch(file, fitting[nearest][at], file.entries[at]))


def _file_order(samples: Sequence[Sample]) -> list[Sample]:
    """Undo a task's own order: official files number their questions in order."""
    if all(sample.id.isdecimal() for sample in samples):
        return sorted(samples, key=lambda sample: int(sample.id))
    return list(samples)


def _differences(entries: Sequence[Entry], samples: Sequence[Sample]) -> list[int]:
    """Return the positions whose questions differ."""
    pairs = zip(samples, entries, strict=True)
    return [at for at, (s, e) in enumerate(pairs) if not _same_question(s, e.prompt)]


def _mismatch(file: Recording, sample: Sample, entry: Entry) -> str:
    return (
        f"{file.path}, {entry.where}: the answer for sample '{sample.id}' was given to another "
        f"question: expected {_expected(sample)[0][:160]!r}, found {_plain(entry.prompt)[:160]!r}. "
        "The file belongs to another version or order of the data"
    )


def _check_entry(file: Recording, sample: Sample, entry: Entry, ask: Ask) -> None:
    """Raise DataError where an entry cannot be an answer to this sample."""
    if entry.prompt and not _same_question(sample, entry.prompt):
        raise DataError(_mismatch(file, sample, entry))
    count = len(sample.choices)
    where = f"{file.path}, {entry.where}: sample '{sample.id}' has {count} choices"
    if count and entry.choice is not None and entry.choice >= count:
        raise DataError(f"{where}, the file takes number {entry.choice} (0 is the first)")
    if count and entry.scores and len(entry.scores) != count:
        raise DataError(f"{where}, the file has {len(entry.scores)} scores")
    if ask == "rank" and not entry.scores and entry.choice is None:
        raise DataError(f"{where}, the file has neither 'scores' nor 'choice' for it")


def _reply(file: Recording, sample: Sample, entry: Entry | None, ask: Ask) -> Answer | Failure:
    if entry is None:
        return Failure(f"{file.path.name} has no answer for '{sample.id}'", "missing")
    choice = entry.choice
    if choice is None and entry.scores:
        choice = entry.scores.index(max(entry.scores))
    if entry.text is None and choice is None:
        return Failure(f"{file.path.name}, {entry.where}: the answer is null", "missing")
    if not sample.choices:
        return Answer(text=entry.text or "")
    text = entry.text
    if text is None and choice is not None:  # a file of positions: say the choice that was taken
        text = sample.choices[choice] if choice >= 0 and ask == "generate" else ""
    return Answer(text=text or "", scores=entry.scores, choice=choice)
