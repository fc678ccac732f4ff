"""A model that writes training data, with every word kept.

Any model of the harness can teach (`openai:gpt-4.1`, `transformers:PATH`). Its folder holds
`teacher.json` (which model) and `calls.jsonl` (every request and reply, appended as they come, so
that kill -9 loses nothing that was paid for). The same request is never sent twice: a pipeline that
is started again reads what is there, and with the address `replay` it asks nobody at all, so that a
corpus can be made again, audited and tested offline. Specification: one cache for every teacher.

May import harness (not its command line).
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import fingerprint
from harness.errors import DataError, UsageError
from harness.find import make_model
from harness.record import appending, read_lines
from harness.types import Answer, Decoding, Failure, Image, Model, Sample

REPLAY = "replay"
CALLS = "calls.jsonl"


@dataclass(frozen=True, slots=True)
class Reply:
    """One request and what came of it."""

    sample: Sample
    answer: Answer | Failure
    key: str
    """Hash of all that the teacher was given; provenance of what is made of the answer."""
    cached: bool


class Teacher(AbstractContextManager["Teacher"]):
    """Use as a context manager: the folder is held by one process at a time."""

    def __init__(
        self,
        folder: Path,
        address: str | Model,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the folder, or make it.

        Args:
            folder: Where words are kept; one folder, one teacher.
            address: As for `sightline run --model`, a model of your own, or `replay`.
            options: Of the model.

        Raises:
            UsageError: The folder belongs to another teacher, or there is nothing to replay.
        """
        self.folder = folder
        self.model: Model | None = None
        if address != REPLAY:
            self.model = make_model(address, options) if isinstance(address, str) else address
        self._known: dict[str, dict[str, Any]] = {}
        self._stack = ExitStack()
        self.asked = 0
        """Requests that were really sent."""
        self.identity = self._identify()

    def _identify(self) -> dict[str, Any]:
        path = self.folder / "teacher.json"
        kept = None
        if path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                kept["fingerprint"], kept["name"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: damaged ({error})") from error
        if self.model is None:
            if kept is None:
                raise UsageError(f"{self.folder}: nothing to replay; name a teacher first")
            return dict(kept)
        described = dict(self.model.describe())
        mine = {"name": self.model.name, "fingerprint": fingerprint.of_model(described)["model"]}
        if kept is not None and kept["fingerprint"] != mine["fingerprint"]:
            raise UsageError(
                f"{self.folder} holds the words of {kept['name']} ({kept['fingerprint']}), and "
                f"{mine['name']} ({mine['fingerprint']}) would teach now; name another folder"
            )
        return {**mine, "described": described}

    def __enter__(self) -> "Teacher":
        """Take the folder. Raises UsageError when another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.model is not None:
            text = json.dumps(self.identity, indent=1, sort_keys=True, default=str) + "\n"
            (self.folder / "teacher.json").write_text(text, encoding="utf-8")
        self._write = self._stack.enter_context(appending(self.folder, CALLS, self._recall))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _recall(self) -> None:
        for row in read_lines(self.folder / CALLS):
            self._known[row["id"]] = row

    def ask(
        self, samples: Iterable[Sample], decoding: Decoding, *, attempt: int = 0
    ) -> Iterator[Reply]:
        """Yield a reply to every sample, those that are known first.

        A failure is not kept: it is asked again the next time. With `replay`, what is not known
        is a Failure. Samples with the same prompt are different requests when their ids differ.
        """
        waiting: list[tuple[Sample, str]] = []
        for sample in samples:
            key = _key(sample, decoding, attempt)
            row = self._known.get(key)
            if row is not None:
                yield Reply(sample, _answer(row), key, cached=True)
            else:
                waiting.append((sample, key))
        if self.model is None:
            for sample, key in waiting:
                reason = f"not among the kept words of {self.identity['name']}"
                yield Reply(sample, Failure(reason, "missing"), key, cached=False)
            return
        yield from self._send(self.model, waiting, decoding, attempt)

    def _send(
        self,
        model: Model,
        waiting: Sequence[tuple[Sample, str]],
        decoding: Decoding,
        attempt: int,
    ) -> Iterator[Reply]:
        if not waiting:
            return
        # another attempt at temperature 0 would say the same words again
        drawn = Decoding(**{**asdict(decoding), "seed": decoding.seed + attempt})
        for place, answer in model.answer([sample for sample, _ in waiting], "generate", drawn):
            sample, key = waiting[place]
            self.asked += 1
            if isinstance(answer, Answer):
                row = {
                    "id": key,
                    "sample": sample.id,
                    "attempt": attempt,
                    "system": sample.system,
                    "prompt": fingerprint.prompt_parts(sample),
                    "text": answer.text,
                    "stop": answer.stop,
                    "tokens_in": answer.tokens_in,
                    "tokens_out": answer.tokens_out,
                    "at": int(time.time()),
                }
                self._write(row)
                self._known[key] = row
            yield Reply(sample, answer, key, cached=False)


def _key(sample: Sample, decoding: Decoding, attempt: int) -> str:
    parts = [{"image": part.sha256} if isinstance(part, Image) else part for part in sample.prompt]
    return fingerprint.digest([sample.id, sample.system, parts, asdict(decoding), attempt], 32)


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(
        str(row["text"]),
        stop=row["stop"],
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
    )
