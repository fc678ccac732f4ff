"""Vectors and facts of pairs as `react embed` keeps them: one folder for every shard of the pool.

    FEATURES/encoder.json                 what the vectors were made with
    FEATURES/shards/NAME/image.npy        (n, d) float16, unit length
    FEATURES/shards/NAME/text.npy         the same of the captions
    FEATURES/shards/NAME/pairs.parquet    n rows, see COLUMNS
    FEATURES/shards/NAME/done.json        counts, and digests of the three
    FEATURES/embed.json                   written last: all shards, what was passed over and why

A row has a number: its place among the rows of all shards, shards in the order of their names.
numpy and pyarrow are imported inside functions.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.fingerprint import digest
from trainers.retrieval.files import read_json

if TYPE_CHECKING:
    import numpy as np

KINDS = ("image", "text")
COLUMNS = {
    "key": "string", "at": "int64", "size": "int64", "caption": "string", "url": "string",
    "suffix": "string", "width": "int32", "height": "int32", "sha256": "string", "look": "uint64",
    "flat": "bool",
}  # fmt: skip
"""`at` and `size`: where the shard has the picture; `look`: its perceptual hash, without worth
where the picture is `flat`."""
MAKE = "sightline react embed"


@dataclass(frozen=True)
class Shard:
    """The features of one shard."""

    name: str
    folder: Path
    rows: int
    first: int
    """Number of its first row."""


class Features:
    """All features of a pool."""

    def __init__(self, folder: Path) -> None:
        """Open what `react embed` made.

        Raises:
            UsageError: It is not there, or not finished.
            DataError: A file is damaged.
        """
        self.folder = folder
        self.encoder = read_json(folder / "encoder.json", "the encoder of features", MAKE)
        self.summary = read_json(folder / "embed.json", "all shards, when they are done", MAKE)
        self.shards: list[Shard] = []
        self.digests: dict[str, str] = {}
        self.rows = 0
        for name in sorted(self.summary["shards"]):
            place = folder / "shards" / name
            done = read_json(place / "done.json", "what a shard holds", MAKE)
            self.digests[name] = digest(done["files"])
            self.shards.append(Shard(name, place, int(done["rows"]), self.rows))
            self.rows += int(done["rows"])

    @cached_property
    def _starts(self) -> list[int]:
        return [shard.first for shard in self.shards]

    @property
    def digest(self) -> str:
        """Hash of all vectors and facts."""
        return digest(self.digests)

    def vectors(self, kind: str, names: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return the unit vectors (n, d) of some shards, in float32."""
        import numpy as np

        wanted = set(names)
        found = [self._mapped(s, kind) for s in self.shards if s.name in wanted]
        out = np.empty((sum(map(len, found)), int(self.encoder["width"])), np.float32)
        at = 0
        for some in found:
            out[at : at + len(some)] = some
            at += len(some)
        return unit(out)

    def some(self, kind: str, numbers: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Return the unit vectors of rows, in the order of `numbers`, in float32."""
        import numpy as np

        out = np.empty((len(numbers), int(self.encoder["width"])), np.float32)
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        for place in np.unique(places):
            shard, here = self.shards[place], places == place
            out[here] = self._mapped(shard, kind)[numbers[here] - shard.first]
        return unit(out)

    def shard_of(self, number: int) -> Shard:
        """Return the shard that has a row."""
        return self.shards[bisect_right(self._starts, number) - 1]

    def facts(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return the facts of rows, and the name of their shard, by number."""
        import pyarrow.parquet as pq

        by_shard: dict[str, list[int]] = {}
        for number in numbers:
            by_shard.setdefault(self.shard_of(number).name, []).append(number)
        out: dict[int, dict[str, Any]] = {}
        for shard in self.shards:
            wanted = by_shard.get(shard.name)
            if wanted:
                table = pq.read_table(shard.folder / "pairs.parquet")
                rows = table.take([number - shard.first for number in wanted]).to_pylist()
                for number, row in zip(wanted, rows, strict=True):
                    out[number] = {**row, "shard": shard.name}
        return out

    @cached_property
    def order(self) -> "np.ndarray[Any, Any]":
        """The place of every row when rows are sorted by key, then shard: the breaker of ties.

        It does not depend on which shard holds a pair.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [pq.read_table(s.folder / "pairs.parquet", columns=["key"]) for s in self.shards]
        keys = pa.concat_tables(tables).append_column("row", pa.array(range(self.rows)))
        rows = keys.sort_by([("key", "ascending"), ("row", "ascending")])["row"].to_numpy()
        out = np.empty(self.rows, np.int64)
        out[rows] = np.arange(self.rows)
        return out

    def _mapped(self, shard: Shard, kind: str) -> "np.ndarray[Any, Any]":
        import numpy as np

        path = shard.folder / f"{kind}.npy"
        try:
            found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: no vectors can be read ({error}); remove {shard.folder} and "
                            f"run `{MAKE}` again") from error  # fmt: skip
        if found.shape != (shard.rows, self.encoder["width"]):
            raise DataError(
                f"{path}: expected {shard.rows} vectors of {self.encoder['width']} numbers, found "
                f"{found.shape}; remove {shard.folder} and run `{MAKE}` again"
            )
        return found


def unit(vectors: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Scale rows to length 1, in place."""
    import numpy as np

    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
