"""What a report tells beyond one run: blessed runs, training curves, boxes, prices, gaps."""

import csv
import re
from datetime import date, timedelta

import pytest
from gate_runs import Says, record, task
from judged_runs import answered as judged_answers
from judged_runs import judged, scripted
from page_runs import HOSTILE, edited, text_of
from past_runs import START, blessed, says, write_log
from small_data import picture
from test_cli import sightline
from test_report import data_of

from harness.api import run
from harness.errors import DataError, UsageError
from harness.types import Answer, Image, Metric, Region, Sample, Score, Source, Task
from reports import prices, training
from reports._page_boxes import overlap
from reports._page_boxes import said as boxes_of
from reports._page_read import opened
from reports.gate import baselines
from reports.judge_gap import gap, plain
from reports.page import render
from reports.trend import History

FALL = [0.2, 0.2, 0.2, 0.2, 0.45, 0.45, 0.45]


# ---- blessed runs over time


def test_a_fall_is_marked_where_it_was(tmp_path, monkeypatch):
    runs = blessed(tmp_path, FALL, monkeypatch)
    baselines.waive(
        tmp_path / "blessed", "pope", date(2026, 9, 30), 2.0, "new tokenizer", date(2026, 6, 1)
    )
    page = render(runs[-1].folder, history=tmp_path / "blessed")
    figure = re.search(r'<figure class="trend">.*?</figure>', page, re.S)[0]
    assert len(re.findall(r'class="shift (worse|better)"', figure)) == 1
    assert 'class="shift worse"' in figure and 'class="waiver"' in figure
    told = text_of(figure)
    assert re.search(r"between pope@3 \(2026-04-05\) and pope@4 \(2026-05-05\), p &lt; 0\.0", told)
    assert "waived until 2026-09-30: may fall by 2. new tokenizer" in told
    assert figure.count('<rect class="dot"') == 3  # majors
    for i, made in enumerate(runs):
        value = made.metrics["accuracy"]["value"]
        assert re.search(rf"pope@{i} .*?2026-0\d-0\d {value:.2f} ", told), i
    assert page == render(runs[-1].folder, history=tmp_path / "blessed")


def test_a_flat_history_shows_no_change(tmp_path, monkeypatch):
    runs = blessed(tmp_path, [0.2] * 5, monkeypatch)
    said = text_of(render(runs[0].folder, history=tmp_path / "blessed"))
    assert "No change is shown by the data" in said and "Changes that" not in said


def test_this_run_is_drawn_and_not_searched(tmp_path, monkeypatch):
    blessed(tmp_path, [0.2] * 4, monkeypatch)
    now = record(tmp_path / "now", says(0.6, 99), task(400, 4))
    page = render(now.folder, history=tmp_path / "blessed")
    figure = re.search(r'<figure class="trend">.*?</figure>', page, re.S)[0]
    assert figure.count('class="hollow"') == 1 and 'class="shift' not in figure
    assert "this run, not blessed" in text_of(figure)


def test_other_data_break_the_line(tmp_path, monkeypatch):
    blessed(tmp_path, [0.2, 0.2], monkeypatch)
    other = record(tmp_path / "other", says(0.5, 7), task(200, 4))
    monkeypatch.setattr(baselines, "_now", lambda: "2027-01-01T00:00:00+00:00")
    baselines.bless(tmp_path / "blessed", "less", [other.folder], "fewer")
    found = History(tmp_path / "blessed").trend("pope")
    assert found.points[-1].apart.startswith("other data: 200 items") and found.steps == []
    page = render(other.folder, history=tmp_path / "blessed")
    assert 'class="shift barrier"' in page and page.count('<polyline class="join"') == 1


def test_repeats_that_were_blessed_together_are_one_point(tmp_path, monkeypatch):
    runs = [record(tmp_path / f"r{i}", says(0.2, i), task(200, 4), "m") for i in range(3)]
    baselines.bless(tmp_path / "b", "a", [r.folder for r in runs], "three of them")
    (point,) = History(tmp_path / "b").trend("pope").points
    values = [r.metrics["accuracy"]["value"] for r in runs]
    assert point.value == pytest.approx(sum(values) / 3) and point.why.startswith("mean of 3 runs")


