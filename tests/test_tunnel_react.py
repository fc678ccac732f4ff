"""REACT's wind tunnel: pairs, the split of what is seen and evaluated, retrieval, the table."""

import json
import math
import subprocess
import sys
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from benchmarks._directions import combined
from harness.errors import DataError
from harness.find import make_task
from harness.world import build
from trainers import tunnel_react as tunnel
from trainers import tunnel_react_data as pairs

ROOT = Path(__file__).resolve().parent.parent
PLAN = replace(tunnel.PLANS["tiny"], scenes=20, base_steps=1, steps=2, batch=8)
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DTD = ("banded", "blotchy", *(f"texture {n}" for n in range(45)))


def members(tar):
    """Return {key: (caption, picture)} of a tar."""
    with tarfile.open(tar) as opened:
        files = {m.name: opened.extractfile(m).read() for m in opened}
    captions = {n[:-4]: data.decode() for n, data in files.items() if n.endswith(".txt")}
    pictures = {n[:-4]: data for n, data in files.items() if not n.endswith(".txt")}
    return {key: (captions[key], pictures[key]) for key in captions}


def picture(seed):
    file = BytesIO()
    noise = Image.frombytes("RGB", (8, 6), Random(seed).randbytes(144)).resize((40, 30))
    noise.save(file, "PNG")
    return file.getvalue()


