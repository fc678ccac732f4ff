"""Videos: pooled tokens, the same in training and in the harness, and what training changes."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_llava
import tiny_models
import torch

from harness.engine import video
from harness.errors import DataError, UsageError
from harness.find import make_model
from harness.types import Answer, Decoding, Image, Sample
from trainers import locvlm
from trainers.engine import loop, model, records, samples
from trainers.recipe import Recipe

MOMENTS = 6
PATCHES = 16


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_models.make_llava(tmp_path_factory.mktemp("llava"))


def small(**changes: Any) -> Recipe:
    recipe = locvlm.make("vid-b")
    parts = {"vision": "scratch:tiny", "language": "scratch:tiny", "connector": "linear",
             "texts": changes.pop("texts")}  # fmt: skip
    plain = {
        "builder": "llava", "builder_options": parts, "needs": (), "data": (),
        "images.size": small_llava.TILE, "images.video": MOMENTS, "images.frames": MOMENTS,
        "batch_size": 4, "micro_batch": 4, "precision": "fp32", "parallel": "ddp",
        "activation_checkpointing": False, "max_length": 256, "log_every": 1, "on_bad": "refuse",
    }  # fmt: skip
    return recipe.changed(plain | changes)


def write(folder: Path, count: int = 8) -> tuple[Path, Path]:
    """Write records of videos (folders and lists of frames in turn) and one of a picture."""
    images = folder / "images"
    rows = []
    for i in range(count):
        names = [f"v{i}/{n:03d}.png" for n in range(3 + 2 * i)]
        (images / f"v{i}").mkdir(parents=True)
        for n, name in enumerate(names):
            (images / name).write_bytes(tiny_models.picture(31 * i + n))
        (images / f"v{i}" / "notes.txt").write_text("not a frame")
        folder_name = f"v{i}.pkl" if i == 3 else f"v{i}"  # as in Video-ChatGPT's files
        rows.append({"id": f"v{i}", "video": folder_name if i % 2 else names})
    (images / "still.png").write_bytes(tiny_models.picture(999))
    rows.append({"id": "still", "image": "still.png"})
    for i, row in enumerate(rows):
        reply = f"a {small_llava.WORDS[i % 11]} ball"
        mark = "<video>" if i == 2 else "<image>"  # Video-ChatGPT's own mark
        row["conversations"] = [{"from": "human", "value": f"{mark}\nWhat moves here?"},
                                {"from": "gpt", "value": reply}]  # fmt: skip
    path = folder / "records.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path, images


def test_frames_are_the_middles_of_equal_segments() -> None:
    assert video.pick(3, 100) == [0, 1, 2]
    assert video.pick(100, 100) == list(range(100))
    assert video.pick(10, 3) == [1, 4, 7]  # of 0 to 3, 3 to 6, 6 to 9
    assert video.pick(801, 8) == [50, 150, 250, 350, 450, 550, 650, 750]
    for count in (8, 101, 333, 4999):
        chosen = video.pick(count, 7)
        assert len(chosen) == 7 and chosen == sorted(set(chosen))
        middles = [(2 * i + 1) * (count - 1) / 14 for i in range(7)]
        assert max(abs(a - b) for a, b in zip(chosen, middles, strict=True)) <= 1


def test_a_constant_video_has_one_token_for_all_moments_and_its_own_patches() -> None:
    frame = torch.randn(PATCHES, 8)
    pooled = video.pool(frame.expand(4, -1, -1), 6)
    assert pooled.shape == (6 + PATCHES, 8)
    assert torch.allclose(pooled[:4], frame.mean(0).expand(4, -1), atol=1e-6)
    assert (pooled[4:6] == 0).all()
    assert torch.allclose(pooled[6:], frame, atol=1e-6)


def test_moments_come_first_and_keep_their_order() -> None:
    frames = torch.arange(3.0)[:, None, None].expand(3, PATCHES, 2)
    pooled = video.pool(frames, 5)
    assert pooled[:, 0].tolist() == [0, 1, 2, 0, 0] + [1] * PATCHES
    with pytest.raises(ValueError, match="do not fit"):
        video.pool(frames, 2)


def test_videos_and_pictures_share_a_batch_and_a_picture_is_what_it_was() -> None:
    made, _ = small_llava.model(connector="linear")
    pixels = torch.randn(5, 3, small_llava.TILE, small_llava.TILE)
    plain = made.model.get_image_features(pixels[:1]).pooler_output[0]
    video.watch(made)
    assert torch.equal(made.model.get_image_features(pixels[:1]).pooler_output[0], plain)
    long, still = video.stack(pixels[1:5], 6), video.stack(pixels[:1], 0)
    joined = torch.zeros(2, 4, 3, small_llava.TILE, small_llava.TILE)
    joined[0], joined[1, :1] = long["pixel_values"][0], still["pixel_values"][0]
    sizes = torch.cat([long["image_sizes"], still["image_sizes"]])
    found = made.model.get_image_features(joined, image_sizes=sizes).pooler_output
    assert [len(one) for one in found] == [6 + PATCHES, PATCHES]
    assert torch.allclose(found[1], plain, atol=1e-5)
    features = made.model.vision_tower(pixels[1:5], output_hidden_states=True).hidden_states[-2]
    times = torch.zeros(6, features.shape[-1])
    times[:4] = features[:, 1:].mean(1)
    wanted = torch.cat([times, features[:, 1:].mean(0)])
    assert torch.allclose(found[0], made.model.multi_modal_projector(wanted), atol=1e-5)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    made, _ = small_llava.model("llava_next", images=small_llava.settings(aspect="anyres", size=28))
    with pytest.raises(UsageError, match="this is a llava_next"):
        video.watch(made)
    text = tiny_models.make_llama(tmp_path / "llama")
    with pytest.raises(UsageError, match="video_pool needs a LLaVA"):
        make_model(f"transformers:{text}", {"video_pool": 100})


def clip(name: str, count: int) -> tuple[Image, ...]:
    return tuple(Image(f"{name}{n}", tiny_models.picture(50 + n)) for n in range(count))


def test_the_harness_asks_about_all_frames_as_one_video(llava: Path) -> None:
    asked = [
        Sample("a", (*clip("a", 3), "Is there a dog in the image?")),
        Sample("b", (*clip("a", 3), "What colour is the cube?")),
        Sample("c", (*clip("c", 9), "Is there a dog in the image?")),
    ]
    how = Decoding(max_tokens=6)
    said: dict[str, dict[str, str]] = {}
    for engine in ("single", "batched", "packed"):
        asking = make_model(f"transformers:{llava}", {"video_pool": MOMENTS, "engine": engine})
        replies = dict(asking.answer(asked, "generate", how))
        assert all(isinstance(reply, Answer) for reply in replies.values()), replies
        said[engine] = {asked[i].id: reply.text for i, reply in replies.items()}  # type: ignore[union-attr]
        tokens = {asked[i].id: reply.tokens_in for i, reply in replies.items()}  # type: ignore[union-attr]
    assert said["single"] == said["batched"] == said["packed"]
    assert tokens["a"] == tokens["c"]  # as many for three frames as for nine
    plain = make_model(f"transformers:{llava}", {})
    (_, alone), *_ = plain.answer([Sample("a", (asked[0].prompt[0], asked[0].prompt[-1]))],
                                  "generate", how)  # fmt: skip
    assert isinstance(alone, Answer)
    assert tokens["a"] == (alone.tokens_in or 0) + MOMENTS


def test_the_option_is_part_of_the_model_and_its_absence_changes_no_older_record(
    llava: Path,
) -> None:
    plain = make_model(f"transformers:{llava}", {}).describe()
    pooled = make_model(f"transformers:{llava}", {"video_pool": 100}).describe()
    assert "video_pool" not in plain["options"] and pooled["options"]["video_pool"] == 100
    assert "video" in pooled["preprocessing"] and "video" not in plain["preprocessing"]


def test_fewer_frames_than_moments_can_be_shown(llava: Path) -> None:
    options = {"video_pool": MOMENTS, "video_frames": 2}
    reader = make_model(f"transformers:{llava}", options)._read()  # type: ignore[attr-defined]
    group = reader.group([(0, Sample("a", (*clip("a", 8), "Is there a dog?")))], False)
    tensors = group.paths[0].vision.tensors
    assert tensors["image_sizes"].tolist() == [[2, MOMENTS]]
    assert tensors["pixel_values"].shape[:2] == (1, 2)
    with pytest.raises(UsageError, match="do not fit"):
        make_model(f"transformers:{llava}", {"video_pool": 2, "video_frames": 3})


def test_choices_are_ranked_behind_a_video(llava: Path) -> None:
    asked = [Sample("a", (*clip("a", 3), "Is there a dog?"), choices=("yes", "no"))]
    scores = []
    for engine in ("single", "packed"):
        asking = make_model(f"transformers:{llava}", {"video_pool": MOMENTS, "engine": engine})
        ((_, reply),) = asking.answer(asked, "rank", Decoding())
        assert isinstance(reply, Answer)
        scores.append(reply.scores)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_training_on_videos_changes_the_connector_alone_and_scores_as_it_trained(
    tmp_path: Path,
) -> None:
    data, images = write(tmp_path)
    recipe = small(texts=str(data), lr=0.1, max_steps=12, batch_size=9, micro_batch=9)
    result = loop.train(recipe, None, data, tmp_path / "run", images=images, quiet=True)
    assert result.run["manifest"]["changed"] == 2  # weight and bias of its first layer
    assert not result.run["manifest"]["undeclared_changes"]
    losses = [line["loss"] for line in result.log if "loss" in line]
    assert losses[-1] < losses[0] - 0.02  # all records in each step; the random rest stays
    # the finished directory, asked by the harness, reads the prompt of training
    ready = model.prepare(recipe, result.model)
    encoder = samples.Encoder(recipe, ready.processor, images)
    found = records.read(recipe, data)
    at = next(i for i in range(len(found)) if found.raw(i)["id"] == "v5")
    sample = encoder.encode(*found.get(at))
    frames = sorted((images / "v5").glob("*.png"))
    asking = make_model(f"transformers:{result.model}", {"video_pool": MOMENTS})
    group = asking._read().group(  # type: ignore[attr-defined]
        [(0, Sample("v5", (*(Image(f.name, f) for f in frames), "What moves here?")))], False
    )
    path = group.paths[0]
    assert path.tokens == tuple(sample.tokens[: len(path.tokens)])
    shown = encoder.pictures.pixels(sample.images[0])
    assert torch.equal(path.vision.tensors["pixel_values"], shown["pixel_values"])
    assert path.vision.tensors["image_sizes"].tolist() == [[MOMENTS, MOMENTS]]


def test_vid_b_plus_changes_the_language_model_too_and_never_the_tower(tmp_path: Path) -> None:
    data, images = write(tmp_path, 3)
    recipe = small(texts=str(data), trainable=locvlm.make("vid-b-plus").trainable, max_steps=2,
                   **{"images.frames": 2})  # fmt: skip
    result = loop.train(recipe, None, data, tmp_path / "run", images=images, quiet=True)
    tensors = result.run["manifest"]["tensors"].items()
    changed = [name for name, t in tensors if t["before"] != t["after"]]
    assert any("language_model" in name for name in changed)
    assert any("multi_modal_projector.linear_1" in name for name in changed)
    assert not any("vision_tower" in name or "linear_2" in name for name in changed)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"video": "empty"}, "video missing"),
        ({"video": ["v0/000.png"], "image": "still.png"}, "exclude each other"),
        ({"video": ["gone.png"]}, "does not exist"),
        ({"video": "../images/v0"}, "lies outside|image missing"),
    ],
)
def test_what_is_wrong_with_a_video_is_said(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    data, images = write(tmp_path, 1)
    (images / "empty").mkdir()
    talk = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "a ball"}]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"id": "x", "conversations": talk, **row}]))
    folder = images / "v0" if "outside" in says else images
    with pytest.raises(DataError, match=says):
        recipe = small(texts=str(data), max_steps=1)
        loop.train(recipe, None, bad, tmp_path / "run", images=folder, quiet=True)


def test_a_recipe_without_room_for_videos_says_so(tmp_path: Path) -> None:
    data, images = write(tmp_path, 1)
    recipe = small(texts=str(data), **{"images.video": 0})
    with pytest.raises(DataError, match=r"images\.video=100"):
        loop.train(recipe, None, data, tmp_path / "run", images=images, quiet=True)
