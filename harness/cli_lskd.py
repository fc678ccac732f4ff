"""The verb `lskd`: the teacher's side of LSKD, pictures into words and words into triples.

Models are addressed as for `run`; all they say is kept below --cache, `replay` asks nobody, and a
run that was killed goes on. Added to the command line by harness/cli.py. Imports typer and
harness.errors; the rest inside.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UsageError

app = typer.Typer(
    help="LSKD's corpus: put pictures into words, let a teacher write triples about regions.",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option(help="the .jsonl file to write; its card goes beside it")]
Cache = Annotated[
    Path | None, typer.Option(help="folder of all words; default: beside --out, <name>-calls")
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(help="TASK=DATA whose pictures no teacher may see; repeatable"),
]
Exclude = Annotated[
    Path | None, typer.Option(help="held-out images: ids or file names, one on a line")
]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="go on without any list of evaluated pictures")
]
License = Annotated[
    list[str] | None, typer.Option("--license", help="a licence for the card; repeatable")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="PART.NAME=VALUE, a model option of a part; repeatable"),
]
Prices = Annotated[
    list[str] | None,
    typer.Option("--price", help="PART=IN,OUT, money for a million tokens; repeatable"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say how many calls, and ask nobody")]
Limit = Annotated[int | None, typer.Option(min=1, help="only the first N pictures")]
Styles = Annotated[str, typer.Option(help="ids, descriptions or both with a comma")]
Rounds = Annotated[int, typer.Option(min=1, help="rounds of a picture and style")]
Each = Annotated[int, typer.Option(min=1, help="triples of a round")]
Drop = Annotated[
    list[str] | None,
    typer.Option(help="leave out of prompts: concepts, narratives, global, local or questions"),
]
_TERMS = "the terms of {name}"


@app.command()
def verbalise(
    images: Annotated[Path, typer.Option(help="folder of the pictures")],
    detections: Annotated[
        Path, typer.Option(help="COCO instances of a detector, or a list of COCO results")
    ],
    out: Out,
    instances: Annotated[
        Path | None, typer.Option(help="with a list of results: instances with its images")
    ] = None,
    clip: Annotated[str | None, typer.Option(help="dual encoder that ranks labels")] = None,
    places: Annotated[Path | None, typer.Option(help="labels of places, one on a line")] = None,
    objects: Annotated[Path | None, typer.Option(help="labels of objects")] = None,
    concepts: Annotated[Path | None, typer.Option(help="labels of concepts")] = None,
    captioner: Annotated[str | None, typer.Option(help="describes whole pictures")] = None,
    narratives: Annotated[int, typer.Option(min=1, help="descriptions of a picture")] = 5,
    region_captioner: Annotated[str | None, typer.Option(help="describes boxed regions")] = None,
    asker: Annotated[str | None, typer.Option(help="language model that asks questions")] = None,
    answerer: Annotated[str | None, typer.Option(help="model that looks and answers")] = None,
    questions: Annotated[int, typer.Option(min=1, help="questions of a picture")] = 15,
    option: Options = None,
    cache: Cache = None,
    threshold: Annotated[float, typer.Option(help="lowest score of a box")] = 0.5,
    regions: Annotated[int, typer.Option(min=1, help="most regions of a picture")] = 10,
    source: Annotated[str, typer.Option(help="what these pictures are called")] = "",
    split: Annotated[str, typer.Option(help="which split they are of")] = "train",
    hold_out: HoldOut = None,
    exclude: Exclude = None,
    unchecked: Unchecked = False,
    license: License = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    price: Prices = None,
) -> None:
    """Put pictures into words: labels, descriptions, captions of regions, questions and answers."""
    from trainers import teaching
    from trainers.localized import describe, forecast
    from trainers.localized import verbal as files
    from trainers.localized import verbalise as stage
    from trainers.localized.regions import Filters

    banks = {name: path for name, path in (("places", places), ("objects", objects),
                                           ("concepts", concepts)) if path}  # fmt: skip
    named = {"clip": clip, "captioner": captioner, "region-captioner": region_captioner,
             "asker": asker, "answerer": answerer}  # fmt: skip
    crew = stage.Crew(
        {part: address for part, address in named.items() if address},
        _options(option, stage.PARTS),
        {name: describe.read_bank(path) for name, path in banks.items()},
        narratives,
        questions,
    )
    prices = forecast.prices(price or [])
    made = teaching.Made("Pictures in words")
    pictures = _pictures(
        images, detections, instances, Filters(threshold, regions), (source, split), made,
        (hold_out, exclude, unchecked), limit,
    )  # fmt: skip
    asked = forecast.verbalising(
        len(pictures), sum(len(one.regions) for one in pictures), crew.models, crew.banks,
        narratives, questions,
    )  # fmt: skip
    print(forecast.table(asked, prices))
    if dry_run:
        return
    found = stage.verbalise(crew, pictures, images, cache or _beside(out), made)
    files.write(out, found)
    made.records = len(found)
    made.counts["regions"] = sum(len(one.regions) for one in found)
    made.sources |= {f"labels of {name}": path for name, path in banks.items()}
    made.settings |= {"threshold": threshold, "regions": regions, "narratives": narratives,
                      "questions": questions, "templates": describe.BANKS}  # fmt: skip
    by = {who["name"]: None for one in found for part in one.provenance.values()
          for who in part["by"]}  # fmt: skip
    made.licenses = [*(license or []), *(_TERMS.replace("{name}", name) for name in by)]
    _say(out, made, teaching.write_card(out, made))


@app.command()
def generate(
    verbal: Annotated[Path, typer.Option(help="verbal.jsonl of `lskd verbalise`")],
    teacher: Annotated[str, typer.Option(help="KIND:ADDRESS as for `run`, or replay")],
    out: Out,
    rounds: Rounds = 3,
    each: Each = 3,
    styles: Styles = "ids,descriptions",
    drop: Drop = None,
    temperature: Annotated[float, typer.Option(help="of the teacher")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, help="longest reply")] = 1024,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="model option NAME=VALUE; repeatable"),
    ] = None,
    cache: Cache = None,
    hold_out: HoldOut = None,
    exclude: Exclude = None,
    unchecked: Unchecked = False,
    license: License = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="seed of the teacher's draws")] = 0,
    dry_run: DryRun = False,
    price: Prices = None,
) -> None:
    """Let a language model write question-answer-rationale triples about regions."""
    from harness.cli import parse_options
    from trainers import teaching
    from trainers.localized import forecast
    from trainers.localized import generate as stage
    from trainers.localized import verbal as files
    from trainers.teacher import Teacher

    how = stage.Writing(rounds, each, _styles(styles), files.check_drops(drop or []),
                        temperature, max_tokens, seed)  # fmt: skip
    prices = forecast.prices(price or [])
    made = teaching.Made("Localized commonsense: triples about regions")
    made.sources["pictures in words"] = verbal
    pictures = _allowed(files.read(verbal), (hold_out, exclude, unchecked), made)[:limit]
    print(forecast.table(forecast.generating(pictures, how), prices))
    if dry_run:
        return
    with Teacher(cache or _beside(out), teacher, parse_options(option or [])) as asked:
        written = stage.write(asked, pictures, how)
        made.teacher = asked.identity
    _write(out, written, how, made, license or [])


@app.command()
def prices(
    pictures: Annotated[int, typer.Option(min=1, help="how many pictures")] = 250_000,
    regions: Annotated[int, typer.Option(min=1, help="regions of a picture")] = 8,
    narratives: Annotated[int, typer.Option(min=1, help="descriptions of a picture")] = 5,
    questions: Annotated[int, typer.Option(min=1, help="questions of a picture")] = 15,
    rounds: Rounds = 3,
    each: Each = 3,
    styles: Styles = "ids,descriptions",
    price: Prices = None,
) -> None:
    """Forecast calls, tokens and money of both stages, without any file."""
    from trainers.localized import forecast, generate
    from trainers.localized.verbalise import PARTS

    known = forecast.prices(price or [])
    how = generate.Writing(rounds, each, _styles(styles))
    one = forecast.example(regions, narratives, questions)
    banks = ("places", "objects", "concepts")
    first = forecast.verbalising(1, regions, PARTS, banks, narratives, questions)
    rows = forecast.scaled([*first, *forecast.generating([one], how)], pictures)
    print(forecast.table(rows, known))


@app.command()
def oracle(
    world: Annotated[Path, typer.Option(help="a folder of `sightline world`")],
    out: Annotated[Path, typer.Option(help="folder: triples.jsonl, truth.jsonl, ratings.jsonl")],
    hallucination: Annotated[float, typer.Option(help="share of triples with an error")] = 0.4,
    per_image: Annotated[int, typer.Option(min=1, help="triples of a picture")] = 18,
    styles: Styles = "ids,descriptions",
    noise: Annotated[float, typer.Option(help="how often a simulated annotator errs")] = 0.05,
    seed: Annotated[int, typer.Option(help="seed of every lot")] = 0,
) -> None:
    """Make a corpus from a scene world by rule, with errors at a rate, and two annotators."""
    from trainers.localized import oracle as rules
    from trainers.localized.verbal import write_lines

    counts = rules.corpus(world, out, hallucination=hallucination, per_image=per_image, seed=seed,
                          styles=_styles(styles))  # fmt: skip
    rated = rules.annotate(out / "truth.jsonl", noise=noise, seed=seed)
    write_lines(out / "ratings.jsonl", rated)
    for name, count in counts.items():
        print(f"{name}: {count}")
    print(f"corpus: {out / 'triples.jsonl'}; pictures: {world / 'images'}")


def _pictures(
    images: Path, detections: Path, instances: Path | None, filters: Any, named: tuple[str, str],
    made: Any, held: tuple[list[str] | None, Path | None, bool], limit: int | None,
) -> Any:  # fmt: skip
    from trainers.localized import regions

    made.sources["detections"] = detections
    if instances is not None:
        made.sources["instances"] = instances
    found = []
    for picture, seen in regions.read(detections, instances, filters):
        one, why = regions.verbal(picture, seen, images, named[0] or detections.stem, named[1])
        if one is None:
            made.dropped[why] += 1
        else:
            found.append(one)
    return _allowed(found, held, made)[:limit]


def _allowed(pictures: Any, held: tuple[list[str] | None, Path | None, bool], made: Any) -> Any:
    """Leave out pictures of evaluated splits. Raises DataError when none is left."""
    from harness.errors import DataError
    from trainers.localized import held_out

    tasks, exclude, unchecked = held
    known = held_out.read(tasks or [], exclude, unchecked=unchecked)
    kept, out = held_out.split(pictures, known)
    if not unchecked or tasks or exclude:
        made.excluded = made.dropped["image is held out"] = out
        made.settings["held out"] = ", ".join([*known.tasks, *(["a list"] if exclude else [])])
    if known.nameless:
        made.notes.append(
            f"{known.nameless:,} evaluated pictures have no file: they were compared by name alone"
        )
    if not kept:
        reasons = ", ".join(f"{why}: {n}" for why, n in made.dropped.items() if n)
        raise DataError(f"no picture is left ({reasons})")
    return kept


def _write(out: Path, written: Any, how: Any, made: Any, licenses: list[str]) -> None:
    """Write triples, what was rejected, and the card. Raises DataError where nothing is good."""
    from harness.errors import DataError
    from trainers import teaching
    from trainers.localized import generate as stage
    from trainers.localized import triples
    from trainers.localized.verbal import write_lines

    rejected = out.with_name(f"{out.stem}.rejected.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_lines(rejected, written.rejected)
    if not written.triples:
        reasons = ", ".join(f"{why}: {n}" for why, n in written.set_aside.most_common())
        raise DataError(f"the teacher wrote no good triple ({reasons}); see {rejected}")
    made.records = triples.write(out, written.triples)
    made.counts["pictures"] = len({triple.image for triple in written.triples})
    for style in how.styles:
        made.counts[f"style {style}"] = sum(t.style == style for t in written.triples)
    made.counts["rounds with a triple"] = written.replies
    made.dropped.update(written.set_aside)
    made.notes += [f"replies asked for again, first fault: {why}: {n:,}"
                   for why, n in sorted(written.retried.items())]  # fmt: skip
    made.notes.append(f"what was not taken, with the reason: `{rejected.name}`")
    made.settings |= stage.settings(how)
    made.licenses = [*licenses, _TERMS.replace("{name}", made.teacher["name"])]
    _say(out, made, teaching.write_card(out, made))
    for why, n in sorted(written.retried.items()):
        print(f"asked again, {why}: {n:,}")


def _options(words: list[str] | None, parts: tuple[str, ...]) -> Mapping[str, dict[str, Any]]:
    from harness.cli import parse_options

    found: dict[str, dict[str, Any]] = {}
    for word in words or []:
        part, dot, rest = word.partition(".")
        if not dot or part not in parts:
            raise UsageError(f"--option takes PART.NAME=VALUE with a part of {', '.join(parts)}; "
                             f"found '{word}'")  # fmt: skip
        found.setdefault(part, {}).update(parse_options([rest]))
    return found


def _styles(text: str) -> Any:
    from harness.errors import unknown
    from trainers.localized.triples import STYLES

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in STYLES:
            raise unknown("style", name, STYLES)
    return names


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.stem}-calls")


def _say(out: Path, made: Any, card: Path) -> None:
    counts = ", ".join(f"{name}: {n:,}" for name, n in made.counts.items())
    print(f"{made.records:,} records ({counts}): {out}\ncard: {card}")
    for why, n in sorted(made.dropped.items()):
        if n:
            print(f"dropped, {why}: {n:,}")
