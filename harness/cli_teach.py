"""The verb `teach`: make training data from annotations, and by models.

Each kind writes a JSON file and a card beside it (trainers/teaching.py). Models are addressed as
for `run`; all they say is kept in a folder, and `--model replay` makes the same file from that
folder without asking anybody. Added to the command line by harness/cli.py. Imports typer and
harness.errors; the rest inside.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UsageError

app = typer.Typer(
    help="Make training data: questions about places, captions, instructions.",
    no_args_is_help=True,
)

Instances = Annotated[
    Path, typer.Option("--instances", help="COCO's instances_<split>.json, or `teach detections`")
]
Images = Annotated[
    Path | None, typer.Option(help="folder of the pictures; without it none is opened")
]
Out = Annotated[Path, typer.Option(help="the .json file to write; its card goes beside it")]
Exclude = Annotated[
    Path | None, typer.Option(help="held-out images: ids or file names, one on a line")
]
License = Annotated[
    list[str] | None, typer.Option("--license", help="a licence for the card; repeatable")
]
Seed = Annotated[int, typer.Option(help="seed of every lot")]
ModelName = Annotated[
    str, typer.Option("--model", "-m", help="KIND:ADDRESS as for `run`, or replay")
]
ModelOptions = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="model option NAME=VALUE; repeatable")
]
Cache = Annotated[Path, typer.Option(help="folder where all that the model says is kept")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say how many calls, and ask nobody")]
Limit = Annotated[int | None, typer.Option(min=1, help="only the first N images")]
CodecName = Annotated[str, typer.Option(help="nfp (fractions), ivb (bins) or diga (anchors)")]
Bins = Annotated[int, typer.Option(help="bins of a side: 224 for LocVLM-B, 336 for L")]
Grid = Annotated[int, typer.Option(help="diga: anchors of a side; divides the bins")]
FrameName = Annotated[str, typer.Option(help="square (padded), crop (the centre) or image")]
Brackets = Annotated[str, typer.Option(help="[] or ()")]
Negatives = Annotated[
    str, typer.Option(help="how absent categories are drawn: uniform, frequency or adversarial")
]
Captions = Annotated[
    Path | None, typer.Option(help="captions of single objects, of `teach captions`")
]
COCO = "COCO: annotations CC BY 4.0, pictures under Flickr's terms"


@app.command()
def locate(
    instances: Instances,
    out: Out,
    images: Images = None,
    codec: CodecName = "ivb",
    bins: Bins = 224,
    grid: Grid = 8,
    frame: FrameName = "square",
    brackets: Brackets = "[]",
    location: Annotated[str, typer.Option(help="point, bbox or mixed")] = "mixed",
    objectives: Annotated[str, typer.Option(help="of locpred, negpred, revloc")] = (
        "locpred,negpred,revloc"
    ),
    negatives: Negatives = "uniform",
    captions: Captions = None,
    count: Annotated[int, typer.Option(min=0, help="records in total; 0: all")] = 0,
    ratio: Annotated[str, typer.Option(help="shares of the objectives with --count: 1:1:1")] = "",
    turns: Annotated[int, typer.Option(help="questions about an image in one record")] = 1,
    each: Annotated[int, typer.Option(help="most questions of one objective per image")] = 4,
    videos: Annotated[
        bool,
        typer.Option("--videos", help="file names are folders of frames: write them as videos"),
    ] = False,
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
    seed: Seed = 0,
) -> None:
    """LocVLM's objectives as records: where a thing is, what is not there, what is at a place."""
    from trainers import locating, teaching

    chosen = teaching.objectives(objectives)
    how = _locating(
        *(codec, bins, grid, frame, brackets), location=location, objectives=chosen,
        negatives=negatives, turns=turns, each=each, seed=seed,
    )  # fmt: skip
    shares = teaching.shares(ratio or ":".join("1" * len(chosen)), chosen)
    if ratio and not count:
        raise UsageError("--ratio says what --count is made of; give both")
    if videos and images:
        raise UsageError("--videos opens no frames; leave --images away")
    made = teaching.Made("Questions about places")
    pictures, kinds = _pictures(instances, images, exclude, limit, made)
    told = None
    if captions is not None:
        told = teaching.read_captions(captions)
        made.sources["captions"] = captions
    rows = list(locating.records(pictures, kinds, how, told))
    made.counts["candidates"] = len(rows)
    if videos:
        rows = [{"video" if k == "image" else k: v for k, v in row.items()} for row in rows]
    if count:
        rows = teaching.sampled(rows, count, shares, seed)
        if len(rows) < count:
            made.notes.append(f"{count:,} records were asked for; there are not more of this kind")
    made.records = len(rows)
    made.counts |= {"images": len({row.get("image", row.get("video")) for row in rows})}
    made.counts |= teaching.count_objectives(rows)
    made.settings = {
        **_told(codec, bins, grid, frame, brackets), "location": location,
        "negatives": negatives, "turns": turns, "each": each, "count": count or "all",
        "seed": seed,
    }  # fmt: skip
    if count:
        made.settings["ratio"] = ":".join(f"{share:g}" for share in shares.values())
    made.settings["templates"] = "those for training; evaluation has its own"
    _write(out, rows, made, license or [COCO])


