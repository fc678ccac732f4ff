"""ELEVATER: real files, the toolkit's metrics and quirks, prompt ensembles, damaged data."""

import gzip
import json
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import made_elevater as made
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures
from shared_data import shared
from small_data import picture

from harness.api import run
from harness.errors import DataError
from harness.find import entries, make_task
from harness.types import Answer, Decoding, Image
from judges.classification import softmax, taken
from tasks._elevater_sets import ALL, TWENTY

REAL = "elevater"


def value(record, name):
    return record.metrics[name]["value"]


def replies(task, scores_of):
    """Score `scores_of(sample)` for every sample; returns the scores."""
    return [
        task.score(sample, Answer(scores=tuple(scores_of(sample)))) for sample in task.samples()
    ]


def estimates(task, scores_of):
    """Return the task's metrics for a model that scores by `scores_of(sample)`."""
    from harness.stats import estimate_all

    rows = [
        {"id": s.id, "cluster": s.id, "status": found.status, "score": found.value,
         "groups": dict(s.groups), "stats": json.loads(json.dumps(dict(found.stats)))}
        for s, found in zip(task.samples(), replies(task, scores_of), strict=True)
    ]  # fmt: skip
    return estimate_all(rows, task.metrics)


@pytest.fixture
def every(tmp_path):
    return made.write(tmp_path / "made")[""]


# What was published.


def test_the_table_is_the_benchmark():
    assert len(TWENTY) == 20 and sum(one.classes for one in TWENTY.values()) == 1151
    assert "imagenet-1k" in ALL and "imagenet-1k" not in TWENTY
    by_metric = {
        kind: [n for n, one in TWENTY.items() if one.metric == kind] for kind in made_kinds()
    }
    assert by_metric["roc_auc"] == ["hateful-memes"]
    assert by_metric["map11"] == ["voc-2007-classification"]
    assert sorted(by_metric["mean_per_class"]) == [
        "caltech-101", "fgvc-aircraft-2013b-variants102", "oxford-flower-102", "oxford-iiit-pets"
    ]  # fmt: skip
    assert [n for n, one in ALL.items() if one.squash] == ["kitti-distance"]
    variants = next(e for e in entries("task") if e.name == "elevater").variants
    assert set(ALL) <= set(variants)


def made_kinds():
    return ("accuracy", "mean_per_class", "roc_auc", "map11")


def test_the_toolkits_names_and_templates_fit_the_table():
    table = json.loads(shared(f"{REAL}/classes_and_templates.json").read_text())
    for one in ALL.values():
        entry = table[one.name]
        assert (len(entry["classes"]), len(entry["templates"])) == (one.classes, one.templates)