def write_tree(folder, classes, each, seed):
    for place, name in enumerate(classes):
        for number in range(each):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(f"{seed} {place} {number}"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A DTD without a split: two classes of six pictures."""
    root = tmp_path_factory.mktemp("source")
    write_tree(root / "dtd" / "images", DTD[:2], 6, "dtd")
    words = {"dtd": {"classes": DTD, "templates": ["a {} texture."]}}
    (root / pairs.WORDS).write_text(json.dumps(words))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory, source):
    """A world whose sets are one of noise, its pairs, a base that has learned next to nothing."""
    out = tmp_path_factory.mktemp("react")
    build.make(out / "world", PLAN.scenes, 0, only=("stage1", "region_captions"),
               size=tunnel.PIXELS, simple=True, workers=1, say=lambda line: None)  # fmt: skip
    sets = out / "world" / "elevater"
    for split, each in (("train", 6), ("test", 1)):
        write_tree(sets / "cifar-10" / split, CIFAR, each, split)
    words = {"cifar-10": {"classes": CIFAR, "templates": ["a photo of a {}."]}}
    (sets / pairs.WORDS).write_text(json.dumps(words))
    assert pairs.write_real(source, out / "data/real", 2, 4) == ["dtd"]
    pairs.write_pairs(out / "world", out / "data/real", out / "data", PLAN.told)
    tunnel.train_base(out / "data", out / "base", PLAN, [f"elevater/dtd={out}/data/real"])
    return out


def test_a_set_without_a_split_is_halved_and_read_by_the_task(made):
    real = made / "data/real/dtd"
    files = {s: [p.read_bytes() for p in (real / s).rglob("*.png")] for s in ("train", "test")}
    assert (len(files["train"]), len(files["test"])) == (4, 4)  # 2 of 3 a class, 4 of 6
    assert not set(files["train"]) & set(files["test"])
    task = make_task("elevater", str(made / "data/real"))
    named = sorted(path.parent.name for path in (real / "test").rglob("*.png"))
    assert sorted(sample.target for sample in task.samples()) == named
    assert pairs.write_real(made / "nowhere", made / "other", 2, 4) == []


def test_base_and_pool_share_no_scene_but_related_pairs_and_captions_are_no_templates(made):
    base, pool = (members(made / "data" / name / "00000.tar") for name in ("base", "pool"))
    scenes = [{key[6:12] for key in some if key.startswith("scene-")} for some in (base, pool)]
    assert all(scenes)
    assert not scenes[0] & scenes[1]
    assert sum(map(len, scenes)) <= PLAN.told
    shared = base.keys() & pool.keys()
    assert shared == {key for key in base if key.startswith(("world-", "real-"))}
    assert all(base[key] == pool[key] for key in shared)
    related = [key for key in pool if key.startswith(("world-", "real-"))]
    assert len(related) == 60 + 4  # all training pictures
    share = len(shared) / len(related)
    assert abs(share - pairs.SEEN) < 4 * math.sqrt(pairs.SEEN * (1 - pairs.SEEN) / len(related))
    asked = set(pairs._named(made / "world/elevater")) | set(pairs._named(made / "data/real"))
    assert not asked & {caption for some in (base, pool) for caption, _ in some.values()}
    texts = (made / "data/texts.txt").read_text().splitlines()
    assert asked <= set(texts)


def test_no_wording_of_a_page_is_a_template_of_elevater():
    """Whatever opening and ending are drawn: with its class a caption ends as no template does."""
    from harness.world.formats._elevater_words import CLASSES, PLAIN, TEMPLATES

    told = {
        (name, opening + wording + ending)
        for name, wordings in pairs.CAPTIONS.items()
        for wording in wordings
        for opening in pairs.OPENINGS
        for ending in pairs.ENDINGS
    }
    asked = {(name, one) for name in CLASSES for one in TEMPLATES.get(name, PLAIN)}
    assert not told & asked
    assert all(text.count("{}") == 1 and not text.endswith(".") for _, text in told)


def test_scenes_beyond_those_that_are_told_of_are_left_out(made):
    kept = {scene for scene, _ in pairs._scenes(made / "world", 5, 0)}
    every = {scene for scene, _ in pairs._scenes(made / "world", PLAN.told, 0)}
    assert len(kept) == 5
    assert kept < every


def test_a_base_that_would_read_an_evaluated_picture_is_refused(tmp_path, made):
    told = members(made / "data/base/00000.tar")
    kept = [pairs.Pair(k, c, p, "jpg" if p[:1] == b"\xff" else "png") for k, (c, p) in told.items()]
    evaluated = next((made / "data/real/dtd/test").rglob("*.png")).read_bytes()
    leak = pairs.Pair("real-dtd-leak", "a surface", evaluated, "png")
    pairs.write_tar(tmp_path / "base/00000.tar", [*kept, leak])
    (tmp_path / "texts.txt").write_bytes((made / "data/texts.txt").read_bytes())
    with pytest.raises(DataError, match="elevater/dtd"):
        tunnel.train_base(tmp_path, tmp_path, PLAN, [f"elevater/dtd={made}/data/real"])


def test_one_caption_in_ten_names_another_class(made):
    wrong = total = 0
    for seed in range(20):
        for number, pair in enumerate(pairs._related(made / "world/elevater", "world", seed)):
            total += 1
            wrong += sorted(CIFAR)[number // 6] not in pair.caption
    assert total == 20 * 60
    share = pairs.NOISE * 0.9  # a class drawn by lot is the right one in a tenth of the cases
    assert abs(wrong / total - share) < 4 * math.sqrt(share * (1 - share) / total)


def test_the_same_seed_writes_the_same_bytes(tmp_path, made):
    pairs.write_pairs(made / "world", made / "data/real", tmp_path, PLAN.told)
    for name in ("base", "pool"):
        assert (tmp_path / name / "00000.tar").read_bytes() == (
            made / "data" / name / "00000.tar"
        ).read_bytes()


def test_an_evaluated_picture_is_neither_retrieved_nor_trained_on(tmp_path, made):
    """It is put into the pool with the caption that the class is asked for by."""
    task = make_task("elevater", str(made / "data/real"))
    sample = next(iter(task.samples()))
    evaluated = sample.prompt[0].read()
    told = members(made / "data/pool/00000.tar")
    pool = [pairs.Pair(k, c, p, "jpg" if p[:1] == b"\xff" else "png") for k, (c, p) in told.items()]
    leak = pairs.Pair("real-dtd-leak", f"a {sample.target} texture.", evaluated, "png")
    pairs.write_tar(tmp_path / "pool/00000.tar", [*pool, leak])
    base = made / "base/run/model"
    found = tunnel.retrieve(base, {"real": task}, tmp_path, PLAN)
    assert found["dropped"]["held out: same file"] == 1
    assert found["kept"] == sum(found["retrieved"].values()) > 0
    got, drawn = (members(tmp_path / name / file) for name, file in
                  (("retrieved", "pool-00000.tar"), ("drawn", "00000.tar")))  # fmt: skip
    assert len(got) == len(drawn) == found["kept"]
    assert evaluated not in {data for _, data in (*got.values(), *drawn.values())}
    held, arm = [f"elevater/dtd={made}/data/real"], tunnel.ARMS[0]
    model = tunnel.customise(arm, base, tmp_path, held, tmp_path / "run", PLAN, 0)
    config = json.loads((model / "config.json").read_text())
    layers = config["vision_config"]["num_hidden_layers"]
    assert layers == tunnel.VISION["num_hidden_layers"] + tunnel.GATES
    leaking = replace(arm, data="pool")
    with pytest.raises(DataError, match="elevater/dtd"):
        tunnel.customise(leaking, base, tmp_path, held, tmp_path / "leak", PLAN, 0)


def test_prompts_have_no_unknown_word_and_classes_their_own_vectors(made):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made / "base/run/model")
    rows = tokenizer(["a photo of a ship.", "A banded texture."])["input_ids"]
    assert all(tokenizer.unk_token_id not in row for row in rows)
    assert all(row[0] == tokenizer.bos_token_id for row in rows)
    assert all(row[-1] == tokenizer.eos_token_id for row in rows)
    assert tokenizer("zebra crossing")["input_ids"].count(tokenizer.unk_token_id) == 2


def test_directions_are_those_of_the_sets_that_are_there():
    world = ["a"] * 9
    alone = tunnel.directions({"world": world})
    assert {d.task for d in alone} == {"world"}
    assert {d.metric for d in alone} == {"mean_of_9"}
    both = tunnel.directions({"world": world, "real": ["dtd"]})
    assert [d for d in both if d.task == "world"] == alone
    assert {d.metric for d in both if d.task == "real"} == {"dtd.accuracy"}
    arms = {arm.name for arm in tunnel.ARMS} | {"base"}
    assert {name for d in both for name in (d.base, d.cand)} == arms


def test_the_error_of_a_mean_has_sampling_and_spread_between_seeds():
    """By hand: differences 2, 4, 6 with errors 1: sqrt(3/3 + (8/2)/3) = sqrt(7/3)."""
    found = combined([{"difference": x, "error": 1.0} for x in (2.0, 4.0, 6.0)])
    assert found["mean"] == 4.0
    assert found["error"] == pytest.approx(math.sqrt(7 / 3))
    assert found["shows"] == "yes"
    less = combined([{"difference": x, "error": 2.0} for x in (-2.0, -4.0, -6.0)])
    assert less["shows"] == "no"  # 4 against 1.96 * sqrt(16/3)
    assert combined([{"difference": -4.0, "error": 2.0}])["shows"] == "no, reversed"


def test_the_command_line_says_what_it_takes():
    script = ROOT / "benchmarks/wind_tunnel_react.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--real" in done.stdout
    wrong = subprocess.run(
        [sys.executable, script, "--size", "vast"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "mini" in wrong.stderr
