"""LSKD's pictures in words: every part is kept and replayed, and evaluated pictures stay away."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
from lskd_fakes import (
    Fake,
    bare,
    detections,
    picture,
    write_pictures,
    write_vcr,
)

from harness.errors import DataError, UsageError
from harness.types import Decoding, Failure, Image, Sample
from trainers.localized import (
    describe,
    held_out,
    questions,
    regions,
    verbal,
    verbalise,
)
from trainers.teacher import Teacher
from trainers.teaching import Made


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three small pictures."""
    return write_pictures(tmp_path / "images")


@pytest.fixture
def vcr(tmp_path: Path) -> Path:
    """VCR's validation questions about one frame, which is the second of the pictures."""
    return write_vcr(tmp_path / "vcr")


def test_regions_are_the_best_boxes_numbered_from_0(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps(detections()), encoding="utf-8")
    found = {p.id: (p, seen) for p, seen in regions.read(path, None, regions.Filters())}
    assert [(s.id, s.box, s.score) for s in found["1"][1]] == [
        (0, (20, 10, 40, 30), 0.95),  # cut at the edge of the picture
        (1, (0, 0, 20, 20), 0.9),
    ]
    assert len(regions.read(path, None, regions.Filters(most=1))[0][1]) == 1
    assert regions.iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    results = [{k: row[k] for k in ("image_id", "category_id", "bbox", "score")}
               for row in detections()["annotations"]]  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(results), encoding="utf-8")
    again = dict((p.id, s) for p, s in regions.read(tmp_path / "r.json", path, regions.Filters()))
    assert [s.box for s in again["1"]] == [s.box for s in found["1"][1]]
    with pytest.raises(UsageError, match="--instances"):
        regions.read(tmp_path / "r.json", None, regions.Filters())
    with pytest.raises(DataError):
        regions.read(tmp_path / "none.json", None, regions.Filters())
    one, seen = found["2"]
    assert regions.verbal(one, (), images, "", "train") == (None, "no region passes the filters")
    for file, size, why in (
        ("x.png", (40, 30), "image is missing"),
        ("../d.json", (40, 30), "image is outside the folder"),
        ("1.png", (41, 30), "image has another size than its detections"),
    ):
        assert regions.verbal(replace(one, file=file, size=size), seen, images, "", "")[1] == why


def crew(asked: list[Sample] | None = None, **more: Any) -> verbalise.Crew:
    """Return a crew that says something about every part."""

    def told(sample: Sample, decoding: Decoding) -> str | Sequence[float]:
        if asked is not None:
            asked.append(sample)
        if sample.choices:
            return [float(len(choice)) for choice in sample.choices]
        kind, number = sample.id.split("/")[1:]
        return {
            "narrative": f"A dog runs ({decoding.seed}).",
            "region": f"dog {number}.",
            "ask": f"Question: What is thing {number}?",
            "answer": f"a cat {number}",
        }[kind]

    models = {part: Fake(told, part) for part in verbalise.PARTS}
    banks = {"places": ("park", "kitchen", "sea"), "objects": ("a", "bbb", "cc", "dddd")}
    return verbalise.Crew(models, banks=banks, **{"questions": 3, "narratives": 2, **more})


def test_every_part_is_said_kept_and_replayed(tmp_path: Path, images: Path) -> None:
    found = bare(images)
    asked: list[Sample] = []
    said = verbalise.verbalise(crew(asked), found, images, tmp_path / "calls", Made("x"))
    one = said[0]
    assert (one.places, one.objects) == (("kitchen", "park"), ("dddd", "bbb", "cc"))
    assert one.narratives == ("A dog runs (0).", "A dog runs (1).")
    assert [seen.caption for seen in one.regions] == ["dog 0", "dog 1"]
    assert one.questions == tuple((f"What is thing {n}?", f"a cat {n}") for n in range(3))
    assert set(one.provenance) == {"places", "objects", "narratives", "regions", "questions"}
    boxed = [p for s in asked for p in s.prompt if isinstance(p, Image) and "#region" in p.name]
    assert len({image.sha256 for image in boxed}) == sum(len(p.regions) for p in found)
    verbal.write(tmp_path / "v.jsonl", said)
    assert verbal.read(tmp_path / "v.jsonl") == said

    again = crew(silent := [])
    assert verbalise.verbalise(again, found, images, tmp_path / "calls", Made("x")) == said
    assert not silent
    replay = replace(again, models=dict.fromkeys(verbalise.PARTS, "replay"))
    assert verbalise.verbalise(replay, found, images, tmp_path / "calls", Made("x")) == said
    with pytest.raises(UsageError, match="nothing to replay"):
        verbalise.verbalise(replay, found, images, tmp_path / "other", Made("x"))


