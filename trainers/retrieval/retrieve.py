"""The last stage: ask, choose, drop what is the same or held out, write.

Settings are kept in OUT/settings.json; the same command again goes on where it was, another one is
refused. numpy is imported inside functions.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown
from trainers.retrieval import dedupe, index, search, select, write
from trainers.retrieval.dedupe import HeldOut, Sifted
from trainers.retrieval.encode import Encoder, check_encoder
from trainers.retrieval.features import Features
from trainers.retrieval.files import read_json, same_settings, write_json
from trainers.retrieval.pool import Shard
from trainers.retrieval.queries import Queries
from trainers.retrieval.search import Hits

MAKE = "sightline react retrieve"
_TEXTS = 256


@dataclass(frozen=True)
class Asked:
    """What is wanted."""

    modes: tuple[str, ...] = ("t2i",)
    k: int = 50
    """Hits of each query; with a target, the most."""
    target: int | None = None
    """Pairs wanted in all, after duplicates are dropped."""
    cap: int | None = None
    """Most pairs of a class, before duplicates are dropped."""
    exact: bool = False
    ef: int = 256
    near: int = dedupe.NEAR
    """Bits in which two pictures may differ to be one; -1: not compared."""
    near_held: int = dedupe.NEAR_HELD
    tau: float | None = None
    """Cosine from which a picture is taken for a held-out one."""
    per_tar: int = write.PER_TAR
    recall_of: int = 0
    """Queries whose hits are compared with exact search."""

    def check(self) -> None:
        """Raise UsageError for what cannot be meant."""
        for mode in self.modes:
            if mode not in select.MODES:
                raise unknown("mode of retrieval", mode, select.MODES)
        wrong = [
            f"--{name.replace('_', '-')} is {value}"
            for name, value, least in (
                ("k", self.k, 1), ("cap", self.cap, 1), ("target", self.target, 1),
                ("ef", self.ef, 1), ("per_tar", self.per_tar, 1), ("near", self.near, -1),
                ("near_held", self.near_held, 0), ("recall", self.recall_of, 0),
            )
            if value is not None and value < least
        ]  # fmt: skip
        if self.tau is not None and not -1 <= self.tau <= 1:
            wrong.append(f"--tau is {self.tau}, and a cosine lies between -1 and 1")
        if wrong:
            raise UsageError(f"{'; '.join(wrong)}: too small or out of range")


@dataclass(frozen=True)
class Sources:
    """What the earlier stages made."""

    features: Features
    pool: Sequence[Shard]
    index: Path | None
    """None: search is exact."""


def retrieve(
    sources: Sources,
    encoder: Encoder,
    queries: Queries,
    held: HeldOut,
    asked: Asked,
    out: Path,
    *,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Retrieve pairs and write them; return what run.json says.

    Raises:
        UsageError: Another encoder, no index, or a folder of other settings.
        DataError: A file of a stage before is damaged, or the pool is another.
    """
    asked.check()
    features = sources.features
    check_encoder(features.encoder, encoder.identity(), f"{features.folder} holds vectors")
    if sources.index is None and not asked.exact:
        raise UsageError("give --index, or --exact to compare every query with every pair")
    graphs = {
        mode: index.check(features, sources.index, select.MODES[mode])
        for mode in asked.modes
        if sources.index is not None and not asked.exact
    }
    settings = _settings(sources, queries, held, asked)
    same_settings(out / "settings.json", settings, MAKE)
    if (out / "run.json").exists():
        return read_json(out / "run.json", "what was retrieved", MAKE)
    vectors = _vectors(encoder, queries)
    found = {
        mode: _search(sources, graphs, mode, vectors, asked, out / "search", workers, say)
        for mode in asked.modes
    }
    measured = _recall(features, found, vectors, asked)
    run = {
        **settings,
        "recall": measured,
        **_chosen(sources, queries, found, held, asked, out, say),
    }
    write_json(out / "run.json", run)
    shutil.rmtree(out / "search", ignore_errors=True)
    return run


def _settings(
    sources: Sources, queries: Queries, held: HeldOut, asked: Asked
) -> dict[str, Any]:  # fmt: skip
    features = sources.features
    graph = {}
    if sources.index is not None and not asked.exact:
        graph = read_json(sources.index / "settings.json", "the settings of an index", index.MAKE)
    return {
        **asdict(asked),
        "modes": list(asked.modes),
        "encoder": features.encoder["digest"],
        "model": features.encoder["address"],
        "features": features.digest,
        "index": graph,
        "queries": {"source": queries.source, "count": len(queries.all), "digest": queries.digest},
        "held_out": {"tasks": held.tasks, "files": len(held.files), "digest": held.digest},
    }


def _vectors(encoder: Encoder, queries: Queries) -> Any:
    import numpy as np

    texts = list(dict.fromkeys(query.text for query in queries.all))
    pieces = [encoder.texts(texts[at : at + _TEXTS]) for at in range(0, len(texts), _TEXTS)]
    row = {text: number for number, text in enumerate(texts)}
    return np.concatenate(pieces)[[row[query.text] for query in queries.all]]


