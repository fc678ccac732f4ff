"""Graphs of unit vectors (HNSW, inner product), one for every few shards of features.

    INDEX/settings.json            graph, rows of a part, the encoder
    INDEX/image/00000.faiss        for text to image; INDEX/text/ for text to text
    INDEX/image/00000.json         written after it: shards, rows, size and digest

A part is built by one thread: with more of them the graph would depend on their timing. Parts are
built side by side instead. They are read from the disk as they are asked (memory-mapped).
Malkov and Yashunin 2018 (arXiv:1603.09320); Douze et al. 2024 (arXiv:2401.08281). numpy and faiss
are imported inside functions.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, MissingExtra, UsageError, unknown
from harness.fingerprint import of_file
from trainers.retrieval.features import KINDS, Features
from trainers.retrieval.files import read_json, same_settings, whole, write_json

if TYPE_CHECKING:
    import numpy as np

STORAGES = {"fp16": "half the memory, 1e-4 less exact", "fp32": "as the distances are computed"}
ROWS = 250_000
"""Vectors of one part at least, where the pool has so many."""
MAKE = "sightline react index"


@dataclass(frozen=True)
class Graph:
    """What a graph is made with."""

    links: int = 32
    """Neighbours of a vector (M); twice as many on the ground level."""
    build: int = 80
    """Candidates while building (efConstruction)."""
    storage: str = "fp16"

    def check(self) -> None:
        """Raise UsageError for values that no graph can have."""
        if self.storage not in STORAGES:
            raise unknown("storage of vectors", self.storage, STORAGES)
        if self.links < 2 or self.build < self.links:
            raise UsageError(
                f"--links is at least 2 and --build at least --links; found {self.links} and "
                f"{self.build}"
            )


@dataclass(frozen=True)
class Part:
    """A part of an index, and the rows of the features that it holds."""

    path: Path
    kind: str
    shards: tuple[str, ...]
    first: int
    """Number of its first row among the rows of all shards."""
    rows: int

    @property
    def mark(self) -> Path:
        """The file that says that the part is whole."""
        return self.path.with_suffix(".json")


def faiss() -> Any:
    """Return the package. Raises MissingExtra."""
    try:
        return import_module("faiss")
    except ImportError as error:
        raise MissingExtra("faiss-cpu", "an index of vectors", "pip install faiss-cpu") from error


def graph_of(vectors: "np.ndarray[Any, Any]", graph: Graph) -> Any:
    """Return a graph of unit vectors (n, d) in float32; the same input gives the same bytes."""
    package = faiss()
    package.omp_set_num_threads(1)  # of this Python thread only
    width, metric = vectors.shape[1], package.METRIC_INNER_PRODUCT
    if graph.storage == "fp16":
        kind = package.ScalarQuantizer.QT_fp16
        made = package.IndexHNSWSQ(width, kind, graph.links, metric)
        made.train(vectors)
    else:
        made = package.IndexHNSWFlat(width, graph.links, metric)
    made.hnsw.efConstruction = graph.build
    made.add(vectors)
    return made


def parts(features: Features, folder: Path, kind: str, rows: int = ROWS) -> list[Part]:
    """Return how the rows of all shards are divided: whole shards, `rows` of them at least."""
    found: list[Part] = []
    names: list[str] = []
    first = held = 0

    def close() -> None:
        path = folder / kind / f"{len(found):05d}.faiss"
        found.append(Part(path, kind, tuple(names), first, held))

    for shard in features.shards:
        names.append(shard.name)
        held += shard.rows
        if held >= rows:
            close()
            names, first, held = [], first + held, 0
    if held:
        close()
    return found


def build(
    features: Features,
    folder: Path,
    graph: Graph,
    kinds: Sequence[str] = KINDS,
    *,
    rows: int = ROWS,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, int]:
    """Make the parts that are not there yet; return how many were made and how many were there.

    Args:
        features: What `react embed` made.
        folder: Of the index.
        graph: What to make.
        kinds: image, text.
        rows: Vectors of a part at least.
        workers: Parts built at the same time, each by one thread.
        say: Told of every part when it is done; called in threads.

    Raises:
        MissingExtra: faiss is not here.
        UsageError: The folder holds an index with other settings or of another encoder.
    """
    graph.check()
    version = str(faiss().__version__)
    settings = {**asdict(graph), "rows": rows, "encoder": features.encoder["digest"]}
    same_settings(folder / "settings.json", settings, MAKE)
    wanted = [part for kind in kinds for part in parts(features, folder, kind, rows)]

    def one(part: Part) -> bool:
        told = mark_of(part, features)
        there = part.mark.exists() and _matches(read_json(part.mark, "a part", MAKE), told)
        if not there:
            made = graph_of(features.vectors(part.kind, part.shards), graph)
            with whole(part.path) as path:
                faiss().write_index(made, str(path))
            size, sha256 = part.path.stat().st_size, of_file(part.path)
            write_json(part.mark, {**told, "bytes": size, "sha256": sha256, "faiss": version})
        was = ", was there" if there else ""
        say(f"{part.kind} {part.path.stem}: {part.rows:,} vectors{was}")
        return not there

    with ThreadPoolExecutor(max(1, workers)) as pool:
        fresh = sum(pool.map(one, wanted))
    return {"made": fresh, "kept": len(wanted) - fresh}


def mark_of(part: Part, features: Features) -> dict[str, Any]:
    """Return what the mark of a part says about what is in it."""
    return {
        "encoder": features.encoder["digest"],
        "kind": part.kind,
        "shards": {name: features.digests[name] for name in part.shards},
        "rows": part.rows,
    }


def check(features: Features, folder: Path, kind: str) -> list[Part]:
    """Return the parts of an index, all of them whole and made of these features.

    Raises:
        UsageError: There is no index, or it is of another encoder.
        DataError: A part is missing, damaged, or of other features.
    """
    settings = read_json(folder / "settings.json", "the settings of an index", MAKE)
    if settings.get("encoder") != features.encoder["digest"]:
        raise UsageError(
            f"{folder} was built with the encoder {settings.get('encoder')}, and these features "
            f"are of {features.encoder['digest']} ({features.encoder['address']}): their vectors "
            f"cannot be compared. Build an index of these features with `{MAKE}`"
        )
    found = parts(features, folder, kind, int(settings["rows"]))
    for part in found:
        if not part.mark.exists():
            raise DataError(f"{part.path} is not built yet; run `{MAKE}` again, it goes on")
        told = read_json(part.mark, "a part", MAKE)
        if not _matches(told, mark_of(part, features)):
            raise DataError(
                f"{part.path} was built of other features than those in {features.folder}; "
                f"run `{MAKE}` again"
            )
        size = part.path.stat().st_size if part.path.exists() else 0
        if size != told.get("bytes"):
            raise DataError(
                f"{part.path} has {size:,} bytes and was built with {told.get('bytes'):,}; remove "
                f"{part.mark.name} and run `{MAKE}` again"
            )
    return found


def _matches(told: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return {key: told.get(key) for key in wanted} == wanted


def opened(path: Path) -> Any:
    """Return the graph in a file, read from the disk as it is asked where faiss can do that.

    Raises DataError when it is no graph.
    """
    package = faiss()
    # Since faiss 1.11; IO_FLAG_MMAP alone maps inverted lists and reads a graph into memory.
    flag = getattr(package, "IO_FLAG_MMAP_IFC", 0)
    try:
        return package.read_index(str(path), flag)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1][:200]
        raise DataError(
            f"{path}: no index of faiss can be read ({first}); remove {path.stem}.json and run "
            f"`{MAKE}` again"
        ) from error
