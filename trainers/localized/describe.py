"""Global and local descriptors: labels by a dual encoder, narratives, captions of regions.

Park et al. 2023, section 2.1: CLIP takes the best 2 places, 3 objects and 3 concepts of label banks
(Places365, Tencent ML-Images, OpenImages: here files of the user); a captioner samples 5 narratives
at temperature 1.1; a region captioner sees the picture with the box drawn on it. Templates and
prompts are ours. Every call is cached by a teacher (trainers/teacher.py). May import harness,
judges and trainers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness import fingerprint
from harness.errors import DataError, UsageError
from harness.types import Answer, Decoding, Failure, Image, Sample
from trainers.localized.verbal import Seen, Verbal, line
from trainers.teacher import Teacher

BANKS: Mapping[str, tuple[int, str]] = {
    "places": (2, "a photo of a {}, a place"),
    "objects": (3, "a photo of a {}"),
    "concepts": (3, "a photo about {}"),
}
"""Bank to how many labels are taken (section 2.1) and the template, which is ours."""
NARRATIVES = 5
NARRATE = "Describe this picture in a few sentences."
NARRATING = Decoding(max_tokens=160, temperature=1.1)
REGION = "Describe in a few words what is inside the box with the green edge."
REGIONAL = Decoding(max_tokens=48)
_RANKED = 10
"""Labels that are kept of a ranking: more than any bank needs."""


@dataclass
class Told:
    """What a part found out: by picture, and why something is missing."""

    values: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)
    """Picture to the keys of the calls that were used."""
    missing: dict[str, int] = field(default_factory=dict)
    """Reason to how many."""

    def miss(self, why: str) -> None:
        """Count something that is missing."""
        self.missing[why] = self.missing.get(why, 0) + 1


def read_bank(path: Path) -> tuple[str, ...]:
    """Read a label bank: one label on each line; `#` begins a comment. Raises DataError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no list of labels ({error})") from error
    labels = [line(said) for said in lines if said.strip() and not said.startswith("#")]
    if len(set(labels)) < 2:
        raise DataError(f"{path}: at least two different labels are needed, one on each line")
    return tuple(dict.fromkeys(labels))


class Ranker(Teacher):
    """A teacher that ranks labels: the best ones of each ranking are kept."""

    def __enter__(self) -> "Ranker":
        """Take the folder; see `Teacher`."""
        super().__enter__()
        return self

    def rank(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, list[str] | Failure, str]]:
        """Yield each sample with its best labels and the key of the call, known ones first.

        `facts["labels"]` names the choices. A failure is not kept.
        """
        waiting = []
        for sample in samples:
            key = self._key(sample)
            row = self._known.get(key)
            if row is not None:
                yield sample, [str(label) for label in row["best"]], key
            else:
                waiting.append((sample, key))
        if self.model is None:
            for sample, key in waiting:
                name = self.identity["name"]
                yield sample, Failure(f"not among the kept words of {name}", "missing"), key
            return
        if not waiting:
            return
        asked = [sample for sample, _ in waiting]
        for place, answer in self.model.answer(asked, "rank", Decoding()):
            sample, key = waiting[place]
            self.asked += 1
            yield sample, self._kept(sample, key, answer), key

    def _kept(self, sample: Sample, key: str, answer: Answer | Failure) -> list[str] | Failure:
        if isinstance(answer, Failure):
            return answer
        if len(answer.scores) != len(sample.choices):
            return Failure("the model gave no score for each label")
        labels: Sequence[str] = sample.facts["labels"]
        order = sorted(range(len(labels)), key=lambda at: (-answer.scores[at], at))[:_RANKED]
        best = [labels[at] for at in order]
        row = {"id": key, "sample": sample.id, "best": best,
               "scores": [round(answer.scores[at], 4) for at in order]}  # fmt: skip
        self._write(row)
        self._known[key] = row
        return best

    def _key(self, sample: Sample) -> str:
        images = [part.sha256 for part in sample.prompt if isinstance(part, Image)]
        return fingerprint.digest([sample.id, images, sample.choices], 32)


