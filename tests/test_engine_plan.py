"""The parts of the engine that need no model: trees, rows, batches, endings, draws, prefetching."""

import threading
import time
from pathlib import Path as FilePath

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.engine import plan
from harness.engine.choose import Chooser, Ending
from harness.engine.identity import fingerprint
from harness.engine.plan import Path, Vision
from harness.engine.prefetch import ahead
from harness.engine.tree import build, common
from harness.types import Decoding

sequences = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple), min_size=1, max_size=20
)


@given(sequences)
def test_a_tree_spells_its_sequences_and_stores_each_prefix_once(
    some: list[tuple[int, ...]],
) -> None:
    tree = build(some)
    for sequence, trail in zip(some, tree.trails, strict=True):
        assert tuple(tree.tokens[i] for i in trail) == sequence
        assert [tree.depth[i] for i in trail] == list(range(len(sequence)))
    prefixes = {s[:n] for s in some for n in range(1, len(s) + 1)}
    assert len(tree.tokens) == len(prefixes)


@given(sequences)
def test_a_token_sees_exactly_the_tokens_before_it_on_its_path(some: list[tuple[int, ...]]) -> None:
    tree = build(some)
    for trail in tree.trails:
        for n, i in enumerate(trail):
            seen = {j for j in range(len(tree.tokens)) if j <= i < tree.end[j]}
            assert seen == set(trail[: n + 1])


@given(sequences)
def test_common_is_the_longest_shared_prefix(some: list[tuple[int, ...]]) -> None:
    n = common(some)
    assert len({s[:n] for s in some}) == 1 and all(len(s) >= n for s in some)
    assert any(len(s) == n for s in some) or len({s[n] for s in some}) > 1


def path(sample: int, tokens: tuple[int, ...], head: int = 0, vision: Vision | None = None) -> Path:
    return Path(sample, -1, str(sample), tokens, len(tokens), head, vision)


pictures = [Vision({"pixel_values": torch.full((1, 2), float(i))}) for i in range(2)]
prompts = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.integers(0, 2), min_size=1, max_size=9)),
    min_size=1,
    max_size=30,
).map(
    lambda drawn: [
        path(i, (7, 8 + which, *tail), 2, pictures[which]) for i, (which, tail) in enumerate(drawn)
    ]
)


@given(prompts, st.integers(1, 60), st.integers(0, 3))
def test_rows_hold_every_path_once_within_the_budget(
    paths: list[Path], budget: int, new: int
) -> None:
    rows = list(plan.rows(paths, new, budget))
    assert sorted(p.sample for r in rows for p in r.paths) == list(range(len(paths)))
    for row in rows:
        assert len({id(p.vision) for p in row.paths}) == 1
        assert len(row.paths) == 1 or plan.packed_cost([row], new) <= budget
        for one, trail in zip(row.paths, row.tree.trails, strict=True):
            assert row.root + tuple(row.tree.tokens[i] for i in trail) == one.tokens
            assert len(row.root) >= one.head
            assert trail[-1] in row.heads
    batches = list(plan.batches(rows, new, budget))
    assert sorted(id(r) for b in batches for r in b) == sorted(map(id, rows))
    assert all(len(b) == 1 or plan.packed_cost(b, new) <= budget for b in batches)


