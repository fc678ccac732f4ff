"""VCR: what is going on in this film frame, and why? Four answers, then four rationales.

Zellers et al. 2019 (arXiv 1811.10830), github rowanz/r2c: `models/eval_q2ar.py` for the numbers. A
row of val.jsonl is two samples: `answer` (Q->A) and `rationale` (QA->R, behind the gold answer);
`joint` (Q->AR) is the share of rows with both right. The bare name is LSKD's protocol (github
jamespark3922/lskd): objects are `[0]`, `[1]` in the text and coloured boxes in the picture.

    sightline run --task vcr --model transformers:PATH --data FOLDER

Not to be confused with Visual Caption Restoration, which other tools call VCR. Files:
tasks/_vcr_files.py; drawing: judges/regions.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from harness.errors import DataError
from harness.types import Answer, Decoding, Metric, Prompt, Region, Sample, Score, Task
from judges.choice import LETTERS, index, lettered, llava_letter
from tasks._vcr_files import Frames, Meta, Row, Tokens, load, processed

VARIANTS = {
    "lskd": "regions drawn and called [0], [1]; question and choice ranked; the same as 'vcr'",
    "shuffled": "as vcr, with the order of the regions drawn by lot (fixed seed), as published",
    "clip": "the choice alone against the untouched frame; objects by their class",
    "plain": "question and choice, nothing drawn, objects by their class (BLIP rows of LSKD)",
    "names": "people by neutral names in order of first mention, as R2C's BERT features do",
    "names-vocab": "people by neutral names by detection number, as R2C's data loader does",
    "boxes": "regions as coordinates in the prompt, nothing drawn",
    "generate": "LSKD's letter prompt: regions drawn, all four choices shown, one letter wanted",
}
NAMES = (
    *("Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody"),
    *("Kendall", "Peyton", "Skyler", "Frankie", "Pat", "Quinn"),
)
"""R2C's neutral names; Peyton really is there twice."""
SEED = 0
"""Of `shuffled`; each question draws with a generator of its own."""
LETTER_ONLY = "Choose the best letter option answering the question."
_LETTER = re.compile(r"\(?([A-D])(?:[).:,]|$)")


@dataclass(frozen=True, slots=True)
class _Stage:
    """One of the two questions of a row."""

    name: str
    row: Row
    context: Tokens
    """The question, for a rationale with the gold answer behind it."""
    choices: tuple[Tokens, ...]
    gold: int

    @property
    def id(self) -> str:
        return f"{self.row.id}/{self.name}"

    def mentioned(self) -> list[int]:
        """Return the ids of all objects in context and choices, in order."""
        tokens = (t for text in (self.context, *self.choices) for t in text)
        return sorted({i for token in tokens if not isinstance(token, str) for i in token})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a variant makes of a stage."""

    prompt: Prompt
    choices: tuple[str, ...]
    question: str
    regions: tuple[Region, ...] = ()


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on a folder with val.jsonl and vcr1images, or on a .jsonl file.

    Raises DataError for files that are not what they claim to be.
    """
    found = load(data)
    ask = _ASKS[variant or "lskd"]
    rows = sorted(found.rows, key=lambda row: row.frame)  # stable: a frame's questions together
    samples = [_sample(stage, ask(stage, found.frames)) for row in rows for stage in _stages(row)]
    generate = variant == "generate"
    return Task(
        name=f"vcr/{variant}" if variant else "vcr",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=_score,
        scorer=f"vcr/{'letter' if generate else 'argmax'}@1",
        metrics=(
            Metric("answer", where={"stage": "answer"}),
            Metric("rationale", where={"stage": "rationale"}),
            Metric("joint", "both", where={"stage": "rationale"}, options={"row": "row"}),
        ),
        headline="joint",
        ask="generate" if generate else "rank",
        decoding=Decoding(max_tokens=16),
        chance=6.25,
        notes=(*found.notes, *_NOTES.get(variant or "lskd", ())),
    )


_ALIKE = "choices that differ in their object ids alone read the same; the first of them wins"
_NOTES: Mapping[str, tuple[str, ...]] = {
    "lskd": (
        "regions are numbered and coloured in order of object id; the published evaluation "
        "shuffles them anew in every run (vcr/shuffled does so with a fixed seed)",
    ),
    "shuffled": (f"regions are shuffled per question with the seed {SEED}",),
    "clip": (
        "choices that differ in their object ids alone read the same; the first of them wins",
    ),
    "plain": (
        "choices that differ in their object ids alone read the same; the first of them wins",
    ),
}