def test_a_run_that_changed_is_left_out_and_said_to_be(tmp_path, monkeypatch):
    runs = blessed(tmp_path, [0.2, 0.2, 0.2], monkeypatch)
    edited(runs[1], seed=5)
    said = text_of(render(runs[0].folder, history=tmp_path / "blessed"))
    assert "Left out:" in said and "is not what was blessed as pope@1" in said
    assert "2 runs" in said
    with pytest.raises(DataError, match="no blessed baseline"):
        render(runs[0].folder, history=tmp_path / "nothing")


def test_what_people_wrote_of_baselines_is_text(tmp_path, monkeypatch):
    made = record(tmp_path / "a", says(0.2, 1), task(200, 4))
    words = "".join(HOSTILE).replace("\ud800", "")
    for at in range(2):
        monkeypatch.setattr(baselines, "_now", lambda at=at: f"2026-0{at + 1}-01T00:00:00+00:00")
        baselines.bless(tmp_path / "b", f"n{at}", [made.folder], words)
    baselines.waive(tmp_path / "b", "pope", date(2026, 3, 1), 1.0, words, date(2026, 1, 1))
    page = render(made.folder, history=tmp_path / "b")
    body = page.split("<body", 1)[1].split('<script type="application/json"')[0]
    assert "<svg onload" not in body and "<img src=x" not in body
    assert page.count("<script") == 2


@pytest.mark.parametrize("days", [0.01, 3, 40, 300, 1500, 9000])
def test_time_axes_have_few_round_ticks(days):
    from reports._page_trend import _Time

    ticks = _Time(START, START + timedelta(days=days)).ticks()
    assert len(ticks) <= 7 and len({text for _, text in ticks}) == len(ticks)
    assert ticks or days < 1


# ---- training curves


def trained(tmp_path, place: str = "train/checkpoint-300"):
    made = record(tmp_path / "run", says(0.2, 1), task(200, 4))
    folder = tmp_path / place
    folder.mkdir(parents=True)
    model = {**made.run["model"], "address": f"transformers:{folder}"}
    edited(made, model=model)
    return made.folder


def test_curves_of_the_log_beside_the_model(tmp_path):
    folder = trained(tmp_path)
    assert "Training" not in text_of(render(folder)).split("Metrics")[0]
    log = write_log(tmp_path / "train" / training.NAME)
    page = render(folder)
    section = re.search(r'<section id="training".*?</section>', page, re.S)[0]
    said = text_of(section)
    assert "400 logged steps, to step 400, 3,200 samples, 320,000 tokens" in said
    assert "dashed: step 300, the checkpoint of this run" in said
    assert "3 at step 1, 1.005 at step 400; 1.005 to 3 in all" in said
    assert "connector: 0.001 at step 1" in said and "pope accuracy" in said
    assert section.count("<svg") == 6 + 2  # loss, rate, norm, speed, mfu, scores; two keys
    from harness.fingerprint import of_file

    assert of_file(log)[:12] in said and page == render(folder)


def test_a_checkpoint_that_its_score_chose_is_told(tmp_path):
    folder = trained(tmp_path, "train/checkpoint-200")
    write_log(tmp_path / "train" / training.NAME)
    assert "is the best of 4 that were scored on pope (accuracy)" in text_of(render(folder))
    other = trained(tmp_path / "other", "train/checkpoint-100")
    write_log(tmp_path / "other" / "train" / training.NAME)
    assert "is the best of" not in text_of(render(other))


def test_logs_that_went_wrong_are_read_as_far_as_they_go(tmp_path):
    folder = trained(tmp_path)
    lines = [
        '{"step": 1, "loss": 3.0}', "{broken", '{"step": "2", "loss": 1}', "[1, 2]", '"x"',
        '{"step": 2, "loss": NaN}', '{"step": 3, "loss": 2.0}', '{"step": 2, "loss": 2.5}',
        '{"step": 3, "loss": 1e999}', '{"step": 4, "eval": {"task": "<b>", "value": "x"}}',
        '{"step": 4, "eval": {"task": "<b>x", "metric": "</svg>", "value": 5}}',
        '{"step": 5, "lr": {"<script>": 1}, "loss": ' + "9" * 400 + "}",
    ]  # fmt: skip
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines))
    found = training.read(log, opened(folder).info)
    assert found.series["loss"] == [(1, 3.0), (2, 2.5)]
    assert any(note.startswith("5 lines") for note in found.notes)
    assert any(note.startswith("1 times the log goes back") for note in found.notes)
    page = render(folder, train_log=log)
    assert "given with the report" in page and "<script>" not in page.split("<body")[1][:200]
    assert page.count("<script") == 2 and "&lt;b&gt;x &lt;/svg&gt;" in page