def labels(
    ranker: Ranker, pictures: Sequence[Verbal], images: Path, banks: Mapping[str, Sequence[str]]
) -> dict[str, Told]:
    """Return the best labels of every bank (`places`, `objects`, `concepts`) for every picture."""
    for name, bank in banks.items():
        if name not in BANKS:
            raise UsageError(f"there is no label bank '{name}'; there are {', '.join(BANKS)}")
        if len(bank) < BANKS[name][0]:
            raise UsageError(
                f"the bank of {name} has {len(bank)} labels, {BANKS[name][0]} are taken"
            )
    choices = {
        name: tuple(BANKS[name][1].replace("{}", label) for label in bank)
        for name, bank in banks.items()
    }
    samples = [
        Sample(f"{one.id}/{name}", (_image(one, images),), choices=choices[name],
               cluster=one.id, facts={"labels": bank, "bank": name})
        for one in pictures for name, bank in banks.items()
    ]  # fmt: skip
    found = {name: Told() for name in banks}
    for sample, best, key in ranker.rank(samples):
        told = found[sample.facts["bank"]]
        if isinstance(best, Failure):
            told.miss("no ranking")
            continue
        told.values[sample.cluster] = tuple(best[: BANKS[sample.facts["bank"]][0]])
        told.calls[sample.cluster] = [key]
    return found


def narratives(
    teacher: Teacher, pictures: Sequence[Verbal], images: Path, count: int = NARRATIVES,
    prompt: str = NARRATE, decoding: Decoding = NARRATING,
) -> Told:  # fmt: skip
    """Return `count` sampled descriptions of each picture; equal ones count once."""
    told = Told()
    said: dict[str, list[str]] = {one.id: [] for one in pictures}
    for number in range(count):
        samples = [
            Sample(f"{one.id}/narrative/{number}", (_image(one, images), prompt), cluster=one.id)
            for one in pictures
        ]
        drawn = Decoding(decoding.max_tokens, decoding.temperature, decoding.seed + number)
        replies = {reply.sample.cluster: reply for reply in teacher.ask(samples, drawn)}
        for one in pictures:
            reply = replies[one.id]
            text = spoken(reply.answer, told)
            if text:
                told.calls.setdefault(one.id, []).append(reply.key)
                if text not in said[one.id]:
                    said[one.id].append(text)
    told.values = {id: tuple(texts) for id, texts in said.items() if texts}
    return told


def captions(
    teacher: Teacher, pictures: Sequence[Verbal], images: Path, prompt: str = REGION,
    decoding: Decoding = REGIONAL,
) -> Told:  # fmt: skip
    """Return what is said about each region: picture to {region id: caption}."""
    told = Told()
    samples = [
        Sample(f"{one.id}/region/{seen.id}", (_boxed(one, seen, images), prompt),
               cluster=one.id, facts={"region": seen.id})
        for one in pictures for seen in one.regions
    ]  # fmt: skip
    replies = {reply.sample.id: reply for reply in teacher.ask(samples, decoding)}
    for sample in samples:
        reply = replies[sample.id]
        text = spoken(reply.answer, told).rstrip(".")
        if text:
            told.values.setdefault(sample.cluster, {})[sample.facts["region"]] = text
            told.calls.setdefault(sample.cluster, []).append(reply.key)
    return told


def spoken(answer: Answer | Failure, told: Told) -> str:
    """Return what was said on one line; count why there is nothing."""
    if isinstance(answer, Failure):
        told.miss("no reply")
    elif answer.stop == "refused":
        told.miss("refused")
    elif not line(answer.text):
        told.miss("empty reply")
    else:
        return line(answer.text)
    return ""


def _image(one: Verbal, images: Path) -> Image:
    return Image(one.image, images / one.image)


def _boxed(one: Verbal, seen: Seen, images: Path) -> Image:
    edges = ",".join(f"{edge:.10g}" for edge in seen.box)
    return Image(f"{one.image}#region={edges}", partial(_drawn, images / one.image, seen.box))


def _drawn(path: Path, box: tuple[float, float, float, float]) -> bytes:
    from judges.regions import drawn

    return drawn(path.read_bytes(), [box], "sherlock")
