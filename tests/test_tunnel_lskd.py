"""LSKD's wind tunnel: what base, critic and students see, the arms, and a run of it all."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.errors import DataError
from harness.find import make_task
from harness.world import build
from trainers import tunnel_lskd as tunnel
from trainers import tunnel_lskd_base as base
from trainers.localized import triples
from trainers.localized.triples import Reference, Triple

ROOT = Path(__file__).resolve().parent.parent
PLAN = replace(tunnel.PLANS["tiny"], scenes=40)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A world of few pictures."""
    out = tmp_path_factory.mktemp("lskd") / "world"
    build.make(out, PLAN.scenes, 0, only=tunnel.FORMATS, size=tunnel.PIXELS, simple=True,
               workers=1, say=lambda line: None)  # fmt: skip
    return out


@pytest.fixture(scope="module")
def corpus(world):
    """The oracle's corpus, labels and pool."""
    tunnel.write_corpus(world, world.parent / "corpus", PLAN)
    return world.parent / "corpus"


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_told_is_what_the_world_says_of_the_region_that_is_drawn(world, tmp_path):
    phrases = {}
    told = json.loads((world / "region_captions" / "region_descriptions.json").read_text())
    for row in told:
        for r in row["regions"]:
            box = (r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"])
            phrases.setdefault((f"{row['id']}.jpg", box), set()).add(r["phrase"])
    found = list(triples.read(base.told(world, tmp_path)))
    assert {len(t.region) for t in found} > {1}
    for triple in found:
        (region,) = triple.answer[0]
        said = triples.words(triple.answer[2:-1])
        named = {
            triples.words(triples.tokens(p)) for p in phrases[triple.image, triple.boxes(region)[0]]
        }
        assert said in named and region in triple.region


def test_lessons_name_the_colour_that_is_drawn_around_a_region(world):
    lessons = base.lessons(world)
    green = torch.tensor([0x05, 0xFF, 0x37]).view(3, 1)
    checked = 0
    for look in lessons.looks:
        for weights, words in zip(look.weights, look.words, strict=True):
            assert weights.sum().item() == pytest.approx(1)
            if 0 in words:  # [0]: a green edge, somewhere on a patch of the region
                grid = weights.view(8, 8) > 0
                mask = grid.repeat_interleave(12, 0).repeat_interleave(12, 1)
                near = (look.pixels[:, mask].int() - green).abs().sum(0).min()
                checked += 1
                assert near < 160
    assert checked >= len(lessons.looks) / 2


def test_numbers_are_one_token_and_questions_have_hardly_an_unknown_word(world, corpus, tmp_path):
    told = base.told(world, tmp_path)
    texts = [*base.statements([told, corpus / "triples.jsonl"]), *base.asked(world)]
    tokenizer = base._tokenizer(texts)
    ids = tokenizer("what is [3] ?", add_special_tokens=False).input_ids
    assert len(ids) == 4 and ids[2] == tokenizer.convert_tokens_to_ids("[3]")
    known = tokenizer.get_vocab()
    for name in tunnel.TASKS:
        unknown, total = 0, 0
        for sample in make_task(name, str(world / name)).samples():
            for choice in sample.choices:
                found = tokenizer(choice.lower()).input_ids
                unknown += found.count(known["[UNK]"])
                total += len(found)
        assert total and unknown < total / 20


def test_a_model_is_the_tower_and_knows_the_words_that_the_tower_knows(world, tmp_path):
    from transformers import Blip2ForImageTextRetrieval

    lessons = base.lessons(world)
    tower, head = base.train_tower(lessons, 2, say=lambda line: None)
    names = base.directions(head, lessons.words)
    out = base.new_model(tmp_path / "model", tower, names, ["what is red"])
    model = Blip2ForImageTextRetrieval.from_pretrained(out).eval()
    pixels = torch.randn(1, 3, base.SIDE, base.SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.vision_model(pixels)[0], tower(pixels)[0])
    tokenizer = base._tokenizer(["what is red"])
    row = model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("[0]")]
    assert torch.allclose(row, names["[0]"])


def test_labels_and_pool_share_no_picture_and_the_pool_says_what_is_true(corpus):
    judged, pool = rows(corpus / "labels.jsonl"), rows(corpus / "pool.jsonl")
    assert judged and pool and not {r["image"] for r in judged} & {r["image"] for r in pool}
    truth = {row["id"]: row["true"] for row in rows(corpus / "truth.jsonl")}
    assert all(row["accept"] == truth[row["id"]] for row in pool)
    assert len(judged) + len(pool) == len(truth)


def scored(tmp_path, scores):
    """Write a pool of which every second triple is true, with these scores."""
    every = [
        Triple(f"{n}", f"{n // 3}.jpg", ("what", (0,)), ("red",), ("so",), (0,), (0,),
               (Reference("0", ((0, 0, 5, 5),)),), prediction=score, extra={"accept": n % 2})
        for n, score in enumerate(scores)
    ]  # fmt: skip
    triples.write(tmp_path / "pool.jsonl", every)
    return tmp_path / "pool.jsonl"


def test_arms_are_equally_large_and_hold_what_they_say(tmp_path):
    scores = [n / 40 if n % 2 else n / 200 for n in range(40)]
    plan = replace(PLAN, kept=0.3)
    told = tunnel.write_arms(scored(tmp_path, scores), tmp_path / "out", plan, 3)
    found = {a.name: list(triples.read(tmp_path / "out" / f"{a.name}.jsonl")) for a in tunnel.ARMS}
    assert {len(some) for some in found.values()} == {12}
    assert {t.id for t in found["filtered"]} == set(
        sorted(map(str, range(40)), key=lambda id: -scores[int(id)])[:12]
    )
    assert all(t.extra["accept"] for t in found["truth"])
    assert told["truth"]["true"] == 1 and 0 < told["unfiltered"]["true"] < 1
    again = tunnel.write_arms(tmp_path / "pool.jsonl", tmp_path / "again", plan, 4)
    assert again["filtered"] == told["filtered"]
    other = {t.id for t in triples.read(tmp_path / "again" / "unfiltered.jsonl")}
    assert other != {t.id for t in found["unfiltered"]}


def test_a_pool_whose_scores_are_all_alike_keeps_nothing_and_says_so(tmp_path):
    with pytest.raises(DataError, match="nothing is kept"):
        tunnel.write_arms(scored(tmp_path, [0.5] * 12), tmp_path / "out", PLAN, 0)


def test_all_of_it_trains_and_scores(world, corpus, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import wind_tunnel_lskd as bench

    monkeypatch.setitem(tunnel.PLANS, "tiny", PLAN)
    (tmp_path / "world").symlink_to(world)
    (tmp_path / "corpus").symlink_to(corpus)
    facts = bench.prepare(tmp_path, "tiny", 1)
    curve = facts["curves"]["critic"]
    assert 0 <= curve["area"] <= 1 and curve["by_error"]
    assert facts["arms"][0]["truth"]["true"] == 1
    assert any("figure 2" in line for line in bench.lines(facts))
    assert "filtered, seed 0" in bench.arm((tmp_path, "tiny", 0, "filtered"))
    run = json.loads((tmp_path / "runs" / "seed0" / "filtered" / "vcr" / "run.json").read_text())
    assert "draw" in json.dumps(run)
    trained = json.loads((tmp_path / "seed0" / "filtered" / "run.json").read_text())
    assert "vcr" in json.dumps(trained)  # held out: its pictures were compared before training


def test_the_command_line_says_what_it_takes():
    found = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "wind_tunnel_lskd.py"), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--seeds" in found.stdout
