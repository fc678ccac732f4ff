"""The run loop: every sample once, failures are rows, a broken model leaves a good record."""

import json

import pytest
from small_data import picture, replay, write_pope

from harness.api import load, run
from harness.errors import DataError, RunStopped, UsageError
from harness.types import Answer, Failure, Image, Sample, Score, Source, Task


def task(samples, score=None) -> Task:
    def exact(sample, answer):
        return Score(float(answer.text == sample.target), answer.text)

    from harness.types import Metric

    return Task(
        name="toy", version="1", source=Source("toy"), samples=lambda: samples,
        score=score or exact, scorer="toy/exact@1", metrics=(Metric("accuracy"),),
        headline="accuracy",
    )  # fmt: skip


SAMPLES = [Sample(str(i), (f"say {i}",), str(i)) for i in range(200)]


class Model:
    name, looks = "toy", False

    def __init__(self, replies):
        self.replies = replies

    def describe(self):
        return {}

    def answer(self, samples, ask, decoding):
        yield from self.replies(samples)


def test_answers_in_any_order_land_on_their_samples(tmp_path):
    backwards = Model(lambda s: ((i, Answer(s[i].target)) for i in reversed(range(len(s)))))
    record = run(backwards, task(SAMPLES), out=tmp_path / "run")
    assert record.metrics["accuracy"]["value"] == 100
    assert [row["index"] for row in record.rows()] == list(reversed(range(200)))


def test_a_failing_sample_is_a_row_and_no_score(tmp_path):
    one = Model(
        lambda s: ((i, Failure("no") if i == 7 else Answer(x.target)) for i, x in enumerate(s))
    )
    record = run(one, task(SAMPLES), out=tmp_path / "run")
    assert record.run["status"] == "incomplete" and record.counts["failed"] == 1
    assert record.metrics["accuracy"] == pytest.approx(
        {"value": 100.0, "n": 199, "asked": 200, "clusters": 199, "high": 100.0, "low": 98.0},
        abs=0.2,
    )
    (bad,) = [row for row in record.rows() if row["status"] == "failed"]
    assert bad["score"] is None and bad["error"] == "no" and bad["answer"] is None


def test_too_many_failures_stop_the_run_with_its_record(tmp_path):
    bad = Model(lambda s: ((i, Failure("server gone")) for i in range(len(s))))
    with pytest.raises(RunStopped, match=r"3 samples failed.*2 of 200.*server gone.*--resume"):
        run(bad, task(SAMPLES), out=tmp_path / "run")
    record = load(tmp_path / "run")
    assert record.run["status"] == "stopped" and "3 samples failed" in record.run["error"]
    assert len(list(record.rows())) == 3


def test_a_model_that_breaks_halfway(tmp_path):
    def breaks(samples):
        yield 0, Answer("0")
        raise ZeroDivisionError("a bug in the model")

    with pytest.raises(RunStopped, match=r"ZeroDivisionError: a bug in the model.*--resume"):
        run(Model(breaks), task(SAMPLES), out=tmp_path / "run")
    assert [row["status"] for row in load(tmp_path / "run").rows()] == ["scored"]
    good = Model(lambda s: ((i, Answer(x.target)) for i, x in enumerate(s)))
    record = run(good, task(SAMPLES), out=tmp_path / "run", resume=True)
    assert record.counts["scored"] == 200 and record.run["status"] == "complete"


def test_silence_and_double_answers(tmp_path):
    silent = Model(lambda s: ((i, Answer(x.target)) for i, x in enumerate(s) if i != 3))
    record = run(silent, task(SAMPLES), out=tmp_path / "silent")
    assert [r["error"] for r in record.rows() if r["status"] == "failed"] == [
        "the model gave no reply for this sample"
    ]
    twice = Model(lambda s: ((0, Answer("0")) for _ in range(2)))
    with pytest.raises(RunStopped, match="answered position 0 twice"):
        run(twice, task(SAMPLES), out=tmp_path / "twice")


def test_a_scorer_that_raises_costs_a_row(tmp_path):
    def score(sample, answer):
        return Score(1 / int(sample.id), "x")

    good = Model(lambda s: ((i, Answer("")) for i in range(len(s))))
    record = run(good, task(SAMPLES, score), out=tmp_path / "run")
    assert record.counts["failed"] == 1
    assert "toy/exact@1 raised ZeroDivisionError" in next(
        r["error"] for r in record.rows() if r["status"] == "failed"
    )


def test_no_samples_and_ids_that_come_twice(tmp_path):
    model = Model(lambda s: iter(()))
    with pytest.raises(DataError, match="the split is empty"):
        run(model, task([]), out=tmp_path / "run")
    with pytest.raises(DataError, match="the id '1' comes twice"):
        run(model, task([SAMPLES[1], SAMPLES[1]]), out=tmp_path / "run")
    with pytest.raises(UsageError, match="--limit"):
        run(model, task(SAMPLES), out=tmp_path / "run", limit=0)
    assert not (tmp_path / "run").exists()