@app.command()
def probes(
    instances: Instances,
    out: Out,
    images: Images = None,
    codec: CodecName = "ivb",
    bins: Bins = 224,
    grid: Grid = 8,
    frame: FrameName = "square",
    brackets: Brackets = "[]",
    negatives: Negatives = "uniform",
    captions: Captions = None,
    count: Annotated[int, typer.Option(min=2, help="probes; half of absent things")] = 200,
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
    seed: Seed = 0,
) -> None:
    """Fixed questions about places that training asks at every checkpoint (recipe key probes)."""
    from trainers import probing, teaching

    how = _locating(*(codec, bins, grid, frame, brackets), negatives=negatives, seed=seed)
    made = teaching.Made("Probes of places")
    pictures, kinds = _pictures(instances, images, exclude, limit, made)
    told = teaching.read_captions(captions) if captions else None
    found = probing.make(pictures, kinds, how, count, told)
    coder = _coder(codec, bins, grid, frame, brackets)
    made.records = len(found)
    made.counts["of absent things"] = sum(probe.box is None for probe in found)
    made.settings = _told(codec, bins, grid, frame, brackets)
    made.settings |= {"negatives": negatives, "seed": seed}
    if captions:
        made.sources["captions"] = captions
    out.parent.mkdir(parents=True, exist_ok=True)
    probing.write(out, found, coder)
    made.licenses = license or [COCO]
    _say(out, made, teaching.write_card(out, made))


