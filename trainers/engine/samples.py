"""From a record to a training sample: tokens, targets, pictures; and what is wrong with it.

The text is tokenised with one image token per picture, and each is then repeated as often as the
picture has patches, which gives the very tokens that the processor gives (tests compare them).
Targets are the tokens that lie in the spans the template marks. Everything random here is a
function of (seed, epoch, record id), never of a global generator, so a resumed run sees what the
first saw.
May import torch and numpy at the top.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError
from trainers.engine import templates
from trainers.engine.images import Pictures, Pixels
from trainers.engine.records import IMAGE, BadRecord, Record, Records
from trainers.recipe import Recipe, Slot

IGNORED = -100
"""Label of a token that is no target."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation as the model reads it."""

    id: str
    tokens: np.ndarray[Any, np.dtype[np.int64]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    """The token where it is a target, IGNORED elsewhere. Not shifted."""
    images: tuple[str, ...] = ()
    cut: bool = False
    """Whether max_length took text off its end."""

    @property
    def targets(self) -> int:
        """Return how many tokens are learnt; the first of a sample follows nothing."""
        return int((self.labels[1:] != IGNORED).sum())


@dataclass(frozen=True)
class Index:
    """What is known of every record before the first step."""

    kept: np.ndarray[Any, np.dtype[np.int64]]
    """Numbers of the records that are trained on."""
    lengths: np.ndarray[Any, np.dtype[np.int64]]
    """Tokens of each, image tokens included."""
    targets: np.ndarray[Any, np.dtype[np.int64]]
    pictured: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether it has a picture."""
    bad: Mapping[str, int] = field(default_factory=dict)
    """Reason to number of records that are left out."""
    examples: tuple[str, ...] = ()
    """The first few of them, named."""
    cut: int = 0
    """Records that lost text at the end to max_length."""


class Encoder:
    """Makes samples of records for one recipe and one processor."""

    def __init__(self, recipe: Recipe, processor: Any, images: Path | None) -> None:
        """Take the `processor` that carries the recipe's template (see `templates.install`)."""
        tokenizer = processor.tokenizer
        if not tokenizer.is_fast:
            raise DataError(
                f"{type(tokenizer).__name__} is a slow tokenizer: it cannot say which characters a "
                "token stands for, so targets cannot be marked; install its fast version"
            )
        self.recipe, self.processor, self.tokenizer = recipe, processor, tokenizer
        self.pictures = _pictures(recipe, processor, images)
        self.template = str(processor.chat_template)
        self.image_token = int(tokenizer.convert_tokens_to_ids(processor.image_token))

    def encode(self, record: Record, slot: Slot, folder: str = "", epoch: int = 0) -> Sample:
        """Return the sample of `record`. Raises BadRecord naming what is wrong."""
        names = tuple(f"{folder}/{name}" if folder else name for name in record.images)
        if record.video:
            names = (self._clip(names),)
        messages = self._messages(record, slot, epoch)
        text, spans = templates.render(self.template, messages, self.tokenizer.special_tokens_map)
        bos = self.tokenizer.bos_token
        out = self.tokenizer(
            text,
            add_special_tokens=not (bos and text.startswith(bos)),
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        tokens = np.asarray(out["input_ids"], dtype=np.int64)
        labels = np.where(_inside(out["offset_mapping"], spans), tokens, IGNORED)
        counts = [self.pictures.tokens(name) for name in names]
        tokens, labels = self._expand(tokens, labels, counts)
        cut = len(tokens) > self.recipe.max_length
        sample = Sample(record.id, *self._shorten(tokens, labels), names, cut)
        if sample.targets == 0:
            raise BadRecord("no target within max_length" if cut else "no target")
        return sample

    def _clip(self, names: tuple[str, ...]) -> str:
        clip = getattr(self.pictures, "clip", None)
        if clip is None:
            raise BadRecord("video", "the recipe has no room for videos; set images.video=100")
        return str(clip(names))

    def _messages(self, record: Record, slot: Slot, epoch: int) -> list[dict[str, Any]]:
        """Return the conversation for the template, pictures in their places."""
        out: list[dict[str, Any]] = []
        if record.system:
            out.append({"role": "system", "content": _text(record.system)})
        for i, (role, text) in enumerate(record.turns):
            if role == "user" and slot.suffix:
                text = f"{text.rstrip()}\n{slot.suffix}"
            content = _text(text) if role == "assistant" else self._place(record, i, text, epoch)
            out.append({"role": role, "content": content})
        return out

    def _place(self, record: Record, turn: int, text: str, epoch: int) -> list[dict[str, Any]]:
        where: str = self.recipe.images.position
        pieces = [piece.strip() for piece in text.split(IMAGE)]
        marks, words = len(pieces) - 1, "\n".join(piece for piece in pieces if piece)
        if marks and where == "random":
            where = "first" if lot(self.recipe.seed, epoch, f"{record.id}/{turn}") < 0.5 else "last"
        picture: list[dict[str, Any]] = [{"type": "image"}]
        if marks == 0:
            return _text(words)
        if where == "first":
            return picture * marks + (_text(words) if words else [])
        if where == "last":
            return (_text(words) if words else []) + picture * marks
        out: list[dict[str, Any]] = []
        for i, piece in enumerate(pieces):
            out += (picture if i else []) + (_text(piece) if piece else [])
        return out

    def _expand(self, tokens: Any, labels: Any, counts: Sequence[int]) -> tuple[Any, Any]:
        """Repeat each image token as often as its picture has patches."""
        at = np.flatnonzero(tokens == self.image_token)
        if len(at) != len(counts):
            raise BadRecord("image marks", f"{len(at)} image tokens for {len(counts)} images")
        times = np.ones(len(tokens), dtype=np.int64)
        times[at] = counts
        return np.repeat(tokens, times), np.repeat(labels, times)

    def _shorten(self, tokens: Any, labels: Any) -> tuple[Any, Any]:
        """Cut what is over max_length off the end. Raises BadRecord rather than cut a picture."""
        limit = self.recipe.max_length
        if len(tokens) <= limit:
            return tokens, labels
        if (tokens[limit:] == self.image_token).any():
            detail = f"{len(tokens)} tokens with its images, max_length {limit}"
            raise BadRecord("image cut by max_length", detail)
        return tokens[:limit], labels[:limit]


class Dataset:
    """The samples of a mixture by number; a picture that fails later makes an empty sample."""

    def __init__(self, records: Records, encoder: Encoder) -> None:
        """Read `records` through `encoder`."""
        self.records, self.encoder = records, encoder
        images = encoder.recipe.images
        self._keep = images.cache == "ram" and images.position != "random"
        self._kept: dict[int, Sample] = {}  # by number: ids are not unique in LLaVA's own files

    def index(self, progress: Any = None) -> Index:
        """Encode every record once. Raises DataError where the recipe refuses bad ones."""
        kept, lengths, targets, pictured = [], [], [], []
        bad: Counter[str] = Counter()
        examples: list[str] = []
        cut = 0
        for at in range(len(self.records)):
            if progress is not None:
                progress(at)
            try:
                sample = self.get(at)
            except BadRecord as error:
                bad[error.reason] += 1
                if len(examples) < 10:
                    examples.append(f"{self.records.name(at)}: {error}")
                continue
            kept.append(at)
            lengths.append(len(sample.tokens))
            targets.append(sample.targets)
            pictured.append(bool(sample.images))
            cut += sample.cut
        self._judge(bad, examples)
        return Index(
            np.asarray(kept, dtype=np.int64), np.asarray(lengths, dtype=np.int64),
            np.asarray(targets, dtype=np.int64), np.asarray(pictured, dtype=np.bool_),
            dict(bad), tuple(examples), cut,
        )  # fmt: skip

    def get(self, at: int, epoch: int = 0) -> Sample:
        """Return sample `at`. Raises BadRecord."""
        if at in self._kept:
            return self._kept[at]
        record, slot, folder = self.records.get(at)
        sample = self.encoder.encode(record, slot, folder, epoch)
        if self._keep:
            self._kept[at] = sample
        return sample

    def pixels(self, sample: Sample) -> list[Pixels]:
        """Return the pictures of `sample`. Raises BadRecord."""
        return [self.encoder.pictures.pixels(name) for name in sample.images]

    def _judge(self, bad: Mapping[str, int], examples: Sequence[str]) -> None:
        """Refuse, or let pass, what was found. Raises DataError."""
        count, total, recipe = sum(bad.values()), len(self.records), self.encoder.recipe
        if not count:
            return
        kinds = ", ".join(f"{reason}: {n:,}" for reason, n in sorted(bad.items()))
        named = "; ".join(examples[:3])
        if recipe.on_bad == "refuse":
            raise DataError(
                f"{count:,} of {total:,} records cannot be trained on ({kinds}): {named}. Mend "
                "them, or leave them out with `on_bad: skip`"
            )
        if count > recipe.bad_cap * total:
            raise DataError(
                f"{count:,} of {total:,} records cannot be trained on ({kinds}): {named}. That is "
                f"more than `bad_cap: {recipe.bad_cap}` lets `on_bad: skip` leave out"
            )


def _pictures(recipe: Recipe, processor: Any, folder: Path | None) -> Pictures:
    if not recipe.images.video:
        return Pictures(processor, folder, recipe.images.cache)
    from trainers.engine.video import Clips

    return Clips(processor, folder, recipe.images)


def lot(seed: int, epoch: int, name: str) -> float:
    """Return a number in [0, 1) that depends on nothing but these three."""
    digest = sha256(f"{seed}/{epoch}/{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def _text(words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words}]


def _inside(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Any:
    """Return which tokens have a part in one of `spans`; offsets and spans are in characters."""
    starts = np.asarray([start for start, _ in offsets])
    ends = np.asarray([end for _, end in offsets])
    out = np.zeros(len(offsets), dtype=np.bool_)
    for first, last in spans:
        out |= (starts < last) & (ends > first) & (ends > starts)
    return out


def words(records: Records) -> Iterator[str]:
    """Yield all texts, image marks taken out: what a tokenizer can be trained on."""
    for at in range(len(records)):
        for _, text in records.get(at)[0].turns:
            yield re.sub(r"\s*<image>\s*", "", text)
