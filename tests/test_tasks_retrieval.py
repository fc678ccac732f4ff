"""Retrieval: recall against a plain sort, ties by enumeration, a real CLIP, files, failures."""

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_retrieval import karpathy
from tiny_encoders import make_clip

from harness.api import run
from harness.errors import DataError, UsageError
from harness.find import make_task
from harness.types import Answer, Failure
from judges.ranking import Rank, features_of, ranks, unit_rows


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 10))
def test_a_hit_among_ties_is_its_share_of_all_orders(ahead, others, own, k):
    """Every order of the tied items is as likely as any other."""
    tied = [False] * others + [True] * own
    orders = list(permutations(range(len(tied))))
    hits = sum(any(tied[item] for item in order[: max(k - ahead, 0)]) for order in orders) / len(
        orders
    )
    assert Rank(ahead, others + own, own).hit(k) == pytest.approx(hits)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 9))
def test_ranks_are_those_of_a_plain_sort(queries, gallery, seed):
    draw = np.random.default_rng(seed)
    ask = unit_rows(list(draw.normal(size=(queries, 8)).astype(np.float32)))
    find = unit_rows(list(draw.normal(size=(gallery, 8)).astype(np.float32)))
    own = [draw.choice(gallery, min(gallery, 3), replace=False).tolist() for _ in range(queries)]
    for number, rank in enumerate(ranks(ask, find, own)):
        order = sorted(range(gallery), key=lambda j: -float(np.dot(ask[number], find[j])))
        place = min(order.index(j) for j in own[number])
        assert rank == Rank(place, 1, 1) and rank.mean == place + 1
        for k in (1, 5, 10):
            assert rank.hit(k) == float(any(j in own[number] for j in order[:k]))


def test_equal_features_are_ties_to_the_last_bit():
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(9, 33)).astype(np.float32)
    find = unit_rows([rows[j % 9] for j in range(700)])
    ask = unit_rows(list(draw.normal(size=(600, 33)).astype(np.float32)))
    for number, rank in enumerate(ranks(ask, find, [[j % 9] for j in range(600)])):
        assert rank.tied == sum(j % 9 == number % 9 for j in range(700))
    assert list(ranks(ask[:1], find, [[]])) == [None]


def test_features_that_cannot_be_matched_are_refused():
    with pytest.raises(DataError, match="differ in length"):
        unit_rows([np.ones(3, np.float32), np.ones(4, np.float32)])
    with pytest.raises(DataError, match="not finite"):
        unit_rows([np.array([1, np.nan], np.float32)])
    with pytest.raises(DataError, match="row 'x' has no features"):
        features_of({"id": "x", "answer": {"text": ""}})
    row = {
        "id": "x",
        "answer": {"features": b64encode(np.array([1, -2], "<f4").tobytes()).decode()},
    }
    assert features_of(row).tolist() == [1.0, -2.0]
    assert unit_rows([np.zeros(2, np.float32)]).tolist() == [[0.0, 0.0]]


