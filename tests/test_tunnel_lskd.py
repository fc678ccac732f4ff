"""LSKD's wind tunnel: what base, critic and students see, the arms, and a run of it all."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch

from harness.errors import DataError
from harness.find import make_task
from harness.world import build
from trainers import tunnel_lskd as tunnel
from trainers import tunnel_lskd_base as base
from trainers import tunnel_lskd_start as start
from trainers import tunnel_lskd_told as told
from trainers.engine.tower import Look
from trainers.localized import blip2, triples
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


def spoken(phrase):
    """Return a phrase as the base is told it: no size, nothing that is written."""
    short = re.sub(r"\b(large|small) ", "", phrase.partition(" with the word")[0])
    return re.sub(r"\ba (?=[aeiou])", "an ", short).replace("seems", "looks")


def test_what_is_told_is_true_where_it_says_so_and_false_where_not(world, tmp_path):
    phrases, places = {}, {}
    given = json.loads((world / "region_captions" / "region_descriptions.json").read_text())
    for row in given:
        for r in row["regions"]:
            box = (r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"])
            phrases[f"{row['id']}.jpg", box] = spoken(r["phrase"])
        places[f"{row['id']}.jpg"] = spoken(row["regions"][-1]["phrase"])
    found = list(triples.read(told.told(world, tmp_path)))
    assert {len(t.region) for t in found} == {1, 2}
    accepted = [t for t in found if t.extra["accept"]]
    assert len(found) / 3 < len(accepted) < len(found) / 1.5
    for triple in found:
        true = ", and ".join(
            f"[{id}] is {phrases[triple.image, triple.boxes(id)[0]]}" for id in triple.region
        )
        said = triples.text(replace(triple, question=(), rationale=())).partition("Answer: ")[2]
        said = re.sub(r" , \w+ing", "", said.partition(" . Rationale")[0]).replace(
            " , and", ", and"
        )
        answered, where = said == true, triples.words(triple.rationale[:-1])
        if triple.extra["qa_score"]:
            assert answered
        assert triple.extra["accept"] <= (answered and where == places[triple.image])
        assert all(told.is_seen(t.image.partition(".")[0]) for t in found)


def test_a_false_phrase_differs_in_one_word_that_is_said_elsewhere():
    near = told.Near(["a red cup", "a blue cup", "an orange cup", "a red dog", "a scene at night"])
    found = {near.other("a red cup", Random(seed)) for seed in range(40)}
    assert found == {"a blue cup", "an orange cup", "a red dog"}
    assert near.other("a scene at night", Random(0)) == "a scene at night"


def test_what_somebody_does_is_told_of_the_only_person_that_a_caption_fits(world):
    verbs = Counter()
    for _, regions in told.pictures(world):
        for region in regions:
            verb = region["phrase"].partition(" , ")[2]
            if verb:
                assert region["phrase"].startswith(("a man", "a woman"))
                verbs[verb] += 1
    assert len(verbs) > 2


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
    said = told.told(world, tmp_path)
    texts = [*base.statements([said, corpus / "triples.jsonl"]), *base.asked(world)]
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


@pytest.fixture(scope="module")
def lessons(world):
    """What the tower is taught."""
    return base.lessons(world)


def test_a_model_is_the_tower_and_its_words_share_no_direction(lessons, tmp_path):
    from transformers import AutoTokenizer, Blip2ForImageTextRetrieval

    tower = base.train_tower(lessons, 2, say=lambda line: None)
    out = base.new_model(tmp_path / "model", tower, lessons, ["what is seldom said"])
    model = Blip2ForImageTextRetrieval.from_pretrained(out).eval()
    pixels = torch.randn(1, 3, base.SIDE, base.SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.vision_model(pixels)[0], tower(pixels)[0])
    tokenizer = AutoTokenizer.from_pretrained(out)
    table = model.embeddings.word_embeddings.weight.detach()
    known = table[tokenizer.convert_tokens_to_ids(list(lessons.words))]
    other = table[tokenizer.convert_tokens_to_ids("seldom")]
    assert (known @ known.T - torch.eye(len(known)) * known[0].norm() ** 2).abs().max() < 1e-4
    assert (known @ other).abs().max() < 1e-4 < other.norm()


COLOURS = ("red", "blue", "green", "black", "white", "orange", "purple", "yellow")
NAMES = ("[0]", "[1]", "[2]", "[3]", *COLOURS)


@pytest.fixture(scope="module")
def plain():
    """Pictures whose patches say plainly which number and which colour they have: lessons, patches.

    Two numbers are drawn on every picture, on two of 16 patches each.
    """
    draw = torch.Generator().manual_seed(0)
    codes = torch.linalg.qr(torch.randn(96, 96, generator=draw))[0]
    looks, features = [], []
    for _ in range(64):
        order = torch.randperm(16, generator=draw)
        seen = torch.randn(17, 96, generator=draw) * 0.02
        weights, told = torch.zeros(3, 16), [[], [], []]
        weights[2] = 1 / 16
        for slot in range(2):
            colour = int(torch.randint(4, len(NAMES), (), generator=draw))
            at = order[2 * slot : 2 * slot + 2]
            seen[1 + at] += codes[slot] + codes[colour]
            weights[slot, at], told[slot] = 0.5, [colour, slot]
        looks.append(Look(torch.zeros(3, 4, 4, dtype=torch.uint8), weights, told))
        features.append(seen)
    return SimpleNamespace(looks=looks, words=NAMES), torch.stack(features)


def sight(plain):
    """Return what the regressions find on them."""
    lessons, features = plain
    return start.sight(
        lambda pixel_values: SimpleNamespace(last_hidden_state=features), lessons, 4
    )  # fmt: skip


def test_the_start_finds_a_number_and_reads_what_is_there(plain):
    found, (lessons, features) = sight(plain), plain
    patches = features[:, 1:]
    where = (patches @ found.numbers.T + found.number_bias).argmax(1)
    for place, look in enumerate(lessons.looks):
        for slot in range(2):
            assert look.weights[slot, where[place, slot]] > 0
            read = found.words @ patches[place, where[place, slot]] + found.word_bias
            assert int(read.argmax()) == look.words[slot][0]


def test_the_start_prefers_what_is_true_before_any_training(plain):
    from transformers import Blip2ForImageTextRetrieval

    lessons, features = plain
    tokenizer = base._tokenizer(["question: what is ? answer: is .", *COLOURS])
    model = Blip2ForImageTextRetrieval(base._config(tokenizer)).eval()
    start.settle(model, tokenizer, NAMES, sight(plain), 4, seed=0)
    draw, texts = Random(0), []
    for look in lessons.looks:
        true = look.words[0][0]
        for colour in (true, draw.choice([n for n in range(4, len(NAMES)) if n != true])):
            texts.append(f"question: what is [0] ? answer: [0] is {NAMES[colour]} .")
    ready = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = blip2.together(
            model, features.repeat_interleave(2, 0), ready["input_ids"], ready["attention_mask"]
        )
        logits = blip2.matching(model, output)
    match = (logits[:, 1] - logits[:, 0]).view(-1, 2)
    assert (match[:, 0] > match[:, 1]).float().mean() > 0.8


def test_more_words_than_there_is_room_for_are_an_error():
    with pytest.raises(DataError, match="90 words that the tower knows"):
        start._space(96, 90, torch.Generator())


def test_labels_and_pool_share_no_picture_and_the_pool_says_what_is_true(corpus):
    judged, pool = rows(corpus / "labels.jsonl"), rows(corpus / "pool.jsonl")
    assert judged and pool and not {r["image"] for r in judged} & {r["image"] for r in pool}
    truth = {row["id"]: row["true"] for row in rows(corpus / "truth.jsonl")}
    assert all(row["accept"] == truth[row["id"]] for row in pool)
    unseen = {id for id in truth if not told.is_seen(id.partition("/")[0])}
    assert {row["id"] for row in (*judged, *pool)} == unseen


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
