"""The page of a run: what it says, that it is safe, whole, small and always the same."""

import json
import math
import re
import shutil
from base64 import b64decode, b64encode
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from judged_runs import answered as judged_answers
from judged_runs import judged, scripted
from page_runs import HOSTILE, edited, floor, hostile, pair, right_until, text_of
from PIL import Image
from small_data import picture, replay
from test_cli import sightline

from harness.api import run
from harness.errors import DataError, UsageError
from harness.seal import seal
from harness.types import Answer, Metric, Region, Sample, Score, Source, Task
from reports import flips
from reports._page_numbers import interval, scale, share, short, signed
from reports._page_samples import words_diff
from reports.page import render
from reports.thumbnails import Folder


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_numbers_of_the_record_are_on_the_page_without_scripts(tmp_path):
    record = replay(tmp_path, right_until(18))
    said = text_of(render(record.folder))
    for name, metric in record.metrics.items():
        low, high = (f"{metric[key]:.1f}" for key in ("low", "high"))
        assert f"{name} {metric['value']:.2f} {low} to {high}" in said, name
    assert "75.00 %" in said and "coverage 100.0 % 72 of 72" in said
    assert "Only" not in said  # nothing is missing, so nothing is said to be
    assert f"sightline run --model recorded:{tmp_path}/replay.jsonl --task pope" in said


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    base, cand = pair(tmp_path)
    first = render(cand.folder, base.folder)
    assert first == render(cand.folder, base.folder)
    moved = tmp_path / "elsewhere"
    shutil.copytree(cand.folder, moved)
    rows = (moved / "rows.jsonl").read_text().splitlines(keepends=True)
    (moved / "rows.jsonl").write_text("".join(reversed(rows)))  # answers came in another order
    edited(type(cand)(moved, {}), seal=seal(moved))
    assert first == render(moved, base.folder)


def test_the_policy_admits_this_script_and_style_and_nothing_else(tmp_path):
    page = render(replay(tmp_path, right_until(18)).folder)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    for kind, tag in (("style", "style"), ("script", "script")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)[1]
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<[^>]*\s(style|on\w+)=", page.split("<script>")[0])
    assert not re.search(r"""(src|href)=(?!["'](#|data:image/webp))""", page.split("<script>")[0])


def test_hostile_words_are_text(tmp_path):
    page = render(hostile(tmp_path).folder)
    assert len(page.encode()) < 15_000_000
    assert page.count("<script") == 2 and page.count("</script>") == 2
    body = page.split("<body", 1)[1].split('<script type="application/json"')[0]
    assert "<svg onload" not in body and "<img src=x" not in body
    assert "49 {% raw %}" not in body  # no template ran
    rows = data_of(page)["rows"]
    said = {row["a"]["x"] for row in rows}
    assert set(HOSTILE) <= said  # nothing was changed
    long = next(row["a"] for row in rows if row["a"].get("n"))
    assert long["n"] == 1_050_000 and len(long["x"]) == 20_001
    assert "1,050,000 characters in all" in page


def test_a_page_stays_under_its_size_whatever_was_said(tmp_path):
    def samples():
        for i in range(300):
            yield Sample(f"s{i}", ("<" * 5000,), "x", groups={"long": "<" * 5000 * (i % 2)})

    task = Task("flood", "1", Source("nowhere"), samples, lambda s, a: Score(0.0, a.text),
                "flood@1", (Metric("accuracy"),), "accuracy")  # fmt: skip
    record = run("constant:" + "<&\u2028" * 30_000, task, out=tmp_path / "run")
    page = render(record.folder)
    assert len(page.encode()) < 15_000_000
    shown = len(data_of(page)["rows"])
    assert 0 < shown < 300 and f"{shown} of 300 answers are in this file" in page


