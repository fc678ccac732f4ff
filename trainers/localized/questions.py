"""Dynamic descriptors: a language model asks about a picture, a model that sees it answers.

Park et al. 2023, section 2.1: 15 short questions, one after another, each with all descriptors and
all earlier answers in view; the answerer is asked zero-shot. A picture is left alone early when the
asker repeats itself. Prompts: prompts/lskd/ask.txt, ours. May import harness and trainers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.types import Answer, Decoding, Failure, Image, Sample
from trainers.localized.describe import Told, spoken
from trainers.localized.verbal import Verbal, context, line
from trainers.teacher import Teacher

COUNT = 15
ATTEMPTS = 3
"""An unreadable question is asked for again at most twice."""
FOLDER = Path(__file__).resolve().parent.parent / "prompts" / "lskd"
ASKING = Decoding(max_tokens=48, temperature=0.7)
ANSWERING = Decoding(max_tokens=24)
ANSWER = "Question: {question} Short answer:"
_WORDS = 25
"""Most words of a question."""
_LABEL = re.compile(r"^(?:question|q)\s*\d*\s*[:.)]\s*|^\d+\s*[.)]\s*", re.IGNORECASE)
_NOT_A_LETTER = re.compile(r"[^\w]+")


@dataclass
class _Talk:
    """What was asked about one picture."""

    picture: Verbal
    said: list[tuple[str, str]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    done: bool = False


def questions(
    asker: Teacher, answerer: Teacher, pictures: Sequence[Verbal], images: Path,
    count: int = COUNT, asking: Decoding = ASKING, answering: Decoding = ANSWERING,
) -> Told:  # fmt: skip
    """Return pairs of question and answer for each picture.

    `pictures` have all other descriptors; what a failed answer leaves is not told, and the asker
    does not learn of it, but may not ask it again.
    """
    told = Told()
    talks = {one.id: _Talk(replace(one, questions=())) for one in pictures}
    for number in range(count):
        open_ = [talk for talk in talks.values() if not talk.done]
        if not open_:
            break
        asked = _ask(asker, open_, number, asking, told)
        samples = [
            Sample(f"{id}/answer/{number}", (_image(talks[id].picture, images), _put(question)),
                   cluster=id)
            for id, question in asked.items()
        ]  # fmt: skip
        replies = {reply.sample.cluster: reply for reply in answerer.ask(samples, answering)}
        for id, question in asked.items():
            text = spoken(replies[id].answer, told)
            if text:
                talks[id].said.append((question, text))
                told.calls.setdefault(id, []).append(replies[id].key)
    told.values = {id: tuple(talk.said) for id, talk in talks.items() if talk.said}
    return told


def _image(one: Verbal, images: Path) -> Image:
    return Image(one.image, images / one.image)


def _put(question: str) -> str:
    return ANSWER.replace("{question}", question)


def _ask(
    asker: Teacher, talks: Sequence[_Talk], number: int, decoding: Decoding, told: Told
) -> dict[str, str]:
    """Return a new question for each picture that has one; close the others."""
    rules = (FOLDER / "ask.txt").read_text(encoding="utf-8").strip()
    waiting = {
        talk.picture.id: Sample(
            f"{talk.picture.id}/ask/{number}",
            (context(replace(talk.picture, questions=tuple(talk.said)), None)
             or "Nothing is known yet.",),
            cluster=talk.picture.id, system=rules,
        )
        for talk in talks
    }  # fmt: skip
    by_id = {talk.picture.id: talk for talk in talks}
    found: dict[str, tuple[str, str]] = {}
    why: dict[str, str] = {}
    for attempt in range(ATTEMPTS):
        again = [sample for id, sample in waiting.items() if id not in found]
        for reply in asker.ask(again, decoding, attempt=attempt):
            text, fault = read(reply.answer)
            if fault:
                why[reply.sample.cluster] = fault
            else:
                found[reply.sample.cluster] = (text, reply.key)
    out = {}
    for id in waiting:
        talk = by_id[id]
        if id not in found:
            told.miss(f"question: {why[id]}")
            talk.done = True
            continue
        text, key = found[id]
        plain = _NOT_A_LETTER.sub(" ", text.lower()).strip()
        if plain in talk.asked:
            told.miss("the asker repeats itself; stopped early")
            talk.done = True
            continue
        talk.asked.add(plain)
        told.calls.setdefault(id, []).append(key)
        out[id] = text
    return out


def read(answer: Answer | Failure) -> tuple[str, str]:
    """Return (question, "") or ("", why it is none)."""
    if isinstance(answer, Failure):
        return "", "no reply"
    if answer.stop != "end":
        return "", "cut off" if answer.stop == "length" else "refused"
    lines = [said.strip() for said in answer.text.strip().splitlines() if said.strip()]
    if len(lines) != 1:
        return "", "not one line"
    text = _LABEL.sub("", line(lines[0]))
    if not text.endswith("?") or text.count("?") > 1:
        return "", "not one question"
    if len(text.split()) > _WORDS:
        return "", "too long"
    return text, ""
