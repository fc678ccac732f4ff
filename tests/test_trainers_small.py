"""Small models from nothing, and the data of the wind tunnel's arms."""

import json
from pathlib import Path

import pytest
from tiny_models import make_llava
from world_data import painted_world, write_format

from harness.errors import DataError, UsageError
from trainers import small, small_start, tunnel

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    for name in ("instruct", "stage1", "regions", "region_captions", "reading"):
        write_format(name, out / name, painted_world())
    return out


def test_a_base_is_made_part_by_part_and_not_twice(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

    monkeypatch.setitem(
        small.SIZES, "test", small.Size(64, 16, "scratch:small", 6, "scratch:tied", 900, 3, 2)
    )
    said: list[str] = []
    made = small.make_base(world, tmp_path / "base", "test", say=said.append)
    assert any("tower" in line for line in said) and any("captions" in line for line in said)
    whole = LlavaForConditionalGeneration.from_pretrained(made.captioner)
    alone = AutoModelForCausalLM.from_pretrained(made.language)
    ids = torch.tensor([[1, 5, 9, 20]])
    with torch.no_grad():
        assert torch.equal(whole(input_ids=ids).logits, alone(input_ids=ids).logits)
    for connector in ("linear", "mlp"):
        new = small.new_model(made, connector, 0, tmp_path / connector)
        fresh = LlavaForConditionalGeneration.from_pretrained(new)
        assert (fresh.config.projector_hidden_act == "linear") == (connector == "linear")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "base").rglob("*.safetensors")}
    small.make_base(world, tmp_path / "base", "test", say=said.append)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    tower = whole.model.vision_tower.state_dict()
    start = LlavaForConditionalGeneration.from_pretrained(tmp_path / "base" / "start")
    before = start.model.vision_tower.state_dict()
    assert all(torch.equal(before[name], tower[name]) for name in before)


def test_patches_start_next_to_the_words_of_what_they_show(world: Path, tmp_path: Path) -> None:
    from trainers.builders import shapes
    from trainers.builders.llava import assemble
    from trainers.engine import tower
    from trainers.recipe import ImageSettings

    lessons = tower.read(world / "region_captions", world / "region_captions", 64, 16)
    sizes = shapes.tower("scratch:small")
    tower.train(lessons, tmp_path / "t", sizes=sizes, steps=150, batch=4, say=lambda line: None)
    model, processor = assemble(
        vision=str(tmp_path / "t"), language="scratch:tied", connector="linear", feature_layer=-1,
        images=ImageSettings.model_validate({"aspect": "pad"}), vocabulary=900,
        texts=[" ".join(f"a {word} thing" for word in lessons.words)] * 3,
    )  # fmt: skip
    assert small_start.align(model, processor.tokenizer, lessons) > 20
    table = model.get_input_embeddings().weight
    known = {
        word: processor.tokenizer(f" {word}", add_special_tokens=False).input_ids
        for word in lessons.words
    }
    ids = {word: found[0] for word, found in known.items() if len(found) == 1}
    with torch.no_grad():
        looks = lessons.looks[:16]
        shown = model.model.multi_modal_projector(tower.pooled(model.model.vision_tower, looks))
        words = [row for look in looks for row in look.words]
        names, rows = list(ids), torch.stack([table[place] for place in ids.values()])
        near = torch.nn.functional.normalize(shown) @ torch.nn.functional.normalize(rows).T
    right, others = [], []
    for row, found in zip(near, words, strict=True):
        said = {lessons.words[place] for place in found}
        right += [float(row[n]) for n, name in enumerate(names) if name in said]
        others += [float(row[n]) for n, name in enumerate(names) if name not in said]
    assert sum(right) / len(right) > sum(others) / len(others) + 0.1


def test_an_mlp_starts_as_the_linear_map_that_it_is_given() -> None:
    from trainers.builders import llava

    maps = {}
    weight, bias = torch.randn(128, 32) * 0.05, torch.randn(128) * 0.05
    for connector in ("linear", "mlp"):
        model, _ = llava.assemble(
            vision="scratch:tiny", language="scratch:tied", connector=connector, texts=["a b"] * 9
        )
        projector = model.model.multi_modal_projector
        with torch.no_grad():
            small_start.set_connector(projector, weight, bias)
            maps[connector] = projector(torch.ones(1, 32))
    assert torch.allclose(maps["linear"][0], weight.sum(1) + bias, atol=1e-5)
    assert torch.allclose(maps["mlp"], maps["linear"], atol=1e-4)


