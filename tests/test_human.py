"""Forms, keys and answers of evaluation by people: blindness, bad input, the command line."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from human_batches import (
    AS,
    BS,
    answer,
    corpus,
    form_data,
    hostile_runs,
    pairs,
    ratings,
    triple,
    two_runs,
)
from page_runs import HOSTILE, answered, text_of

from harness.errors import DataError, UsageError
from reports.human import answers, criteria, items
from reports.human import table as tables
from reports.human.form import Plan, make


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return two_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def batch(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("batch")
    return out, pairs(runs, out, samples=40)


def test_forms_say_nothing_of_models_sides_or_seed(runs, batch):
    out, key = batch
    for form in key["forms"]:
        page = (out / form["file"]).read_text(encoding="utf-8")
        for secret in ("one", "two", "swapped", "recorded", *(s["digest"] for s in key["sources"])):
            assert f'"{secret}' not in page and f"{secret}.jsonl" not in page, secret
        assert "seed" not in form_data(page)
        assert not any(f'"id":"{item["id"]}"' in page for item in key["items"].values())
    assert "http" not in text_of(page)


def test_sides_and_orders_differ_and_the_key_undoes_them(batch):
    out, key = batch
    orders = []
    for form in key["forms"]:
        data = form_data((out / form["file"]).read_text(encoding="utf-8"))
        assert data["form"] == form["digest"]
        assert [item["key"] for item in data["items"]] == [one["key"] for one in form["items"]]
        for item, place in zip(data["items"], form["items"], strict=True):
            left, right = (words for _, words in item["t"])
            assert left.startswith(BS if place["swapped"] else AS)
            assert right.startswith(AS if place["swapped"] else BS)
            assert key["items"][item["key"]]["question"] == item["q"]
        swapped = sum(place["swapped"] for place in form["items"])
        assert 0 < swapped < len(form["items"])
        orders.append([one["key"] for one in form["items"]])
    assert len({tuple(order) for order in orders}) == 3 and len({*map(frozenset, orders)}) == 1


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(runs, batch, tmp_path):
    out, _ = batch
    pairs(runs, tmp_path / "again", samples=40)
    for path in sorted(out.rglob("*.html")):
        again = tmp_path / "again" / path.relative_to(out)
        assert again.read_bytes() == path.read_bytes()
    other = pairs(runs, tmp_path / "other", samples=40, seed=1)
    mine = json.loads((out / "key.json").read_text())
    assert {i["id"] for i in other["items"].values()} != {i["id"] for i in mine["items"].values()}


def test_each_item_is_seen_by_so_many(runs, tmp_path):
    key = pairs(runs, tmp_path, annotators=5, votes=2)
    seen = Counter(one["key"] for form in key["forms"] for one in form["items"])
    assert set(seen) == set(key["items"]) and set(seen.values()) == {2}
    sizes = [len(form["items"]) for form in key["forms"]]
    assert max(sizes) - min(sizes) <= 2


def test_annotations_are_labels_for_the_critic(tmp_path):
    labels = pytest.importorskip("trainers.localized.labels")
    path = corpus(tmp_path, [triple(i) for i in range(4)])
    key = ratings([path], tmp_path / "batch", annotators=2)

    def say(item, criterion, who):
        return {"t0": 3, "t1": 1 if who == "2" and criterion == "qa" else 3, "t2": 2}.get(
            item["id"], 1 if criterion == "rationale" else 3
        )

    known = answers.read_key(tmp_path / "batch")
    votes = answers.read(known, answer(tmp_path, key, say))
    votes = [  # one could not be judged: it is no label
        answers.Vote(v.item, v.annotator, {}, True)
        if key["items"][v.item]["id"] == "t2" and v.annotator == "1" else v
        for v in votes
    ]  # fmt: skip
    answers.write(known, votes, tmp_path)
    found = labels.read(tmp_path / "annotations.jsonl")
    assert {id: labels.label(rows).accept for id, rows in found.items()} == {
        "t0": 1, "t1": 0, "t3": 0,
    }  # fmt: skip
    assert {row.r for row in found["t1"]} == {1, 3}


def test_the_form_of_triples_shows_their_regions_only(tmp_path):
    key = ratings([corpus(tmp_path, [triple(0)])], tmp_path / "batch", annotators=1)
    page = (tmp_path / "batch" / key["forms"][0]["file"]).read_text(encoding="utf-8")
    (item,) = form_data(page)["items"]
    assert item["t"][0] == ["Question", "What is [0] doing to [2] ?"]
    assert item["t"][2] == ["Rationale", "[0] , [2] run <b>fast</b>"]
    assert [(r["label"], r["box"]) for r in item["r"]] == [
        ("[0]", [4, 4, 20, 30]), ("[2]", [20, 4, 36, 30]),
    ]  # fmt: skip
    assert form_data(page)["pictures"][0][1:] == [64, 48] and "<b>fast" not in page


def test_hostile_answers_are_text(tmp_path):
    key = pairs(hostile_runs(tmp_path), tmp_path / "batch", samples=72, annotators=1)
    raw = (tmp_path / "batch" / key["forms"][0]["file"]).read_bytes()
    page = raw.decode("utf-8")
    assert page.count("<script") == 2 and page.count("</script") == 2 and "<svg onload" not in page
    said = {words for item in form_data(page)["items"] for _, words in item["t"]}
    assert {words.encode("utf-8", "replace") for words in HOSTILE} <= {
        words.encode("utf-8", "replace") for words in said
    }


BAD = [
    (lambda f: f.update(batch="other"), "the batch 'other'"),
    (lambda f: f.update(annotator="7"), "no annotator '7'"),
    (lambda f: f.update(annotator=["1"]), "no annotator"),
    (lambda f: f.update(form="0" * 64), "another one than the key's"),
    (lambda f: f.update(schema="x"), "not a file of answers"),
    (lambda f: f.update(answers={}), "no list of answers"),
    (lambda f: f["answers"][0].update(key="zzz"), "not one of this form"),
    (lambda f: f["answers"].append(f["answers"][0]), "answered twice"),
    (lambda f: f["answers"].append("left"), "not one of this form"),
    (lambda f: f["answers"][0]["picks"].update(overall="a"), "no answer to overall"),
    (lambda f: f["answers"][0]["picks"].update(overall=True), "no answer to overall"),
    (lambda f: f["answers"][0]["picks"].update(looks="left"), "nobody asked"),
    (lambda f: f["answers"][0].update(picks=[]), "picks, unclear and note"),
    (lambda f: f["answers"][0].update(seconds=-1), "seconds"),
    (lambda f: f["answers"][0].update(seconds=float("nan")), "seconds"),
    (lambda f: f["answers"][0].update(unclear=1), "picks, unclear and note"),
    (lambda f: f["answers"].pop(), "not answered"),
    (lambda f: f["answers"][0]["picks"].pop("overall"), "not answered"),
]


@pytest.mark.parametrize(("change", "told"), BAD)
def test_foreign_and_broken_answers_are_refused(batch, tmp_path, change, told):
    out, key = batch
    first, *rest = answer(tmp_path, key, lambda *_: "a")
    found = json.loads(first.read_text())
    change(found)
    first.write_text(json.dumps(found))
    known = answers.read_key(out)
    with pytest.raises(DataError, match=told):
        answers.read(known, [first, *rest])
    if told == "not answered":
        votes = answers.read(known, [first, *rest], partial=True)
        kept = tables.table(known, tables.said(votes, 3))["criteria"]["overall"]
        assert kept["a"]["value"] == pytest.approx(
            len(key["items"]) / (len(key["items"]) + len(key["same"]))
        )  # two of three still agree


def test_missing_double_and_unreadable_files_are_refused(batch, tmp_path):
    out, key = batch
    files = answer(tmp_path, key, lambda *_: "tie")
    known = answers.read_key(out)
    with pytest.raises(DataError, match="no answers of annotator 2, 3"):
        answers.read(known, files[:1])
    assert len(answers.read(known, files[:1], partial=True)) == len(key["items"])
    with pytest.raises(DataError, match=r"in .* already"):
        answers.read(known, [files[0], *files])
    for words in (b"\xff", b"[" * 100_000, b"{}", b"null"):
        files[0].write_bytes(words)
        with pytest.raises(DataError):
            answers.read(known, files)
    with pytest.raises(DataError, match="not a key"):
        answers.read_key(files[0])


def test_runs_that_asked_other_things_make_no_pairs(runs, tmp_path):
    other = answered(tmp_path, lambda id: "x", "other", 4)
    path = other.folder / "rows.jsonl"
    left, right = items.load(str(runs[0].folder)), items.load(str(other.folder))
    assert len(items.pairs(left, right, 500, 0).items) == 72
    first = right.items[0]
    ((name, _),) = first.pictures
    seen = [replace(first, pictures=((name, digit * 64),)) for digit in "01"]
    for mine, theirs in ((first, replace(first, question="else")), seen):
        with pytest.raises(DataError, match="is another question"):
            items.pairs(replace(left, items=[mine]), replace(right, items=[theirs]), 5, 0)
    told = items.pairs(replace(left, items=[first]), replace(right, items=seen[:1]), 5, 0).same
    assert told[0].pictures == ((name, "0" * 64),)  # one of the two looked
    with pytest.raises(DataError, match="no answered sample in common"):
        items.pairs(left, replace(right, items=[replace(first, id="other")]), 5, 0)
    with pytest.raises(UsageError, match="1 or more"):
        items.pairs(left, left, 0, 0)
    with pytest.raises(DataError, match="the same words"):
        drawn = items.pairs(left, left, 5, 0)
        make([left, left], drawn, Plan(criteria.pairwise()), tmp_path / "none")
    path.write_bytes(path.read_bytes().replace(b'"x"', b'"y"', 1))
    with pytest.raises(DataError):
        items.load(str(other.folder))


def test_nobody_judges_without_pictures_unless_asked_to(tmp_path):
    path = corpus(tmp_path, [triple(0), triple(2)])
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 2 pictures"):
        ratings([path], tmp_path / "batch")
    with pytest.raises(UsageError, match="not a folder"):
        ratings([path], tmp_path / "batch", images=str(tmp_path / "nowhere"))
    key = ratings([path], tmp_path / "batch", images="none")
    page = (tmp_path / "batch" / key["forms"][0]["file"]).read_text(encoding="utf-8")
    assert form_data(page)["pictures"] == [] and form_data(page)["items"][0]["p"] == [-1]
    with pytest.raises(UsageError, match="holds a batch already"):
        ratings([path], tmp_path / "batch", images="none")


@pytest.mark.parametrize("change", [
    {"question": []}, {"answer": "text"}, {"rationale": [["x"]]}, {"image": None, "question": 3},
    {"references": [{"name": "0", "boxes": [[1, 2, 3]]}], "region": [0]},
    {"references": [{"name": "0", "boxes": [[1, 2, 3, float("inf")]]}], "region": [0]},
])  # fmt: skip
def test_bad_triples_are_named(tmp_path, change):
    path = corpus(tmp_path, [triple(0)])
    path.write_text(path.read_text() + json.dumps({**triple(1), **change}) + "\n")
    with pytest.raises(DataError, match="line 2"):
        items.load(str(path))


@pytest.mark.parametrize("words", ["x", "=why", "Big=why", "a b=why", "a="])
def test_bad_criteria_are_refused(words):
    with pytest.raises(UsageError, match="NAME=QUESTION"):
        criteria.pairwise([words])
    with pytest.raises(UsageError, match="twice"):
        criteria.likert(["a=b", "a=c"])
    with pytest.raises(UsageError, match="different labels"):
        criteria.likert(scale="yes,yes")


def sightline(*words, **more):
    command = [sys.executable, "-m", "harness", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def test_the_command_line_from_form_to_table(runs, tmp_path):
    out = tmp_path / "batch"
    a, b = (run.folder for run in runs)
    made = sightline("human", "form", a, b, "--pairwise", "--samples", 12, "--out", out)
    assert made.returncode == 0 and "Hand out forms/ only" in made.stdout, made.stderr
    key = json.loads((out / "key.json").read_text())
    files = answer(tmp_path, key, lambda item, name, who: "b" if who == "1" else "a")
    refused = sightline("human", "read", out, *files[:2])
    assert refused.returncode == 3 and "--partial" in refused.stderr
    assert sightline("human", "read", out / "key.json", *files).returncode == 0
    table = sightline("human", "table", out)
    assert table.returncode == 0 and "informativeness" in table.stdout, table.stderr
    assert (out / "table.txt").read_text() == table.stdout
    found = json.loads((out / "table.json").read_text())
    share = len(key["items"]) / (len(key["items"]) + len(key["same"]))
    assert found["criteria"]["overall"]["a"]["value"] == pytest.approx(share)
    wrong = sightline("human", "form", a, "--pairwise", "--out", tmp_path / "x")
    assert wrong.returncode == 2 and "exactly two" in wrong.stderr
