"""A critic's score for every triple of a corpus, kept as they come.

The folder holds `score.json` (which critic, which corpus), `scores.jsonl` (a line per triple,
appended, so that kill -9 loses nothing that was computed) and at the end `scored.jsonl`, the corpus
with `prediction`. A triple that cannot be scored, as when its picture is missing, has the reason in
scores.jsonl and no prediction; it is tried again when the command is given again. May import torch
at the top.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from harness import fingerprint
from harness.engine.identity import fingerprint as weights
from harness.errors import DataError, UsageError
from harness.record import appending, read_lines
from trainers.localized import blip2, triples, words
from trainers.localized.drawing import shown
from trainers.localized.triples import Triple
from trainers.localized.views import Views

HEADER, SCORES, SCORED = "score.json", "scores.jsonl", "scored.jsonl"
BATCH = 32


@dataclass(frozen=True)
class Result:
    """What scoring a corpus came to."""

    scored: Path
    triples: int
    failed: Counter[str]
    """Triples without a score, by reason."""


@dataclass(frozen=True, slots=True)
class _Ready:
    triple: Triple
    key: str
    text: str
    ids: tuple[int, ...]


class Scorer:
    """A finished critic: triples in, probabilities of "accept" out."""

    def __init__(
        self, folder: Path, images: Path | None, device: str = "auto", dtype: str = "float32"
    ) -> None:
        """Load the critic that training exported to `folder`.

        Args:
            folder: With the weights and regions.json.
            images: Folder of the pictures.
            device: auto (cuda where there is one) or a torch device.
            dtype: Arithmetic of the vision tower: float32 or bfloat16.

        Raises:
            DataError: It is no critic.
            UsageError: There is no such arithmetic.
        """
        kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        if dtype not in kinds:
            raise UsageError(f"--dtype is float32 or bfloat16, found '{dtype}'")
        self.asked = blip2.how_asked(folder)
        self.model, processor = blip2.load(folder)
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(found if device == "auto" else device)
        self.model = self.model.to(self.device)
        self._kind = kinds[dtype]
        self.processor = processor
        self.views = Views(processor, images, self.asked)

    def score(self, batch: Sequence[Triple]) -> list[float | str]:
        """Return a score per triple, or why it has none. A picture is encoded once per batch."""
        ready: list[_Ready | str] = [self._ready(triple) for triple in batch]
        pixels: dict[str, torch.Tensor] = {}
        for place, one in enumerate(ready):
            if isinstance(one, _Ready) and one.key not in pixels:
                try:
                    pixels[one.key] = self.views.pixels(one.triple, one.ids)
                except DataError as error:
                    ready[place] = str(error)
        good = [one for one in ready if isinstance(one, _Ready)]
        scores = iter(self._run(good, pixels) if good else [])
        return [one if isinstance(one, str) else next(scores) for one in ready]

    def _ready(self, triple: Triple) -> "_Ready | str":
        try:
            ids = shown(triple, most=self.asked.most)
            said = words.statement(triple, ids)
            key = self.views.key(triple, ids)
        except DataError as error:
            return str(error)
        return _Ready(triple, key, words.prepared(said, self.asked.prefix, self.asked.words), ids)

    def _run(self, good: Sequence[_Ready], pixels: dict[str, torch.Tensor]) -> list[float]:
        rows = {key: row for row, key in enumerate(pixels)}
        inputs = blip2.tokens(
            self.model, self.processor, [one.text for one in good], self.asked.pieces
        )
        half = self._kind is not torch.float32
        pictures = torch.stack(list(pixels.values())).to(self.device)
        with torch.inference_mode():
            with torch.autocast(self.device.type, self._kind, enabled=half):
                hidden = blip2.before_norm(self.model, pictures)
            image = blip2.normed(self.model, hidden)[[rows[one.key] for one in good]]
            ids, mask = (inputs[name].to(self.device) for name in ("input_ids", "attention_mask"))
            output = blip2.together(self.model, image, ids, mask)
            logits = blip2.matching(self.model, output).float()
        found: list[float] = logits.softmax(dim=1)[:, 1].tolist()
        return found


def score(
    corpus: Path,
    critic: Path,
    images: Path | None,
    out: Path,
    *,
    batch: int = BATCH,
    device: str = "auto",
    dtype: str = "float32",
    tell: Callable[[int], None] | None = None,
) -> Result:
    """Score a corpus into the folder `out`, going on where an earlier call ended.

    Raises:
        UsageError: `out` holds scores of another critic or corpus.
        DataError: The corpus or the critic is damaged.
    """
    header = {
        "schema": 1,
        "critic": weights(str(critic)),
        "corpus": fingerprint.of_file(corpus),
        "dtype": dtype,
        "asked": asdict(blip2.how_asked(critic)),
    }
    out.mkdir(parents=True, exist_ok=True)
    with appending(out, SCORES, lambda: _same(out, header)) as append:
        known = _known(out)
        waiting = (triple for triple in triples.read(corpus) if triple.id not in known)
        scorer: Scorer | None = None
        for part in _batches(waiting, batch):
            scorer = scorer or Scorer(critic, images, device, dtype)
            for triple, found in zip(part, scorer.score(part), strict=True):
                if isinstance(found, str):
                    append({"id": triple.id, "error": found})
                else:
                    append({"id": triple.id, "prediction": found})
            if tell:
                tell(len(part))
        known = _known(out)
        failed = _failed(out, known)
        total = triples.write(out / SCORED, _with(triples.read(corpus), known))
    return Result(out / SCORED, total, failed)


def _same(out: Path, header: dict[str, Any]) -> None:
    path = out / HEADER
    if not path.exists():
        part = path.with_name(f".{HEADER}.new")
        part.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error})") from error
    differs = [name for name in header if before.get(name) != header[name]]
    if differs:
        raise UsageError(
            f"{out} holds other scores ({', '.join(differs)} differ); name another --out"
        )


def _known(out: Path) -> dict[str, float]:
    return {row["id"]: row["prediction"] for row in read_lines(out / SCORES) if "prediction" in row}


def _failed(out: Path, known: dict[str, float]) -> Counter[str]:
    last = {row["id"]: row["error"] for row in read_lines(out / SCORES) if "error" in row}
    return Counter(reason for id, reason in last.items() if id not in known)


def _with(corpus: Iterable[Triple], known: dict[str, float]) -> Iterator[Triple]:
    for triple in corpus:
        yield replace(triple, prediction=known.get(triple.id))


def _batches(found: Iterator[Triple], size: int) -> Iterator[list[Triple]]:
    while part := list(islice(found, size)):
        yield part
