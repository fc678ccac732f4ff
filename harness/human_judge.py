"""A judge model asked what people are asked (reports/human): pairs in both orders, or ratings.

Asking, cache, budget and resume are those of judging runs (harness/judge_bench.py). Verdicts go to
verdicts.jsonl of a folder, by the item's key, one number per criterion in `stats`: a rating, or
1 (a), 0 (the same), -1 (b), sides put right. judge.json beside it says who judged, and by what
words. The prompt is ours: the papers have no judge here. What a judge writes must be one line per
criterion and nothing else; anything else is asked for once more and then unreadable, never a
number.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import fingerprint, verdicts
from harness.errors import UsageError
from harness.judge_bench import Bench, Case
from harness.judge_budget import estimate
from harness.judge_cache import Cache
from harness.judging import How
from harness.record import appending, read_lines
from harness.types import Decoding, Image, Rubric, Sample, Verdict

FILE = verdicts.FILE
_ABOUT = "judge.json"
_LONGEST = 4000
_DECODINGS = (Decoding(max_tokens=256), Decoding(max_tokens=256, temperature=0.7))
_PAIR = (
    "Below are a question about the picture and two answers to it. Judge them line by line. The "
    "order of the answers means nothing. Write exactly these lines and nothing else, with 1 or 2 "
    "for the better answer in place of the dots, or 0 where they are the same:"
)
_RATE = (
    "Below is a text about the picture. Rate it line by line. Numbers in brackets are the boxes "
    "drawn in the picture. Write exactly these lines and nothing else, with a number in place of "
    "the dots:"
)


def samples(key: Mapping[str, Any], pictures: Mapping[str, Sequence[Image]]) -> dict[str, Sample]:
    """Return what a judge sees of each item, by the item's key; `pictures` have regions drawn in.

    The two answers, or the parts to rate, are in `facts`.
    """
    return {
        name: Sample(
            name,
            (*pictures.get(name, ()), item["question"]),
            cluster=item["cluster"],
            facts={"texts": [(heading, text) for heading, text in item["texts"]]},
        )
        for name, item in key["items"].items()
    }


def rubric(key: Mapping[str, Any]) -> Rubric:
    """Return the rubric of a batch."""
    pair = key["kind"] == "pairwise"
    criteria = key["criteria"]

    def prompt(sample: Sample, answer: str, swapped: bool, attempt: int) -> Sample:
        return Sample(sample.id, (*sample.prompt[:-1], _words(sample, criteria, pair, swapped)))

    def read(text: str, swapped: bool) -> Verdict | None:
        return _verdict(text, criteria, pair, swapped)

    return Rubric(
        name=f"human/{key['kind']}",
        version=f"1/{fingerprint.digest([_PAIR, _RATE, criteria])}",
        prompt=prompt,
        read=read,
        decodings=_DECODINGS,
        model="",
        orders=(False, True) if pair else (False,),
    )


def _words(sample: Sample, criteria: Sequence[Mapping[str, Any]], pair: bool, swapped: bool) -> str:
    texts = list(sample.facts["texts"])
    heads = ["Answer 1", "Answer 2"] if pair else [heading for heading, _ in texts]
    texts = texts[::-1] if swapped else texts
    asked = [f"{one['name']}: … ({one['question']}{_scale(one, pair)})" for one in criteria]
    question = str(sample.prompt[-1])
    shown = [("Question", question)] if question else []
    shown += [(head, text) for head, (_, text) in zip(heads, texts, strict=True)]
    blocks = [f"[{head}]\n{text}\n[End of {head.lower()}]" for head, text in shown]
    return "\n\n".join([_PAIR if pair else _RATE, "\n".join(asked), *blocks])


def _scale(criterion: Mapping[str, Any], pair: bool) -> str:
    if pair:
        return ""
    return " " + ", ".join(f"{n} {label}" for n, label in enumerate(criterion["options"], 1))


def _verdict(
    text: str, criteria: Sequence[Mapping[str, Any]], pair: bool, swapped: bool
) -> Verdict | None:
    """Read one line `name: number` per criterion; None for anything else in the reply."""
    lines = [line.strip() for line in text[:_LONGEST].strip().splitlines() if line.strip()]
    said: dict[str, int] = {}
    for line in lines:
        found = re.fullmatch(r"([a-z][a-z0-9_-]*)\s*:\s*([0-9])", line)
        if found is None or found[1] in said:
            return None
        said[found[1]] = int(found[2])
    stats: dict[str, float] = {}
    for one in criteria:
        if one["follows"] and stats.get(one["follows"]) == 1:
            said.pop(one["name"], None)
            stats[one["name"]] = 1.0
            continue
        number = said.pop(one["name"], -1)
        if number not in (range(3) if pair else range(1, len(one["options"]) + 1)):
            return None
        side = (0.0, 1.0, -1.0)[number] if pair else 0.0
        stats[one["name"]] = (-side if swapped else side) if pair else float(number)
    if said:  # a line that nobody asked for
        return None
    label = ", ".join(f"{name} {value:+g}" for name, value in stats.items())
    return Verdict(None, label, stats)


def preview(key: Mapping[str, Any], asked: Mapping[str, Sample], how: How) -> list[str]:
    """Return what asking would cost, for people; asks nothing."""
    case = _case(key, asked, how)
    return estimate(((case.ask(s, 0), case.rubric.decodings[0]) for s in case.slots()), how.budget)


def _case(key: Mapping[str, Any], asked: Mapping[str, Sample], how: How) -> Case:
    return Case(rubric(key), how.judges, how.repeats, key["seed"], asked, dict.fromkeys(asked, ""))


def ask(key: Mapping[str, Any], asked: Mapping[str, Sample], how: How, out: Path) -> dict[str, int]:
    """Ask the judges what is not answered yet in `out`, and return counts of the verdicts.

    Raises UsageError where `out` holds verdicts of other judges or another batch, RunStopped when
    the budget is used up; what was said stays, and the same call goes on.
    """
    case = _case(key, asked, how)
    about = {
        "batch": key["batch"],
        "judges": [
            {"address": judge.address, "identity": dict(judge.identity)} for judge in how.judges
        ],
        "rubric": fingerprint.rubric(case.rubric),
        "repeats": how.repeats,
    }
    text = json.dumps(about, indent=1) + "\n"

    def prepare() -> None:
        path = out / _ABOUT
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{out} holds what another judge said, or about another batch; name another --out"
            )
        path.write_text(text, encoding="utf-8")

    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cache = stack.enter_context(Cache(how.cache)) if how.cache else None
        write = stack.enter_context(appending(out, FILE, prepare))
        bench = Bench(
            case, read_lines(out / FILE), write, budget=how.budget, cache=cache,
            recall=not how.fresh,
        )  # fmt: skip
        bench.sit()
    lines = [bench.lines.get(slot) for slot in case.slots()]
    good = sum(verdicts.readable(line) for line in lines)
    failed = sum(bool(line and line["error"]) for line in lines)
    return {"readable": good, "unreadable": len(lines) - good - failed, "failed": failed}