@app.command()
def captions(
    instances: Instances,
    images: Annotated[Path, typer.Option(help="folder of the pictures")],
    model: ModelName,
    cache: Cache,
    out: Out,
    option: ModelOptions = None,
    related: Annotated[bool, typer.Option(help="ask for relations to other objects too")] = True,
    words: Annotated[str, typer.Option(help="fewest and most words")] = "2-40",
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Self-training: what a model says about each object that is alone of its kind."""
    from trainers import pseudo, teaching
    from trainers.locating import Locating
    from trainers.teacher import Teacher

    least, _, most = words.partition("-")
    if not (least.isdecimal() and most.isdecimal() and 0 < int(least) <= int(most)):
        raise UsageError(f"--words takes the fewest and the most, as 2-40; found '{words}'")
    made = teaching.Made("Captions of single objects")
    pictures, _ = _pictures(instances, images, exclude, limit, made)
    how = Locating(seed=seed)
    if dry_run:
        asked = [s for s, _, _ in pseudo.questions(pictures, images, how)
                 if related or s.id.endswith("/a")]  # fmt: skip
        print(_forecast(asked, pseudo.DECODING.max_tokens))
        return
    with Teacher(cache, model, _options(option)) as teacher:
        found = pseudo.self_train(
            teacher, pictures, images, how, related=related, words=(int(least), int(most))
        )
        made.teacher = teacher.identity
    made.records = len(found.captions)
    made.counts["relational"] = sum(caption.related for caption in found.captions)
    made.counts["objects"] = len({(c.image, c.item) for c in found.captions})
    made.dropped += found.dropped
    made.settings = {"words": words, "related": related, "seed": seed,
                     "max_tokens": pseudo.DECODING.max_tokens, "temperature": 0}  # fmt: skip
    made.licenses = [*(license or [COCO]), f"the terms of {made.teacher['name']}"]
    teaching.write_captions(out, found.captions)
    _say(out, made, teaching.write_card(out, made))


@app.command()
def detections(
    instances: Annotated[
        Path, typer.Option("--instances", help="COCO's file; its images and categories are used")
    ],
    detections: Annotated[
        Path, typer.Option(help="COCO results: image_id, category_id, bbox, score")
    ],
    out: Out,
    threshold: Annotated[float, typer.Option(help="lowest score of a box that is believed")] = 0.5,
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
) -> None:
    """Weak supervision: a detector's boxes in the place of people's, as an instances file."""
    from trainers import pseudo, teaching
    from trainers.locating import read_categories

    made = teaching.Made("Boxes of a detector")
    pictures, kinds = _pictures(instances, None, None, None, made)
    names = read_categories(instances)
    found = pseudo.read_detections(detections, pictures, names, threshold)
    held_out = teaching.read_exclude(exclude) if exclude else None
    found = teaching.keep(found[:limit], held_out, None, made)
    made.sources["detections"] = detections
    made.records = len(found)
    boxes = [item for picture in found for item in picture.items]
    made.counts["boxes"] = sum(not item.crowd for item in boxes)
    made.counts["doubtful boxes, neither there nor absent"] = sum(item.crowd for item in boxes)
    made.settings = {"threshold": threshold}
    made.licenses = license or [COCO, "the detector's terms"]
    teaching.write_json(out, teaching.instances(found, kinds))
    _say(out, made, teaching.write_card(out, made))


@app.command()
def instructions(
    instances: Instances,
    captions: Annotated[Path, typer.Option(help="COCO's captions_<split>.json")],
    model: ModelName,
    cache: Cache,
    out: Out,
    option: ModelOptions = None,
    kinds: Annotated[str, typer.Option(help="of conversation, detail, reasoning")] = (
        "conversation,detail,reasoning"
    ),
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """LLaVA's instructions, written by a text model from captions and boxes."""
    from harness.errors import unknown
    from trainers import instructions as writing
    from trainers import teaching
    from trainers.teacher import Teacher

    wanted = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    for kind in wanted:
        if kind not in writing.KINDS:
            raise unknown("kind of instruction", kind, writing.KINDS)
    made = teaching.Made("Visual instructions")
    found = writing.sources(instances, captions)
    made.sources |= {"instances": instances, "captions": captions}
    if exclude is not None:
        held_out = teaching.read_exclude(exclude)
        kept = [s for s in found if not {teaching.key_of(s.id), teaching.key_of(s.file)} & held_out]
        made.excluded = made.dropped["image is held out"] = len(found) - len(kept)
        found = kept
    found = found[:limit]
    asked = [writing.request(source, kind) for kind in wanted for source in found]
    print(_forecast(asked, writing.DECODING.max_tokens, writing.ATTEMPTS))
    if dry_run:
        return
    with Teacher(cache, model, _options(option)) as teacher:
        result = writing.write(teacher, found, wanted, seed=seed)
        made.teacher = teacher.identity
    made.records = len(result.records)
    for kind in wanted:
        made.counts[kind] = sum(row["source"]["kind"] == kind for row in result.records)
    made.dropped["no good text after all attempts"] = len(result.given_up)
    made.notes = [f"texts rejected and asked for again: {why}: {n:,}"
                  for why, n in sorted(result.rejected.items())]  # fmt: skip
    made.settings = {"kinds": ", ".join(wanted), "temperature": writing.DECODING.temperature,
                     "max_tokens": writing.DECODING.max_tokens, "seed": seed}  # fmt: skip
    _write(
        out, result.records, made, [*(license or [COCO]), f"the terms of {made.teacher['name']}"]
    )


@app.command()
def expand(
    captions: Annotated[Path, typer.Option(help="COCO's captions, or rows with image and caption")],
    out: Out,
    balance: Annotated[bool, typer.Option(help="cover rare and common concepts evenly")] = False,
    least: Annotated[int, typer.Option(help="--balance: passed over when seen less often")] = 3,
    most: Annotated[int, typer.Option(help="--balance: captions of one concept")] = 100,
    exclude: Exclude = None,
    license: License = None,
    limit: Limit = None,
    seed: Seed = 0,
) -> None:
    """Stage 1: a caption as the answer to a request for a brief description. Asks no model."""
    from trainers import instructions as writing
    from trainers import teaching

    made = teaching.Made("Captions for stage 1")
    made.sources["captions"] = captions
    rows = teaching.read_pairs(captions)
    if exclude is not None:
        held_out = teaching.read_exclude(exclude)
        kept = [r for r in rows if not {teaching.key_of(r[0]), teaching.key_of(r[1])} & held_out]
        made.excluded = made.dropped["image is held out"] = len(rows) - len(kept)
        rows = kept
    blank = [row for row in rows if not row[2]]
    made.dropped["empty caption"] = len(blank)
    rows = [row for row in rows if row[2]]
    if balance:
        before = len(rows)
        rows = writing.balance(rows, least=least, most=most, seed=seed)
        made.dropped["concept is too rare or has enough"] = before - len(rows)
    records = list(writing.expand(rows[:limit], seed=seed))
    made.records = len(records)
    made.settings = {"balance": f"{least} to {most}" if balance else False, "seed": seed}
    _write(out, records, made, license or [])


def _locating(codec: str, bins: int, grid: int, frame: str, brackets: str, **options: Any) -> Any:
    from harness.errors import unknown
    from trainers.codecs import codec as make
    from trainers.locating import Locating

    coder = make(codec, bins=bins, grid=grid, frame=frame, brackets=brackets)
    location = options.get("location", "bbox")
    if location not in ("point", "bbox", "mixed"):
        raise unknown("form of location", location, ("point", "bbox", "mixed"))
    return Locating(codec=coder, **options)


def _coder(codec: str, bins: int, grid: int, frame: str, brackets: str) -> dict[str, Any]:
    return {"name": codec, "bins": bins, "grid": grid, "frame": frame, "brackets": brackets}


def _told(codec: str, bins: int, grid: int, frame: str, brackets: str) -> dict[str, Any]:
    """Return what a card says of a codec: not what it does not use."""
    used = {"nfp": (), "ivb": ("bins",), "diga": ("bins", "grid")}[codec]
    numbers = {"bins": bins, "grid": grid}
    return {"codec": codec, **{n: numbers[n] for n in used}, "frame": frame, "brackets": brackets}


def _pictures(
    instances: Path, images: Path | None, exclude: Path | None, limit: int | None, made: Any
) -> Any:
    from trainers import locating, teaching

    found, kinds = locating.read_instances(instances)
    made.sources["instances"] = instances
    held_out = teaching.read_exclude(exclude) if exclude else None
    return teaching.keep(found[:limit], held_out, images, made), kinds


def _options(words: list[str] | None) -> dict[str, Any]:
    from harness.cli import parse_options

    return parse_options(words or [])


def _forecast(samples: Any, most: int, attempts: int = 1) -> str:
    """Say how many requests there are and how many tokens they are likely to take."""
    letters = sum(
        len(sample.system) + sum(len(part) for part in sample.prompt if isinstance(part, str))
        for sample in samples
    )
    pictures = sum(not isinstance(part, str) for sample in samples for part in sample.prompt)
    again = f", each at most {attempts} times" if attempts > 1 else ""
    shown = f" and {pictures:,} pictures" if pictures else ""
    return (
        f"calls: {len(samples):,}{again}; about {letters // 4:,} tokens in (letters / 4){shown}, "
        f"at most {len(samples) * most:,} tokens out for one attempt; what is in the cache already "
        "is not asked"
    )


def _write(out: Path, rows: list[dict[str, Any]], made: Any, licenses: list[str]) -> None:
    from trainers import teaching

    made.licenses = licenses
    teaching.write_json(out, rows)
    _say(out, made, teaching.write_card(out, made))


def _say(out: Path, made: Any, card: Path) -> None:
    counts = ", ".join(f"{name}: {n:,}" for name, n in made.counts.items())
    print(f"{made.records:,} records{f' ({counts})' if counts else ''}: {out}\ncard: {card}")
    for why, n in sorted(made.dropped.items()):
        if n:
            print(f"dropped, {why}: {n:,}")
