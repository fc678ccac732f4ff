"""Video-QA files for the contract test: the layouts of the four sets, frames as pictures."""

import json
from pathlib import Path

from small_data import picture

ANSWERS = ("dog", "yes", "red", "two", "guitar")


def write(folder: Path) -> dict[str, Path]:
    """Write ten questions on two videos per set; returns variant to folder."""
    sets = {"": activitynet, "msvd": msvd, "msrvtt": msrvtt, "tgif": tgif}
    return {name: make(folder / (name or "activitynet")) for name, make in sets.items()}


def activitynet(folder: Path) -> Path:
    """Pairs of files; question ids are no plain numbers."""
    _frames(folder, ["a", "b"])
    questions, answers = [], []
    for i in range(10):
        video, name = "ab"[i % 2], f"v_{'ab'[i % 2]}_{i // 2 + 1}"
        row = {"question": f"what is seen {i}", "video_name": video, "question_id": name}
        questions.append(row)
        answers.append({"answer": ANSWERS[i % 5], "type": i % 3, "question_id": name})
    _json(folder / "test_q.json", questions)
    _json(folder / "test_a.json", answers)
    return folder


def msvd(folder: Path) -> Path:
    _frames(folder, ["vid1", "vid2"])
    _json(folder / "val_qa.json", _rows())
    return folder


def msrvtt(folder: Path) -> Path:
    _frames(folder, ["video1", "video2"])
    _json(folder / "val_qa.json", [{**row, "category_id": 3} for row in _rows()])
    return folder


def tgif(folder: Path) -> Path:
    _frames(folder, ["tumblr_1", "tumblr_2"])
    lines = ["gif_name\tquestion\tanswer\ttype\tvid_id\tkey"]
    lines += [
        f'tumblr_{i % 2 + 1}\twhat is "seen" {i} ?\t{ANSWERS[i % 5]}\t0\tID1\t{i}'
        for i in range(10)
    ]
    (folder / "Test_frameqa_question.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _rows() -> list[dict]:
    return [
        {
            "answer": ANSWERS[i % 5],
            "id": 100 + i,
            "question": f"what is seen {i}?",
            "video_id": i % 2 + 1,
        }
        for i in range(10)
    ]


def _frames(folder: Path, videos: list[str]) -> None:
    for v, video in enumerate(videos):
        place = folder / "frames" / video
        place.mkdir(parents=True)
        for i in range(2):
            (place / f"{i:03d}.jpg").write_bytes(picture(10 * v + i))


def _json(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")