HOSTILE = "\x1b[2J\x00\r\n\u202e</script>\ud800=cmd|' /C calc'!A0"


def test_hostile_and_huge_replies_survive_unchanged(tmp_path):
    texts = [HOSTILE, "x" * 1_000_000, ""]
    say = Model(lambda s: ((i, Answer(texts[i])) for i in range(3)))
    record = run(say, task(SAMPLES[:3]), out=tmp_path / "run")
    assert [row["answer"]["text"] for row in record.rows()] == texts
    assert len(record.frame()) == 3  # parquet cannot hold half a surrogate, and must not fail


def test_pixels_are_hashed_after_decoding(tmp_path):
    from io import BytesIO

    from PIL import Image as Pictures

    jpeg = picture(1)
    png = BytesIO()
    Pictures.open(BytesIO(jpeg)).save(png, "PNG")
    samples = [
        Sample("jpeg", (Image("a.jpg", jpeg), "?"), "yes"),
        Sample("png", (Image("a.png", png.getvalue()), "?"), "yes"),
        Sample("other", (Image("b.jpg", picture(2)), "?"), "yes"),
        Sample("broken", (Image("c.jpg", jpeg[:300]), "?"), "yes"),
    ]
    model = Model(lambda s: ((i, Answer("yes")) for i in range(4)))
    model.looks = True
    rows = {r["id"]: r["pixels"] for r in run(model, task(samples), out=tmp_path / "run").rows()}
    assert rows["jpeg"] == rows["png"] != rows["other"]
    assert rows["broken"] == [None]


def test_fingerprints_see_what_matters(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)

    def prints(model="constant", name="pope", **more):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        return run(model, name, data=data, out=out, **more).run["fingerprint"]

    base = prints()
    assert prints() == base
    assert prints(seed=1)["decoding"] != base["decoding"]
    assert prints(limit=5)["data"] != base["data"]
    other = prints(name="pope/lmms")
    assert other["scorer"] != base["scorer"] and other["data"] == base["data"]
    assert prints(model="constant:no")["model"] != base["model"]


def test_resuming_a_finished_run_asks_nothing_and_changes_nothing(tmp_path):
    class Once(Model):
        def describe(self):
            return {"kind": "toy", "revision": self.loaded, "engine": {"worst": self.loaded}}

        loaded = None

    model = Once(lambda s: ((i, Answer(x.target)) for i, x in enumerate(s)))
    first = run(model, task(SAMPLES), out=tmp_path / "run")
    model.loaded = "other"
    model.replies = None  # would raise if it were asked
    again = run(model, task(SAMPLES), out=tmp_path / "run", resume=True)
    assert again.run["fingerprint"] == first.run["fingerprint"]
    assert again.run["model"] == first.run["model"] and again.metrics == first.metrics


def test_how_a_model_ran_is_not_which_model_it_is():
    from harness.fingerprint import of_model

    fresh = {"kind": "decoder", "weights": "abc", "engine": None, "preprocessing": {"size": 336}}
    after = {**fresh, "engine": {"parity": 1e-6}, "device": "cuda:0", "out_of_memory": 2}
    assert of_model(fresh) == of_model(after) != of_model({**fresh, "weights": "abd"})


def test_the_floors(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)

    def accuracy(model):
        record = run(model, "pope", data=data, out=tmp_path / model.replace(":", "-"))
        return record.metrics["mean.accuracy"]["value"]

    assert accuracy("oracle") == 100
    assert accuracy("constant") == accuracy("constant:no") == accuracy("majority") == 50
    assert 25 < accuracy("random") < 75
    blind = run("blind:oracle", "pope", data=data, out=tmp_path / "blind")
    assert all(isinstance(part, str) for row in blind.rows() for part in row["prompt"][1:])
    assert blind.metrics["mean.accuracy"]["value"] == 100


def test_random_guesses_do_not_depend_on_order_or_on_resume(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    whole = {
        r["id"]: r["answer"] for r in run("random", "pope", data=data, out=tmp_path / "a").rows()
    }
    part = run("random", "pope", data=data, out=tmp_path / "b", limit=10)
    assert all(whole[row["id"]] == row["answer"] for row in part.rows())


def test_environment_is_captured_and_secrets_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sightline", "run", "-o", "api_key=sk-abcdef123456", "--x"])
    record = replay(tmp_path, lambda i: "yes")
    found = record.run["environment"]
    assert found["packages"]["sightline"] and found["python"] and found["cores"]
    assert found["command"][-1] == "--x" and "abcdef" not in json.dumps(dict(record.run))