def test_the_numbers_of_a_real_clip(tmp_path):
    """The whole way, against the similarities that the model itself computes."""
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    torch.set_num_threads(1)
    data, clip = karpathy(tmp_path / "data", "flickr30k", 12), make_clip(tmp_path / "clip")
    record = run(f"transformers:{clip}", "retrieval", data=data, out=tmp_path / "run")
    model, processor = AutoModel.from_pretrained(clip), AutoProcessor.from_pretrained(clip)
    document = json.loads((data / "dataset_flickr30k.json").read_text())
    rows = [row for row in document["images"] if row["split"] == "test"]
    texts = [s["raw"] for row in rows for s in row["sentences"][:5]]
    pictures = [Image.open(data / "flickr30k-images" / row["filename"]) for row in rows]
    with torch.no_grad():
        pixels = processor.image_processor(pictures, return_tensors="pt")
        words = processor.tokenizer(
            texts, padding=True, truncation=True, max_length=16, return_tensors="pt"
        )
        logits = model(**pixels, **words).logits_per_image.numpy()
    for name, matrix, own in (
        ("i2t", logits, lambda i: range(5 * i, 5 * i + 5)),
        ("t2i", logits.T, lambda j: (j // 5,)),
    ):
        for k in (1, 5, 10):
            top = np.argsort(-matrix, axis=1)[:, :k]
            hits = np.mean([bool(set(own(i)) & set(row.tolist())) for i, row in enumerate(top)])
            found = record.metrics[f"{name}.r{k}"]
            assert found["value"] == pytest.approx(100 * hits, abs=1e-6)
            assert found["n"] == len(matrix) == found["asked"] and found["clusters"] == len(rows)
    assert 0 < record.metrics["t2i.r5"]["value"] < 100
    stats = {row["id"]: row["stats"] for row in record.rows()}
    order = np.argsort(-logits.T[7])
    assert stats["text/1/2"]["rank"] == 1 + order.tolist().index(1)


def test_floors_are_perfect_chance_and_chance(tmp_path):
    data = karpathy(tmp_path / "data", "flickr30k")
    perfect = run("oracle", "retrieval", data=data, out=tmp_path / "o").metrics
    assert all(metric["value"] == 100 for metric in perfect.values())
    alike = run("constant", "retrieval", data=data, out=tmp_path / "c").metrics
    assert alike["i2t.r1"]["value"] == pytest.approx(100 / 12)
    assert alike["t2i.r5"]["value"] == pytest.approx(100 * 5 / 12)
    with pytest.raises(UsageError, match="'majority' has no features"):
        run("majority", "retrieval", data=data, out=tmp_path / "m")


class Encoder:
    """Own features for each image and its captions; fails where it is told to."""

    name = "encoder"

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def describe(self) -> dict[str, str]:
        return {}

    def answer(self, samples, ask, decoding) -> Iterator[tuple[int, Answer | Failure]]:
        for at, sample in enumerate(samples):
            number = int(sample.id.split("/")[1])
            features = tuple(float(k == number) for k in range(16))
            failed = sample.id == self.fails
            yield at, Failure("no") if failed else Answer(features=features)


def test_a_picture_that_fails_is_no_miss_for_its_captions(tmp_path):
    data = karpathy(tmp_path / "data", "flickr30k")
    record = run(Encoder("image/4"), "retrieval", data=data, out=tmp_path / "run")
    image, text = record.metrics["i2t.r1"], record.metrics["t2i.r1"]
    assert (image["value"], image["n"], image["asked"]) == (100, 11, 12)
    assert (text["value"], text["n"], text["asked"]) == (100, 55, 60)
    assert record.run["status"] == "incomplete"
    again = run(Encoder(""), "retrieval", data=data, out=tmp_path / "run", resume=True)
    assert again.metrics["t2i.r1"]["n"] == 60 and again.run["status"] == "complete"


def test_the_first_five_captions_of_the_test_images_and_the_prefix(tmp_path):
    data = karpathy(tmp_path / "data", "coco")
    plain = list(make_task("retrieval/coco", str(data)).samples())
    assert [s.id for s in plain[:7]] == ["image/0", *(f"text/0/{k}" for k in range(5)), "image/1"]
    assert not any(
        "never asked" in part for s in plain for part in s.prompt if isinstance(part, str)
    )
    assert {s.cluster for s in plain} == {f"coco_{n:03d}.jpg" for n in range(16) if n % 4 != 3}
    named = list(make_task("retrieval/coco-photo", str(data)).samples())
    assert named[1].prompt == (f"a photo of {plain[1].prompt[0]}",)
    assert plain[0].prompt[0].read() == (data / "val2014" / "coco_000.jpg").read_bytes()


def test_a_part_of_the_published_split_is_refused_and_a_small_set_admitted(tmp_path):
    data = karpathy(tmp_path / "data", "flickr30k")
    assert "not comparable" in make_task("retrieval", str(data)).notes[0]
    path = data / "dataset_flickr30k.json"
    document = json.loads(path.read_text())
    one = document["images"][0]
    document["images"] = [{**one, "imgid": n} for n in range(999)]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"test images +expected +1,000 +found +999"):
        make_task("retrieval", str(data))
    document["images"].append({**one, "imgid": 999})
    path.write_text(json.dumps(document))
    task = make_task("retrieval", str(data))
    assert task.source.version == "karpathy-flickr30k" and task.chance == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: row.pop("filename"), r"image 1: not an entry .*'filename'"),
        (lambda row: row.update(sentences=[]), "image 1: .* has no captions"),
        (lambda row: row.update(imgid=1), "the id '1' comes twice"),
        (lambda row: row.update(filename="../x.jpg"), "leads out of the data folder"),
    ],
)
def test_damaged_files_are_named(tmp_path, change, says):
    data = karpathy(tmp_path / "data", "flickr30k")
    path = data / "dataset_flickr30k.json"
    document = json.loads(path.read_text())
    change(document["images"][0])
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=says):
        make_task("retrieval", str(data))
