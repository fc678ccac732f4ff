"""Small pools and features for the tests of retrieval, without a model."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.retrieval.features import COLUMNS, Features

Pairs = Sequence[Mapping[str, Any]]


def unit(rows: Any) -> Any:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_features(
    folder: Path, shards: Mapping[str, Sequence[str]], vectors: Mapping[str, tuple[Any, Any]],
    facts: Mapping[str, Mapping[str, Any]] | None = None, encoder: str = "one",
) -> Features:  # fmt: skip
    """Write features as `react embed` does.

    `shards` are keys by shard, `vectors` the image and the text vector by key.
    """
    width = len(next(iter(vectors.values()))[0])
    for name, keys in shards.items():
        place = folder / "shards" / name
        place.mkdir(parents=True)
        for at, kind in enumerate(("image", "text")):
            rows = unit([vectors[key][at] for key in keys])
            np.save(place / f"{kind}.npy", rows.astype(np.float16))
        rows = [
            {"key": key, "at": at, "size": 0, "caption": f"caption {key}", "url": "",
             "suffix": "png", "width": 8, "height": 8, "sha256": f"file of {key}", "look": 0,
             "flat": True, **(facts or {}).get(key, {})}
            for at, key in enumerate(keys)
        ]  # fmt: skip
        schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        pq.write_table(pa.Table.from_pylist(rows, schema), place / "pairs.parquet")
        done = {"rows": len(keys), "files": {"keys": list(keys)}, "bad": {}, "pool": ""}
        (place / "done.json").write_text(json.dumps(done))
    told = {"digest": encoder, "address": f"transformers:{encoder}", "width": width}
    (folder / "encoder.json").write_text(json.dumps(told))
    summary = {"shards": {name: len(keys) for name, keys in shards.items()},
               "pairs": len(vectors), "bad": {}, "unreadable": {}}  # fmt: skip
    (folder / "embed.json").write_text(json.dumps(summary))
    return Features(folder)


def clustered(count: int, width: int = 32, seed: int = 0) -> Any:
    """Return vectors around 40 centres, as unit rows."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, width))
    return unit(centres[draw.integers(40, size=count)] + 0.5 * draw.standard_normal((count, width)))


def keys_of(features: Features) -> list[str]:
    """Return the key of every row."""
    return [
        key
        for shard in features.shards
        for key in pq.read_table(shard.folder / "pairs.parquet")["key"].to_pylist()
    ]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def members(pairs: Pairs) -> list[tuple[str, bytes]]:
    """Return the members of pairs: key, image, suffix, caption, url."""
    found = []
    for pair in pairs:
        found.append((f"{pair['key']}.{pair.get('suffix', 'png')}", pair["image"]))
        found.append((f"{pair['key']}.txt", str(pair["caption"]).encode()))
        told = {"url": pair.get("url", ""), "status": "success"}
        found.append((f"{pair['key']}.json", json.dumps(told).encode()))
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def killed(words: Sequence[object], lines: int, width: int, reached: Callable[[], bool]) -> None:
    """Run a command line, let it print `lines` lines of at most `width` letters, and kill it.

    Its output is a pipe with room for no more, so that it waits there until `reached` and is then
    killed for sure in the middle.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"-" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    os.read(reader, 4096)
    os.write(writer, b"-" * (4096 - lines * width))
    command = [sys.executable, "-m", "harness", *map(str, words)]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE) as running:
        until = time.monotonic() + 120
        while not reached() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        running.kill()
        assert running.stderr is not None
        said = running.stderr.read().decode()
    os.close(reader)
    os.close(writer)
    assert running.returncode == -9, said
