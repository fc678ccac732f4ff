"""LocVLM's recipes say what the paper prints; probes measure places and change nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import small_llava
import tiny_models

from harness.errors import DataError, UsageError
from trainers import locvlm, probing
from trainers.codecs import codec
from trainers.engine import loop
from trainers.locating import Item, Locating, Picture, records
from trainers.probing import Probe, Probes
from trainers.recipe import Recipe, find

KINDS = ("dog", "cat", "car", "apple")
CODER = {"name": "ivb", "bins": 28}


# ---- Recipes ----


@pytest.mark.parametrize("variant", locvlm.VARIANTS)
def test_every_variant_says_where_its_numbers_come_from(variant: str) -> None:
    recipe = locvlm.make(variant)
    assert recipe.name == f"locvlm/{variant}" and recipe.summary == locvlm.VARIANTS[variant]
    assert "2404.07449" in recipe.paper and recipe.sources and recipe.unverified
    assert recipe.model_types == ("llava",)


@pytest.mark.parametrize("variant", ["b", "l", *locvlm.TEACH])
def test_stage_two_is_ten_epochs_in_batches_of_64(variant: str) -> None:
    recipe = locvlm.make(variant)
    assert (recipe.epochs, recipe.batch_size, recipe.lr) == (10, 64, 2e-5)
    assert (recipe.schedule, recipe.warmup, recipe.optimizer) == ("cosine", 0.03, "adamw_torch")
    assert recipe.epochs * 200_000 / recipe.batch_size == 31_250
    assert any("0.3" in line for line in recipe.unverified)
    assert any("2e5" in line for line in recipe.unverified)
    assert any(line.startswith("records: sightline teach") for line in recipe.sources)


def test_the_printed_warm_up_can_be_had() -> None:
    assert find("locvlm/b", {"warmup": 0.3}).warmup == 0.3


def test_b_and_l_are_what_the_paper_pairs() -> None:
    b, large = locvlm.make(), locvlm.make("l")
    assert b.name == "locvlm/b"
    assert (b.images.size, large.images.size) == (224, 336)
    assert (b.images.aspect, large.images.aspect) == ("pad", "pad")
    assert "projector_hidden_act=linear" in b.needs and "projector_hidden_act=gelu" in large.needs
    assert "vision_config.image_size=336" in large.needs
    assert locvlm.make("b", frame="crop").images.aspect == "square"
    assert not any("vision" in pattern for pattern in (*b.trainable, *large.trainable))


def test_stage_one_is_llavas_on_cc3m() -> None:
    b, large = locvlm.make("b-stage1"), locvlm.make("l-stage1")
    assert b.mixture == large.mixture == "llava-cc3m-595k"
    assert (b.lr, b.batch_size, large.lr, large.batch_size) == (2e-3, 128, 1e-3, 256)
    assert not b.targets and b.a100_hours is None


def test_videos_train_the_connector_and_with_plus_the_language_model() -> None:
    vid, plus = locvlm.make("vid-b"), locvlm.make("vid-b-plus")
    assert vid.trainable == plus.trainable[:1] and len(plus.trainable) > 1
    assert (vid.images.video, vid.images.frames) == (100, 100)
    assert (plus.images.video, plus.images.frames) == (100, 8)
    assert (vid.epochs, vid.batch_size, vid.lr, vid.warmup) == (3, 32, 2e-5, 0.03)


def values(variant: str, table: str) -> dict[str, float]:
    return {t.metric: t.value for t in locvlm.make(variant).targets if t.table == table}


def test_targets_are_the_tables_numbers() -> None:
    assert values("nfp", "2") == {"GQA": 46.1, "RD": 19.6, "A-QA": 37.1}
    assert values("diga", "2") == {"GQA": 47.0, "RD": 20.8, "A-QA": 37.3}
    assert values("b", "4")["direct, left/right, all"] == 69.5
    assert values("b", "4")["ICL, above/below, all"] == 74.1
    assert values("b", "5") == {"GQA": 47.3, "VQA-V": 50.3, "VQA-T": 50.8}
    assert [t.value for t in locvlm.make("l").targets if t.metric == "GQA"] == [50.2, 63.5]
    assert values("vid-b", "6")["MSVD-QA"] == 66.1
    assert values("vid-b-plus", "7") == {"ActivityNet-QA": 38.2}
    assert values("b", "8") == {"Hal-COCO": 88.3, "Hal-ADE": 75.2}
    assert values("b", "9")["adversarial, accuracy"] == 78.8
    zero_shot = [t.value for t in locvlm.make("b").targets if t.row == "LocVLM-B, zero-shot"]
    assert zero_shot[-4:] == [11.0, 11.1, 20.6, 20.7]
    assert values("locpred", "11") == {"GQA": 45.2, "RD": 12.2, "A-QA": 35.8}
    assert values("no-revloc", "11") == {"GQA": 46.9, "RD": 12.5, "A-QA": 37.2}
    assert values("no-pseudo", "11")["RD"] == 11.6
    assert values("vid-locpred", "12") == {"ActivityNet-QA": 37.6}


def test_targets_name_tasks_that_exist() -> None:
    from harness.find import entries

    known = {entry.name: set(entry.variants) for entry in entries("task")}
    for variant in locvlm.VARIANTS:
        for target in locvlm.make(variant).targets:
            task, _, inner = target.task.partition("/")
            assert task in known and (not inner or inner in known[task]), target


def test_the_mix_adds_llavas_instructions() -> None:
    assert [slot.name for slot in locvlm.make("b").data] == ["localize-instruct-200k"]
    mixed = locvlm.make("l", mix_with="mix665k")
    assert [slot.records for slot in mixed.data] == [200_000, 665_298]
    assert mixed.data[0].images == "coco/train2017" and mixed.sampler == "modality"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"variant": "c"}, "variant of locvlm"),
        ({"mix_with": "mix"}, "mix665k"),
        ({"frame": "round"}, "square"),
        ({"template": "v9"}, "template"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        locvlm.make(**options)


# ---- Probes ----


def pictures(count: int = 40) -> list[Picture]:
    made = []
    for n in range(count):
        size = (30 + n, 60 - n % 20)
        box = (2.0, 3.0, 12.0 + n % 9, 20.0)
        items = (Item(n, KINDS[n % 3], box),)
        made.append(Picture(str(n), f"{n}.png", size, items))
    return made


def test_probes_are_half_present_half_absent_and_worded_for_evaluation() -> None:
    made = pictures()
    how = Locating(codec(**CODER), seed=4)  # type: ignore[arg-type]
    probes = probing.make(made, KINDS, how, 20)
    assert len(probes) == 20 == len({probe.id for probe in probes})
    assert sum(probe.box is None for probe in probes) == 10
    by_file = {picture.file: picture for picture in made}
    trained = {
        turn["value"].removeprefix("<image>\n")
        for row in records(made, KINDS, Locating(each=9))
        for turn in row["conversations"]
    }
    for probe in probes:
        (item,) = by_file[probe.image].items
        assert probe.box in (None, item.box)
        named = re.findall(rf"the ({'|'.join(KINDS)})\b", probe.question)
        assert len(named) == 1 and (named == [item.kind]) is (probe.box is not None)
        assert probe.question not in trained
    assert probes == probing.make(made, KINDS, how, 20)
    fewer = {probe.id for probe in probing.make(made, KINDS, how, 10)}
    assert fewer <= {probe.id for probe in probes}


def some() -> Probes:
    size = (280, 280)
    return Probes(
        codec(**CODER),  # type: ignore[arg-type]
        (
            Probe("a", "a.png", "Where?", size, (0.0, 0.0, 140.0, 140.0)),
            Probe("b", "b.png", "Where?", size, (0.0, 0.0, 140.0, 140.0)),
            Probe("c", "c.png", "Where?", size, None),
            Probe("d", "d.png", "Where?", size, None),
        ),
    )


def test_replies_are_scored_by_place_and_denial() -> None:
    right = probing.score(some(), ["At [0, 0, 13, 13].", "[6, 7]", "There is no cat.", "I see no"])
    # the middles of bins 0 and 13 are 5 and 135: 130 x 130 of 140 x 140
    assert right["iou"] == pytest.approx(100 * 130**2 / 140**2)
    assert (right["hits"], right["read"]) == (100, 100)
    assert (right["refused"], right["refused_wrongly"]) == (100, 0)
    # of the box: 0; of the point: 65 - 70 and 75 - 70
    assert right["centre_error"] == pytest.approx(100 * (50**0.5) / 280 / 2)
    wrong = probing.score(some(), ["There is none.", "[99, 0]", "[1, 2]", "It is here"])
    assert wrong == {"iou": 0, "hits": 0, "centre_error": None, "read": 0, "refused": 0,
                     "refused_wrongly": 50}  # fmt: skip


def test_nothing_asked_is_no_number() -> None:
    absent = Probes(some().codec, some().probes[2:])
    found = probing.score(absent, ["no", "no"])
    assert found["refused"] == 100
    assert [name for name, value in found.items() if value is None] == [
        "iou", "hits", "centre_error", "read", "refused_wrongly",
    ]  # fmt: skip


def test_files_of_probes_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "probes.json"
    probing.write(path, some().probes, CODER)
    assert probing.read(path) == some()
    for wrong in ("{}", "[", '{"codec": {"name": "ivb"}, "probes": []}',
                  '{"codec": {"name": "xx"}, "probes": [1]}'):  # fmt: skip
        path.write_text(wrong)
        with pytest.raises(DataError, match="sightline teach probes"):
            probing.read(path)


def trained(folder: Path, data: Path, images: Path, **changes: Any) -> loop.Result:
    parts = {"vision": "scratch:tiny", "language": "scratch:tiny", "texts": str(data)}
    recipe = Recipe.model_validate(
        {
            "name": "probed", "builder": "llava", "builder_options": parts,
            "trainable": (r".*multi_modal_projector.*", r".*language_model.*", r"lm_head.*"),
            "images": {"aspect": "pad", "size": 28}, "batch_size": 4, "micro_batch": 4,
            "max_steps": 4, "max_length": 256, "lr": 1e-3, "precision": "fp32",
        }
    )  # fmt: skip
    return loop.train(recipe.changed(changes), None, data, folder, images=images, quiet=True)


@pytest.mark.parametrize("packing", [False, True])
def test_a_run_with_probes_is_the_run_without_them(packing: bool, tmp_path: Path) -> None:
    data, images = small_llava.write(tmp_path)
    path = tmp_path / "probes.json"
    probes = [
        Probe(str(n), f"{n}.png", "Where is the cube?", (40, 40), (1.0, 2.0, 9.0, 9.0))
        for n in range(3)
    ]
    probing.write(path, probes, CODER)
    more = {"packing": packing, "pack_length": 256} if packing else {}
    plain = trained(tmp_path / "plain", data, images, **more)
    probed = trained(tmp_path / "probed", data, images, probes=str(path), save_every=2, **more)
    steps = [[x["loss"] for x in run.log if "loss" in x] for run in (plain, probed)]
    assert steps[0] == steps[1]
    told = [line for line in probed.log if "eval" in line]
    assert [line["step"] for line in told] == [2, 4]  # at checkpoints, once at the end
    assert all(line["eval"]["task"] == "probes" and line["eval"]["n"] == 3 for line in told)
    assert set(told[0]["eval"]["metrics"]) == set(probing.score(some(), [""] * 4))
    card = (probed.model / "README.md").read_text()
    assert "| probes | iou |" in card
    one, two = (
        {p.name: p.read_bytes() for p in run.model.glob("*.safetensors")} for run in (plain, probed)
    )
    assert one == two


def test_faulty_probes_end_a_run_before_it_begins(tmp_path: Path) -> None:
    data, images = small_llava.write(tmp_path)
    path = tmp_path / "probes.json"
    with pytest.raises(DataError, match="sightline teach probes"):
        trained(tmp_path / "run", data, images, probes=str(path))
    assert not (tmp_path / "run").exists()
    probing.write(path, [Probe("1", "gone.png", "Where?", (4, 4), None)], CODER)
    with pytest.raises(DataError, match=r"1 pictures of probes are not in .*gone\.png"):
        trained(tmp_path / "run", data, images, probes=str(path))


def test_stage_two_learns_places_and_leaves_the_tower_alone(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    made = pictures(12)
    for picture in made:
        (images / picture.file).write_bytes(tiny_models.picture(int(picture.id), picture.size))
    data = tmp_path / "records.json"
    how = Locating(codec(**CODER))  # type: ignore[arg-type]
    data.write_text(json.dumps(list(records(made, KINDS, how))))
    recipe = small_llava.small(
        locvlm.make("b"), batch_size=8, micro_batch=8, lr=3e-3, epochs=8.0,
        **{"builder_options.texts": str(data)},
    )  # fmt: skip
    result = loop.train(recipe, None, data, tmp_path / "run", images=images, quiet=True)
    losses = [line["loss"] for line in result.log if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    tensors = result.run["manifest"]["tensors"].items()
    changed = [name for name, t in tensors if t["before"] != t["after"]]
    assert changed and not any("vision_tower" in n or "linear_2" in n for n in changed)
