"""Teachers: no request is sent twice, no word is lost, and a corpus replays without anybody."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from harness.errors import DataError, UsageError
from harness.types import Answer, Ask, Decoding, Failure, Image, Reply, Sample
from trainers.locating import Item, Locating, Picture, records
from trainers.pseudo import read_detections, self_train
from trainers.teacher import CALLS, Teacher

HOW = Decoding(max_tokens=8)


class Talker:
    """Says something about every prompt, and counts."""

    def __init__(self, name: str = "talker", broken: str = "") -> None:
        self.name, self.broken, self.asked = name, broken, 0

    def describe(self) -> Mapping[str, str]:
        return {"kind": "test", "name": self.name}

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        for place, sample in enumerate(samples):
            self.asked += 1
            if sample.id == self.broken:
                yield place, Failure("it hung up")
                continue
            said = next(part for part in sample.prompt if isinstance(part, str))
            yield place, Answer(f"{said} #{decoding.seed}", tokens_in=3, tokens_out=2)


def samples(count: int) -> list[Sample]:
    return [Sample(str(n), (Image("a", b"pixels"), f"say {n}")) for n in range(count)]


def words(teacher: Teacher, count: int, attempt: int = 0) -> list[str]:
    found = teacher.ask(samples(count), HOW, attempt=attempt)
    return [r.answer.text if isinstance(r.answer, Answer) else r.answer.error for r in found]


def test_a_request_is_sent_once_and_another_attempt_is_another_request(tmp_path: Path) -> None:
    model = Talker()
    with Teacher(tmp_path, model) as teacher:
        first = words(teacher, 3)
        assert words(teacher, 3) == first and model.asked == 3
        assert words(teacher, 3, attempt=1) != first and model.asked == 6
    with Teacher(tmp_path, Talker()) as again:
        assert words(again, 4)[:3] == first and again.asked == 1
    with Teacher(tmp_path, "replay") as replay:
        assert words(replay, 4)[:3] == first
        assert "not among the kept words of talker" in words(replay, 5)[4]


def test_pixels_decoding_and_ids_are_part_of_a_request(tmp_path: Path) -> None:
    one = Sample("x", (Image("a", b"pixels"), "say"))
    others = [
        Sample("x", (Image("a", b"other"), "say")),
        Sample("y", (Image("a", b"pixels"), "say")),
        Sample("x", (Image("a", b"pixels"), "say"), system="Be brief."),
    ]
    with Teacher(tmp_path, Talker()) as teacher:
        keys = {reply.key for sample in [one, *others] for reply in teacher.ask([sample], HOW)}
        keys |= {reply.key for reply in teacher.ask([one], Decoding(max_tokens=9))}
        assert len(keys) == 5 and teacher.asked == 5


def test_failures_are_asked_again(tmp_path: Path) -> None:
    with Teacher(tmp_path, Talker(broken="1")) as teacher:
        assert "it hung up" in words(teacher, 3)
    with Teacher(tmp_path, Talker()) as teacher:
        assert "it hung up" not in words(teacher, 3) and teacher.asked == 1


def test_a_folder_belongs_to_one_teacher_and_one_process(tmp_path: Path) -> None:
    with Teacher(tmp_path, Talker()) as teacher:
        words(teacher, 1)
        with pytest.raises(UsageError), Teacher(tmp_path, Talker()):
            pass
    with pytest.raises(UsageError, match="another folder"):
        Teacher(tmp_path, Talker("somebody else"))
    with pytest.raises(UsageError, match="nothing to replay"):
        Teacher(tmp_path / "new", "replay")
    (tmp_path / "teacher.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Teacher(tmp_path, Talker())


def test_kill_loses_no_word_that_was_heard(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_trainers_teacher import HOW, Talker, samples
from trainers.teacher import Teacher
with Teacher(Path(sys.argv[1]), Talker()) as teacher:
    for number, _ in enumerate(teacher.ask(samples(50), HOW)):
        if number == 20:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    here = Path(__file__).parent
    told = [sys.executable, "-c", script, str(tmp_path), str(here), str(here.parent)]
    done = subprocess.run(told, env={**os.environ, "PYTHONWARNINGS": ""}, check=False)
    assert done.returncode == -signal.SIGKILL
    with (tmp_path / CALLS).open("a") as file:
        file.write('{"half a li')
    with Teacher(tmp_path, Talker()) as teacher:
        assert len(words(teacher, 50)) == 50
        assert teacher.asked == 50 - 21
    lines = (tmp_path / CALLS).read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 50


REPLIES = {
    "dog": "a brown dog in the grass",
    "cat": "I am sorry, I cannot see it.",
    "car": "it is red",
    "cup": "a cup at [12, 33]",
    "bus": "a bus and a kite",
    "kite": "a bus and a kite",
}


class Captioner(Talker):
    """Describes what it is asked about, in ways that a filter must tell apart."""

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        for place, sample in enumerate(samples):
            said = next(part for part in sample.prompt if isinstance(part, str))
            kind = said.split("Describe the ")[1].split(" in this")[0]
            if "relation" in said and kind == "dog":
                yield place, Answer("a brown dog next to another thing")
            else:
                yield place, Answer(REPLIES[kind])


def _pictures(folder: Path) -> list[Picture]:
    kinds = tuple(REPLIES)
    box = (0.0, 0.0, 50.0, 50.0)
    items = tuple(Item(n, kind, box) for n, kind in enumerate(kinds))
    (folder / "1.jpg").write_bytes(b"pixels")
    return [Picture("1", "1.jpg", (100, 100), items)]


def test_only_captions_that_can_be_trusted_teach(tmp_path: Path) -> None:
    made = _pictures(tmp_path)
    with Teacher(tmp_path / "calls", Captioner()) as teacher:
        found = self_train(teacher, made, tmp_path, Locating())
    assert found.lookup() == {("1", 0): "a brown dog next to another thing"}
    assert found.dropped == {
        "refusal": 2, "name missing": 2, "coordinates": 2, "duplicate": 4
    }  # fmt: skip
    (first, *_) = found.captions
    assert first.text == "a brown dog in the grass"
    assert first.source["model"] == "talker" and first.source["prompt"].startswith("Describe")
    told = list(records(made, ("dog",), Locating(objectives=("revloc",)), found.lookup()))
    assert "a brown dog next to another thing" in json.dumps(told)
    with Teacher(tmp_path / "calls", "replay") as replay:
        assert self_train(replay, made, tmp_path, Locating()) == found


def test_boxes_of_a_detector_take_the_place_of_peoples(tmp_path: Path) -> None:
    made = _pictures(tmp_path)
    path = tmp_path / "boxes.json"
    rows = [
        {"image_id": 1, "category_id": 18, "bbox": [1, 2, 30, 40], "score": 0.9},
        {"image_id": 1, "category_id": 3, "bbox": [5, 5, 30, 40], "score": 0.2},
    ]
    path.write_text(json.dumps(rows))
    (found,) = read_detections(path, made, {18: "dog", 3: "car"})
    assert [(item.kind, item.crowd) for item in found.items] == [("dog", False), ("car", True)]
    said = json.dumps(list(records([found], ("dog", "car"), Locating(each=9))))
    assert "dog" in said and "car" not in said  # doubtful: neither there nor absent
    for wrong in ([{"image_id": 9}], {"a": 1}, [{**rows[0], "category_id": 77}]):
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="row 0"):
            read_detections(path, made, {18: "dog", 3: "car"})