def test_parts_may_be_left_out_and_gaps_are_counted(tmp_path: Path, images: Path) -> None:
    found = bare(images)

    def says(sample: Sample, decoding: Decoding) -> str | Failure:
        return Failure("down") if sample.cluster == "2" else " \n "

    made = Made("x")
    only = verbalise.Crew({"captioner": Fake(says)}, narratives=2)
    assert verbalise.verbalise(only, found, images, tmp_path / "c", made) == found
    assert "narratives missing, no reply: 2" in made.notes
    assert "narratives missing, empty reply: 4" in made.notes
    for wrong in ({"models": {"asker": "x"}}, {"models": {"clip": "x"}}, {"models": {}},
                  {"models": {"seer": "x"}}, {"banks": {"places": ("a", "b")}}):  # fmt: skip
        with pytest.raises(UsageError):
            verbalise.Crew(**wrong)
    with pytest.raises(UsageError, match="2 are taken"):
        ranks = verbalise.Crew({"clip": Fake(lambda s, d: [1.0])}, banks={"places": ("a",)})
        verbalise.verbalise(ranks, found, images, tmp_path / "d", made)


def test_the_asker_stops_when_it_repeats_itself(tmp_path: Path, images: Path) -> None:
    def asks(sample: Sample, decoding: Decoding) -> str:
        number = int(sample.id.rpartition("/")[2])
        if sample.cluster == "2":
            return "Two lines?\nYes?"
        if number == 1 and not decoding.seed:
            return "not a question"
        return f"What is {min(number, 2)}?" if sample.cluster == "1" else f"What is {number}?"

    asker, answerer = Fake(asks, "asker"), Fake(lambda s, d: "blue", "answerer")
    with Teacher(tmp_path / "a", asker) as one, Teacher(tmp_path / "b", answerer) as two:
        told = questions.questions(one, two, bare(images), images, 5)
    assert [q for q, _ in told.values["1"]] == ["What is 0?", "What is 1?", "What is 2?"]
    assert len(told.values["3"]) == 5 and "2" not in told.values
    assert told.missing == {"question: not one line": 1,
                            "the asker repeats itself; stopped early": 1}  # fmt: skip
    assert len([s for s in asker.asked if s.cluster == "2"]) == questions.ATTEMPTS
    last = next(s for s in asker.asked if s.id == "3/ask/4")
    assert "- What is 3? blue" in str(last.prompt[0])


def test_a_real_dual_encoder_ranks_label_banks(tmp_path: Path, images: Path) -> None:
    model = tiny_encoders.make_clip(tmp_path / "clip")
    found = bare(images)
    banks = {"places": ("dog", "red cube", "cat"), "objects": ("dog", "cat", "mat", "door")}
    with describe.Ranker(tmp_path / "c", f"transformers:{model}") as ranker:
        told = describe.labels(ranker, found, images, banks)
        assert ranker.asked == 6
    assert all(len(told["places"].values[one.id]) == 2 for one in found)
    with describe.Ranker(tmp_path / "c", "replay") as ranker:
        assert describe.labels(ranker, found, images, banks)["objects"].values == (
            told["objects"].values
        )
        more = describe.labels(ranker, found, images, {"concepts": ("dog", "cat", "mat")})
        assert more["concepts"].missing == {"no ranking": 3}


def test_label_banks_and_files_that_are_none(tmp_path: Path) -> None:
    bank = tmp_path / "b.txt"
    bank.write_text("# kinds\ndog\n\n dog \ncat\n", encoding="utf-8")
    assert describe.read_bank(bank) == ("dog", "cat")
    bank.write_text("dog\n", encoding="utf-8")
    with pytest.raises(DataError, match="two different labels"):
        describe.read_bank(bank)
    row = verbal.to_row(picture())
    for change, why in (({"width": 0}, "0 x 30"), ({"regions": [{"id": 1}]}, "line 1"),
                        ({"questions": [["only"]]}, "line 1")):  # fmt: skip
        (tmp_path / "v.jsonl").write_text(json.dumps({**row, **change}), encoding="utf-8")
        with pytest.raises(DataError, match=why):
            verbal.read(tmp_path / "v.jsonl")


def test_evaluated_pictures_are_known_by_file_name_and_id(vcr: Path, tmp_path: Path) -> None:
    known = held_out.read([f"vcr={vcr}"], None)
    frame = (vcr / "vcr1images" / "film" / "one@0.png").read_bytes()
    digest = sha256(frame).hexdigest()  # the file's, though the task draws on it
    copy = replace(picture(), sha256=digest, image="renamed.png")
    renamed = replace(picture(), image="elsewhere/one@0.png")
    assert held_out.split([copy, renamed, picture("7")], known) == ([picture("7")], 2)
    (tmp_path / "ids.txt").write_text("000000000007\n", encoding="utf-8")
    listed = held_out.read([], tmp_path / "ids.txt")
    assert held_out.split([picture("7"), picture("8")], listed) == ([picture("8")], 1)
    with pytest.raises(UsageError, match="--hold-out TASK=DATA"):
        held_out.read([], None)
    assert held_out.read([], None, unchecked=True).hashes == frozenset()