def test_attention_starts_with_what_is_alike(tmp_path: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    from trainers.builders import llava

    model, _ = llava.assemble(
        vision="scratch:tiny", language="scratch:tied", connector="linear", texts=["a b c d"] * 9
    )
    assert isinstance(model, LlavaForConditionalGeneration)
    small_start.match(model, 0, pull=1.0, copy=0.5)
    layer = model.model.language_model.layers[0].self_attn
    width = layer.q_proj.weight.shape[0]
    with torch.no_grad():
        pull = layer.q_proj.weight.T @ layer.k_proj.weight
        copy = layer.o_proj.weight @ layer.v_proj.weight
    assert torch.allclose(pull, torch.eye(width), atol=1e-4)
    assert torch.allclose(copy, 0.5 * torch.eye(width), atol=1e-4)


def test_some_heads_start_looking_a_fixed_way_back(tmp_path: Path) -> None:
    from trainers.builders.llava import assemble

    model, _ = assemble(
        vision="scratch:tiny", language="scratch:tied", connector="linear", texts=["a b c d"] * 9
    )  # fmt: skip
    small_start.match(model, 0)
    small_start.look_back(model)
    language = model.model.language_model
    language.set_attn_implementation("eager")
    for seed in range(3):
        ids = torch.randint(4, 9, (1, 30), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            first, second = language(input_ids=ids, output_attentions=True).attentions[:2]
        for place in range(10, 30):
            assert first[0, 0, place, place - 1] > 0.9 and first[0, 1, place, place - 2] > 0.9
            for window in (first[0, 2, place], second[0, 0, place]):
                assert window[place - 6 : place - 1].sum() > 0.7
                assert window.argmax() == place - 4
            if place > 16:
                assert second[0, 1, place].argmax() == place - 13


def test_a_tower_learns_and_says_what_is_missing(world: Path, tmp_path: Path) -> None:
    from trainers.builders import shapes
    from trainers.engine import tower

    lessons = tower.read(world / "region_captions", world / "region_captions", 64, 16)
    assert {"red", "person", "kitchen"} & set(lessons.words) and "the" not in lessons.words
    for look in lessons.looks[:5]:
        assert torch.allclose(look.weights.sum(1), torch.ones(len(look.weights)))
    told: list[str] = []
    sizes = shapes.tower("scratch:small")
    tower.train(lessons, tmp_path / "t", sizes=sizes, steps=40, batch=4, say=told.append)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in told]
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(DataError, match="region_descriptions"):
        tower.read(tmp_path, tmp_path, 64, 16)


def test_an_unknown_size_and_a_missing_world_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mini"):
        small.make_base(tmp_path, tmp_path, "mimi")
    with pytest.raises(DataError, match="world"):
        tunnel.write_data(tmp_path, tmp_path / "data")


def test_arms_differ_in_one_thing_each(world: Path, tmp_path: Path) -> None:
    files = tunnel.write_data(world, tmp_path / "data")
    rows = {name: json.loads(path.read_text()) for name, path in files.items()}
    assert set(rows) == set(tunnel.PICTURES)
    assert len(rows["instruct"]) == len(rows["vqa"]) == len(rows["format"])
    for bare, told in zip(rows["vqa"], rows["format"], strict=True):
        assert bare["id"] == told["id"] and bare["image"] == told["image"]
        assert small.SHORT not in json.dumps(bare)
        turns = [turn["value"] for turn in told["conversations"]]
        assert not any(small.SHORT in turn for turn in turns[1:])
        assert [t["value"] for t in bare["conversations"]] == [
            t.replace(small.SHORT, "") for t in turns
        ]
    assert any(small.SHORT in row["conversations"][0]["value"] for row in rows["format"])
    located = [row for row in rows["locvlm"] if row["id"].startswith("locate")]
    assert 0.4 < len(located) / len(rows["locvlm"]) < 0.6
    assert {name for row in located for name in row["objectives"]} == {
        "locpred", "negpred", "revloc",
    }  # fmt: skip
    for name, folder in tunnel.PICTURES.items():
        assert all((world / folder / row["image"]).exists() for row in rows[name] if "image" in row)
    again = tunnel.write_data(world, tmp_path / "again")
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)


def test_every_direction_names_arms_and_a_real_metric() -> None:
    names = {arm.name for arm in tunnel.ARMS}
    for direction in tunnel.DIRECTIONS:
        assert {direction.base, direction.cand} <= names and direction.source
    for arm in tunnel.ARMS:
        assert arm.data in ("", *tunnel.PICTURES)


def test_the_language_model_inside_a_llava_stands_alone(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

    whole = make_llava(tmp_path / "llava")
    small.take_language(whole, tmp_path / "language")
    ids = torch.tensor([[1, 7, 30]])
    with torch.no_grad():
        first = LlavaForConditionalGeneration.from_pretrained(whole)(input_ids=ids).logits
        second = AutoModelForCausalLM.from_pretrained(tmp_path / "language")(input_ids=ids).logits
    assert torch.equal(first, second)