def test_a_baseline_gives_verdicts_from_paired_intervals(tmp_path):
    base, cand = pair(tmp_path)
    page = render(cand.folder, base.folder)
    said = text_of(page)
    assert "▼ worse mean.f1 \N{MINUS SIGN}" in said
    assert "72 went from right to wrong and 0 from wrong to right" in said
    kinds = [row["k"] for row in data_of(page)["rows"]]
    assert kinds[:72] == ["regressed"] * 72
    assert kinds[72:144] == ["wrong in both"] * 72 and set(kinds[144:]) == {"right in both"}
    first = data_of(page)["rows"][0]
    assert (first["b"]["s"], first["a"]["s"]) == (1.0, 0.0) and first["d"]
    same = text_of(render(base.folder, base.folder))
    assert "≈ no difference shown" in same and "▼ worse" not in same


def test_yes_ratio_is_never_better_or_worse(tmp_path):
    base = floor(tmp_path, "constant:no", "no")
    cand = floor(tmp_path, "constant:yes", "yes")
    page = render(cand.folder, base.folder)
    row = re.search(r"<tr>\s*<th[^>]*>random\.yes_ratio</th>(.*?)</tr>", page, re.S)[1]
    assert "+100.00" in row and "better" not in row and "worse" not in row


def test_gaps_are_told_and_never_scored(tmp_path):
    data = tmp_path / "pope"
    whole = replay(tmp_path, right_until(24), "whole")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_text("".join(lines[:48]))
    part = run(f"recorded:{tmp_path}/part.jsonl", "pope", data=data, out=tmp_path / "part")
    said = text_of(render(part.folder))
    assert "Only 66.7 % of what was asked has a score" in said
    assert "The headline mean.f1 has no value" in said and "! " not in said.split("coverage")[0]
    assert "missing 24 33.3 %" in said
    both = text_of(render(part.folder, whole.folder))
    assert "48 of 72 items have a result in both runs (24 have no result in this run)" in both


