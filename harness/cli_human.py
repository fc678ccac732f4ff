"""The verb `human`: forms for people, their answers read back, and the tables that these make.

Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness import cli_judge
from harness.errors import DataError, UsageError

app = typer.Typer(
    help="Evaluation by people: forms, answers, tables with majority and agreement.",
    no_args_is_help=True,
)

KeyFile = Annotated[Path, typer.Argument(help="key.json of the batch, or the folder that holds it")]


@app.command()
def form(
    sources: Annotated[
        list[str], typer.Argument(help="two runs to compare; with --likert runs or triples.jsonl")
    ],
    out: Annotated[Path, typer.Option(help="folder of the batch: forms/ and key.json")],
    pairwise: Annotated[bool, typer.Option("--pairwise", help="which of two answers")] = False,
    likert: Annotated[bool, typer.Option("--likert", help="rate each by itself")] = False,
    samples: Annotated[int, typer.Option(help="items; with --likert of each source")] = 200,
    seed: Annotated[int, typer.Option(help="seed of the sample, the order and the sides")] = 0,
    annotators: Annotated[int, typer.Option(help="people, a form for each")] = 3,
    votes: Annotated[int, typer.Option(help="people who see each item; 0: all of them")] = 0,
    criterion: Annotated[
        list[str] | None, typer.Option(help="NAME=QUESTION in place of ours; repeatable")
    ] = None,
    scale: Annotated[str, typer.Option(help="labels of ratings, lowest first, with commas")] = "",
    images: Annotated[
        str, typer.Option(help="embed (from where the data are), none, or a folder of pictures")
    ] = "embed",
    side: Annotated[int, typer.Option(help="longest side of a picture, in pixels")] = 1024,
) -> None:
    """Write one HTML form per annotator, and the key that says what they do not."""
    from reports.human import criteria, items
    from reports.human.form import Plan, make
    from reports.table import printable

    if pairwise == likert:
        raise UsageError("human form needs --pairwise or --likert, one of them")
    if pairwise and (len(sources) != 2 or scale):
        raise UsageError("--pairwise compares exactly two runs, without --scale")
    found = [items.load(source) for source in sources]
    own = criterion or []
    if pairwise:
        asked = criteria.pairwise(own)
        drawn = items.pairs(found[0], found[1], samples, seed)
    else:
        triples = {source.triples for source in found}
        if len(triples) > 1:
            raise UsageError("runs and corpora of triples are rated in batches of their own")
        asked = criteria.likert(own, scale, triples=triples.pop())
        drawn = items.singles(found, samples, seed)
    key = make(found, drawn, Plan(asked, annotators, votes, seed, images, side), out)
    for one in key["forms"]:
        path = out / one["file"]
        print(f"{path}  {len(one['items']):,} items, {path.stat().st_size / 1e6:.1f} MB")
    if key["counts"]["same"]:
        print(f"not asked, the answers are the same words: {key['counts']['same']:,} (ties)")
    for why, n in sorted(key["counts"]["left_out"].items()):
        print(printable(f"left out, {why}: {n:,}"))
    print(f"{out / 'key.json'}  keep it: the forms cannot be read without it. Hand out forms/ only")


@app.command()
def read(
    key: KeyFile,
    answers: Annotated[list[Path], typer.Argument(help="files that annotators sent back")],
    out: Annotated[
        Path | None, typer.Option(help="folder of votes.jsonl; default: beside the key")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="take unfinished forms and missing annotators")
    ] = False,
) -> None:
    """Check the answers against the key and write them as votes."""
    from reports.human import answers as reading

    known = reading.read_key(key)
    votes = reading.read(known, answers, partial=partial)
    where = out or (key if key.is_dir() else key.parent)
    unclear = sum(vote.unclear for vote in votes)
    print(f"{len(votes):,} votes of {len({vote.annotator for vote in votes})} annotators, "
          f"{unclear:,} cannot judge")  # fmt: skip
    for path in reading.write(known, votes, where):
        print(path)


@app.command()
def judge(
    key: KeyFile,
    judge: cli_judge.Judges = None,
    judge_option: cli_judge.JudgeOptions = None,
    images: Annotated[
        str, typer.Option(help="embed (from where the data are), none, or a folder of pictures")
    ] = "embed",
    out: Annotated[
        Path | None, typer.Option(help="folder of verdicts; default: judge/ beside the key")
    ] = None,
    repeats: cli_judge.Repeats = 1,
    budget: cli_judge.Budget = None,
    price_in: cli_judge.PriceIn = None,
    price_out: cli_judge.PriceOut = None,
    token_budget: cli_judge.TokenBudget = None,
    cache: cli_judge.CacheFolder = None,
    no_cache: cli_judge.NoCache = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be asked")] = False,
) -> None:
    """Ask a judge model what people were asked, pairs in both orders."""
    from harness import human_judge
    from reports.human import answers, pictures

    how = cli_judge.how(
        *(judge, judge_option, repeats, budget, price_in, price_out, token_budget),
        *(cache, no_cache),
    )
    known = answers.read_key(key)
    asked = human_judge.samples(known.data, pictures.drawn(known.data, images))
    where = out or (key if key.is_dir() else key.parent) / "judge"
    if dry_run:
        print("\n".join(human_judge.preview(known.data, asked, how)))
        return
    counts = human_judge.ask(known.data, asked, how, where)
    print(", ".join(f"{name} {n:,}" for name, n in counts.items()))
    print(where / human_judge.FILE)
    if not counts["readable"]:
        raise typer.Exit(1)


@app.command()
def table(
    key: KeyFile,
    votes: Annotated[
        Path | None, typer.Option(help="votes.jsonl; default: the one beside the key")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="a judge's verdicts on the batch, of `human judge`")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of table.json and table.txt; default: of the key")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print and write who wins, by majority, with intervals and agreement."""
    from reports.human import answers, judged
    from reports.human import table as tables
    from reports.human.text import text

    known = answers.read_key(key)
    home = key if key.is_dir() else key.parent
    people = tables.said(answers.read_votes(votes or home, known), int(known.data["votes"]))
    beside = None
    if judge is not None:
        file = judge / "verdicts.jsonl" if judge.is_dir() else judge
        beside = (judged.name(file), judged.read(file, known))
    found = tables.table(known, people, beside)
    whole = json.dumps(found, indent=1) + "\n"
    where = out or home
    try:
        where.mkdir(parents=True, exist_ok=True)
        (where / "table.json").write_text(whole, encoding="utf-8")
        (where / "table.txt").write_text(text(found), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{where} cannot be written: {error.strerror}") from error
    print(whole if as_json else text(found), end="")
