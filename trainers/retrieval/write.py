"""Retrieved pairs as training reads them: webdataset tars, and a manifest of where each is from.

    OUT/pool-00000.tar ...     KEY.jpg|png|webp as found, KEY.txt, KEY.json
    OUT/manifest.parquet       one row per pair, see MANIFEST
    OUT/dropped.parquet        pairs left out: key, shard, rank, reason, of
    OUT/queries.parquet        label, template, text
    OUT/run.json               written last

Pairs are in the order of their keys in the pool. Members have no times or owners, so the same pairs
are the same bytes. pyarrow is imported inside functions.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.fingerprint import of_file
from trainers.retrieval.files import whole
from trainers.retrieval.pool import Shard

PER_TAR = 10_000
MANIFEST = {
    "key": "string", "tar": "string", "suffix": "string", "source_shard": "string",
    "source_key": "string", "url": "string", "caption": "string", "rank": "int32",
    "labels": "[string]", "templates": "[int32]", "ranks": "[int32]", "distances": "[float]",
    "modes": "[string]", "width": "int32", "height": "int32", "sha256": "string", "look": "string",
}  # fmt: skip
"""Lists have one entry for each class that the pair came in for: its best hit; a distance is 1
minus the cosine; `look` is the perceptual hash in 16 hex digits, empty for a flat picture."""
DROPPED = {"key": "string", "shard": "string", "rank": "int32", "reason": "string", "of": "string"}
QUERIES = {"label": "string", "template": "int32", "text": "string"}
_AT_ONCE = 500
"""Pictures in memory at a time."""
Rows = Sequence[dict[str, Any]]


def manifest_rows(
    facts: Sequence[Mapping[str, Any]], hits: Sequence[Rows], per_tar: int
) -> list[dict[str, Any]]:
    """Return the rows of the manifest.

    Args:
        facts: Of the pairs that are kept, in the order in which they are written.
        hits: The best hit for each class, of each pair (label, template, rank, distance, mode).
        per_tar: Pairs of a tar.
    """
    rows = []
    for number, (pair, found) in enumerate(zip(facts, hits, strict=True)):
        row = {
            name: pair[name] for name in ("suffix", "url", "caption", "width", "height", "sha256")
        }
        row |= {"key": f"{number:09d}", "tar": f"pool-{number // per_tar:05d}.tar"}
        row |= {"source_shard": pair["shard"], "source_key": pair["key"]}
        row |= {"look": "" if pair["flat"] else f"{int(pair['look']):016x}"}
        row |= {"rank": min(hit["rank"] for hit in found)}
        for name in ("label", "template", "rank", "distance", "mode"):
            row[f"{name}s"] = [hit[name] for hit in found]
        rows.append({name: row[name] for name in MANIFEST})
    return rows


def tars(
    rows: Rows, facts: Sequence[Mapping[str, Any]], pool: Mapping[str, Shard], out: Path
) -> dict[str, dict[str, Any]]:
    """Write the tars that are not there yet; return pairs and sha256 of each.

    Args:
        rows: Of the manifest.
        facts: Of the pairs, in the same order; they say where the shard has the picture.
        pool: Shards by name.
        out: The folder; the caller vouches that a tar in it is of these rows.

    Raises DataError where a picture is not the one that was embedded.
    """
    by_tar: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_tar.setdefault(row["tar"], []).append(number)
    found = {}
    for name, numbers in by_tar.items():
        if not (out / name).exists():
            with (
                whole(out / name) as path,
                tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                for start in range(0, len(numbers), _AT_ONCE):
                    some = numbers[start : start + _AT_ONCE]
                    pictures = dict(_pictures([(n, facts[n]) for n in some], pool))
                    for number in some:
                        _add(tar, rows[number], pictures[number])
        found[name] = {"pairs": len(numbers), "sha256": of_file(out / name)}
    return found


def _pictures(
    wanted: Sequence[tuple[int, Mapping[str, Any]]], pool: Mapping[str, Shard]
) -> Iterator[tuple[int, bytes]]:
    by_shard: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for number, pair in wanted:
        by_shard.setdefault(pair["shard"], []).append((number, pair))
    for name, some in by_shard.items():
        if name not in pool:
            raise DataError(f"the pool has no shard {name} any more; features and pool differ")
        some.sort(key=lambda one: one[1]["at"])
        data = pool[name].images([(pair["at"], pair["size"]) for _, pair in some])
        for (number, pair), picture in zip(some, data, strict=True):
            if sha256(picture).hexdigest() != pair["sha256"]:
                raise DataError(
                    f"{name}: the picture of {pair['key']} is not the one that was embedded; embed "
                    "this shard again"
                )
            yield number, picture


def _add(tar: tarfile.TarFile, row: Mapping[str, Any], picture: bytes) -> None:
    told = {name: row[name] for name in row if name not in ("tar", "suffix")}
    said = json.dumps(told, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")
    for ending, data in (
        (row["suffix"], picture), ("txt", str(row["caption"]).encode()), ("json", said)
    ):  # fmt: skip
        member = tarfile.TarInfo(f"{row['key']}.{ending}")
        member.size = len(data)
        tar.addfile(member, BytesIO(data))


def table(path: Path, rows: Rows, columns: Mapping[str, str]) -> None:
    """Write rows as parquet; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> Any:
        inner = pa.type_for_alias(name.strip("[]"))
        return pa.list_(inner) if name.startswith("[") else inner

    schema = pa.schema([(name, kind(of)) for name, of in columns.items()])
    with whole(path) as part:
        pq.write_table(pa.Table.from_pylist(list(rows), schema), part, compression="zstd")