def test_mnist_is_whole_and_real():
    task = make_task("elevater/mnist", str(shared(REAL)))
    samples = list(task.samples())
    counts = [sum(s.target == str(digit) for s in samples) for digit in range(10)]
    assert len(samples) == 10_000 and counts == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert (
        task.notes == ()
        and task.source.version == "published"
        and task.headline == "mnist.accuracy"
    )
    assert [s.target for s in samples[:5]] == ["7", "2", "1", "0", "4"]
    assert samples[0].facts["prompts"]["7"] == ('a photo of the number: "7".',)
    with Pictures.open(shared_bytes(samples[0].prompt[0])) as seven:
        assert (seven.size, seven.mode, seven.format) == ((28, 28), "L", "PNG")
        raw = gzip.decompress((shared(REAL) / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        assert seven.tobytes() == raw[16 : 16 + 784]


def shared_bytes(image: Image):
    from io import BytesIO

    return BytesIO(image.read())


def test_subsets_of_real_data_are_said_to_be_subsets():
    task = make_task("elevater", str(shared(REAL)))
    sets = [s.groups["set"] for s in task.samples()]
    assert {name: sets.count(name) for name in set(sets)} == {
        "mnist": 10_000,
        "cifar-10": 1000,
        "dtd": 140,
    }
    assert task.headline == "mean_of_3"  # never mean20
    notes = " ".join(task.notes)
    assert "dtd: a subset, 140 of 1,880 test images, none of 37 of the 47 classes" in notes
    assert "cifar-10: a subset, 1,000 of 10,000" in notes and "absent: caltech-101" in notes


# Scores.


def test_gold_scores_give_100_and_equal_ones_chance(every):
    for name in ("voc-2007-classification", "hateful-memes", "oxford-iiit-pets"):
        task = make_task(f"elevater/{name}", str(every))
        (perfect,) = estimates(
            task, lambda s: [float(i in s.facts["labels"]) for i in range(len(s.choices))]
        ).values()
        assert perfect.value == pytest.approx(100, abs=1e-9) and perfect.low > 50
    task = make_task("elevater/hateful-memes", str(every))
    (flat,) = estimates(task, lambda s: (0.0, 0.0)).values()
    assert flat.value == 50 and task.chance == 50
    task = make_task("elevater/voc-2007-classification", str(every))
    (flat,) = estimates(task, lambda s: (0.0,) * 20).values()
    share = sum(len(s.facts["labels"]) for s in task.samples()) / len(list(task.samples())) / 20
    assert flat.value == pytest.approx(100 * (10 * share + 1) / 11)  # precision is 1 at recall 0


def test_the_mean_is_plain_and_needs_all_twenty(every):
    task = make_task("elevater", str(every))
    assert task.headline == "mean_of_20" and len(task.metrics) == 21  # small sets are no benchmark
    found = estimates(task, lambda s: [random.Random(f"{s.id}{c}").random() for c in s.choices])
    parts = [e.value for name, e in found.items() if name != "mean_of_20"]
    assert found["mean_of_20"].value == pytest.approx(sum(parts) / 20)
    assert found["mean_of_20"].low < found["mean_of_20"].value < found["mean_of_20"].high


def test_only_the_whole_benchmark_is_called_mean20(every, monkeypatch):
    small = {name: replace(one, test=24) for name, one in TWENTY.items()}
    monkeypatch.setattr("tasks.elevater.TWENTY", small)
    task = make_task("elevater", str(every))
    assert task.headline == "mean20" and task.notes == () and task.source.version == "published"
    shutil.rmtree(every / "dtd")
    task = make_task("elevater", str(every))
    assert task.headline == "mean_of_19" and "absent: dtd" in task.notes[0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_softmax_keeps_the_order_and_the_first_of_equals_is_taken(scores):
    probabilities = softmax(scores)
    assert sum(probabilities) == pytest.approx(1) and all(p >= 0 for p in probabilities)
    assert taken(scores) == scores.index(max(scores))
    assert probabilities[taken(scores)] == max(probabilities)


def test_an_answer_without_scores_is_not_judged_where_scores_count(every):
    task = make_task("elevater", str(every))
    for sample in task.samples():
        found = task.score(sample, Answer(text=sample.target, choice=None))
        if sample.groups["set"] in ("hateful-memes", "voc-2007-classification"):
            assert found.value is None and found.status == "unjudged"
        else:
            assert found.value == 1.0
        assert task.score(sample, Answer(text="what?")).value in (0.0, None)


# Files.


def test_every_form_reads_the_same_labels(every):
    task = make_task("elevater", str(every))
    wanted = {name: made.labels_of(one, 24) for name, one in TWENTY.items()}
    found = {name: [] for name in TWENTY}
    for sample in task.samples():
        found[sample.groups["set"]].append(list(sample.facts["labels"]))
        assert sample.prompt[0].read()
    for name in TWENTY:  # folders come in the order of the classes, everything else as written
        assert sorted(found[name]) == sorted(wanted[name]), name
        if name not in ("cifar-10", "dtd", "gtsrb"):
            assert found[name] == wanted[name], name


def test_only_the_first_of_several_names_is_used(every):
    (sample, *_) = make_task("elevater/fer-2013", str(every)).samples()
    assert sample.choices[0] == "thing 0 of 7" and "another" not in str(sample.facts["prompts"])


def test_the_one_uncropped_set_is_squashed(every):
    for name, size in (("kitti-distance", (224, 224)), ("rendered-sst2", (64, 48))):
        (sample, *_) = make_task(f"elevater/{name}", str(every)).samples()
        with Pictures.open(shared_bytes(sample.prompt[0])) as opened:
            assert opened.size == size


def test_a_set_may_be_named_by_its_own_folder_or_the_toolkits(every, tmp_path):
    alone = make_task("elevater", str(every / "dtd"))
    assert [m.name for m in alone.metrics] == ["dtd.accuracy"] and alone.headline == "dtd.accuracy"
    other = tmp_path / "toolkit" / "classification" / "voc2007_20211007"
    shutil.copytree(every / "voc-2007-classification", other)
    (tmp_path / "toolkit" / "classes_and_templates.json").write_bytes(
        (every / "classes_and_templates.json").read_bytes()
    )
    assert (
        len(
            list(make_task("elevater/voc-2007-classification", str(tmp_path / "toolkit")).samples())
        )
        == 24
    )


def test_names_may_be_ones_own(every, tmp_path):
    folder = tmp_path / "mine" / "mnist"
    shutil.copytree(every / "mnist", folder)
    with pytest.raises(
        DataError, match=r"no class names.*classes_and_templates\.json.*classes\.txt"
    ):
        make_task("elevater/mnist", str(folder.parent))
    (folder / "classes.txt").write_text("".join(f"digit {i}\n" for i in range(9)))
    with pytest.raises(DataError, match="mnist has 10 classes, found 9 names"):
        make_task("elevater/mnist", str(folder.parent))
    (folder / "classes.txt").write_text("".join(f"digit {i}\n" for i in range(10)))
    (sample, *_) = make_task("elevater/mnist", str(folder.parent)).samples()
    assert sample.facts["prompts"][sample.target] == (f"a photo of a {sample.target}.",)
    (folder / "templates.txt").write_text("{}?\n{}!\n")
    task = make_task("elevater/mnist", str(folder.parent))
    assert "mnist: 2 prompt templates, the toolkit has 1" in task.notes
    (folder / "templates.txt").write_text("a picture\n")
    with pytest.raises(DataError, match="must have a place"):
        make_task("elevater/mnist", str(folder.parent))


def test_other_prompts_are_another_scorer(every):
    before = make_task("elevater/mnist", str(every)).scorer
    path = every / "classes_and_templates.json"
    table = json.loads(path.read_text())
    table["mnist"]["templates"] = ["the number {}"]
    path.write_text(json.dumps(table))
    assert make_task("elevater/mnist", str(every)).scorer != before


def damaged_table(folder: Path) -> None:
    (folder / "food-101" / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")


def stranger(folder: Path) -> None:
    (folder / "dtd" / "test" / "Nonesuch").mkdir()
    (folder / "dtd" / "test" / "Nonesuch" / "1.jpg").write_bytes(picture(1))


def out_of_range(folder: Path) -> None:
    path = folder / "rendered-sst2" / "test.txt"
    path.write_text(path.read_text().replace(".jpg 1", ".jpg 2"))


def two_labels(folder: Path) -> None:
    path = folder / "rendered-sst2" / "test.txt"
    path.write_text(path.read_text().replace(".jpg 1", ".jpg 0,1"))


def no_number(folder: Path) -> None:
    path = folder / "rendered-sst2" / "test.txt"
    path.write_text(path.read_text() + "test.zip@9.jpg one\n")


def outside(folder: Path) -> None:
    path = folder / "rendered-sst2" / "test.txt"
    path.write_text(path.read_text() + "../../secret.jpg 1\n")


def cut_off(folder: Path) -> None:
    path = folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-30])


def short(folder: Path) -> None:
    path = folder / "mnist" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])