def test_a_log_that_is_none(tmp_path):
    folder = trained(tmp_path)
    (tmp_path / "train" / training.NAME).write_text("nothing\n")
    assert "no training log" in text_of(render(folder))  # found by itself: told
    with pytest.raises(DataError, match="no training log"):
        render(folder, train_log=tmp_path / "train" / training.NAME)
    with pytest.raises(DataError, match="cannot be read"):
        render(folder, train_log=tmp_path / "nope")


def test_long_logs_are_gathered_in_bins(tmp_path):
    folder = trained(tmp_path)
    write_log(tmp_path / "train" / training.NAME, steps=5000)
    page = render(folder)
    curve = re.search(r'<polyline class="curve" points="([^"]*)"', page)[1]
    assert 200 < len(curve.split()) <= 240 and 'class="band"' in page
    assert "medians of 240 bins" in page


# ---- boxes


def test_overlap_of_boxes():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0
    assert overlap((1, 1, 1, 1), (1, 1, 1, 1)) == 0


@pytest.mark.parametrize(
    "bad",
    [
        None, "x", {}, [1, 2, 3], [1, 2, 3, "4"], [5, 5, 1, 1], [0, 0, float("nan"), 1],
        [0, 0, True, 1], {"box": [0, 0, 1, 10**400]}, {"box": [0, 0, 1, 1], "image": "0"},
        {"box": "<svg>"},
    ],
)  # fmt: skip
def test_what_is_no_box_is_not_drawn(bad):
    assert boxes_of({"stats": {"boxes": [bad, [1, 2, 3, 4]]}}, []) == [
        {"box": [1, 2, 3, 4], "label": "", "image": 0, "iou": None}
    ]


def test_a_box_is_held_against_the_region_of_its_name():
    regions = [
        {"box": [0, 0, 10, 10], "label": "a", "image": 0},
        {"box": [0, 0, 20, 10], "label": "b", "image": 0},
    ]
    boxes = [{"box": [0, 0, 10, 10], "label": "b"}, [0, 0, 10, 10]]
    found = boxes_of({"stats": {"boxes": boxes}}, regions)
    assert [box["iou"] for box in found] == [0.5, 1.0]


class Points(Says):
    """Says how far right of the gold box its own lies; looks at pictures."""

    looks = True

    def answer(self, samples, ask, decoding):
        for at, sample in enumerate(samples):
            yield at, Answer(self.say(int(sample.id[1:])))


def grounding(folder) -> Task:
    for i in range(2):
        (folder / f"{i}.jpg").write_bytes(picture(i, (640, 480)))

    def samples():
        for i in range(4):
            image = Image(f"{i % 2}.jpg", folder / f"{i % 2}.jpg")
            regions = (Region((100, 100, 200, 200), "<b>cup"),)
            yield Sample(f"q{i}", (image, "Where?"), "there", cluster=image.name, regions=regions)

    def score(sample, answer):
        box = [100 + int(answer.text), 100, 200 + int(answer.text), 200]
        stats = {"boxes": [{"box": box, "label": "<b>cup"}]}
        return Score(float(int(answer.text) < 40), answer.text, stats=stats)

    return Task(
        "grounding", "1", Source(str(folder)), samples, score, "g@1", (Metric("accuracy"),),
        "accuracy",
    )  # fmt: skip


def test_boxes_of_both_runs_are_drawn_with_their_overlap(tmp_path):
    (tmp_path / "data").mkdir()
    made = grounding(tmp_path / "data")
    base = run(Points(lambda i: "0", "a"), made, out=tmp_path / "a")
    cand = run(Points(lambda i: "50", "b"), made, out=tmp_path / "b")
    page = render(cand.folder, base.folder)
    assert '<rect class="region" x="100.0" y="100.0" width="100.0" height="100.0"/>' in page
    assert '<rect class="b" x="100.0"' in page and '<rect class="a" x="150.0"' in page
    said = text_of(page)
    assert "this run &lt;b&gt;cup (150, 100) to (250, 200), IoU 0.33" in said
    assert "baseline &lt;b&gt;cup (100, 100) to (200, 200), IoU 1.00" in said
    assert "region &lt;b&gt;cup (100, 100) to (200, 200)" in said
    entry = data_of(page)["rows"][0]
    assert entry["a"]["bx"][0]["iou"] == 0.333 and "boxes" not in entry["a"].get("w", "")


