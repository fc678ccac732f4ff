"""VisualCOMET: what happened before, what do people want, what comes next? 50 candidates ranked.

Park et al. 2020 (arXiv 2004.10796), github jamespark3922/visual-comet, `scripts/run_rank.py` and
`dataloaders/vcg_rank.py`. A sample is a frame, an event and a relation; its n right inferences are
among 50 candidates, and its score is the share of them among the best n: Acc@50, neither hit@1 nor
recall@50. The bare name is LSKD's protocol (github jamespark3922/lskd): people are `[0]`, `[1]` in
the text and coloured boxes in the picture.

    sightline run --task visualcomet --model transformers:PATH --data FOLDER

The script lists the right ones first and sorts, so that a model without opinion may get 100. Here
candidates with equal scores count by their expectation in a random order: it gets chance.
Files: tasks/_visualcomet_files.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.types import Answer, Decoding, Image, Metric, Region, Sample, Score, Task
from tasks._vcr_files import cut, head
from tasks._visualcomet_files import RELATIONS, Events, Group, load

VARIANTS = {
    "lskd": "people drawn and called [0], [1]; event, place and candidate; same as 'visualcomet'",
    "plain": "event, place and candidate, nothing drawn, people called person (BLIP rows of LSKD)",
    "clip": "the inference alone against the untouched frame, people called person",
    "generate": "an inference is written; BLEU-2, METEOR and CIDEr against the right ones",
}
PREFIXES = {
    "intent": "PersonX wanted to",
    "before": "PersonX needed to",
    "after": "PersonX will most likely",
}
"""LSKD's words for the relations; each candidate has that of its own relation."""
MENTION = re.compile(r"(?<![^\s,])([0-9]{1,4})(?![^\s,'.?])")
"""A number on its own, as the official tokeniser splits: a person, counted from 1."""
BRACKETS = re.compile(r"\[([0-9]{1,4})\]")


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on a folder with val_annots.json and VCR's frames, or on a .json file.

    Raises DataError for files that are not what they claim to be.
    """
    found = load(data)
    found.groups.sort(key=lambda group: group.frame)  # stable
    name = f"visualcomet/{variant}" if variant else "visualcomet"
    return _writing(name, found) if variant == "generate" else _ranking(name, variant, found)


def _ranking(name: str, variant: str, found: Events) -> Task:
    samples = _ranked(variant or "lskd", found)
    return Task(
        name=name,
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=_score,
        scorer="visualcomet/r-precision@1",
        metrics=_each_relation(found, Metric("acc@50")),
        headline="acc@50",
        ask="rank",
        decoding=Decoding(rank_by="mean"),  # the official score is a perplexity
        chance=100 * sum(sum(s.relevance) / len(s.choices) for s in samples) / len(samples),
        notes=found.notes,
    )


def _writing(name: str, found: Events) -> Task:
    """Make the task of writing one inference. Raises MissingExtra without the extra `captions`."""
    from judges.captions import require

    require()
    samples = [_to_write(group, found) for group in found.groups]
    return Task(
        name=name,
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=_written,
        scorer="visualcomet/captions@1",
        metrics=_each_relation(
            found,
            Metric("bleu2", "bleu", options={"value": "bleu", "order": 2}),
            Metric("meteor", "meteor", options={"value": "meteor"}),
            Metric("cider", options={"value": "cider"}),
        ),
        headline="cider",
        decoding=Decoding(max_tokens=23, stop=("\n",)),
        ceiling=None,
        notes=(
            *found.notes,
            "one greedy inference per sample, where the published numbers have five drawn with "
            "nucleus sampling (p = 0.9): not comparable with them",
        ),
        derive=_caption_scores,
    )


def _each_relation(found: Events, *metrics: Metric) -> tuple[Metric, ...]:
    """Return the metrics over all samples, then for each relation that there is."""
    present = [r for r in RELATIONS if any(group.relation == r for group in found.groups)]
    apart = (
        replace(m, name=f"{r}.{m.name}", where={"relation": r}) for r in present for m in metrics
    )
    return (*metrics, *apart)


def mentions(text: str) -> list[int]:
    """Return the object ids (from 0) of the people whose numbers stand in a text."""
    return [int(number) - 1 for number in MENTION.findall(text) if int(number) > 0]


def renamed(text: str, name: Callable[[int], str]) -> str:
    """Replace each person's number by `name` of the object id.

    Numbers that count something else are taken for people too, as the official parser does.
    """
    return MENTION.sub(lambda m: name(int(m[1]) - 1) if int(m[1]) > 0 else m[1], text)


def r_precision(scores: Sequence[float], relevance: Sequence[float]) -> float:
    """Return the share of the n right candidates among the n with the highest scores.

    Where the n-th place is shared, its holders count by their expectation in a random order.
    """
    count = int(sum(relevance))
    cut = sorted(scores, reverse=True)[count - 1]
    above = [right for score, right in zip(scores, relevance, strict=True) if score > cut]
    tied = [right for score, right in zip(scores, relevance, strict=True) if score == cut]
    return (sum(above) + (count - len(above)) * sum(tied) / len(tied)) / count


def _bracketed(i: int) -> str:
    return f"[{i}]"


def _person(i: int) -> str:
    return "person"


def _ranked(rule: str, found: Events) -> list[Sample]:
    """Make the samples of a ranking; a candidate keeps the words of its own relation."""
    name = _bracketed if rule == "lskd" else _person
    texts = [renamed(record.text, name) for record in found.records]
    if rule != "clip":
        texts = [
            f"{PREFIXES[record.relation]} {text}".lower().rstrip(" ")
            for record, text in zip(found.records, texts, strict=True)
        ]
    named = [mentions(record.text) for record in found.records]
    return [_sample(rule, name, group, texts, named, found) for group in found.groups]


def _sample(
    rule: str,
    name: Callable[[int], str],
    group: Group,
    texts: Sequence[str],
    named: Sequence[Sequence[int]],
    found: Events,
) -> Sample:
    event = renamed(group.event, name)
    prompt, left = head(f"{event} {renamed(group.place, name)}")
    choices = tuple(texts[at] for at in group.candidates)
    image, regions = found.frames.plain(group.frame), tuple[Region, ...]()
    if rule == "lskd":
        others = {i for at in group.candidates for i in named[at]}
        image, regions = _shown(group, others, found)
    if rule != "clip":
        choices = tuple(cut(choice, left) for choice in choices)
    gold = len(group.gold)
    return Sample(
        id=group.id,
        prompt=(image,) if rule == "clip" else (image, prompt),
        target=choices[0],
        choices=choices,
        relevance=(1.0,) * gold + (0.0,) * (len(choices) - gold),
        cluster=group.frame,
        groups={"relation": group.relation, "movie": group.movie},
        facts={"question": event if rule == "clip" else event.lower()},
        regions=regions,
    )


def _shown(group: Group, others: set[int], found: Events) -> tuple[Image, tuple[Region, ...]]:
    """Return the frame with its people drawn, in the colour of their number, and their boxes.

    Drawn is who is mentioned in the event or in any candidate: those of the right candidates alone
    would give them away.
    """
    meta = found.frames.meta(group.metadata)
    if meta is None:
        return found.frames.undrawable(group.frame), ()
    ids = sorted(i for i in others.union(mentions(group.event)) if i < len(meta.boxes))
    regions = tuple(Region(meta.boxes[i], _bracketed(i)) for i in ids)
    return found.frames.drawn(group.frame, meta, ids, slots=ids), regions


def _score(sample: Sample, answer: Answer) -> Score:
    """Score a ranking; a position alone is a ranking with that candidate first."""
    scores: Sequence[float] = answer.scores
    if not scores:
        if answer.choice is None or answer.choice < 0:
            return Score(0.0, None, "unparsed")
        scores = [float(at == answer.choice) for at in range(len(sample.choices))]
    value = r_precision(scores, sample.relevance)
    count = int(sum(sample.relevance))
    return Score(value, f"{value * count:.4g} of {count}")


def _to_write(group: Group, found: Events) -> Sample:
    """Ask for an inference in our own words; the people in the event are drawn."""
    image, regions = _shown(group, set(), found)
    event, place = renamed(group.event, _bracketed), renamed(group.place, _bracketed)
    references = [found.records[at].text for at in group.gold]
    return Sample(
        id=group.id,
        prompt=(image, f"{event} {place}\nContinue in a few words: {PREFIXES[group.relation]}"),
        target=renamed(references[0], _bracketed),
        cluster=group.frame,
        groups={"relation": group.relation, "movie": group.movie},
        facts={"question": event, "references": references},
        regions=regions,
    )


def _written(sample: Sample, answer: Answer) -> Score:
    """Keep what was said, people by their numbers as in the references; all are scored together."""
    said = BRACKETS.sub(lambda m: str(int(m[1]) + 1), answer.text).strip()
    return Score(None, said, stats={"references": sample.facts["references"]})


def _caption_scores(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the caption statistics of each row; a row's own score is its METEOR."""
    from judges.captions import score

    scored = score([(row["parsed"], row["stats"]["references"]) for row in rows])
    return {
        row["id"]: {"score": one.segment, "stats": one.stats()}
        for row, one in zip(rows, scored, strict=True)
    }