def test_runs_that_cannot_be_believed_are_refused(tmp_path):
    record = replay(tmp_path, right_until(18))

    def refused(name: str, edit, words: str) -> None:
        folder = tmp_path / name
        shutil.copytree(record.folder, folder)
        edit(folder)
        with pytest.raises(DataError, match=words):
            render(folder)
        done = sightline("report", folder)
        assert done.returncode == 3 and "Traceback" not in done.stderr
        assert not (folder / "report.html").exists()

    def change(**changes):
        return lambda folder: edited(type(record)(folder, {}), **changes)

    def cut(folder: Path) -> None:
        rows = (folder / "rows.jsonl").read_bytes()
        (folder / "rows.jsonl").write_bytes(rows[: len(rows) // 2])

    def better(folder: Path) -> None:
        path = folder / "rows.jsonl"
        path.write_text(path.read_text().replace('"score":0.0', '"score":1.0'))

    metrics = json.loads(json.dumps(record.run["metrics"]))
    metrics["mean.f1"]["value"] = 99.9
    refused("running", change(status="running"), "not finished")
    refused("stopped", change(status="stopped"), "not finished")
    refused("schema", change(schema=99), "schema 99")
    refused("metrics", change(metrics=metrics), "mean.f1")
    refused("cut", cut, "rows")
    refused("better", better, "edited by hand")
    refused("none", lambda folder: (folder / "run.json").unlink(), "not a run folder")


def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path):
    one = replay(tmp_path, right_until(18))
    limited = run("constant:yes", "pope", data=tmp_path / "pope", out=tmp_path / "less", limit=30)
    with pytest.raises(DataError, match="data"):
        render(one.folder, limited.folder)


# ---- pictures and boxes


def boxed_task(names: list[str]) -> Task:
    def samples():
        from harness.types import Image as Picture

        for i, name in enumerate(names):
            yield Sample(
                f"s{i}", (Picture(name), "What is this? <b>"), "cat", cluster=name,
                groups={"half": "<i>a" if i % 2 else "b"},
                regions=(Region((10, 5, 40, 30), "[person1]"), Region((1, 2, 3, 4))),
            )  # fmt: skip

    return Task(
        "boxed", "1", Source("nowhere"), samples, lambda s, a: Score(float(a.text == s.target)),
        "boxed@1", (Metric("accuracy"),), "accuracy",
    )  # fmt: skip


def test_boxes_are_drawn_over_the_picture(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.jpg").write_bytes(picture(1, (1600, 1200)))
    record = run("constant:dog", boxed_task(["x/a.jpg", "b.jpg"]), out=tmp_path / "run")
    assert next(iter(record.rows()))["regions"] == [
        {"box": [10, 5, 40, 30], "label": "[person1]", "image": 0},
        {"box": [1, 2, 3, 4], "label": "", "image": 0},
    ]
    page = render(record.folder, images=tmp_path / "deep")
    assert page.count("data:image/webp;base64,") == 1 + page.count('"data:image/webp;base64,",') + 1
    assert '<svg viewBox="0 0 1600 1200"' in page and ">[person1]</text>" in page
    assert '<rect class="region" x="10.0" y="5.0" width="30.0" height="25.0"/>' in page
    uri = re.search(r'<img src="data:image/webp;base64,([^"]+)"', page)[1]
    with Image.open(BytesIO(b64decode(uri))) as small:
        assert small.format == "WEBP" and max(small.size) == 512
    none = render(record.folder, images="none")
    assert "<img" not in none and "--images none" in none


def test_pictures_come_from_the_folder_only_and_only_what_the_run_saw(tmp_path):
    inside = tmp_path / "data"
    inside.mkdir()
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    (inside / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (inside / "good.jpg").write_bytes(picture(2))
    (inside / "text.jpg").write_text("no picture")
    folder = Folder(inside)
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "", "a\0b", "x" * 5000):
        assert folder.find(name) is None, name
    assert folder.thumbnail("text.jpg", None) is None
    assert folder.thumbnail("good.jpg", None) is not None
    assert folder.thumbnail("good.jpg", "0123456789abcdef") is None
    with pytest.raises(UsageError, match="not a folder"):
        Folder(tmp_path / "nope")


def test_a_judges_words_stand_beside_the_answer(tmp_path):
    task, folder = judged_answers(tmp_path)
    words = "{} 4\nThe first <b>saw</b> more & said so."
    record = judged(
        folder, task, scripted(lambda s, d: words.format(5 + int(s.id[-1:] or 0) % 3)), repeats=2
    )
    page = render(record.folder)
    said = text_of(page)
    assert "The first &lt;b&gt;saw&lt;/b&gt; more &amp; said so." in page
    assert "judge scripted:scripted" in said and "rubric llava_bench" in said
    lines = [line for row in data_of(page)["rows"] for line in row["a"]["j"]]
    assert len(lines) == 2 * 12 and all(line["text"].endswith("said so.") for line in lines)
    assert {row["k"] for row in data_of(page)["rows"]} == {"partly right"}
    again = judged(folder, task, scripted(lambda s, d: "hm" if "1" in s.id else "8 8"))
    assert "unjudged" in {kind["k"] for kind in data_of(render(again.folder))["rows"]}


def test_a_ranking_by_likelihood_is_calibrated(tmp_path):
    class Sure:
        """Takes the first choice with probability 0.8; the first is right half of the time."""

        name = "sure"

        def describe(self):
            return {"kind": "sure"}

        def answer(self, samples, ask, decoding):
            for i, _ in enumerate(samples):
                yield i, Answer(choice=0, scores=(math.log(0.8), math.log(0.2)))

    def samples():
        for i in range(40):
            yield Sample(f"s{i}", ("?",), "ab"[i % 2], choices=("a", "b"), cluster=f"c{i // 2}")

    def score(sample, answer):
        said = sample.choices[answer.choice]
        return Score(float(said == sample.target), said)

    task = Task("sure", "1", Source("nowhere"), samples, score, "sure@1", (Metric("accuracy"),),
                "accuracy", ask="rank")  # fmt: skip
    said = text_of(render(run(Sure(), task, out=tmp_path / "run").folder))
    assert "Calibration expected error 30.0 points over 40 choices" in said
    assert "80.0 % 50.0 % 40" in said
    assert "a 20 0 b 20 0" in said  # right answer against given answer


# ---- the parts


def test_the_order_of_answers_follows_from_content_alone():
    rows = [
        {"item": f"{i * 7919 % 100:02d}", "id": str(i), "index": i, "status": "scored",
         "score": float(i % 3 > 0), "groups": {"g": i % 2}}
        for i in range(30)
    ]  # fmt: skip
    order = flips.ordered(flips.items(rows), "g")
    assert [item.kind for item in order] == ["wrong"] * 10 + ["right"] * 20
    assert [item.row["groups"]["g"] for item in order[:6]] == [0, 1] * 3  # in turn
    assert order == flips.ordered(flips.items(reversed(rows)), "g")


@pytest.mark.parametrize(
    ("status", "score", "kind"),
    [
        ("scored", 1.0, "right"),
        ("scored", 0.0, "wrong"),
        ("scored", 0.6, "partly right"),
        ("unparsed", 1.0, "unparsed"),
        ("failed", None, "failed"),
        ("missing", None, "missing"),
        ("unjudged", None, "unjudged"),
    ],
)
def test_kinds(status, score, kind):
    other = {"item": "z", "id": "z", "status": "scored", "score": 1.0, "groups": {}}
    row = {**other, "item": "a", "id": "a", "status": status, "score": score}
    assert flips.items([row, other])[0].kind == kind


def test_judge_scores_have_no_right_and_wrong():
    rows = [
        {"item": str(i), "id": str(i), "status": "scored", "score": float(i), "groups": {}}
        for i in (3, 9)
    ]
    assert {item.kind for item in flips.items(rows)} == {"scored"}
    before = [{**row, "score": 5.0} for row in rows]
    assert [item.kind for item in flips.items(rows, before)] == ["regressed", "fixed"]


def test_words_diff_can_be_put_together_again():
    before, after = "No, I see a red dog.", "Yes,  I see the\nred dog!"
    parts = words_diff(before, after)
    assert "".join(text for kind, text in parts if kind <= 0) == before
    assert "".join(text for kind, text in parts if kind >= 0) == after
    assert (0, "dog") in parts or any(kind == 0 and "dog" in text for kind, text in parts)
    long = words_diff("a " * 5000, "b " * 5000)
    assert [kind for kind, _ in long] == [-1, 1]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (share(8999, 9000), "99.9 %"),
        (share(9000, 9000), "100.0 %"),
        (share(1, 9000), "< 0.1 %"),
        (share(0, 0), "\N{EN DASH}"),
        (signed(-0.001), "0.00"),
        (signed(1234.5), "+1,234.50"),
        (signed(-2.0), "\N{MINUS SIGN}2.00"),
        (interval(None, 1.0), "\N{EN DASH}"),
        (short(1.0), "1"),
        (short(0.33333), "0.333"),
    ],
)
def test_numbers(found, text):
    assert found == text


@pytest.mark.parametrize(
    ("values", "more", "ends"),
    [
        ([41.8, 40.6, 43.1], {}, (40, 44)),
        ([0.0], {"percent": True}, (0, 1)),
        ([100.0], {"percent": True}, (99, 100)),
        ([-3.0, 1.0], {"zero": True}, (-4, 4)),
        ([None, None], {}, None),
        ([0.0, 0.0], {"zero": True}, (-1, 1)),
    ],
)
def test_scales_are_round_and_hold_everything(values, more, ends):
    found = scale(values, **more)
    assert (found and (found.low, found.high)) == ends
    if found:
        inside = [found.x(v) for v in values if v is not None]
        assert all(found.x(found.low) <= x <= found.x(found.high) for x in inside)


def test_the_command_line(tmp_path):
    base, cand = pair(tmp_path)
    done = sightline("report", cand.folder, "--baseline", base.folder, "--images", "none")
    assert done.returncode == 0, done.stderr
    assert (cand.folder / "report.html").read_text().startswith("<!doctype html>")
    bad = sightline("report", cand.folder, "--images", tmp_path / "nope")
    assert bad.returncode == 2 and "not a folder" in bad.stderr
