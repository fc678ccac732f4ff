"""Retrieval without a model: search against numpy, caps, duplicates, hashes, broken indexes."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import retrieval_pools as pools
import small_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from PIL import ImageOps

from harness import cli
from harness.errors import DataError, UsageError
from harness.types import Image, Sample
from trainers.retrieval import dedupe, hashes, index, queries, search, select
from trainers.retrieval.features import Features
from trainers.retrieval.queries import Queries, Query
from trainers.retrieval.search import Hits

pytest.importorskip("faiss", reason="pip install faiss-cpu")
ROWS, WIDTH = 2000, 32


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Features:
    folder = tmp_path_factory.mktemp("features")
    images, texts = pools.clustered(ROWS, seed=1), pools.clustered(ROWS, seed=2)
    keys = [f"{(i * 7919) % ROWS:05d}" for i in range(ROWS)]  # not in the order of the rows
    shards = {f"s{n}": keys[n * 400 : (n + 1) * 400] for n in range(5)}
    both = dict(zip(keys, zip(images, texts, strict=True), strict=True))
    return pools.write_features(folder, shards, both)


def stored(features: Features, kind: str) -> Any:
    """Return the vectors as numpy reads them from the files, in float64."""
    rows = [np.load(s.folder / f"{kind}.npy").astype(np.float64) for s in features.shards]
    rows = np.concatenate(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_exact_search_is_what_sorting_all_cosines_gives(features, kind):
    asked = pools.clustered(60, seed=3)
    found = search.exact(features, kind, asked, 10)
    cosines = asked.astype(np.float64) @ stored(features, kind).T
    true = np.argsort(-cosines, axis=1)[:, :10]
    np.testing.assert_array_equal(found.rows, true)
    np.testing.assert_allclose(found.scores, np.take_along_axis(cosines, true, 1), atol=1e-6)


def test_fewer_rows_than_wanted_leave_places_empty(tmp_path):
    vectors = {key: (row, row) for key, row in zip("abc", pools.clustered(3), strict=True)}
    few = pools.write_features(tmp_path, {"s": "abc"}, vectors)
    found = search.exact(few, "image", pools.clustered(2, seed=4), 5)
    assert (found.rows[:, 3:] == -1).all() and np.isneginf(found.scores[:, 3:]).all()
    assert sorted(found.rows[0, :3].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("storage", ["fp16", "fp32"])
def test_graphs_find_what_exact_search_finds(features, tmp_path, storage):
    graph = index.Graph(16, 40, storage)
    index.build(features, tmp_path, graph, ["image"], rows=800, say=lambda _: None)
    parts = index.check(features, tmp_path, "image")
    assert [part.rows for part in parts] == [800, 800, 400]
    asked = pools.clustered(100, seed=5)
    true = search.exact(features, "image", asked, 10)
    found = search.through_graphs(features, parts, asked, 10, ef=64)
    assert search.recall(found, true) >= 0.95
    again = search.through_graphs(features, parts[::-1], asked, 10, ef=64, workers=2)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.scores, again.scores)
    same = found.rows == true.rows
    np.testing.assert_array_equal(found.scores[same], true.scores[same])  # one sum for both ways


def test_a_search_that_was_cut_off_takes_up_what_is_kept(features, tmp_path):
    index.build(features, tmp_path / "i", index.Graph(8, 20), ["text"], rows=800, say=str)
    parts = index.check(features, tmp_path / "i", "text")
    asked = pools.clustered(5, seed=6)
    whole = search.through_graphs(features, parts, asked, 4, keep=tmp_path / "kept")
    (tmp_path / "kept" / "text-00002.npz").unlink()
    parts[0].path.unlink()  # what is kept of it is enough
    again = search.through_graphs(features, parts, asked, 4, keep=tmp_path / "kept")
    np.testing.assert_array_equal(whole.rows, again.rows)


def test_recall_counts_rows_that_were_found():
    true = Hits(np.array([[1, 2], [3, 4]]), np.zeros((2, 2)))
    found = Hits(np.array([[2, 9], [4, 3]]), np.zeros((2, 2)))
    assert search.recall(found, true) == 0.75


def test_neither_order_nor_division_of_shards_matters(tmp_path):
    rows = pools.clustered(60, seed=7)
    rows[20:40] = rows[3]  # a placeholder that was saved twenty times: ties across the k-th place
    keys = [f"k{(i * 37) % 60:02d}" for i in range(60)]
    vectors = {key: (row, row[::-1]) for key, row in zip(keys, rows, strict=True)}
    one = pools.write_features(tmp_path / "one", {"a": keys}, vectors)
    mixed = sorted(keys, key=lambda key: key[::-1])
    many = {"z": mixed[:10], "b": mixed[10:35], "q": mixed[35:]}
    two = pools.write_features(tmp_path / "two", many, vectors)
    asked = np.concatenate([rows[3:4], pools.clustered(9, seed=8)])
    for kind in ("image", "text"):
        found = []
        for some in (one, two):
            names = np.array(pools.keys_of(some))
            hits = search.exact(some, kind, asked, 7)
            found.append((names[hits.rows].tolist(), hits.scores.tolist()))
        assert found[0] == found[1]
    ties = search.exact(one, "image", asked[:1], 7)
    alike = sorted(keys[i] for i in [3, *range(20, 40)])[:7]
    assert [pools.keys_of(one)[row] for row in ties.rows[0]] == alike  # the first keys win


def test_text_to_text_and_text_to_image_ask_different_vectors(tmp_path):
    axes = np.eye(4, dtype=np.float32)
    vectors = {"p": (axes[0], axes[1]), "q": (axes[1], axes[0]), "r": (axes[2], axes[2])}
    some = pools.write_features(tmp_path, {"s": ["p", "q", "r"]}, vectors)
    asked = axes[:1]
    assert search.exact(some, "image", asked, 1).rows.tolist() == [[0]]
    assert search.exact(some, "text", asked, 1).rows.tolist() == [[1]]


# --- indexes that cannot be used -------------------------------------------------------------


@pytest.fixture
def small(tmp_path) -> Features:
    keys = [f"{i:03d}" for i in range(300)]
    vectors = {key: (row, row) for key, row in zip(keys, pools.clustered(300), strict=True)}
    shards = {f"s{n}": keys[n * 50 : (n + 1) * 50] for n in range(6)}
    return pools.write_features(tmp_path / "features", shards, vectors)


GRAPH = index.Graph(4, 8)


def build(features: Features, folder: Path, graph: index.Graph = GRAPH) -> dict[str, int]:
    return index.build(features, folder, graph, ["image"], rows=100, say=lambda _: None)


def test_an_index_of_another_encoder_is_refused(small, tmp_path):
    build(small, tmp_path / "index")
    vectors = {f"{i:03d}": (row, row) for i, row in enumerate(pools.clustered(300))}
    other = pools.write_features(tmp_path / "o", {"s0": list(vectors)}, vectors, encoder="two")
    with pytest.raises(UsageError, match="built with the encoder one, and these features are of "
                                         r"two \(transformers:two\)"):  # fmt: skip
        index.check(other, tmp_path / "index", "image")
    with pytest.raises(UsageError, match="encoder: 'one' before, 'two' now"):
        build(other, tmp_path / "index")


def test_an_index_of_other_features_unfinished_or_cut_is_refused(small, tmp_path):
    folder = tmp_path / "index"
    assert build(small, folder) == {"made": 3, "kept": 0}
    with pytest.raises(DataError, match=r"text/00000\.faiss is not built yet"):
        index.check(small, folder, "text")
    part = folder / "image" / "00001.faiss"
    data = part.read_bytes()
    part.write_bytes(data[:-100])
    with pytest.raises(DataError, match=r"00001\.faiss has [\d,]+ bytes and was built with"):
        index.check(small, folder, "image")
    with pytest.raises(DataError, match=r"00001\.faiss: no index of faiss can be read"):
        part.write_bytes(b"nothing" + data[7:])
        index.opened(index.check(small, folder, "image")[1].path)
    small.digests["s2"] = "changed"
    with pytest.raises(DataError, match=r"00001\.faiss was built of other features"):
        index.check(small, folder, "image")
    small.digests["s2"] = Features(small.folder).digests["s2"]
    part.write_bytes(data)
    assert build(small, folder) == {"made": 0, "kept": 3}
    with pytest.raises(UsageError, match="links: 4 before, 5 now"):
        build(small, folder, index.Graph(5, 8))


def test_settings_of_a_graph_are_checked():
    with pytest.raises(UsageError, match="no storage of vectors 'fp8'"):
        index.Graph(storage="fp8").check()
    with pytest.raises(UsageError, match="found 1 and 80"):
        index.Graph(links=1).check()


def test_an_index_build_that_was_killed_goes_on(small, tmp_path):
    words = ["react", "index", "--features", small.folder, "--kind", "image", "--rows", "50",
             "--links", "4", "--build", "8"]  # fmt: skip
    marks = tmp_path / "killed" / "image"
    pools.killed([*words, "--out", marks.parent], 2, 24, (marks / "00002.json").exists)
    assert len([*marks.glob("*.json")]) == 3
    (marks / "00003.faiss").write_bytes(b"without its mark")
    (marks / "00004.faiss.part").write_bytes(b"half")
    with pytest.raises(SystemExit) as stopped:
        cli.app([*map(str, words), "--out", str(tmp_path / "killed"), "--workers", "2"])
    assert stopped.value.code == 0
    with pytest.raises(SystemExit):
        cli.app([*map(str, words), "--out", str(tmp_path / "whole")])
    assert pools.files(tmp_path / "killed") == pools.files(tmp_path / "whole")


# --- choosing --------------------------------------------------------------------------------


def asked_for(labels: str) -> Queries:
    counts: dict[str, int] = {}
    found = []
    for label in labels:
        found.append(Query(label, counts.get(label, 0), f"{label} {counts.get(label, 0)}"))
        counts[label] = counts.get(label, 0) + 1
    return Queries(tuple(found), "test")


def hits(*rows: list[int]) -> Hits:
    """Return hits with cosines that fall with the rank."""
    scores = [[0.9 - 0.1 * rank for rank in range(len(row))] for row in rows]
    return Hits(np.array(rows), np.where(np.array(rows) < 0, -np.inf, np.array(scores)))


def test_a_class_keeps_its_best_ranks():
    """Two templates of a, one of b; by hand."""
    found = {"t2i": hits([0, 1, 2], [3, 1, 4], [1, 5, -1])}
    order = np.array([0, 1, 2, 3, 4, 5])
    table = select.table(asked_for("aab"), found, order, cap=3)
    told = [*zip(table.label, table.row, table.rank, table.template, table.inside, strict=True)]
    assert told == [
        (0, 0, 1, 0, True), (0, 3, 1, 1, True), (0, 1, 2, 0, True), (0, 2, 3, 0, False),
        (0, 4, 3, 1, False), (1, 1, 1, 0, True), (1, 5, 2, 0, True),
    ]  # fmt: skip
    rows, ranks = select.entries(table, order)
    assert rows.tolist() == [0, 1, 3, 5] and ranks.tolist() == [1, 1, 1, 2]


def test_both_modes_make_one_table():
    found = {"t2t": hits([7, 8]), "t2i": hits([8, 9])}
    table = select.table(asked_for("a"), found, np.arange(10), None)
    told = [*zip(table.row, table.rank, table.mode, strict=True)]
    assert told == [(7, 1, 0), (8, 1, 1), (9, 2, 1)]


@st.composite
def retrievals(draw):
    rows, k = draw(st.integers(3, 14)), draw(st.integers(1, 5))
    labels = "".join(draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=5)))
    found = {}
    for mode in draw(st.sampled_from([("t2t",), ("t2i",), ("t2t", "t2i")])):
        some = [draw(st.permutations(range(rows))) for _ in labels]
        lines = [[*line[:k], *[-1] * (k - len(line))] for line in some]
        scores = [sorted(draw(st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.9]), min_size=k,
                                       max_size=k)), reverse=True) for _ in labels]  # fmt: skip
        array = np.array(lines)
        found[mode] = Hits(array, np.where(array < 0, -np.inf, np.array(scores)))
    return asked_for(labels), found, k, rows, draw(st.sampled_from([None, 1, 2, 3]))


def facts_of(rows: int) -> list[dict[str, Any]]:
    """Return facts in which every third pair has the file of another."""
    return [
        {"key": f"{row}", "url": "", "sha256": f"{row // 2 if row % 3 else row}", "look": 0,
         "flat": True}
        for row in range(rows)
    ]  # fmt: skip


def kept_rows(asked, found, rows, cap) -> tuple[list[int], list[int]]:
    order = np.arange(rows)
    come, ranks = select.entries(select.table(asked, found, order, cap), order)
    facts = facts_of(rows)
    held = dedupe.HeldOut(hashes.Near(3))
    left = dedupe.sift([facts[row] for row in come], held).kept
    return come[left].tolist(), ranks[left].tolist()


@settings(max_examples=60, deadline=None)
@given(retrievals())
def test_pairs_of_a_smaller_k_are_a_beginning_of_those_of_a_larger(made):
    asked, found, most, rows, cap = made
    kept, ranks = kept_rows(asked, found, rows, cap)
    sizes = []
    for k in range(1, most + 1):
        cut = {mode: Hits(one.rows[:, :k], one.scores[:, :k]) for mode, one in found.items()}
        fewer, _ = kept_rows(asked, cut, rows, cap)
        assert fewer == [row for row, rank in zip(kept, ranks, strict=True) if rank <= k]
        sizes.append(len(fewer))
    assert sizes == sorted(sizes)
    for target in range(1, len(kept) + 3):
        k = select.least_k(ranks, target, most)
        enough = [n for n, size in enumerate(sizes, 1) if size >= target]
        assert k == (enough[0] if enough else most)


@settings(max_examples=60, deadline=None)
@given(retrievals())
def test_a_cap_holds_for_every_class_and_takes_the_best(made):
    asked, found, _, rows, cap = made
    table = select.table(asked, found, np.arange(rows), cap)
    best: dict[tuple[str, int], int] = {}
    for one in found.values():
        for query, line in zip(asked.all, one.rows, strict=True):
            for rank, row in enumerate(line.tolist(), 1):
                if row >= 0:
                    key = (query.label, row)
                    best[key] = min(rank, best.get(key, rank))
    names = [asked.labels[label] for label in table.label]
    told = dict(zip(zip(names, table.row, strict=True), table.rank, strict=True))
    assert told == best
    for number, label in enumerate(asked.labels):
        mine = table.label == number
        inside, outside = table.rank[mine & table.inside], table.rank[mine & ~table.inside]
        assert len(inside) == min(cap or rows, int(mine.sum()))
        assert not len(outside) or inside.max() <= outside.min(), label


# --- duplicates ------------------------------------------------------------------------------


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Any:
    """Return a picture with shapes of all sizes, as photographs have."""
    draw = np.random.default_rng(seed)
    grey = np.zeros((64, 96, 3))
    for cells in (2, 4, 8):
        some = Pictures.fromarray(draw.integers(0, 255, (cells, cells, 3), np.uint8))
        grey += np.asarray(some.resize((96, 64), Pictures.Resampling.BICUBIC)) / 3
    return Pictures.fromarray(grey.astype(np.uint8)).resize(size)


def bits(one: int | None, other: int | None) -> int:
    assert one is not None and other is not None
    return (one ^ other).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_hash_survives_size_and_quality_and_tells_pictures_apart(seed):
    own = hashes.of_picture(picture(seed))
    out = BytesIO()
    picture(seed, (192, 128)).save(out, "JPEG", quality=60)
    assert bits(own, hashes.of_picture(Pictures.open(out))) <= dedupe.NEAR
    assert bits(own, hashes.of_picture(picture(seed, (48, 40)))) <= dedupe.NEAR
    assert bits(own, hashes.of_picture(picture(seed + 100))) > 12
    assert bits(own, hashes.of_picture(ImageOps.mirror(picture(seed)))) > dedupe.NEAR_HELD


def test_the_hash_is_the_median_rule_on_the_cosine_transform():
    """One wave along x: of 63 coefficients only one is positive, (0, 2)."""
    places = (np.arange(32) + 0.5) / 32
    grey = np.tile(128 + 100 * np.cos(2 * np.pi * places), (32, 1)).round().astype(np.uint8)
    found = hashes.of_picture(Pictures.fromarray(grey))
    assert found is not None and found >> 61 & 1  # coefficients (0,1), (0,2), ... from the top
    assert found < 1 << 63
    assert hashes.of_picture(Pictures.new("RGB", (50, 50), (200, 10, 10))) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 2**63 - 1), max_size=30),
    st.lists(st.integers(0, 62), max_size=8),
    st.integers(0, 8),
)
def test_near_hashes_are_found_as_by_comparing_all(kept, flips, distance):
    near = hashes.Near(distance)
    for look in kept:
        near.add(look, str(look))
    asked = kept[0] if kept else 5
    for flip in flips:
        asked ^= 1 << flip
    true = {str(look) for look in kept if (look ^ asked).bit_count() <= distance}
    found = near.find(asked)
    assert (found in true) if true else found is None


def pair(key: str, **facts: Any) -> dict[str, Any]:
    return {"key": key, "url": "", "sha256": key, "look": 0, "flat": True, **facts}


class Asks:
    """A task that asks about pictures."""

    def __init__(self, name: str, *pictures: bytes) -> None:
        self.name = name
        self.samples = lambda: [
            Sample(f"{i}", (Image(f"{i}.png", data), "what?")) for i, data in enumerate(pictures)
        ]


def png(image: Any) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_pairs_are_dropped_for_the_reason_that_is_true():
    task: Any = Asks("quiz", png(picture(0)), png(picture(1)))
    held = dedupe.held_out([task])
    assert held.tasks == {"quiz": 2}

    def look(image: Any) -> dict[str, Any]:
        return {"look": hashes.of_picture(image), "flat": False}

    candidates = [
        pair("a", url="http://x/1.jpg#top"),
        pair("b", url="http://x/1.jpg"),
        pair("c", sha256="a"),
        pair("d", **look(picture(2))),
        pair("e", **look(picture(2, (40, 30)))),
        pair("f", sha256=next(iter(held.files))),
        pair("g", **look(picture(1, (200, 140)))),
        pair("h", **look(ImageOps.mirror(picture(0)))),
        pair("i"), pair("j"),
    ]  # fmt: skip
    found = dedupe.sift(candidates, held)
    assert [candidates[at]["key"] for at in found.kept] == ["a", "d", "i", "j"]
    assert {candidates[at]["key"]: told for at, told in found.dropped.items()} == {
        "b": ("same address", "a"), "c": ("same file", "a"), "e": ("looks the same", "d"),
        "f": ("held out: same file", "quiz 0.png"),
        "g": ("held out: looks the same", "quiz 1.png"),
        "h": ("held out: looks the same", "quiz 0.png"),
    }  # fmt: skip
    alone = dedupe.sift(candidates, dedupe.HeldOut(hashes.Near(3)), distance=-1)
    assert [candidates[at]["key"] for at in alone.kept] == list("adefghij")


def test_a_held_out_picture_is_known_by_its_vector_too():
    held = dedupe.HeldOut(hashes.Near(3), names=["quiz 0.png"], tau=0.95)
    held.vectors = [np.array([[1.0, 0.0]])]
    vectors = np.array([[0.96, 0.28], [0.6, 0.8], [0.8, 0.6]])
    found = dedupe.sift([pair("a"), pair("b"), pair("c")], held, vectors=lambda at: vectors[at])
    assert found.kept == [1, 2] and found.dropped == {0: ("held out: cosine", "quiz 0.png")}


def test_a_task_without_pictures_cannot_be_held_out():
    task: Any = Asks("quiz")
    with pytest.raises(DataError, match="quiz: its data hold no pictures"):
        dedupe.held_out([task])
    broken: Any = Asks("quiz", b"no picture")
    with pytest.raises(DataError, match=r"quiz 0\.png: the held-out picture does not open"):
        dedupe.held_out([broken])


# --- queries ---------------------------------------------------------------------------------


def test_queries_of_files(tmp_path):
    (tmp_path / "names.txt").write_text("tiger cat|tabby\n\n  dog \n")
    (tmp_path / "templates.txt").write_text("a {}.\nthe {} in {}\n")
    found = queries.of_files(tmp_path / "names.txt", tmp_path / "templates.txt")
    assert found.labels == ["tiger cat, tabby", "dog"]
    assert [q.text for q in found.all] == [
        "a tiger cat.", "the tiger cat in tiger cat", "a dog.", "the dog in dog"
    ]  # fmt: skip
    sets = {"x": {"classes": ["a", ["b", "c"]], "templates": ["{}!"]},
            "y": {"classes": ["a"], "templates": ["{}?", "{}."]}}  # fmt: skip
    (tmp_path / "sets.json").write_text(json.dumps(sets))
    two = queries.of_files(tmp_path / "sets.json")
    told = [(q.label, q.template, q.text) for q in two.all]
    assert told == [("x: a", 0, "a!"), ("x: b, c", 0, "b!"), ("y: a", 0, "a?"), ("y: a", 1, "a.")]
    (tmp_path / "templates.txt").write_text("a thing\n")
    with pytest.raises(DataError, match=r"every template needs a place \{\}"):
        queries.of_files(tmp_path / "names.txt", tmp_path / "templates.txt")
    (tmp_path / "captions.json").write_text('{"annotations": [{"caption": " a  b"}]}')
    assert queries.of_captions(tmp_path / "captions.json").all == (Query("a b", 0, "a b"),)
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        queries.of_captions(tmp_path / "names.txt")


def test_queries_need_a_task_with_class_names(tmp_path):
    from harness.find import make_task

    small_data.write_pope(tmp_path / "pope")
    with pytest.raises(UsageError, match="pope has no class names with templates"):
        queries.of_task(make_task("pope", str(tmp_path / "pope")))