def _search(
    sources: Sources, graphs: Mapping[str, list[index.Part]], mode: str, vectors: Any,
    asked: Asked, keep: Path, workers: int, say: Callable[[str], None],
) -> Hits:  # fmt: skip
    if asked.exact:
        return search.exact(sources.features, select.MODES[mode], vectors, asked.k)
    return search.through_graphs(
        sources.features, graphs[mode], vectors, asked.k, ef=asked.ef, workers=workers, keep=keep,
        say=say,
    )  # fmt: skip


def _recall(
    features: Features, found: Mapping[str, Hits], vectors: Any, asked: Asked
) -> dict[str, Any]:
    """Compare evenly spread queries with exact search."""
    import numpy as np

    if not asked.recall_of or asked.exact:
        return {}
    some = np.unique(np.linspace(0, len(vectors) - 1, asked.recall_of).astype(int))
    out: dict[str, Any] = {"queries": len(some), "at": asked.k}
    for mode, hits in found.items():
        true = search.exact(features, select.MODES[mode], vectors[some], asked.k)
        out[mode] = round(search.recall(Hits(hits.rows[some], hits.scores[some]), true), 4)
    return out


def _chosen(
    sources: Sources, queries: Queries, found: Mapping[str, Hits], held: HeldOut, asked: Asked,
    out: Path, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Choose, write, and return the counts."""
    import numpy as np

    features = sources.features
    hits = select.table(queries, found, features.order, asked.cap)
    rows, ranks = select.entries(hits, features.order)
    known = features.facts(rows.tolist())
    facts = [known[row] for row in rows.tolist()]
    sifted = dedupe.sift(
        facts, held, asked.near, lambda places: features.some("image", rows[list(places)])
    )
    k = asked.k
    if asked.target is not None:
        k = select.least_k(ranks[sifted.kept].tolist(), asked.target, asked.k)
    kept = [at for at in sifted.kept if ranks[at] <= k]
    order = sorted(kept, key=lambda at: int(features.order[rows[at]]))
    inside = hits.where(hits.inside).upto(k)
    by_row = _by_row(inside, queries.labels)
    written = [facts[at] for at in order]
    manifest = write.manifest_rows(written, [by_row[int(rows[at])] for at in order], asked.per_tar)
    say(f"K is {k}: {len(order):,} pairs of {int(np.sum(ranks <= k)):,} are kept; writing")
    tars = write.tars(manifest, written, {shard.name: shard for shard in sources.pool}, out)
    write.table(out / "manifest.parquet", manifest, write.MANIFEST)
    write.table(out / "dropped.parquet", _dropped(sifted, facts, ranks, k), write.DROPPED)
    write.table(out / "queries.parquet", [asdict(query) for query in queries.all], write.QUERIES)
    reasons = Counter(sifted.dropped[at][0] for at in sifted.dropped if ranks[at] <= k)
    labels = _coverage(queries, hits.upto(k), inside, {int(rows[at]) for at in kept})
    return {
        "k_used": k,
        "short_of_target": max(0, (asked.target or 0) - len(order)),
        "pool": {name: features.summary[name] for name in ("pairs", "bad", "unreadable")},
        "hits": sum(int((one.rows >= 0).sum()) for one in found.values()),
        "found": len(np.unique(hits.upto(k).row)),
        "within_caps": int(np.sum(ranks <= k)),
        "dropped": {reason: reasons[reason] for reason in dedupe.REASONS if reasons[reason]},
        "kept": len(order),
        "labels": labels,
        "labels_without_pairs": [name for name, counts in labels.items() if not counts["kept"]],
        "tars": tars,
    }


def _by_row(inside: select.Table, labels: Sequence[str]) -> dict[int, list[dict[str, Any]]]:
    """Return the hits that let each row in, by class in the order of ranks."""
    import numpy as np

    modes = list(select.MODES)
    out: dict[int, list[dict[str, Any]]] = {}
    for at in np.lexsort((inside.label, -inside.score, inside.rank)):
        out.setdefault(int(inside.row[at]), []).append({
            "label": labels[inside.label[at]], "template": int(inside.template[at]),
            "rank": int(inside.rank[at]), "distance": round(1 - float(inside.score[at]), 6),
            "mode": modes[inside.mode[at]],
        })  # fmt: skip
    return out


def _dropped(sifted: Sifted, facts: Sequence[Mapping[str, Any]], ranks: Any, k: int) -> write.Rows:
    return [
        {"key": facts[at]["key"], "shard": facts[at]["shard"], "rank": int(ranks[at]),
         "reason": reason, "of": of}
        for at, (reason, of) in sifted.dropped.items()
        if ranks[at] <= k
    ]  # fmt: skip


def _coverage(
    queries: Queries, hits: select.Table, inside: select.Table, kept: set[int]
) -> dict[str, dict[str, int]]:
    """Return by class how many queries asked, and how many pairs were found, let in and kept."""
    labels = queries.labels
    asked = Counter(query.label for query in queries.all)
    found, within = Counter(hits.label.tolist()), Counter(inside.label.tolist())
    left = Counter(
        label
        for label, row in zip(inside.label.tolist(), inside.row.tolist(), strict=True)
        if row in kept
    )
    return {
        name: {
            "queries": asked[name], "found": found[number], "within_cap": within[number],
            "kept": left[number],
        }
        for number, name in enumerate(labels)
    }  # fmt: skip
