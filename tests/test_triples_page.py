"""The page of kept and dropped triples: what it shows, and that no text of a model is markup."""

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import small_blip2
from browser import browser
from PIL import Image

from harness.engine.highlight import SLOTS
from harness.errors import DataError, UsageError
from reports.triples_page import write

HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>{{ 7*7 }}'
LEFT, RIGHT = (4, 10, 30, 40), (34, 10, 60, 50)


def corpus(root: Path, **changes: Any) -> Path:
    """Write a filtered corpus with a picture per triple, one of them absent."""
    parts: dict[str, list[dict[str, Any]]] = {"kept": [], "dropped": []}
    for i in range(8):
        name = f"p{i}.png"
        if i != 3:
            small_blip2.picture(root / "images" / name, [("red", LEFT), ("blue", RIGHT)])
        line = small_blip2.line(
            f"t{i}", name, [LEFT, RIGHT], [[1, 0], "are", f"word{i}"], prediction=0.95 - i / 10,
            region=[1, 0], accept=int(i < 5),
        )  # fmt: skip
        parts["kept" if i < 2 else "dropped"].append(line | changes)
    for name, lines in parts.items():
        small_blip2.write(root / f"{name}.jsonl", lines)
    share = {"kept": 2, "dropped": 6, "unscored": 0, "retention": 0.25}
    told = {"triples": 2, "images": 2, "mean_score": 0.9, "accepted": None}
    card = {
        "threshold": 0.8, "retention": 0.25,
        "counts": {"kept": 2, "dropped": 6, "unscored": 1},
        "by": {"source": {HOSTILE: share}, "style": {"ids": share}},
        "corpus": {"kept": told, "dropped": told | {"triples": 6}},
    }  # fmt: skip
    (root / "card.json").write_text(json.dumps(card))
    return root


def page(root: Path, **options: Any) -> str:
    """Return the page of a corpus."""
    write(root, root / "images", root / "page.html", **options)
    return (root / "page.html").read_text()


def test_kept_and_dropped_are_shown_with_their_words_and_scores(tmp_path: Path) -> None:
    text = page(corpus(tmp_path))
    kept, dropped = text.split('<section id="dropped"')
    assert re.findall(r"word\d", kept.split('<section id="kept"')[1]) == ["word0", "word1"]
    assert re.findall(r"word\d", dropped) == [f"word{i}" for i in range(2, 8)]
    assert "0.950" in kept and "people: accepted" in kept and "people: rejected" in dropped
    assert "<b>[1] , [0]</b>" in kept
    assert "p3.png (no such picture)" in dropped
    assert "25.0" in text and "in neither part: 1" in text


