"""Stage 2 of LSKD: a language model writes questions, answers and rationales about regions.

Park et al. 2023, section 2.2: for every picture 3 rounds of 3 triples that name regions by number
and 3 rounds of 3 that name them by phrase, 18 in all, at temperature 0.8; a later round is shown
the triples of the earlier ones. Prompts (prompts/lskd) and rules are ours: the paper's appendix is
not public. A reply with a fault is asked for again at most twice; then its good triples are kept
and the others set aside with the reason. May import harness and trainers.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown
from harness.types import Decoding, Failure, Region, Sample
from trainers.localized import reply as reading
from trainers.localized.reply import Parsed
from trainers.localized.triples import STYLES, Style, Triple, mentioned
from trainers.localized.verbal import Verbal, check_drops, context, line
from trainers.teacher import Reply, Teacher

ATTEMPTS = 3
"""A faulty reply is asked for again at most twice."""
FOLDER = Path(__file__).resolve().parent.parent / "prompts" / "lskd"


@dataclass(frozen=True)
class Writing:
    """How triples are made."""

    rounds: int = 3
    each: int = 3
    """Triples of a round, per picture and style."""
    styles: tuple[Style, ...] = STYLES
    drop: tuple[str, ...] = ()
    """Descriptors that prompts leave out (`verbal.DROPS`): the rows of Table 2."""
    temperature: float = 0.8
    max_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        """Name what cannot be."""
        for style in self.styles:
            if style not in STYLES:
                raise unknown("style", style, STYLES)
        if not self.styles or len(set(self.styles)) < len(self.styles):
            raise UsageError(f"styles are one or both of {', '.join(STYLES)}, each once")
        if self.rounds < 1 or self.each < 1:
            raise UsageError("at least one round of one triple")
        check_drops(self.drop)

    @property
    def decoding(self) -> Decoding:
        """How the teacher is asked."""
        return Decoding(self.max_tokens, self.temperature, self.seed)


@dataclass
class Written:
    """What came of it."""

    triples: list[Triple] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """Rows of rejected.jsonl: what was not taken, why, and whether it was asked for again."""
    retried: Counter[str] = field(default_factory=Counter)
    """First fault of each reply that was asked for again, to how many."""
    set_aside: Counter[str] = field(default_factory=Counter)
    """Reason to how many triples (or whole replies) were set aside for good."""
    replies: int = 0
    """Rounds that got at least one triple."""
    heard: int = 0
    """Replies that came at all, kept or not."""


def request(
    verbal: Verbal, style: Style, number: int, earlier: Sequence[Triple], how: Writing
) -> Sample:
    """Return the request of one round. `regions` and `cluster` tell a rule-based teacher more."""
    rules = (FOLDER / f"{style}.txt").read_text(encoding="utf-8").strip()
    parts = [context(verbal, style, how.drop) or "Nothing is known about the picture."]
    if earlier:
        lines = [f"- {reading.written(one)}" for one in earlier]
        parts.append("\n".join(["Already written; ask about something else:", *lines]))
    parts.append(f"Write {how.each} questions with answers and rationales.")
    return Sample(
        f"{verbal.id}/{style}/{number}",
        ("\n\n".join(parts),),
        cluster=verbal.id,
        regions=tuple(Region(seen.box, seen.label) for seen in verbal.regions),
        system=rules.replace("{each}", str(how.each)),
        facts={"style": style, "round": number, "each": how.each},
    )


def prompt_id(style: Style) -> str:
    """Return the name of a prompt file with the beginning of its sha256."""
    data = (FOLDER / f"{style}.txt").read_bytes()
    return f"{style}.txt@{sha256(data).hexdigest()[:12]}"


def write(teacher: Teacher, pictures: Sequence[Verbal], how: Writing) -> Written:
    """Let the teacher write all rounds about all pictures.

    The result depends on the teacher's words alone, in the order of the pictures.

    Raises:
        UsageError: Two pictures have the same id.
    """
    if len({one.id for one in pictures}) < len(pictures):
        raise UsageError("two pictures have the same id; their triples could not be told apart")
    out = Written()
    kept: dict[tuple[str, Style], list[Triple]] = {
        (one.id, style): [] for one in pictures for style in how.styles
    }
    for number in range(how.rounds):
        for style in how.styles:
            _round(teacher, pictures, style, number, how, kept, out)
    for one in pictures:
        for style in how.styles:
            out.triples += kept[one.id, style]
    return out


@dataclass(frozen=True)
class _Got:
    """A reply with what was read in it."""

    reply: Reply
    parsed: Parsed
    attempt: int


def _round(
    teacher: Teacher, pictures: Sequence[Verbal], style: Style, number: int, how: Writing,
    kept: dict[tuple[str, Style], list[Triple]], out: Written,
) -> None:  # fmt: skip
    """Ask for one round about every picture, again where a reply is faulty; keep the best one."""
    asked = {}
    for one in pictures:
        sample = request(one, style, number, kept[one.id, style], how)
        asked[sample.id] = (sample, one)
    got: dict[str, list[_Got]] = {id: [] for id in asked}
    for attempt in range(ATTEMPTS):
        again = [s for id, (s, _) in asked.items() if not (got[id] and not got[id][-1].parsed.why)]
        for reply in teacher.ask(again, how.decoding, attempt=attempt):
            _, one = asked[reply.sample.id]
            known = [triple.question for triple in kept[one.id, style]]
            parsed = reading.read(reply.answer, style, len(one.regions), how.each, known)
            got[reply.sample.id].append(_Got(reply, parsed, attempt))
    for id, (_, one) in asked.items():
        best = max(got[id], key=lambda one: len(one.parsed.good))  # the first of equal ones
        triples = _triples(best, one, style, number, how, teacher, len(kept[one.id, style]))
        kept[one.id, style] += triples
        out.replies += bool(triples)
        out.heard += sum(not isinstance(each.reply.answer, Failure) for each in got[id])
        for each in got[id]:
            _count(each, each is best, one, style, number, out)


def _count(got: _Got, best: bool, one: Verbal, style: Style, number: int, out: Written) -> None:
    """Note what a reply lost, and why."""
    if not got.parsed.why:
        return
    if not best:
        out.retried[got.parsed.why] += 1
    about = {"image": one.image, "style": style, "round": number, "attempt": got.attempt,
             "call": got.reply.key, "final": best}  # fmt: skip
    for place, why, said in got.parsed.faults:
        id = f"{one.id}/{style}/{number}" + ("" if place is None else f".{place}")
        out.rejected.append({"id": id, **about, "reason": why, "text": said})
        if best:
            out.set_aside[why] += 1


def _triples(
    got: _Got, one: Verbal, style: Style, number: int, how: Writing, teacher: Teacher, before: int
) -> list[Triple]:
    provenance = {
        "teacher": teacher.identity["name"],
        "fingerprint": teacher.identity["fingerprint"],
        "call": got.reply.key,
        "prompt": prompt_id(style),
        "verbal": one.digest,
        "round": number,
        "attempt": got.attempt,
        "temperature": how.temperature,
        **({"drop": list(how.drop)} if how.drop else {}),
    }
    found = []
    for at, (place, said) in enumerate(got.parsed.good):
        more = {"phrases": list(said.phrases)} if style == "descriptions" else {}
        ids = mentioned(said.question, said.answer, said.rationale)
        found.append(
            Triple(
                id=f"{one.id}/{style}/{number}.{place}",
                image=one.image,
                question=said.question,
                answer=said.answer,
                rationale=said.rationale,
                region=ids if style == "ids" else _named(one, said.phrases),
                region_all=tuple(seen.id for seen in one.regions),
                references=one.references(),
                width=one.width,
                height=one.height,
                source=one.source,
                split=one.split,
                index=before + at,
                style=style,
                provenance={**provenance, **more},
            )
        )
    return found


def _named(one: Verbal, phrases: Iterable[str]) -> tuple[int, ...]:
    """Return the regions whose words are exactly a phrase, where that is one region (ours)."""
    found: dict[int, None] = {}
    for phrase in phrases:
        same = [seen.id for seen in one.regions if _bare(seen.words) == _bare(phrase)]
        if len(same) == 1:
            found[same[0]] = None
    return tuple(found)


def _bare(words: str) -> str:
    plain = line(words).lower().rstrip(".")
    for article in ("the ", "a ", "an "):
        plain = plain.removeprefix(article)
    return plain


def settings(how: Writing) -> dict[str, Any]:
    """Return what a card says of how triples were made."""
    told = asdict(how)
    told["styles"] = ", ".join(how.styles)
    told["drop"] = ", ".join(how.drop) or "nothing"
    told["attempts"] = ATTEMPTS
    told["prompts"] = ", ".join(prompt_id(style) for style in how.styles)
    return told
