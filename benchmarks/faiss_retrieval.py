"""REACT's retrieval from a pool of a million pairs: recall against exact search, speed, memory.

    python benchmarks/faiss_retrieval.py                     # 10,000 queries, 1,000,000 x 512
    python benchmarks/faiss_retrieval.py --rows 50000 --queries 1000

Index, search and exact search are those of `sightline react`; every stage is a process of its own,
so that peak memory is that stage's. Vectors are drawn, since no pool is at hand. A vector is a
common direction, plus one of 20,000 centres, plus 0.7 of the same noise again, scaled to length 1
and rounded to float16. Centres and noise are normal with variances falling as 1/i over the 512
dimensions; centres are drawn with frequencies as (50 + rank) ** -0.7. The mean cosine of two of
them is about 0.4, of a vector and its nearest neighbour about 0.85, much like CLIP's. Half of the
queries are drawn like the pool (text to text), half have another common direction (text to image),
as the texts and images of contrastive models do.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trainers.retrieval import index, search
from trainers.retrieval.features import Features

WIDTH, CENTRES, SPREAD = 512, 20_000, 0.7
SHARD = 10_000
"""Pairs of a shard, as in pools made with img2dataset."""
KEEP = 10


class Pool:
    """What vectors are drawn from."""

    def __init__(self) -> None:
        draw = np.random.default_rng(7)
        variance = 1 / np.arange(1, WIDTH + 1)
        self.scale = np.sqrt(variance / variance.sum()).astype(np.float32)
        self.centres = draw.standard_normal((CENTRES, WIDTH), np.float32) * self.scale
        self.images = self._direction(draw, 1.0)
        self.texts = self._direction(draw, 1.2)
        weights = (50 + np.arange(CENTRES)) ** -0.7
        self.weights = weights / weights.sum()

    @staticmethod
    def _direction(draw: np.random.Generator, length: float) -> np.ndarray:
        found = draw.standard_normal(WIDTH, np.float32)
        return found * (length / np.linalg.norm(found))

    def vectors(self, seed: int, count: int, common: np.ndarray) -> np.ndarray:
        """Return `count` unit vectors."""
        draw = np.random.default_rng([7, seed])
        chosen = draw.choice(CENTRES, count, p=self.weights)
        noise = draw.standard_normal((count, WIDTH), np.float32)
        found = self.centres[chosen] + SPREAD * self.scale * noise + common
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def write(folder: Path, rows: int, queries: int) -> dict[str, Any]:
    """Write features as `react embed` does, and the queries."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if (folder / "features" / "embed.json").exists():
        return {"kept": "features of before"}
    pool = Pool()
    names = []
    for start in range(0, rows, SHARD):
        names.append(f"{start // SHARD:05d}")
        place = folder / "features" / "shards" / names[-1]
        place.mkdir(parents=True, exist_ok=True)
        found = pool.vectors(1 + start // SHARD, min(SHARD, rows - start), pool.images)
        np.save(place / "image.npy", found.astype(np.float16))
        keys = pa.table({"key": [f"{start + i:09d}" for i in range(len(found))]})
        pq.write_table(keys, place / "pairs.parquet")
        done = {"rows": len(found), "files": {"image.npy": names[-1]}}
        (place / "done.json").write_text(json.dumps(done))
    encoder = {"digest": "drawn", "address": "none", "width": WIDTH}
    (folder / "features" / "encoder.json").write_text(json.dumps(encoder))
    (folder / "features" / "embed.json").write_text(json.dumps({"shards": names}))
    near = pool.vectors(0, queries // 2, pool.images)
    far = pool.vectors(10**6, queries - len(near), pool.texts)
    np.save(folder / "queries.npy", np.concatenate([near, far]).astype(np.float32))
    some = pool.vectors(1, 2000, pool.images)
    return {"mean cosine of two": float((some[:1000] @ some[1000:].T).mean())}


def build(folder: Path, links: int, effort: int, storage: str, workers: int) -> dict[str, Any]:
    """Make the index; `sightline react index`."""
    features = Features(folder / "features")
    graph = index.Graph(links, effort, storage)
    index.build(features, folder / "index", graph, ["image"], workers=workers, say=_say)
    files = (folder / "index" / "image").glob("*.faiss")
    return {"GB on disk": sum(file.stat().st_size for file in files) / 1e9}


def ask(folder: Path, ef: int, workers: int) -> dict[str, Any]:
    """Search through the graphs; `sightline react retrieve`."""
    features = Features(folder / "features")
    queries = np.load(folder / "queries.npy")
    parts = index.check(features, folder / "index", "image")
    features.order  # noqa: B018  (the table of keys is no part of a search)
    begun, cpu = time.perf_counter(), time.process_time()
    found = search.through_graphs(features, parts, queries, KEEP, ef=ef, workers=workers)
    rates = _rates(len(queries), begun, cpu)
    np.save(folder / f"found-{ef}.npy", found.rows)
    return rates


def exactly(folder: Path) -> dict[str, Any]:
    """Compare all with all; `sightline react retrieve --exact`."""
    features = Features(folder / "features")
    queries = np.load(folder / "queries.npy")
    begun, cpu = time.perf_counter(), time.process_time()
    found = search.exact(features, "image", queries, KEEP)
    rates = _rates(len(queries), begun, cpu)
    np.save(folder / "exact.npy", found.rows)
    half = len(queries) // 2
    return {
        **rates,
        "cosine of the nearest": float(found.scores[:half, 0].mean()),
        "the same, other direction": float(found.scores[half:, 0].mean()),
    }


def _rates(count: int, begun: float, cpu: float) -> dict[str, float]:
    """Return queries by the clock, and by the processor's time, which others do not share."""
    clock = time.perf_counter() - begun
    return {"queries/s": count / clock, "per CPU second": count / (time.process_time() - cpu)}


def recalls(folder: Path, ef: int) -> tuple[float, float, float]:
    """Return recall at 10 of all queries, of those like the pool, and of the others."""
    found, true = np.load(folder / f"found-{ef}.npy"), np.load(folder / "exact.npy")
    same = (found[:, :, None] == true[:, None, :]).any(axis=1).mean(axis=1)
    half = len(same) // 2
    return float(same.mean()), float(same[:half].mean()), float(same[half:].mean())


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "write": write, "build": build, "ask": ask, "exact": exactly
}  # fmt: skip


def apart(stage: str, *words: Any) -> dict[str, Any]:
    """Carry out one stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def stage(name: str, folder: str, words: list[str]) -> None:
    """Carry out one stage here and print what it found, seconds and peak memory."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = STAGES[name](Path(folder), *(int(w) if w.isdecimal() else w for w in words))
    found |= {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu}
    found["GB peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps(found))


def main() -> None:
    """Measure and print the tables."""
    if "--stage" in sys.argv:
        at = sys.argv.index("--stage")
        stage(sys.argv[at + 1], sys.argv[at + 2], sys.argv[at + 3 :])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--links", type=int, default=32)
    parser.add_argument("--build", type=int, default=80)
    parser.add_argument("--storage", default="fp16", choices=index.STORAGES)
    parser.add_argument("--ef", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        _measure(said, said.folder or Path(temporary))


def _measure(said: argparse.Namespace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cpu = platform.processor() or platform.machine()
    print(f"{os.cpu_count()} x {cpu}, {said.workers} threads, Python {platform.python_version()}, "
          f"faiss {version('faiss-cpu')}, numpy {np.__version__}")  # fmt: skip
    made = apart("write", folder, said.rows, said.queries)
    graph = f"HNSW M {said.links}, efConstruction {said.build}, {said.storage}"
    print(f"{said.rows:,} x {WIDTH}, {said.queries:,} queries, recall at {KEEP}; {graph}; {made}",
          flush=True)  # fmt: skip
    built = apart("build", folder, said.links, said.build, said.storage, said.workers)
    print(f"build: {_told(built)}", flush=True)
    print(f"exact: {_told(apart('exact', folder))}", flush=True)
    print(
        "| efSearch | recall | like the pool | other direction | queries/s | per CPU second | GB |"
    )
    print("|" + "---:|" * 7)
    for ef in said.ef:
        asked = apart("ask", folder, ef, said.workers)
        told = " | ".join(f"{value:.4f}" for value in recalls(folder, ef))
        speed = f"{asked['queries/s']:,.0f} | {asked['per CPU second']:,.0f}"
        print(f"| {ef} | {told} | {speed} | {asked['GB peak']:.2f} |", flush=True)


def _told(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in found.items())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
