"""`sightline teach`: the same input gives the same bytes, and a card says what was left out."""

import json
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from harness import cli
from harness.errors import DataError, SightlineError, UsageError
from trainers import teaching
from trainers.codecs import codec
from trainers.locating import read_instances
from trainers.probing import read as read_probes

KINDS = ("dog", "cat", "car", "traffic light")
COUNT = 12


def write_coco(folder: Path) -> Path:
    """Write instances, captions and pictures as COCO has them; one picture each is faulty."""
    images = folder / "train2017"
    images.mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    said = []
    for n in range(COUNT):
        id, size = 100 + n, (60 + n, 40)
        name = f"{id:012d}.jpg"
        (images / name).write_bytes(tiny_models.picture(n, size))
        rows["images"].append({"id": id, "file_name": name, "width": size[0], "height": size[1]})
        for k in range(2):
            rows["annotations"].append(
                {"id": 10 * id + k, "image_id": id, "category_id": 1 + (n + k) % 3,
                 "bbox": [5 + 20 * k, 4, 15, 20 + n], "iscrowd": 0}
            )  # fmt: skip
        said.append({"image_id": id, "caption": f"A dog and a car, number {n}."})
    (images / f"{103:012d}.jpg").unlink()
    (images / f"{104:012d}.jpg").write_bytes(b"no picture")
    (images / f"{105:012d}.jpg").write_bytes(tiny_models.picture(5, (10, 10)))
    categories = [{"id": i, "name": kind} for i, kind in enumerate(KINDS, 1)]
    (folder / "instances.json").write_text(json.dumps({**rows, "categories": categories}))
    document = {"images": rows["images"], "annotations": said}
    (folder / "captions.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def teach(*words: object) -> None:
    """Carry out a command line in this process."""
    with pytest.raises(SystemExit) as stopped:
        cli.app(["teach", *map(str, words)], standalone_mode=True)
    assert stopped.value.code == 0


def locate(coco: Path, out: Path, *more: object) -> list[dict[str, Any]]:
    teach("locate", "--instances", coco / "instances.json", "--out", out, *more)
    return list(json.loads(out.read_text(encoding="utf-8")))


def test_a_command_line_makes_records_with_a_card(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "records.json"
    words = ["teach", "locate", "--instances", coco / "instances.json", "--out", out,
             "--images", coco / "train2017", "--exclude", coco / "held.txt"]  # fmt: skip
    (coco / "held.txt").write_text("COCO_val2014_000000000101.jpg\n999\n")
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())
    card = out.with_suffix(".md").read_text()
    for line in (
        "| image is held out | 1 |",
        "| image is missing | 1 |",
        "| image does not open | 1 |",
        "| image has another size than its annotations | 1 |",
        f"| records | {len(rows)} |",
        "1 images of the list were in the source",
        sha256(out.read_bytes()).hexdigest(),
        sha256((coco / "instances.json").read_bytes()).hexdigest(),
        "CC BY 4.0",
    ):
        assert line in card
    used = {row["image"] for row in rows}
    assert used == {f"{id:012d}.jpg" for id in (100, 102, 106, 107, 108, 109, 110, 111)}
    assert f"{len(rows)} records" in done.stdout and "dropped, image is missing: 1" in done.stdout


def test_the_same_input_gives_the_same_bytes(coco: Path, tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("a.json", "b.json", "c.json"))
    locate(coco, one, "--seed", 3)
    locate(coco, two, "--seed", 3)
    locate(coco, other, "--seed", 4)
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()
    cards = [path.with_suffix(".md").read_text().replace(path.name, "X") for path in (one, two)]
    assert cards[0] == cards[1]


def test_counts_follow_the_ratio_and_smaller_ones_lie_in_larger_ones(
    coco: Path, tmp_path: Path
) -> None:
    many = locate(coco, tmp_path / "a.json", "--count", 20, "--ratio", "2:1:1")
    few = locate(coco, tmp_path / "b.json", "--count", 12, "--ratio", "2:1:1")
    assert Counter(row["objectives"][0] for row in many) == {
        "locpred": 10, "negpred": 5, "revloc": 5,
    }  # fmt: skip
    assert len(few) == 12 and all(row in many for row in few)
    short = locate(coco, tmp_path / "c.json", "--count", 999)
    assert len(short) < 999
    assert "999 records were asked for" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (("--codec", "nfp", "--location", "point"), r"\[0\.\d{4}, 0\.\d{4}\]"),
        (("--codec", "ivb", "--bins", 336, "--location", "bbox"), r"\[\d+(, \d+){3}\]"),
        (("--codec", "diga", "--grid", 7, "--location", "point"), r"\[\d+: [+-]\d+, [+-]\d+\]"),
        (("--brackets", "()", "--location", "point"), r"\(\d+, \d+\)"),
    ],
)
def test_every_codec_writes_its_form(
    words: tuple[object, ...], pattern: str, coco: Path, tmp_path: Path
) -> None:
    rows = locate(coco, tmp_path / "a.json", "--objectives", "locpred", *words)
    assert rows
    for row in rows:
        assert re.search(pattern, row["conversations"][1]["value"])