def test_boxes_have_the_colours_of_the_drawing_order(tmp_path: Path) -> None:
    """Region 1 is mentioned first, so it is the first that is drawn."""
    text = page(corpus(tmp_path, question=["What", [1], "is", [0], "?"]), count=1)
    (data, *_) = re.findall(r"data:image/webp;base64,([\w+/=]+)", text)
    picture = Image.open(BytesIO(b64decode(data))).convert("RGB")
    assert picture.size == (64, 64)
    for slot, (left, top, _, bottom) in enumerate((RIGHT, LEFT)):
        edge = SLOTS[slot][1][:3]
        found = picture.getpixel((left, (top + bottom) // 2))
        other = SLOTS[1 - slot][1][:3]
        far, near = (sum(abs(a - b) for a, b in zip(found, c, strict=True)) for c in (other, edge))
        assert near < far
    assert re.findall(r">\[(\d)\]</text>", text)[:2] == ["1", "0"]


def test_which_are_shown_is_of_the_seed_alone(tmp_path: Path) -> None:
    corpus(tmp_path)
    first, again = (page(tmp_path, count=3, seed=1) for _ in range(2))
    assert first == again
    lines = (tmp_path / "dropped.jsonl").read_text().splitlines()
    (tmp_path / "dropped.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    assert page(tmp_path, count=3, seed=1) == first
    shown = {tuple(re.findall(r"word\d", page(tmp_path, count=3, seed=seed))) for seed in range(6)}
    assert len(shown) > 2


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = page(corpus(
        tmp_path, id=HOSTILE, source=HOSTILE, question=[HOSTILE, [0]], answer=[HOSTILE],
        references=[{"name": "0", "boxes": [list(LEFT)], "obj_guess": HOSTILE},
                    {"name": "1", "boxes": [list(RIGHT)], "obj_guess": ""}],
    ))  # fmt: skip
    assert "<img src=x" not in text and "<script>alert" not in text
    assert "{{ 7*7 }}" in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert json.loads(data)["shown"]["kept"] == [HOSTILE] * 2
    assert text.count("&lt;img src=x") >= 8
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    out = corpus(tmp_path / "two", image="../../../../etc/passwd")
    assert "(no such picture)" in page(out)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    for name, text, words in (
        ("kept.jsonl", '{"id": "a", "image": "b"}\nno\n', "line 2"),
        ("kept.jsonl", '{"id": "a", "image": "b"}\n', "'a' is damaged"),
        ("kept.jsonl", '{"id":"a","image":"b","question":[],"answer":[],"rationale":[],'
         '"region":[0],"references":[{"name":"0","boxes":[[9,0,1,1]]}]}\n', "no box"),
        ("card.json", "[]", "not a JSON object"),
        ("card.json", "{}", "no card of"),
    ):  # fmt: skip
        before = (root / name).read_text()
        (root / name).write_text(text)
        with pytest.raises(DataError, match=words):
            page(root)
        (root / name).write_text(before)
    (root / "dropped.jsonl").unlink()
    with pytest.raises(DataError, match="dropped"):
        page(root)
    with pytest.raises(UsageError, match="not a folder"):
        write(root, root / "none", root / "page.html")


def curve(root: Path) -> Path:
    """Write a file of `critic curve`."""
    points = [
        {"kept": 1.0, "precision": 0.45, "low": 0.4, "high": 0.5, "threshold": 0.1},
        {"kept": 0.5, "precision": 0.6, "low": 0.5, "high": 0.7, "threshold": 0.4},
        {"kept": 0.2, "precision": 0.7, "low": None, "high": None, "threshold": 0.8},
    ]
    found = {"by_share": points, "accepted": 0.45, "triples": 80, "images": 40}
    (root / "curve.json").write_text(json.dumps(found))
    return root / "curve.json"


def test_figure_2_is_drawn_to_scale(tmp_path: Path) -> None:
    text = page(corpus(tmp_path), curve=curve(tmp_path))
    (line,) = re.findall(r'class="curve" points="([^"]+)"', text)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    (random,) = re.findall(r'class="chance"[^>]* y1="([\d.]+)"', text)
    assert points[0][1] == float(random)  # keeping all is no better than keeping at random
    across = (points[0][0] - points[1][0]) / (points[1][0] - points[2][0])
    assert across == pytest.approx(0.5 / 0.3, rel=0.01)
    assert points[0][1] > points[1][1] > points[2][1]
    assert "20% kept, 70.0% accepted" in text


@pytest.fixture
def commanded(tmp_path: Path) -> Path:
    """A page that the command line wrote."""
    root = corpus(tmp_path, answer=[HOSTILE, [0]])
    words = ["critic", "page", "--folder", str(root), "--images", str(root / "images"),
             "--out", str(tmp_path / "page.html"), "--curve", str(curve(root))]  # fmt: skip
    home = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": home, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "2 kept and 6 dropped" in done.stdout, done.stderr
    return tmp_path / "page.html"


def test_the_command_writes_the_page(commanded: Path, tmp_path: Path) -> None:
    write(tmp_path, tmp_path / "images", tmp_path / "own.html", curve=tmp_path / "curve.json")
    assert commanded.read_bytes() == (tmp_path / "own.html").read_bytes()


def test_a_browser_is_content(commanded: Path) -> None:
    with browser() as chromium:
        seen = chromium.new_page()
        told: list[str] = []
        seen.on("console", lambda message: told.append(message.text))
        seen.on("pageerror", lambda error: told.append(str(error)))
        asked: list[str] = []
        seen.on("request", lambda request: asked.append(request.url))
        seen.goto(commanded.as_uri())
        assert seen.locator("article.card").count() == 8
        assert seen.locator("article.card img").count() == 7
        widths = seen.eval_on_selector_all(
            "article.card img", "all => all.map(i => i.naturalWidth)"
        )
        assert set(widths) == {64}
        assert HOSTILE in seen.locator("article.card dd").nth(1).inner_text()
        assert not told and [url for url in asked if not url.startswith(("file:", "data:"))] == []
