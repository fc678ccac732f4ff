"""The answers of a log as a model: what another tool recorded is replayed like any recorded file.

Imports the standard library, harness.environment, harness.errors, harness.models.recorded,
harness.types and the nouns of a log.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness import environment
from harness.errors import DataError
from harness.importers._log import Log, Logged
from harness.importers._match import Placed
from harness.importers._wording import plain, words_of
from harness.models._recorded_formats import Entry, Recording
from harness.models.recorded import Recorded
from harness.types import Answer, Ask, Decoding, Failure, Reply, Sample

SHARE = 0.999
"""Of the rows whose prompt is known, how many must have been asked in the task's own words."""


class Imported(Recorded):
    """A model that repeats what a log says, and fails where the log's model failed."""

    def __init__(self, log: Log, placed: Placed, samples: Sequence[Sample], words: str) -> None:
        """Hold the placed rows; `words` is "raw" for the model's, "extracted" for the tool's."""
        self._log, self._rows, self._words = log, placed.rows, words
        by_id = {sample.id: sample for sample in samples}
        entries = [
            _entry(log, by_id[id], row, words)
            for id, row in placed.rows.items()
            if not row.failure and (row.text is not None or row.scores)
        ]
        found = {str(entry.id): entry for entry in entries}
        super().__init__(Recording(log.path, log.files[log.path.name], log.tool, entries, found))
        self.name = log.model.rstrip("/").rpartition("/")[2] or log.tool
        self._asked = _asked_alike(placed, by_id)

    @property
    def alike(self) -> tuple[int, int]:
        """How many rows were asked in the task's own words, and of how many that is known."""
        return self._asked

    def describe(self) -> Mapping[str, Any]:
        """Return the tool, its version, the files and the model as the log names it.

        Where the log's prompts are not the task's this is the preprocessing, so that comparing
        with a run of ours says so.
        """
        same, known = self._asked
        other = known and same < SHARE * known
        return {
            "kind": "imported",
            "tool": self._log.tool,
            "tool_version": self._log.version,
            "task": self._log.task,
            "model": self._log.model,
            "model_args": environment.redact(self._log.arguments),
            "files": dict(self._log.files),
            "answers": self._words,
            "preprocessing": {"prompt": f"{self._log.tool}'s"} if other else None,
        }

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Give the logged answer of each sample, the log's failure, or `missing`."""
        for at, reply in super().answer(samples, ask, decoding):
            row = self._rows.get(samples[at].id)
            if row is None:
                yield at, Failure(f"{self._log.path.name} has no row for this sample", "missing")
            elif row.failure:
                yield at, Failure(f"{self._log.tool}, {row.where}: {row.failure[:500]}")
            elif isinstance(reply, Answer):
                yield (
                    at,
                    replace(
                        reply,
                        stop=row.stop,
                        tokens_in=row.tokens_in,
                        tokens_out=row.tokens_out,
                        seconds=row.seconds,
                    ),
                )
            else:
                yield at, Failure(f"{row.where}: the log holds no answer", "missing")


def _entry(log: Log, sample: Sample, row: Logged, words: str) -> Entry:
    said = row.text
    if words == "extracted" and row.theirs.parsed is not None:
        said = row.theirs.parsed
    scores = _in_our_order(log, sample, row) if row.scores and sample.choices else row.scores
    return Entry(row.where, sample.id, said, scores=scores)


def _in_our_order(log: Log, sample: Sample, row: Logged) -> tuple[float, ...]:
    """Return the scores of the sample's choices. Raises DataError where options are others."""
    if len(row.scores) != len(sample.choices):
        raise DataError(
            f"{log.path}: {row.where} has {len(row.scores)} options, sample '{sample.id}' has "
            f"{len(sample.choices)}"
        )
    theirs = [plain(option) for option in row.options]
    ours = [plain(choice) for choice in sample.choices]
    if sorted(theirs) != sorted(ours) or len(set(theirs)) < len(theirs):
        if any(len(option) > 1 for option in theirs) and any(len(choice) > 1 for choice in ours):
            raise DataError(
                f"{log.path}: {row.where} ranks {row.options}, sample '{sample.id}' has the "
                f"choices {sample.choices}"
            )
        return row.scores  # letters on one side: options are lettered in order
    return tuple(row.scores[theirs.index(choice)] for choice in ours)


def _asked_alike(placed: Placed, samples: Mapping[str, Sample]) -> tuple[int, int]:
    known = [(samples[id], row.prompt) for id, row in placed.rows.items() if row.prompt]
    same = sum(plain(words_of(sample)) == plain(prompt) for sample, prompt in known)
    return same, len(known)
