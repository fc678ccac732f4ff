"""The verb `critic`: labels from ratings, scores, the threshold's curve, the filter, a page.

The critic itself is trained by `sightline train lskd/critic`. Files are corpora of triples
(trainers/localized/triples.py). Added to the command line by harness/cli.py. Imports typer and
harness.errors; the rest inside.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="LSKD's critic: labels, scores, precision by threshold, filtering, a page of triples.",
    no_args_is_help=True,
)

Scored = Annotated[Path, typer.Option(help="corpus with scores: scored.jsonl of `critic score`")]
Images = Annotated[Path, typer.Option(help="folder of the pictures")]
Seed = Annotated[int, typer.Option(help="seed of every lot")]


@app.command()
def labels(
    corpus: Annotated[Path, typer.Option(help="triples that were rated")],
    ratings: Annotated[Path, typer.Option(help="a line per rating: id, annotator, qa, r")],
    out: Annotated[Path, typer.Option(help="folder for train.jsonl and eval.jsonl")],
    scale: Annotated[
        str, typer.Option(help="of mean ratings: thirds (mean / 3), raw (1 to 3) or unit (0 to 1)")
    ] = "thirds",
    evaluate: Annotated[
        float, typer.Option(help="share of the pictures whose triples go to eval.jsonl")
    ] = 0.0,
    seed: Seed = 0,
) -> None:
    """Labels of the critic from the ratings of two people, by the paper's rule."""
    from trainers.localized import labels as labelling
    from trainers.localized import triples

    found = list(labelling.labelled(triples.read(corpus), labelling.read(ratings), scale))
    held = [labelling.evaluated(triple.image, evaluate, seed) for triple in found]
    for name, which in (("train", False), ("eval", True)):
        part = [triple for triple, one in zip(found, held, strict=True) if one is which]
        if part or not which:
            triples.write(out / f"{name}.jsonl", part)
            accepted = sum(triple.extra["accept"] for triple in part)
            share = f", {accepted / len(part):.1%} accepted" if part else ""
            print(f"{len(part):,} labelled triples{share}: {out / f'{name}.jsonl'}")


@app.command()
def score(
    corpus: Annotated[Path, typer.Option(help="triples to be scored")],
    critic: Annotated[Path, typer.Option(help="folder of the trained critic (OUT/model)")],
    images: Images,
    out: Annotated[Path, typer.Option(help="folder; given again, scoring goes on")],
    batch: Annotated[int, typer.Option(min=1, help="triples of one pass")] = 32,
    device: Annotated[str, typer.Option(help="auto, or a torch device")] = "auto",
    dtype: Annotated[str, typer.Option(help="of the vision tower: float32 or bfloat16")] = (
        "float32"
    ),
) -> None:
    """The critic's score of every triple of a corpus; resumable."""
    from trainers.localized.score import score as run

    found = run(corpus, critic, images, out, batch=batch, device=device, dtype=dtype)
    failed = sum(found.failed.values())
    print(f"{found.triples - failed:,} of {found.triples:,} triples scored: {found.scored}")
    for reason, count in found.failed.most_common(10):
        print(f"no score, {reason}: {count:,}")


@app.command()
def curve(
    scored: Annotated[Path, typer.Option(help="triples with labels and scores")],
    out: Annotated[Path | None, typer.Option(help="the .json file to write")] = None,
    threshold: Annotated[float, typer.Option(help="a score above it says accept")] = 0.5,
    resamples: Annotated[int, typer.Option(min=100, help="of the pictures, for intervals")] = 1000,
    seed: Seed = 0,
) -> None:
    """Precision, recall and F1 (Table 1), precision by share kept (Figure 2), reliability."""
    from trainers.localized import curve as curves
    from trainers.localized import triples

    found = curves.report(curves.read(triples.read(scored)), threshold, resamples, seed)
    for line in curves.lines(found):
        print(line)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(curves.to_json(found), encoding="utf-8")


@app.command("filter")
def keep(
    scored: Scored,
    out: Annotated[Path, typer.Option(help="folder for kept.jsonl, dropped.jsonl, card.json")],
    threshold: Annotated[float, typer.Option(help="scores above it stay")] = 0.8,
    limit: Annotated[int, typer.Option(min=0, help="keep so many at most, by lot; 0: all")] = 0,
    seed: Seed = 0,
) -> None:
    """Keep the triples whose score is above a threshold; count what stays per source and style."""
    from trainers.localized import filter as filtering

    found = filtering.apply(scored, out, threshold, limit=limit, seed=seed)
    text = json.dumps(found.card, indent=1) + "\n"
    (out / "card.json").write_text(text, encoding="utf-8")
    for line in filtering.lines(found.card):
        print(line)
    print(f"{found.kept:,} triples: {out / 'kept.jsonl'}")


@app.command()
def page(
    folder: Annotated[Path, typer.Option(help="kept.jsonl and dropped.jsonl of `critic filter`")],
    images: Images,
    out: Annotated[Path, typer.Option(help="the .html file to write")],
    curve: Annotated[
        Path | None, typer.Option(help="file of `critic curve`: Figure 2 is drawn")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="triples shown of each, by lot")] = 40,
    seed: Seed = 0,
) -> None:
    """Kept and dropped triples on their pictures, as one HTML file."""
    from reports.triples_page import write

    shown = write(folder, images, out, count=count, seed=seed, curve=curve)
    print(f"{out}  {shown['kept']} kept and {shown['dropped']} dropped triples shown")
