"""The verb `react`: retrieve training pairs from a pool of the web, as REACT does.

Four stages, each of which goes on where it was cut off: `embed`, `index`, `retrieve`, `page`.
Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UsageError

app = typer.Typer(
    help="Retrieve image-text pairs of a pool for the classes of a task (REACT).",
    no_args_is_help=True,
)

PoolFolder = Annotated[
    Path, typer.Option(help="folder of webdataset tars, of parquet files, or of pictures")
]
FeatureFolder = Annotated[Path, typer.Option(help="folder that `react embed` made")]
Workers = Annotated[int, typer.Option(min=1, help="threads; they change nothing but the time")]
ModelName = Annotated[str, typer.Option("--model", "-m", help="a dual encoder: transformers:PATH")]
ModelOptions = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="model option NAME=VALUE; repeatable")
]


@app.command()
def embed(
    pool: PoolFolder,
    model: ModelName,
    out: Annotated[Path, typer.Option(help="folder of the features")],
    option: ModelOptions = None,
    failure_limit: Annotated[
        float, typer.Option(min=0, max=1, help="share of shards, and of pairs, that may be bad")
    ] = 0.05,
    workers: Workers = 2,
) -> None:
    """Keep the vectors of all pictures and captions, shard by shard."""
    from trainers.retrieval import embed as stage
    from trainers.retrieval.encode import Encoder
    from trainers.retrieval.pool import shards

    found = shards(pool)
    encoder = Encoder(model, _options(option))
    summary = stage.embed(found, encoder, out, limit=failure_limit, workers=workers, say=_say)
    kept = sum(summary["shards"].values())
    print(f"{kept:,} of {summary['pairs']:,} pairs in {len(summary['shards']):,} shards: {out}")
    for why, count in summary["bad"].items():
        print(f"  {why}: {count:,}")
    for name, why in summary["unreadable"].items():
        print(f"  shard passed over: {name}: {why}")


@app.command(name="index")
def index_(
    features: FeatureFolder,
    out: Annotated[Path, typer.Option(help="folder of the index")],
    kind: Annotated[
        str, typer.Option(help="image (text to image), text (text to text) or both")
    ] = "both",
    links: Annotated[int, typer.Option(help="neighbours of a vector in the graph (M)")] = 32,
    build: Annotated[int, typer.Option(help="candidates while building (efConstruction)")] = 80,
    storage: Annotated[str, typer.Option(help="vectors in the graph: fp16 or fp32")] = "fp16",
    rows: Annotated[int, typer.Option(min=1, help="vectors of a part, at least")] = 250_000,
    workers: Annotated[int, typer.Option(min=1, help="parts built at the same time")] = 1,
) -> None:
    """Build graphs (FAISS HNSW) of the vectors, in parts."""
    from trainers.retrieval import index as stage
    from trainers.retrieval.features import KINDS, Features

    kinds = KINDS if kind == "both" else (_one_of(kind, KINDS),)
    graph = stage.Graph(links, build, storage)
    counts = stage.build(
        Features(features), out, graph, kinds, rows=rows, workers=workers, say=_say
    )
    print(f"{counts['made']:,} parts built, {counts['kept']:,} were there: {out}")


@app.command()
def retrieve(
    features: FeatureFolder,
    pool: PoolFolder,
    out: Annotated[Path, typer.Option(help="folder of the retrieved pairs")],
    index: Annotated[Path | None, typer.Option(help="folder that `react index` made")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="compare all with all; no index")] = False,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="class names and templates of a task; held out too"),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="data of --task")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="class names: lines, or JSON (docs/trainers)")
    ] = None,
    templates: Annotated[Path | None, typer.Option(help="templates with {}, one on a line")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="captions as queries: lines, or COCO's JSON")
    ] = None,
    mode: Annotated[str, typer.Option(help="t2t, t2i or both")] = "t2i",
    k: Annotated[int, typer.Option(help="pairs of each query; with --target, the most")] = 50,
    target: Annotated[
        int | None, typer.Option(help="pairs wanted in all; the least K that reaches it is taken")
    ] = None,
    cap: Annotated[int | None, typer.Option(help="most pairs of a class")] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="TASK=DATA whose pictures must not be retrieved; repeatable"),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(help="cosine from which a picture counts as a held-out one; default: none"),
    ] = None,
    near: Annotated[int, typer.Option(help="bits of 63 in which duplicates differ; -1: off")] = 3,
    near_held: Annotated[int, typer.Option(help="the same for held-out pictures")] = 6,
    ef: Annotated[int, typer.Option(help="candidates in each graph (efSearch)")] = 256,
    recall: Annotated[
        int, typer.Option(help="compare so many queries with exact search; 0: none")
    ] = 0,
    per_tar: Annotated[int, typer.Option(help="pairs of a tar")] = 10_000,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="default: the one that embedded the pool")
    ] = None,
    option: ModelOptions = None,
    workers: Workers = 1,
) -> None:
    """Ask for the classes of a task; write webdataset tars and a manifest."""
    from trainers.retrieval import dedupe
    from trainers.retrieval import retrieve as stage
    from trainers.retrieval.encode import Encoder
    from trainers.retrieval.features import Features
    from trainers.retrieval.pool import shards

    asked = stage.Asked(
        ("t2t", "t2i") if mode == "both" else (_one_of(mode, ("t2t", "t2i")),),
        *(k, target, cap, exact, ef, near, near_held, tau, per_tar, recall),
    )  # fmt: skip
    asked.check()
    queries, tasks = _asked_for(task, data, classes, templates, captions, hold_out or [])
    found = Features(features)
    encoder = Encoder(model or found.encoder["address"], _options(option))
    held = dedupe.held_out(tasks, near_held, encoder, tau)
    sources = stage.Sources(found, shards(pool), index)
    run = stage.retrieve(sources, encoder, queries, held, asked, out, workers=workers, say=_say)
    _tell(run, out)


@app.command()
def page(
    folder: Annotated[Path, typer.Argument(help="folder that `react retrieve` made")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; default: retrieved.html in the folder")
    ] = None,
    each: Annotated[int, typer.Option(min=0, help="pairs shown of a class")] = 6,
    images: Annotated[bool, typer.Option(help="put small pictures into the page")] = True,
) -> None:
    """Write one HTML file that shows what was retrieved for each class."""
    from reports.retrieved import render

    path = out or folder / "retrieved.html"
    text = render(folder, each=each, images=images).encode("utf-8")
    try:
        path.write_bytes(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path}  {len(text) / 1e6:.1f} MB")


def _asked_for(
    task: str | None, data: str | None, classes: Path | None, templates: Path | None,
    captions: Path | None, hold_out: list[str],
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Return the queries and the tasks whose pictures are held out."""
    from harness.find import make_task
    from trainers.retrieval import queries

    given = [name for name, value in (("--task", task), ("--classes", classes),
                                      ("--captions", captions)) if value]  # fmt: skip
    if len(given) != 1:
        raise UsageError(
            f"say what to ask for with one of --task, --classes, --captions; found "
            f"{' and '.join(given) or 'none'}"
        )
    if templates and not classes:
        raise UsageError("--templates goes with --classes; a task has its own")
    tasks = []
    for word in hold_out:
        name, equals, where = word.partition("=")
        if not equals or not where:
            raise UsageError(f"--hold-out takes TASK=DATA, found '{word}'")
        tasks.append(make_task(name, where))
    if task:
        made = make_task(task, data)
        return queries.of_task(made), [made, *tasks]
    if classes:
        return queries.of_files(classes, templates), tasks
    assert captions is not None
    return queries.of_captions(captions), tasks


def _tell(run: dict[str, Any], out: Path) -> None:
    print(f"K {run['k_used']}: {run['found']:,} pairs found, {run['within_caps']:,} within caps")
    for reason, count in run["dropped"].items():
        print(f"  dropped, {reason}: {count:,}")
    if not run["held_out"]["tasks"]:
        print("  nothing was held out: evaluated pictures may be among them (--hold-out)")
    if run["recall"]:
        print(f"  recall against exact search: {run['recall']}")
    if run["short_of_target"]:
        print(f"  {run['short_of_target']:,} short of --target; a larger --k finds more")
    missing = run["labels_without_pairs"]
    if missing:
        print(f"  {len(missing):,} classes without a pair: {', '.join(missing[:5])}")
    print(f"{run['kept']:,} pairs in {len(run['tars']):,} tars: {out}")


def _one_of(word: str, known: tuple[str, ...]) -> str:
    from harness.errors import unknown

    if word not in known:
        raise unknown("choice", word, (*known, "both"))
    return word


def _options(words: list[str] | None) -> dict[str, Any]:
    from harness.cli import parse_options

    return parse_options(words or [])


def _say(text: str) -> None:
    print(text, flush=True)