def test_videos_are_written_as_videos(coco: Path, tmp_path: Path) -> None:
    from trainers.engine import records

    rows = locate(coco, tmp_path / "a.json", "--videos")
    assert all("image" not in row for row in rows)
    assert records.parse(rows[0], "here").video


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--objectives", "locpred,locprd"), "objective 'locprd'"),
        (("--ratio", "1:1:1"), "give both"),
        (("--ratio", "1:1", "--count", 5), "--ratio needs 3 numbers"),
        (("--ratio", "0:0:0", "--count", 5), "above 0"),
        (("--turns", 3, "--count", 5), "--turns 1"),
        (("--codec", "xyz"), "codec"),
        (("--frame", "round"), "frame"),
        (("--location", "circle"), "form of location"),
        (("--codec", "diga", "--grid", 9), "does not divide"),
        (("--videos", "--images", "."), "leave --images away"),
    ],
)
def test_wrong_options_are_named(
    words: tuple[object, ...], says: str, coco: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.json"
    base = ["teach", "locate", "--instances", coco / "instances.json", "--out", out]
    with pytest.raises(SightlineError, match=says):
        cli.app([str(word) for word in (*base, *words)], standalone_mode=False)
    assert not out.exists()


def test_probes_are_made_and_read(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "probes.json"
    teach("probes", "--instances", coco / "instances.json", "--out", out, "--count", 8,
          "--codec", "diga", "--bins", 28, "--grid", 4)  # fmt: skip
    found = read_probes(out)
    assert len(found.probes) == 8 and sum(p.box is None for p in found.probes) == 4
    assert found.codec == codec("diga", bins=28, grid=4)
    assert "| of absent things | 4 |" in out.with_suffix(".md").read_text()


def test_captions_are_asked_for_once_replayed_and_used(coco: Path, tmp_path: Path) -> None:
    cache, out, again = tmp_path / "cache", tmp_path / "said.json", tmp_path / "again.json"
    base = ("captions", "--instances", coco / "instances.json", "--images", coco / "train2017",
            "--cache", cache)  # fmt: skip
    teach(*base, "--model", "constant:a small dog in front", "--out", out)
    teach(*base, "--model", "replay", "--out", again)
    assert out.read_bytes() == again.read_bytes()
    rows = json.loads(out.read_text())
    # the same words about two objects of one picture would be "duplicate"; here only dogs pass
    assert rows and {row["kind"] for row in rows} == {"dog"}
    card = out.with_suffix(".md").read_text()
    assert "| name missing |" in card and "constant-a small dog in front" in card
    made = locate(coco, tmp_path / "records.json", "--captions", out, "--objectives", "revloc")
    told = {row["conversations"][1]["value"] for row in made}
    assert "a small dog in front" in told and "a car" in told
    lookup = teaching.read_captions(out)
    assert set(lookup.values()) == {"a small dog in front"}


def test_dry_runs_ask_nobody(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--instances", coco / "instances.json", "--model", "openai:nobody", "--cache",
            tmp_path / "cache", "--out", tmp_path / "out.json", "--dry-run")  # fmt: skip
    teach("captions", *base, "--images", coco / "train2017")
    said = capsys.readouterr().out
    assert re.match(r"calls: 36; about \d+ tokens in .* and 36 pictures, at most 1,728 ", said)
    teach("instructions", *base, "--captions", coco / "captions.json", "--limit", 4)
    assert capsys.readouterr().out.startswith("calls: 12, each at most 3 times; about ")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "out.json").exists()


def test_instructions_are_written_and_rejected_texts_are_counted(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    (coco / "held.json").write_text(json.dumps([100, "000000000101.jpg"]))
    said = "A dog and a car stand in a wide street while a person waits for the light. " * 3
    teach("instructions", "--instances", coco / "instances.json", "--captions",
          coco / "captions.json", "--model", f"constant:{said}", "--cache", tmp_path / "cache",
          "--kinds", "detail,conversation", "--exclude", coco / "held.json",
          "--out", out)  # fmt: skip
    assert capsys.readouterr().out.startswith("calls: 20, each at most 3 times")
    rows = json.loads(out.read_text())
    assert len(rows) == 10 and {row["source"]["kind"] for row in rows} == {"detail"}
    assert not {row["image"] for row in rows} & {f"{id:012d}.jpg" for id in (100, 101)}
    card = out.with_suffix(".md").read_text()
    assert "| no good text after all attempts | 10 |" in card
    assert "do not alternate: 30" in card and "| detail | 10 |" in card
    assert "2 images of the list were in the source" in card


def test_a_detectors_boxes_become_instances(coco: Path, tmp_path: Path) -> None:
    rows = [
        {"image_id": 100, "category_id": 1, "bbox": [1.5, 2, 30, 20], "score": 0.9},
        {"image_id": 100, "category_id": 4, "bbox": [5, 5, 30, 20], "score": 0.1},
    ]
    (coco / "found.json").write_text(json.dumps(rows))
    out = tmp_path / "boxes.json"
    teach("detections", "--instances", coco / "instances.json", "--detections",
          coco / "found.json", "--out", out)  # fmt: skip
    pictures, kinds = read_instances(out)
    assert set(kinds) == set(KINDS) and len(pictures) == COUNT
    first = next(picture for picture in pictures if picture.id == "100")
    assert [(item.kind, item.box, item.crowd) for item in first.items] == [
        ("dog", (1.5, 2.0, 31.5, 22.0), False), ("traffic light", (5.0, 5.0, 35.0, 25.0), True),
    ]  # fmt: skip
    assert "| doubtful boxes, neither there nor absent | 1 |" in out.with_suffix(".md").read_text()
    said = tmp_path / "records.json"
    teach("locate", "--instances", out, "--out", said)
    text = said.read_text()
    assert "dog" in text and not re.search(r"100.jpg.*traffic light", text)


def test_captions_of_any_form_become_stage_one(coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.json"
    teach("expand", "--captions", coco / "captions.json", "--out", out)
    rows = json.loads(out.read_text())
    assert len(rows) == COUNT and rows[0]["image"] == "000000000100.jpg"
    assert rows[0]["conversations"][1]["value"] == "A dog and a car, number 0."
    pairs = [{"image": f"{n}.jpg", "caption": "a dog on the grass"} for n in range(30)]
    pairs += [{"image": "x.jpg", "caption": "  "}]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    teach("expand", "--captions", tmp_path / "pairs.json", "--out", out, "--balance", "--most", 5)
    assert len(json.loads(out.read_text())) == 5
    card = out.with_suffix(".md").read_text()
    assert "| concept is too rare or has enough | 25 |" in card and "| empty caption | 1 |" in card


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COCO_val2014_000000391895.jpg", "391895"),
        ("train2017/000000391895.jpg", "391895"),
        ("391895", "391895"),
        ("v_QOlSCBRmfWY", "v_QOlSCBRmfWY"),
        ("a_b.png", "a_b"),
        ("000", "0"),
    ],
)
def test_pictures_are_recognised_by_number_or_name(name: str, key: str) -> None:
    assert teaching.key_of(name) == key


def test_damaged_lists_are_named(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for text, says in (("", "empty"), ("[1, {}]", "ids or file names"), ("[1,", "no list")):
        path.write_text(text)
        with pytest.raises(DataError, match=says):
            teaching.read_exclude(path)
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="teach captions"):
        teaching.read_captions(path)
    with pytest.raises(DataError, match="COCO's captions"):
        teaching.read_pairs(path)


def test_nothing_left_is_an_error_that_says_why(coco: Path, tmp_path: Path) -> None:
    everything = tmp_path / "held.txt"
    everything.write_text("\n".join(str(100 + n) for n in range(COUNT)))
    base = ["--instances", str(coco / "instances.json"), "--out", str(tmp_path / "a.json")]
    with pytest.raises(DataError, match="image is held out: 12"):
        cli.app(["teach", "locate", *base, "--exclude", str(everything)], standalone_mode=False)
    more = ["--images", str(coco), "--model", "replay", "--cache", str(tmp_path), "--words", "9-2"]
    with pytest.raises(UsageError, match="fewest"):
        cli.app(["teach", "captions", *base, *more], standalone_mode=False)