# ---- prices


def counted(tmp_path, name: str, address: str, tokens: tuple[int, int], seconds: float):
    class Counts(Says):
        def answer(self, samples, ask, decoding):
            for at, sample in enumerate(samples):
                text = self.say(int(sample.id[1:]))
                yield at, Answer(text, tokens_in=tokens[0], tokens_out=tokens[1])

    made = run(Counts(says(0.2, 1), name), task(100, 4), out=tmp_path / name)
    model = {**made.run["model"], "address": address}
    return edited(made, model=model, seconds=seconds)


def test_a_price_is_reckoned_from_the_record(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(
        "currency: EUR\nprices:\n  openai:gpt-x: {in: 2.0, out: 8}\n  llava-7b: {gpu_hour: 3}\n"
    )
    found = prices.read(file)
    served = found.of(opened(counted(tmp_path, "a", "openai:gpt-x", (500, 25), 90)))
    assert served.total == pytest.approx(100 * (500 * 2 + 25 * 8) / 1e6)
    assert served.each == pytest.approx(10 * served.total)
    own = counted(tmp_path, "b", "transformers:models/llava-7b/", (500, 25), 1800)
    assert found.of(opened(own)).total == pytest.approx(1.5)
    free = record(tmp_path / "c", says(0.2, 1), task(100, 4))
    assert found.of(opened(free.folder)) is None
    edited(free, model={**free.run["model"], "address": "openai:gpt-x"})
    assert found.of(opened(free.folder)) is None  # the record has no tokens
    said = text_of(render(tmp_path / "a", price=found))
    assert "price 0.12 EUR (50,000 tokens in at 2, 2,500 out at 8 EUR per million" in said
    assert "price not known" in text_of(render(free.folder, price=found))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prices: {}", "expected `prices:`"),
        ("- 1", "expected `prices:`"),
        ("prices: {a: {in: -1}}", "a.in is -1"),
        ("prices: {a: {in: yes}}", "a.in is True"),
        ("prices: {a: {in: .inf}}", "a.in is inf"),
        ("prices: {a: {into: 1}}", "no price of a 'into'"),
        ("prices: {a: 3}", "a needs some of"),
        ("prices: {a: {in: 1}}\nother: 2", "expected `prices:`"),
        ("prices: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("prices: [", "cannot be read"),
    ],
)
def test_prices_that_are_none_are_refused(tmp_path, text, words):
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)):
        prices.read(file)


# ---- judge and people


def test_a_judge_is_held_against_people(tmp_path):
    made, folder = judged_answers(tmp_path)
    judged(folder, made, scripted(lambda s, d: "8 6\nwords"))
    assert gap(opened(folder)) is None  # long answers, and nobody else judged
    ids = [row["id"] for row in opened(folder).rows]
    scores = {row["id"]: row["score"] for row in opened(folder).rows}
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "score"))
        writer.writerows((id, scores[id] - (0.2 if i % 2 else 0.1)) for i, id in enumerate(ids))
    found = gap(opened(folder))
    assert found.against == "people" and found.n == 12
    assert found.value == pytest.approx(0.15) and found.low < 0.15 < found.high
    rows = data_of(render(folder))["rows"]
    assert {row["jg"] for row in rows} == {0.1, 0.2}
    (folder / "people.csv").write_text("id\nx\n")
    with pytest.raises(DataError, match="neither label nor score"):
        gap(opened(folder))


def test_plain_texts():
    assert plain("The  Red, CUP.") == plain("red cup") == "red cup"
    assert plain("another") == "another"


def test_the_command_line_takes_them_all(tmp_path, monkeypatch):
    runs = blessed(tmp_path, [0.2, 0.2], monkeypatch, n=100)
    (tmp_path / "prices.yaml").write_text("prices: {x: {in: 1}}")
    log = write_log(tmp_path / "log.jsonl")
    out = tmp_path / "page.html"
    done = sightline(
        "report", runs[0].folder, "--out", out, "--history", tmp_path / "blessed", "--train-log",
        log, "--prices", tmp_path / "prices.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = text_of(out.read_text())
    assert "Blessed runs over time" in said and "400 logged steps" in said
    assert "price not known" in said
