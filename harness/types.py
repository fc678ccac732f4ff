"""The nouns, on one page. Read this file first.

A task is data and a scorer; a model answers samples; neither knows the other. Everything here is
frozen data, imports only the standard library, and says nothing about how a run is carried out
(harness/run.py), written (harness/record.py) or summarised (harness/stats.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.errors import DataError

Ask = Literal["generate", "rank", "encode"]
"""`generate`: text out. `rank`: one score per choice. `encode`: features out."""


@dataclass(frozen=True, slots=True)
class Image:
    """One picture as it was published: bytes are read when asked for and never re-encoded."""

    name: str
    """How the data set calls it (a file name); shown to people, part of the item's identity."""
    source: Path | bytes | Callable[[], bytes] | None = None
    """Where the bytes are; None when the data folder has no images (replays do not need them)."""

    def read(self) -> bytes:
        """Return the encoded bytes. Raises DataError when they cannot be had."""
        if isinstance(self.source, bytes):
            return self.source
        if self.source is None:
            raise DataError(f"image {self.name}: the data folder holds no images; add them to it")
        try:
            return self.source.read_bytes() if isinstance(self.source, Path) else self.source()
        except OSError as error:
            raise DataError(f"image {self.name}: cannot read {self.source}: {error}") from error

    @property
    def sha256(self) -> str:
        """Hex digest of the encoded bytes."""
        return sha256(self.read()).hexdigest()


@dataclass(frozen=True, slots=True)
class Region:
    """A box in pixels of the original image, (left, top, right, bottom), and what it is called."""

    box: tuple[float, float, float, float]
    label: str = ""
    image: int = 0
    """Which image of the prompt it lies on."""