def _stages(row: Row) -> tuple[_Stage, _Stage]:
    return (
        _Stage("answer", row, row.question, row.answers, row.answer),
        _Stage(
            "rationale", row, row.question + row.answers[row.answer], row.rationales, row.rationale
        ),
    )


def _sample(stage: _Stage, asked: _Asked) -> Sample:
    """Make the sample; `relevance` marks the gold choice, because two choices can read the same."""
    row, count = stage.row, len(asked.choices)
    aliases = (f"{row.id}/rationale_conditioned_on_a{row.answer}",)
    return Sample(
        id=stage.id,
        prompt=asked.prompt,
        target=asked.choices[stage.gold],
        choices=asked.choices,
        relevance=tuple(float(i == stage.gold) for i in range(count)),
        cluster=row.frame,
        groups={"stage": stage.name, "movie": row.movie},
        facts={"gold": stage.gold, "row": row.id, "question": asked.question},
        regions=asked.regions,
        aliases=aliases if stage.name == "rationale" else (),
    )


def _score(sample: Sample, answer: Answer) -> Score:
    """Take the first of the highest scores, as the official script does, or the letter said."""
    at = answer.choice
    if answer.scores:
        at = answer.scores.index(max(answer.scores))
    if at is None:
        at = index(letter(answer.text), len(sample.choices))
    stats = {"row": sample.facts["row"]}
    if at < 0:
        return Score(0.0, None, "unparsed", stats)
    return Score(float(at == sample.facts["gold"]), LETTERS[at], stats=stats)


def letter(text: str) -> str | None:
    """Return the letter that a text begins with ("B", "(B)", "B) ...", "B."), or says it is.

    "A man ..." names no letter. Never raises, whatever a model wrote.
    """
    found = _LETTER.match(text.strip())
    return found[1] if found else llava_letter(text.strip())


def spoken(tokens: Tokens, name: Callable[[int], str]) -> str:
    """Join tokens by single spaces as LSKD does, and objects mentioned together by " , "."""
    return " ".join(t if isinstance(t, str) else " , ".join(map(name, t)) for t in tokens)


def by_mention(
    tokens: Tokens, objects: Sequence[str], known: Mapping[int, str] | None = None
) -> tuple[str, dict[int, str]]:
    """Name people in order of first mention (R2C `vcr_loader.py`); return text and names.

    `known` are the names that the context gave. Kept from there: they are carried into a choice but
    counted by name and not as people, so a person first met in a choice is Casey again, even where
    the context has a Casey. Other objects go by their class, each mention on its own.
    """
    names, people = dict(known or {}), 0
    words: list[str] = []
    for token in tokens:
        if isinstance(token, str):
            words.append(token)
            continue
        for i in token:
            person = objects[i] == "person"
            if i not in names:
                names[i] = NAMES[people % len(NAMES)] if person else objects[i]
                people += person
            words.append(names[i])
    return " ".join(words), names


def by_detection(
    context: Tokens, choices: Sequence[Tokens], objects: Sequence[str]
) -> dict[int, str]:
    """Return a name per relevant object (R2C `dataloaders/vcr.py`).

    Relevant is what context or choices mention; "everyone" adds all people, and nothing mentioned
    means all people. They are numbered from 1 (0 is the whole picture), so the first of them, if a
    person, is Riley.
    """
    people = {i for i, name in enumerate(objects) if name == "person"}
    kept: set[int] = set()
    for token in (token for text in (*choices, context) for token in text):
        if not isinstance(token, str):
            kept.update(token)
        elif token.lower() in ("everyone", "everyones"):
            kept |= people
    return {
        i: NAMES[new % len(NAMES)] if objects[i] == "person" else objects[i]
        for new, i in enumerate(sorted(kept or people), 1)
    }


def _lskd(shuffle: bool, stage: _Stage, frames: Frames) -> _Asked:
    ids = stage.mentioned()
    if shuffle:
        Random(f"{SEED}/{stage.id}").shuffle(ids)
    slot = {i: at for at, i in enumerate(ids)}
    meta = frames.meta(stage.row.metadata, len(stage.row.objects))

    def name(i: int) -> str:
        return f"[{slot[i]}]"

    prompt, choices = processed(
        spoken(stage.context, name), [spoken(choice, name) for choice in stage.choices]
    )
    image = frames.drawn(stage.row.frame, meta, ids)
    question = spoken(stage.row.question, name).lower()
    return _Asked((image, prompt), choices, question, _regions(meta, ids, name))


