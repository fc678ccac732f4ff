"""The first stage: vectors and facts of every pair, shard by shard.

A shard is done when its folder is there: it is made under another name and renamed. What a shard's
vectors are depends on that shard alone. numpy and pyarrow are imported inside functions.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from harness.engine.prefetch import ahead
from harness.errors import DataError, RunStopped
from harness.fingerprint import of_file
from trainers.retrieval import hashes
from trainers.retrieval.encode import Encoder, Ready, check_encoder
from trainers.retrieval.features import COLUMNS, MAKE
from trainers.retrieval.files import LIMIT, Losses, read_json, write_json
from trainers.retrieval.pool import Bad, Pair, Shard

CHUNK = 256
"""Pairs in memory at a time."""
_FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
Read = tuple[Pair, str, Ready]
"""A pair that can be used, the ending of its format, its picture."""


def embed(
    pool: Sequence[Shard],
    encoder: Encoder,
    folder: Path,
    *,
    limit: float = LIMIT,
    workers: int = 2,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Make the features of the shards that are not there yet; return the summary.

    Args:
        pool: Shards.
        encoder: What makes vectors.
        folder: Where they go; see trainers/retrieval/features.py.
        limit: Share of shards and of pairs that may be bad.
        workers: Threads that decode pictures ahead.
        say: Told of every shard.

    Raises:
        RunStopped: More is bad than may be. What is done is kept.
        DataError: No pair can be used, or a shard is another than it was.
        UsageError: The folder holds features of another encoder.
    """
    _same_encoder(folder, encoder)
    losses = Losses(limit, shards=len(pool))
    done: dict[str, Any] = {}
    for number, shard in enumerate(sorted(pool, key=lambda shard: shard.name), 1):
        try:
            found, new = _shard(shard, encoder, folder / "shards", workers)
        except DataError as error:
            losses.unreadable[shard.name] = str(error)
            say(f"shard {number} of {len(pool)}: {shard.name} is passed over: {error}")
            losses.check_shards()
            continue
        done[shard.name] = found
        losses.pairs += found["rows"] + sum(found["bad"].values())
        losses.bad += Counter(found["bad"])
        say(f"shard {number} of {len(pool)}: {shard.name}, {found['rows']:,} pairs"
            f"{'' if new else ', was there'}")  # fmt: skip
    losses.check_shards()
    losses.check_pairs()
    summary = {
        "shards": {name: found["rows"] for name, found in done.items() if found["rows"]},
        "pairs": losses.pairs,
        "bad": dict(sorted(losses.bad.items())),
        "unreadable": losses.unreadable,
        "failure_limit": limit,
    }
    write_json(folder / "embed.json", summary)
    return summary


def _same_encoder(folder: Path, encoder: Encoder) -> None:
    path, mine = folder / "encoder.json", encoder.identity()
    if not path.exists():
        write_json(path, mine)
        return
    check_encoder(read_json(path, "the encoder of features", MAKE), mine, f"{folder} holds vectors")


def _shard(
    shard: Shard, encoder: Encoder, folder: Path, workers: int
) -> tuple[dict[str, Any], bool]:
    """Return what done.json says of a shard, and whether it was made now."""
    place = folder / shard.name
    mark = shard.mark()
    if place.is_dir():
        done = read_json(place / "done.json", "what a shard holds", MAKE)
        if done.get("pool") != mark:
            raise RunStopped(
                f"{place} was made of a shard with {done.get('pool')}, and now it has {mark}; "
                "remove that folder to embed it again, or take another --out"
            )
        return done, False
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        done = _write(part, shard, encoder, workers)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    write_json(part / "done.json", {**done, "pool": mark})
    for file in part.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    part.rename(place)
    return read_json(place / "done.json", "what a shard holds", MAKE), True


def _write(part: Path, shard: Shard, encoder: Encoder, workers: int) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    images: list[Any] = []
    texts: list[Any] = []
    bad: Counter[str] = Counter()
    pairs = shard.pairs()
    while chunk := list(islice(pairs, CHUNK)):
        good = list(_readable(chunk, encoder, workers, bad))
        if not good:
            continue
        seen = encoder.images([ready for _, _, ready in good])
        read = encoder.texts([pair.caption for pair, _, _ in good])
        for one, image, text in zip(good, seen, read, strict=True):
            if np.isfinite(image).all() and np.isfinite(text).all():
                rows.append(_row(*one))
                images.append(image.astype(np.float16))
                texts.append(text.astype(np.float16))
            else:
                bad["vector that is not finite"] += 1
    empty = np.zeros((0, encoder.width), np.float16)
    np.save(part / "image.npy", np.stack(images) if images else empty)
    np.save(part / "text.npy", np.stack(texts) if texts else empty)
    fields = [(name, _type(kind)) for name, kind in COLUMNS.items()]
    pq.write_table(
        pa.Table.from_pylist(rows, pa.schema(fields)), part / "pairs.parquet", compression="zstd"
    )
    files = {name: of_file(part / name) for name in ("image.npy", "text.npy", "pairs.parquet")}
    return {"rows": len(rows), "bad": dict(sorted(bad.items())), "files": files}


def _type(kind: str) -> Any:
    import pyarrow as pa

    return pa.type_for_alias(kind)


def _readable(
    chunk: Sequence[Pair | Bad], encoder: Encoder, workers: int, bad: Counter[str]
) -> Iterator[Read]:
    def read(pair: Pair | Bad) -> Read | str:
        if isinstance(pair, Bad):
            return pair.why
        try:
            ending = _ending(pair.image)
            if ending is None:
                return "picture that is no JPEG, PNG or WebP"
            return pair, ending, encoder.ready(pair.image, pair.key)
        # PIL raises half a dozen kinds for files that are no pictures, and image processors others
        # for a strip of one pixel's height; each is this pair's alone.
        except Exception:
            return "picture that does not open"

    for found in ahead(read, chunk, workers, CHUNK):
        if isinstance(found, str):
            bad[found] += 1
        else:
            yield found


def _ending(data: bytes) -> str | None:
    from PIL import Image

    with Image.open(BytesIO(data)) as opened:
        return _FORMATS.get(opened.format or "")


def _row(pair: Pair, ending: str, ready: Ready) -> dict[str, Any]:
    look = hashes.of_picture(ready.picture)
    width, height = ready.picture.size
    return {
        "key": pair.key, "at": pair.at, "size": len(pair.image), "caption": pair.caption,
        "url": pair.url, "suffix": ending, "width": width, "height": height,
        "sha256": sha256(pair.image).hexdigest(), "look": look or 0, "flat": look is None,
    }  # fmt: skip