@given(prompts, st.integers(1, 60), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_requests(
    paths: list[Path], budget: int, random: object
) -> None:
    def spelled(some: list[Path]) -> list[list[list[int]]]:
        rows = list(plan.rows(some, 1, budget))
        return [[[p.sample for p in r.paths] for r in b] for b in plan.batches(rows, 1, budget)]

    shuffled = list(paths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(map(str, spelled(paths))) == sorted(map(str, spelled(shuffled)))


@given(prompts, st.integers(1, 60))
def test_plain_batches_hold_every_path_once_longest_first(paths: list[Path], budget: int) -> None:
    batches = list(plan.plain(paths, 2, budget))
    lengths = [len(p.tokens) for b in batches for p in b]
    assert sorted(p.sample for b in batches for p in b) == list(range(len(paths)))
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(b) == 1 or plan.plain_cost(b, 2) <= budget for b in batches)


def test_a_candidate_keeps_the_token_before_it_out_of_the_root() -> None:
    vision = pictures[0]
    paths = [Path(0, i, "x", (1, 2, 3, 4, *c), 4, 2, vision) for i, c in enumerate([(5, 6), (7,)])]
    row = plan.row(paths)
    assert row.root == (1, 2, 3)
    assert row.tree.tokens == (4, 5)  # the last token of a candidate is only scored
    assert row.heads == (0, 1)


def test_a_prompt_that_ends_with_its_image_cannot_be_packed() -> None:
    assert not path(0, (1, 2), 2, pictures[0]).packable
    assert path(0, (1, 2, 3), 2, pictures[0]).packable
    assert path(0, (1,)).packable


LETTERS = {i: chr(96 + i) for i in range(1, 27)}


def ending(limit: int = 9, stop: tuple[str, ...] = (), eos: tuple[int, ...] = (0,)) -> Ending:
    return Ending(eos, stop, limit, lambda tokens: "".join(LETTERS.get(t, " ") for t in tokens))


@pytest.mark.parametrize(
    ("end", "tokens", "expected"),
    [
        (ending(), [1, 2, 0, 3], ("ab", 3, "end")),
        (ending(), [1, 2], None),
        (ending(limit=2), [1, 2], ("ab", 2, "length")),
        (ending(limit=2), [1, 2, 0], ("ab", 2, "length")),
        (ending(limit=3), [1, 2, 0], ("ab", 3, "end")),
        (ending(eos=(0, 30)), [30], ("", 1, "end")),
        (ending(), [40, 1, 40, 0], ("a", 4, "end")),
        (ending(stop=("cd",)), [1, 2, 3, 4, 5], ("ab", 4, "end")),
        (ending(stop=("d", "bc")), [1, 2, 3, 4], ("a", 3, "end")),
        (ending(stop=("x",)), [1, 2, 0, 24], ("ab", 3, "end")),
        (ending(stop=("x",), limit=2), [1, 2, 24], ("ab", 2, "length")),
    ],
)
def test_where_an_answer_ends(end: Ending, tokens: list[int], expected: object) -> None:
    assert end.cut(tokens) == expected


def test_draws_depend_on_seed_and_id_alone() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    names = ["a", "b", "c", "d", "e", "f"]

    def draw(order: list[int], seed: int) -> dict[str, list[int]]:
        decoding = Decoding(max_tokens=5, temperature=1.0, seed=seed)
        chooser = Chooser(decoding, [names[i] for i in order], torch.device("cpu"))
        who = torch.arange(len(order))
        steps = [chooser(logits[order], who, step).tolist() for step in range(5)]
        return {names[i]: [line[k] for line in steps] for k, i in enumerate(order)}

    assert draw([0, 1, 2, 3, 4, 5], 7) == draw([5, 3, 1, 0, 2, 4], 7)
    assert draw([2, 4], 7) == {k: v for k, v in draw([0, 1, 2, 3, 4, 5], 7).items() if k in "ce"}
    assert draw([0, 1, 2, 3, 4, 5], 7) != draw([0, 1, 2, 3, 4, 5], 8)


def test_draws_follow_the_distribution_and_temperature() -> None:
    logits = torch.tensor([0.7, 0.2, 0.1, 0.0]).log().expand(4000, 4)
    for temperature in (1.0, 0.5):
        decoding = Decoding(max_tokens=1, temperature=temperature)
        chooser = Chooser(decoding, [str(i) for i in range(4000)], torch.device("cpu"))
        taken = chooser(logits, torch.arange(4000), 0).bincount(minlength=4) / 4000
        expected = (logits[0] / temperature).softmax(-1)
        torch.testing.assert_close(taken, expected, atol=0.03, rtol=0)
        assert taken[3] == 0


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_prefetching_keeps_the_order(workers: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.002 * (n % 3))
        return n * n

    assert list(ahead(work, range(20), workers, depth=4)) == [n * n for n in range(20)]


def test_prefetching_is_bounded_and_stops_with_its_reader() -> None:
    started: list[int] = []
    results = ahead(lambda n: started.append(n) or n, iter(range(10**9)), 2, depth=3)
    assert next(results) == 0
    results.close()
    assert len(started) <= 4
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_prefetching_raises_in_place() -> None:
    def work(n: int) -> int:
        if n == 2:
            raise KeyError("two")
        return n

    results = ahead(work, range(5), 2, depth=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="two"):
        next(results)


def test_the_fingerprint_sees_a_changed_tensor_and_nothing_else(tmp_path: FilePath) -> None:
    def written(value: float, name: str = "model.safetensors") -> str | None:
        tensors = {"a": torch.zeros(40000), "b": torch.zeros(3, 5)}
        tensors["b"][1, 1] = value
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        save_file(tensors, folder / name)
        (folder / "README.md").write_text(str(value))
        return fingerprint(folder)

    assert written(0.0) == written(0.0)
    assert written(0.0) != written(1.0)
    assert written(0.0) != written(0.0, "other.safetensors")
    assert fingerprint("someone/model-on-a-hub") is None