def no_zip(folder: Path) -> None:
    (folder / "cifar-10" / "cifar-10.zip").write_bytes(b"no zip at all")


def no_category(folder: Path) -> None:
    path = folder / "hateful-memes" / "test_meta.json"
    path.write_text(path.read_text().replace('"category_id": 2', '"category_id": 7'))


def too_many(folder: Path) -> None:
    path = folder / "kitti-distance" / "test_meta.json"
    document = json.loads(path.read_text())
    document["images"] = [{"id": i, "file_name": f"{i}.jpg"} for i in range(712)]
    document["annotations"] = [{"image_id": i, "category_id": 1} for i in range(712)]
    path.write_text(json.dumps(document))


def nothing(folder: Path) -> None:
    shutil.rmtree(folder / "dtd")
    (folder / "dtd").mkdir()


@pytest.mark.parametrize(
    ("harm", "name", "says"),
    [
        (damaged_table, "food-101", "not a readable table"),
        (stranger, "dtd", "1 of 25 names are no class of dtd: Nonesuch.*labels.txt"),
        (
            out_of_range,
            "rendered-sst2",
            r"has the labels \[2\]; rendered-sst2 has the classes 0 to 1",
        ),
        (two_labels, "rendered-sst2", "has 2 labels; an image of rendered-sst2 has one"),
        (no_number, "rendered-sst2", "test.txt, line 25: expected 'path label'"),
        (outside, "rendered-sst2", "leads out of the data folder"),
        (cut_off, "mnist", "cannot be read"),
        (short, "mnist", "23 values, its header promises 24"),
        (no_zip, "cifar-10", "not a readable zip file"),
        (no_category, "hateful-memes", "expected images, annotations and categories"),
        (too_many, "kitti-distance", "has 711 images in its test split, found 712"),
        (nothing, "dtd", "no test images of dtd"),
    ],
)
def test_damaged_data_is_named(every, harm, name, says):
    harm(every)
    with pytest.raises(DataError, match=f"(?s){says}"):
        make_task(f"elevater/{name}", str(every))