def _regions(
    meta: Meta | None, ids: Sequence[int], name: Callable[[int], str]
) -> tuple[Region, ...]:
    return tuple(Region(meta.boxes[i], name(i)) for i in ids) if meta else ()


def _without_ids(question: bool, stage: _Stage, frames: Frames) -> _Asked:
    """Ask with object classes in place of ids, with the question or without it."""
    name = stage.row.objects.__getitem__
    image = frames.plain(stage.row.frame)
    choices = [spoken(choice, name) for choice in stage.choices]
    asked = spoken(stage.row.question, name)
    if not question:
        return _Asked((image,), tuple(choices), asked)
    prompt, cut = processed(spoken(stage.context, name), choices)
    return _Asked((image, prompt), cut, asked.lower())


def _mention_names(stage: _Stage, frames: Frames) -> _Asked:
    objects = stage.row.objects
    context, names = by_mention(stage.context, objects)
    choices = tuple(by_mention(choice, objects, names)[0] for choice in stage.choices)
    question = by_mention(stage.row.question, objects)[0]
    return _Asked((frames.plain(stage.row.frame), context), choices, question)


def _detection_names(stage: _Stage, frames: Frames) -> _Asked:
    names = by_detection(stage.context, stage.choices, stage.row.objects)

    def said(tokens: Tokens) -> str:
        return " ".join(t if isinstance(t, str) else " ".join(names[i] for i in t) for t in tokens)

    image = frames.plain(stage.row.frame)
    choices = tuple(map(said, stage.choices))
    return _Asked((image, said(stage.context)), choices, said(stage.row.question))


def _boxes(stage: _Stage, frames: Frames) -> _Asked:
    """Ask with the boxes as parts of width and height; our own wording."""
    ids = stage.mentioned()
    row, meta = stage.row, frames.meta(stage.row.metadata, len(stage.row.objects))
    if meta is None:
        raise DataError(
            f"vcr/boxes writes boxes into the prompt, and {row.metadata} is not in the data "
            "folder; unpack vcr1images.zip there"
        )
    slot = {i: f"[{at}]" for at, i in enumerate(ids)}
    listed = []
    for i in ids:
        left, top, right, bottom = meta.boxes[i]
        parts = (left / meta.width, top / meta.height, right / meta.width, bottom / meta.height)
        numbers = ", ".join(f"{part:.3f}" for part in parts)
        listed.append(f"{slot[i]} is the {row.objects[i]} at ({numbers})")
    where = f"In parts of width and height: {'; '.join(listed)}. " if listed else ""
    prompt = f"{where}Question: {spoken(stage.context, slot.__getitem__)} Answer:"
    return _Asked(
        (frames.plain(row.frame), prompt),
        tuple(spoken(choice, slot.__getitem__) for choice in stage.choices),
        spoken(row.question, slot.__getitem__),
        _regions(meta, ids, slot.__getitem__),
    )


def _generate(stage: _Stage, frames: Frames) -> _Asked:
    """Ask as LSKD's VCRGenerativeDataset: class and original id, coloured by that id."""
    ids = stage.mentioned()
    row, meta = stage.row, frames.meta(stage.row.metadata, len(stage.row.objects))

    def name(i: int) -> str:
        return f"{row.objects[i]}{i}"

    options = " ".join(lettered((spoken(choice, name) for choice in stage.choices), after=") "))
    prompt = f"{LETTER_ONLY} Question: {spoken(stage.context, name)} Answer: {options}"
    return _Asked(
        (frames.drawn(row.frame, meta, ids, slots=ids), prompt),
        tuple(LETTERS[: len(stage.choices)]),
        spoken(row.question, name),
        _regions(meta, ids, name),
    )


_ASKS: Mapping[str, Callable[[_Stage, Frames], _Asked]] = {
    "lskd": partial(_lskd, False),
    "shuffled": partial(_lskd, True),
    "clip": partial(_without_ids, False),
    "plain": partial(_without_ids, True),
    "names": _mention_names,
    "names-vocab": _detection_names,
    "boxes": _boxes,
    "generate": _generate,
}
