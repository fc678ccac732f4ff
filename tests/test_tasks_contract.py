"""What every task and variant must do, without a model and without a network.

`tests/made_<task>.py` writes small files in the task's official format: `write(folder)` returns
variant -> data address, with "" for all variants that are not named.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from harness.check import check_task
from harness.find import entries, make_task
from harness.fingerprint import item
from harness.types import Answer, Ask, Image, Sample

HERE = Path(__file__).resolve().parent
TASKS = [(e.name, variant) for e in entries("task") for variant in ("", *e.variants)]


def data_for(name: str, variant: str, folder: Path) -> str:
    path = HERE / f"made_{name}.py"
    assert path.exists(), f"tests/made_{name}.py must write official-format files of {name}"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    places = module.write(folder)
    return str(places.get(variant, places[""]))


@pytest.fixture(params=TASKS, ids=lambda pair: "/".join(filter(None, pair)))
def named(request, tmp_path):
    """(name with variant, data) of every task and variant there is."""
    name, variant = request.param
    return f"{name}/{variant}" if variant else name, data_for(name, variant, tmp_path / "data")


def test_check_passes(named):
    findings = list(check_task(*named))
    assert len(findings) >= 2 and all(good for _, good, _ in findings), findings


def test_the_task_describes_itself(named):
    name, data = named
    task = make_task(name, data)
    assert task.name == name and task.version and "@" in task.scorer
    assert task.headline in {metric.name for metric in task.metrics} and task.ask in Ask.__args__
    assert len({metric.name for metric in task.metrics}) == len(task.metrics)
    assert task.source.address


def test_samples_are_the_same_each_time_and_well_formed(named):
    first, second = list(make_task(*named).samples()), list(make_task(*named).samples())
    assert [s.id for s in first] == [s.id for s in second] and first
    assert [item(s) for s in first] == [item(s) for s in second]
    assert len({s.id for s in first}) == len(first)
    for sample in first:
        assert all(isinstance(part, str | Image) for part in sample.prompt)
        assert not sample.relevance or len(sample.relevance) == len(sample.choices)
        for region in sample.regions:
            left, top, right, bottom = region.box
            assert left <= right and top <= bottom


def test_a_ranking_is_scored_by_its_order_alone(named):
    task = make_task(*named)
    if task.ask != "rank" or task.judge:
        pytest.skip("asks in another way")
    draw = Random(0)
    for sample in list(task.samples())[:200]:
        scores = [draw.random() for _ in sample.choices]
        best = scores.index(max(scores))
        stretched = tuple(3 * score - 7 for score in scores)
        first = task.score(sample, Answer(scores=tuple(scores), choice=best))
        second = task.score(sample, Answer(scores=stretched, choice=best))
        assert (first.value, first.status) == (second.value, second.status)


def test_wrong_data_is_said_in_one_line(named, tmp_path):
    from harness.errors import DataError

    empty = tmp_path / "empty"
    empty.mkdir()
    for nothing in (empty, tmp_path / "no such folder"):
        with pytest.raises(DataError) as raised:
            make_task(named[0], str(nothing))
        assert str(nothing) in str(raised.value)


def shuffled(sample: Sample, order: list[int]) -> Sample:
    """Move the candidates of a sample, and with them what its facts say of each."""

    def follow(fact):
        if not isinstance(fact, tuple) or not fact:
            return fact
        if isinstance(fact[0], tuple):
            return tuple(map(follow, fact))
        return tuple(fact[i] for i in order) if len(fact) == len(order) else fact

    facts = {key: follow(fact) for key, fact in sample.facts.items()}
    if "gold" in facts:
        facts["gold"] = order.index(facts["gold"])
    return replace(
        sample,
        choices=tuple(sample.choices[i] for i in order),
        relevance=tuple(sample.relevance[i] for i in order if sample.relevance),
        facts=facts,
    )


def test_shuffled_candidates_change_nothing(named):
    """Scores that stick to the candidates give the same result wherever the candidates stand."""
    task = make_task(*named)
    if task.ask != "rank" or task.judge:
        pytest.skip("asks in another way")
    samples = list(task.samples())[:200]
    if 2 * len({tuple(sorted(sample.choices)) for sample in samples}) <= len(samples):
        pytest.skip("ranks a fixed set of labels, which are columns and not candidates")
    draw = Random(1)
    for sample in samples:
        scores = [draw.random() for _ in sample.choices]
        order = draw.sample(range(len(scores)), len(scores))
        moved = shuffled(sample, order)
        there = [scores[i] for i in order]
        first, second = (
            task.score(s, Answer(scores=tuple(x), choice=x.index(max(x))))
            for s, x in ((sample, scores), (moved, there))
        )
        assert (first.value, first.status) == (second.value, second.status)