def test_a_missing_member_is_that_images_failure(every):
    with zipfile.ZipFile(every / "rendered-sst2" / "test.zip", "w") as archive:
        archive.writestr("a b/0.jpg", picture(0))
    first, second, *_ = make_task("elevater/rendered-sst2", str(every)).samples()
    assert first.prompt[0].read()
    with pytest.raises(DataError, match=r"test\.zip: cannot read a b/1\.jpg"):
        second.prompt[0].read()


def test_labels_txt_settles_what_folders_are_called(every):
    folder = every / "dtd" / "test"
    for i, path in enumerate(sorted(folder.iterdir(), key=lambda p: int(p.name.split("_")[1]))):
        path.rename(folder / f"weird-{i:02d}")
    with pytest.raises(DataError, match="24 of 24 names"):
        make_task("elevater/dtd", str(every))
    (every / "dtd" / "labels.txt").write_text("".join(f"weird-{i:02d}\n" for i in range(47)))
    samples = list(make_task("elevater/dtd", str(every)).samples())
    assert [s.facts["labels"][0] for s in samples] == list(range(24))


def test_imagenet_folders_are_the_sorted_wordnet_ids(tmp_path):
    folder = tmp_path / "imagenet-1k"
    ids = [f"n{10_000_000 + 7 * i:08d}" for i in range(1000)]
    with zipfile.ZipFile(make_parent(folder) / "val.zip", "w") as archive:
        for i, name in enumerate(ids):
            if i % 50 == 0:
                archive.writestr(f"{name}/x.jpg", picture(i))
            else:
                archive.writestr(f"{name}/x.jpg", b"")
    made.write_names(tmp_path)
    samples = list(make_task("elevater/imagenet-1k", str(tmp_path)).samples())
    assert [s.facts["labels"][0] for s in samples] == list(range(1000))


def make_parent(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


# Prompt ensembles in the engine.


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from tiny_encoders import make_clip

    return make_clip(tmp_path_factory.mktemp("clip"))


def test_class_vectors_are_means_of_unit_prompts(clip):
    import torch
    from tiny_encoders import TEXTS
    from tiny_encoders import picture as block
    from transformers import AutoModel, AutoProcessor

    from harness.engine.dual import DualEncoder
    from harness.engine.load import Settings
    from harness.types import Sample

    torch.set_num_threads(1)
    prompts = {"cat": TEXTS[:3], "cube": TEXTS[3:4], "yes": TEXTS[4:]}
    image = Image("one.png", block(3))
    facts = {"prompts": prompts, "scale": 100.0}
    plain = Sample("b", (image,), choices=tuple(prompts), facts={"prompts": prompts})
    samples = [Sample("a", (image,), choices=tuple(prompts), facts=facts), plain]
    model = DualEncoder(str(clip), Settings(device="cpu", dtype="float32", batch=2))
    found = dict(model.answer(samples, "rank", Decoding()))

    theirs, processor = AutoModel.from_pretrained(clip).eval(), AutoProcessor.from_pretrained(clip)
    unit = lambda rows: rows / rows.norm(dim=-1, keepdim=True)  # noqa: E731
    with torch.no_grad():
        rows = []
        for texts in prompts.values():
            inputs = processor(text=list(texts), padding=True, truncation=True, return_tensors="pt")
            rows.append(unit(unit(theirs.get_text_features(**inputs).pooler_output).mean(dim=0)))
        with Pictures.open(shared_bytes(image)) as opened:
            inputs = processor(images=[opened.convert("RGB")], return_tensors="pt")
        cosines = torch.stack(rows) @ unit(theirs.get_image_features(**inputs).pooler_output)[0]
    assert found[0].scores == pytest.approx((100 * cosines).tolist(), abs=1e-3)
    scale = float(theirs.logit_scale.detach().exp())
    assert found[1].scores == pytest.approx((scale * cosines).tolist(), abs=1e-3)
    assert found[0].choice == int(cosines.argmax())


def test_a_dual_encoder_runs_the_benchmark(clip, every, tmp_path):
    record = run(f"transformers:{clip}", "elevater/voc-2007-classification", data=every,
                 options={"device": "cpu"}, out=tmp_path / "run")  # fmt: skip
    assert record.counts["scored"] == 24
    assert 0 < value(record, "voc-2007-classification.map11") <= 100
    row = next(record.rows())
    assert row["stats"]["probabilities"] == pytest.approx(softmax(row["answer"]["scores"]))
