"""Stage 1 of LSKD: pictures into words, each part by a model of its own.

    places, objects, concepts   a dual encoder and label banks   (clip)
    narratives                  a captioner                      (captioner)
    captions of regions         a captioner of regions           (region-captioner)
    questions and answers       a language model and a VQA model (asker, answerer)

Any part may be left out, and any may be `replay`: then nobody is asked and the words are those of
the part's folder below the cache. Parts run one after another, so that one model at a time is in
memory (asker and answerer together). May import harness and trainers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import fingerprint
from harness.errors import UsageError
from harness.types import Model
from trainers.localized import describe, questions
from trainers.localized.describe import BANKS, Ranker, Told
from trainers.localized.verbal import Verbal
from trainers.teacher import Teacher
from trainers.teaching import Made

PARTS = ("clip", "captioner", "region-captioner", "asker", "answerer")


@dataclass(frozen=True)
class Crew:
    """Who plays which part."""

    models: Mapping[str, str | Model] = field(default_factory=dict)
    """Part to an address as for `sightline run --model`, a model, or `replay`."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of the models, by part."""
    banks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """`places`, `objects`, `concepts` to their labels."""
    narratives: int = describe.NARRATIVES
    questions: int = questions.COUNT
    region_prompt: str = describe.REGION
    narrative_prompt: str = describe.NARRATE

    def __post_init__(self) -> None:
        """Name what does not fit together."""
        for part in (*self.models, *self.options):
            if part not in PARTS:
                raise UsageError(f"there is no part '{part}'; there are {', '.join(PARTS)}")
        for name in self.banks:
            if name not in BANKS:
                raise UsageError(f"there is no label bank '{name}'; there are {', '.join(BANKS)}")
        if bool(self.banks) != ("clip" in self.models):
            raise UsageError(
                "labels need both: --clip MODEL and at least one of --places, --objects, --concepts"
            )
        if ("asker" in self.models) != ("answerer" in self.models):
            raise UsageError("questions need both: --asker MODEL and --answerer MODEL")
        if self.narratives < 1 or self.questions < 1:
            raise UsageError("at least one narrative and one question; leave the model out instead")
        if not self.models:
            raise UsageError(f"nobody was named; name a model for at least one of {PARTS}")


def verbalise(
    crew: Crew, pictures: Sequence[Verbal], images: Path, cache: Path, made: Made
) -> list[Verbal]:
    """Return the pictures with all that the crew says about them.

    Args:
        crew: Who is asked.
        pictures: With their regions; no picture of an evaluated split may be among them.
        images: Folder of the pictures.
        cache: Folder with one folder per part, in which every word is kept.
        made: Counts of what is there and what is missing go here.
    """
    found = list(pictures)
    if "clip" in crew.models:
        with Ranker(cache / "clip", *_who(crew, "clip")) as ranker:
            told = describe.labels(ranker, found, images, crew.banks)
            for bank in crew.banks:
                found = _put(found, bank, told[bank], [ranker], made)
    if "captioner" in crew.models:
        with Teacher(cache / "captioner", *_who(crew, "captioner")) as teacher:
            said = describe.narratives(
                teacher, found, images, crew.narratives, crew.narrative_prompt
            )
            found = _put(found, "narratives", said, [teacher], made)
    if "region-captioner" in crew.models:
        with Teacher(cache / "region-captioner", *_who(crew, "region-captioner")) as teacher:
            said = describe.captions(teacher, found, images, crew.region_prompt)
            found = _put(found, "regions", said, [teacher], made)
    if "asker" in crew.models:
        with (
            Teacher(cache / "asker", *_who(crew, "asker")) as asker,
            Teacher(cache / "answerer", *_who(crew, "answerer")) as answerer,
        ):
            said = questions.questions(asker, answerer, found, images, crew.questions)
            found = _put(found, "questions", said, [asker, answerer], made)
    return found


def _who(crew: Crew, part: str) -> tuple[str | Model, Mapping[str, Any] | None]:
    return crew.models[part], crew.options.get(part)


def _put(
    found: list[Verbal], part: str, told: Told, teachers: Sequence[Teacher], made: Made
) -> list[Verbal]:
    """Put what was told into the pictures, with who said it, and count it."""
    by = [{name: teacher.identity[name] for name in ("name", "fingerprint")}
          for teacher in teachers]  # fmt: skip
    made.counts[f"pictures with {part}"] = len(told.values)
    for why, count in told.missing.items():
        made.notes.append(f"{part} missing, {why}: {count:,}")
    out = []
    for one in found:
        value = told.values.get(one.id)
        if value is None:
            out.append(one)
            continue
        source = {"by": by, "calls": fingerprint.digest(told.calls[one.id])}
        provenance = {**one.provenance, part: source}
        if part == "regions":
            value = tuple(replace(s, caption=value.get(s.id, "")) for s in one.regions)
        changed: dict[str, Any] = {part: value, "provenance": provenance}
        out.append(replace(one, **changed))
    return out
