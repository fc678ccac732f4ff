"""LLaVA's visual instructions, written by a language model that sees captions and boxes only.

Liu (dissertation), section 3.3: from COCO's five captions (and, for detail and reasoning, its
boxes) a text-only teacher writes conversations, detailed descriptions and reasoning. 158K of them
(58K, 23K, 77K) trained LLaVA. Prompts, examples and lists of questions are our own:
prompts/instructions. Also the naive expansion of stage 1: a caption becomes the answer to a request
for a brief description. May import harness and trainers.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError, UsageError, unknown
from harness.types import Answer, Decoding, Sample
from trainers.locating import Picture, read_instances
from trainers.teacher import Teacher

KINDS = {"conversation": 58_000, "detail": 23_000, "reasoning": 77_000}
"""Kind to the number of records that LLaVA was trained on."""
ATTEMPTS = 3
"""A rejected text is asked for again at most twice."""
DECODING = Decoding(max_tokens=1024, temperature=0.7)
FOLDER = Path(__file__).parent / "prompts" / "instructions"
_BETWEEN = re.compile(r"^\s*={3,}\s*$", re.MULTILINE)
_ROLE = re.compile(r"^\s*(?:question|answer|user|human|assistant|q|a)\s*:\s*", re.IGNORECASE)
_PLACE = re.compile(r"[\[(]\s*0?\.\d+\s*,|\b0\.\d{2,}\b")
_SOURCE = re.compile(
    r"\b(?:captions?|bounding box(?:es)?|coordinates?|(?:the|given|provided) sentences?)\b", re.I
)
_LATIN = re.compile(r"[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Source:
    """What the teacher is told about one picture."""

    id: str
    file: str
    captions: tuple[str, ...]
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...]
    """Category and left, top, right, bottom as fractions of the original width and height."""


@dataclass
class Written:
    """Records that passed, and why texts were rejected (after how many attempts)."""

    records: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    """Ids that had no good text after all attempts."""


def sources(instances: Path, captions: Path) -> list[Source]:
    """Read COCO's instances and captions of one split; images without captions are left out.

    Raises DataError when a file is not what it should be.
    """
    pictures, _ = read_instances(instances)
    said: dict[str, list[str]] = {}
    try:
        for row in json.loads(captions.read_text(encoding="utf-8"))["annotations"]:
            said.setdefault(str(row["image_id"]), []).append(" ".join(str(row["caption"]).split()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{captions}: not COCO captions ({type(error).__name__}: {error})"
        ) from error
    return [
        Source(picture.id, picture.file, tuple(said[picture.id]), _shares(picture))
        for picture in pictures
        if said.get(picture.id)
    ]


def _shares(picture: Picture) -> tuple[tuple[str, tuple[float, float, float, float]], ...]:
    width, height = picture.size
    return tuple(
        (item.kind, (item.box[0] / width, item.box[1] / height,
                     item.box[2] / width, item.box[3] / height))
        for item in picture.items
    )  # fmt: skip


def context(source: Source, kind: str) -> str:
    """Return what the teacher reads: captions, and boxes except for conversations."""
    text = "\n".join(source.captions)
    if kind == "conversation" or not source.boxes:
        return text
    lines = (f"{name}: [{', '.join(f'{x:.3f}' for x in box)}]" for name, box in source.boxes)
    return text + "\n\n" + "\n".join(lines)


def request(source: Source, kind: str) -> Sample:
    """Return the request for one text of a kind. Raises UsageError for an unknown kind."""
    if kind not in KINDS:
        raise unknown("kind of instruction", kind, KINDS)
    rules = (FOLDER / f"{kind}.txt").read_text(encoding="utf-8").strip()
    shots = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))["contexts"]
    parts = [rules]
    for shot in shots:
        boxes = tuple((name, tuple(box)) for name, box in shot["boxes"])
        example = Source("", "", tuple(shot["captions"]), boxes)
        parts.append(f"Example. Given:\n{context(example, kind)}\n\nYou write:\n{shot[kind]}")
    system = "\n\n----\n\n".join(parts)
    return Sample(f"{source.id}/{kind}", (context(source, kind),), system=system)


def write(
    teacher: Teacher, found: Sequence[Source], kinds: Sequence[str], *, seed: int = 0
) -> Written:
    """Let the teacher write one text of every kind about every picture.

    A text that breaks a rule is rejected and asked for again. The records are those of LLaVA's
    files, {id, image, conversations}, and say where they come from under `source`.
    """
    result = Written()
    waiting = {}
    for kind in kinds:
        for source in found:
            sample = request(source, kind)
            waiting[sample.id] = (sample, source, kind)
    if len(waiting) != len(found) * len(set(kinds)):
        raise UsageError("two pictures have the same id; their texts could not be told apart")
    good: dict[str, dict[str, Any]] = {}
    for attempt in range(ATTEMPTS):
        asked = [sample for id, (sample, _, _) in waiting.items() if id not in good]
        for reply in teacher.ask(asked, DECODING, attempt=attempt):
            _, source, kind = waiting[reply.sample.id]
            turns, why = read(reply.answer, kind, Random(repr((seed, reply.sample.id))))
            if why:
                result.rejected[why] += 1
                continue
            provenance = {
                "teacher": teacher.identity["name"],
                "fingerprint": teacher.identity["fingerprint"],
                "call": reply.key,
                "kind": kind,
                "attempt": attempt,
                "temperature": DECODING.temperature,
            }
            good[reply.sample.id] = record(source, kind, turns, provenance)
    result.records = [good[id] for id in waiting if id in good]
    result.given_up = [id for id in waiting if id not in good]
    return result


def record(
    source: Source, kind: str, turns: Sequence[str], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a LLaVA record; the picture stands before the first question."""
    said = [
        {"from": "gpt" if place % 2 else "human", "value": ("" if place else "<image>\n") + text}
        for place, text in enumerate(turns)
    ]
    return {
        "id": f"{source.id}-{kind}",
        "image": source.file,
        "conversations": said,
        "source": dict(provenance),
    }