Prompt = tuple["str | Image", ...]
"""Parts in the order in which the model sees them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question."""

    id: str
    prompt: Prompt
    target: str = ""
    """The gold answer, as a model would say it (a letter for lettered options)."""
    choices: tuple[str, ...] = ()
    """The closed set of answers, as a model would say them; `rank` scores each of them."""
    relevance: tuple[float, ...] = ()
    """`rank` with more than one right choice: the gold score of each; empty: target is the one."""
    cluster: str = ""
    """The unit that resampling keeps whole: the image or scene. Empty: the sample itself."""
    groups: Mapping[str, Any] = field(default_factory=dict)
    """Columns to break results down by; written into the record."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What only the scorer needs; not written."""
    regions: tuple[Region, ...] = ()
    aliases: tuple[str, ...] = ()
    """Other ids of this sample in files of other tools; recorded answers join on them too."""
    system: str = ""
    """System message, where the protocol has one (judges do)."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are produced; part of the task, so part of the identity of a number."""

    max_tokens: int = 16
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    rank_by: Literal["sum", "mean"] = "sum"
    """Log-likelihood of a choice: summed over its tokens, or their mean."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. Text written by a model is hostile: never executed, always escaped."""

    text: str = ""
    stop: Literal["end", "length", "refused"] = "end"
    scores: tuple[float, ...] = ()
    """`rank`: one per choice, higher is better."""
    choice: int | None = None
    """Index of the choice that was taken: by rank, or by a recorded file that holds indices
    (-1: that tool found none)."""
    features: tuple[float, ...] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. Never becomes a score."""

    error: str
    kind: Literal["failed", "missing"] = "failed"
    """`missing`: a recorded file has no answer for this id. `failed`: everything else."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer made of an answer."""

    value: float | None
    """None: could not be judged; counted, never averaged in, never turned into 0."""
    parsed: str | None = None
    """What the rule took the answer to be; None: it found nothing (`unparsed`)."""
    status: Literal["scored", "unparsed", "unjudged"] = "scored"
    stats: Mapping[str, Any] = field(default_factory=dict)
    """Per-sample statistics from which corpus metrics are recomputed under resampling."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge decided about one answer, as a rubric reads it."""

    score: float | None
    """The row's score; None where only the statistics say something."""
    label: str
    """The decision as a category, for people and for agreement between judges."""
    stats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rubric:
    """How a model is asked to judge an answer, and how its words are read."""

    name: str
    version: str
    """Raised with any change of the prompt or of the reading."""
    prompt: Callable[[Sample, str, bool, int], Sample]
    """(sample, answer, swapped, attempt) -> what the judge is asked, under the sample's own id. Its
    `target` is what a judge would write who knows only whether the answer equals the gold one."""
    read: Callable[[str, bool], Verdict | None]
    """(the judge's words, swapped) -> verdict; None: unreadable, which never becomes a number."""
    decodings: tuple[Decoding, ...]
    """Of the first attempt, and of each further one that follows unreadable words."""
    model: str
    """The judge of the published numbers; another judge makes another metric."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Prompt files to their sha256."""
    orders: tuple[bool, ...] = (False,)
    """`swapped` of each asking that makes one vote; both, to take out the bias of position."""
    sentinel: Verdict | None = None
    """What the official script takes unreadable words for; None: not judged."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a paper prints, as data: the record holds it and readers recompute it."""

    name: str
    kind: str = "mean"
    """A function in harness/stats.py (METRICS): mean, f1, yes_ratio, ..."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Only rows whose groups have these values."""
    by: str = ""
    """One metric per value found in this group, called `<name>.<value>`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    percent: bool = True
    higher_is_better: bool = True
    """False: lower is better."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value with its 95 % interval, clustered by image. No bare floats in reports."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Samples behind the value."""
    clusters: int = 0
    asked: int = 0
    """Samples that belong to it; more than `n` when some failed, are missing or were left out."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the questions come from; `version` names the published file version recognised."""

    address: str
    version: str = ""
    split: str = ""
    license: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to sha256 of what was read."""


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark: questions and the rule that scores them. It never names a model."""

    name: str
    version: str
    """Of our code for this task: a change of any score or prompt raises it."""
    source: Source
    samples: Callable[[], Iterable[Sample]]
    score: Callable[[Sample, Answer], Score]
    scorer: str
    """The rule's name with its version, e.g. `pope/official@1`."""
    metrics: tuple[Metric, ...]
    headline: str
    """The metric that stands for the task."""
    ask: Ask = "generate"
    decoding: Decoding = Decoding()
    chance: float | None = None
    """The headline of a guesser, in the headline's unit; None where nobody can know it."""
    ceiling: float | None = 100.0
    """The headline of the gold answers; None where the data decide it."""
    notes: tuple[str, ...] = ()
    """What a reader of the number must know (a quirk kept, a column that cannot be had)."""
    derive: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Mapping[str, Any]]] | None = None
    """What can only be had from many answers at once (caption scores): from the rows that count,
    when all are there, to what each id's row gains. Of it, `stats` are added to the row's own;
    `score` and `parsed` take the place of the row's. A function of the rows and nothing else, so
    that it can be repeated at any time."""
    judge: Rubric | None = None
    """How a judge model scores the answers, which `score` then leaves unjudged
    (harness/judging.py)."""


Reply = tuple[int, Answer | Failure]
"""The position in the sequence that was asked, and what came of it."""


class Model(Protocol):
    """Something that answers. Made by `make(address, **options)` of a file in harness/models.

    Five more members are read where a model has them: `looks` (False: images are never opened),
    `fits` (True: samples that bring training pictures, facts["fit"], can be asked), `dense` (True:
    so can those that want a class at every place, facts["dense"] of "map"),
    `prepare(samples)` (all samples of the run, before the first is asked) and `check_ids(ids)`
    (all ids and aliases of the task, also beyond `--limit`).
    """

    name: str

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies it in a record: weights, dtype, preprocessing, engine."""
        ...

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer all samples, each exactly once, in any order, as soon as each is ready.

        One sample's trouble is a Failure in its place; an exception ends the run. Raises
        UsageError before the first reply when the model cannot be asked in this way.
        """
        ...