def read(answer: Any, kind: str, draw: Random) -> tuple[list[str], str]:
    """Return (turns, "") or ([], why the text is rejected)."""
    if not isinstance(answer, Answer):
        return [], "failed"
    if answer.stop != "end":
        return [], "cut off" if answer.stop == "length" else "refused"
    blocks = [_ROLE.sub("", block.strip()).strip() for block in _BETWEEN.split(answer.text)]
    if kind == "detail":
        questions = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))["detail"]
        blocks = [draw.choice(questions), *blocks]
    return blocks, _fault(blocks, kind)


def _fault(blocks: Sequence[str], kind: str) -> str:
    replies = " ".join(blocks[1::2])
    letters = len(_LATIN.findall(replies))
    wanted = {"conversation": range(2, 41, 2), "detail": (2,), "reasoning": (2,)}[kind]
    shortest = {"conversation": 3, "detail": 120, "reasoning": 80}[kind]
    checks = (
        ("empty block", not all(blocks)),
        ("blocks do not alternate", len(blocks) not in wanted),
        ("too short", len(replies) < shortest),
        ("too long", len(replies) > 6000),
        ("coordinates", bool(_PLACE.search(replies))),
        ("names its source", bool(_SOURCE.search(" ".join(blocks)))),
        ("not English", letters < 0.6 * len(replies.replace(" ", ""))),
        ("image mark", "<image>" in " ".join(blocks)),
    )
    return next((name for name, wrong in checks if wrong), "")


def expand(captions: Iterable[tuple[str, str, str]], *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield stage-1 records from (id, image file, caption): a brief request, then the caption."""
    questions = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))["brief"]
    for id, file, caption in captions:
        question = Random(repr((seed, id))).choice(questions)
        yield {
            "id": id,
            "image": file,
            "conversations": [
                {"from": "human", "value": f"{question}\n<image>"},
                {"from": "gpt", "value": caption},
            ],
        }


def balance(
    captions: Sequence[tuple[str, str, str]], *, least: int = 3, most: int = 100, seed: int = 0
) -> list[tuple[str, str, str]]:
    """Return the captions that cover concepts evenly, in their order.

    Going from rare to common word groups, captions are taken until each group has `most`; groups
    seen fewer than `least` times are passed over. LLaVA balanced noun phrases in this way; the
    figures are not in the dissertation (UNVERIFIED), and a concept is here a noun-like run of words
    between stop words, found without a parser.
    """
    groups: dict[str, list[int]] = {}
    for place, (_, _, caption) in enumerate(captions):
        for phrase in set(_phrases(caption)):
            groups.setdefault(phrase, []).append(place)
    taken: set[int] = set()
    for phrase in sorted(groups, key=lambda phrase: (len(groups[phrase]), phrase)):
        places = groups[phrase]
        if len(places) >= least:
            free = [place for place in places if place not in taken]
            room = max(most - (len(places) - len(free)), 0)
            taken.update(Random(repr((seed, phrase))).sample(free, min(room, len(free))))
    return [captions[place] for place in sorted(taken)]


# a plain text, because quoted words would fill a page
_BETWEEN_CONCEPTS = """
a an the and or but of in on at to for from by with near next over under is are was were be being
been has have had this that these those his her its their there it he she they as while into onto
off up down out some many several one two three four
"""
_STOP = frozenset(_BETWEEN_CONCEPTS.split())


def _phrases(caption: str) -> Iterator[str]:
    words: list[str] = []
    for word in [*re.findall(r"[a-z']+", caption.lower()), "the"]:
        if word in _STOP:
            if words:
                yield " ".join(words)
            words = []
        else:
            words.append(word)
