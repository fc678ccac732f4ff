"""LSKD's triples: rounds, retries, forecasts, kill -9, and a replay byte for byte."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fake_openai_server
import pytest
from lskd_fakes import (
    Fake,
    block,
    detections,
    good,
    picture,
    write_pictures,
    write_vcr,
)

from harness.errors import UsageError
from harness.types import Decoding, Failure, Sample
from trainers.localized import (
    forecast,
    generate,
    triples,
    verbal,
    verbalise,
)
from trainers.localized.generate import Writing
from trainers.teacher import Teacher


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three small pictures."""
    return write_pictures(tmp_path / "images")


@pytest.fixture
def vcr(tmp_path: Path) -> Path:
    """VCR's validation questions about one frame, which is the second of the pictures."""
    return write_vcr(tmp_path / "vcr")


def test_18_triples_of_a_picture_and_later_rounds_see_the_earlier(tmp_path: Path) -> None:
    model = Fake(good)
    with Teacher(tmp_path, model) as teacher:
        written = generate.write(teacher, [picture("1"), picture("2")], Writing())
    assert len(written.triples) == 36 and len({t.id for t in written.triples}) == 36
    assert not written.rejected and written.replies == 12
    assert [t.index for t in written.triples[:9]] == list(range(9))
    assert all(not triples.validate(t) for t in written.triples)
    shown = {s.id: s.prompt[0] for s in model.asked}
    assert "Already written" not in shown["1/ids/0"]
    assert "in case 5 ?" in shown["1/ids/2"] and "number 1 want" not in shown["1/ids/2"]
    ids, plain = written.triples[0], written.triples[9]
    assert (ids.region, plain.region, plain.style) == ((0,), (1,), "descriptions")
    assert plain.provenance["phrases"] == ["a dog number 1"]
    assert {"teacher", "fingerprint", "call", "prompt", "verbal", "attempt"} <= set(ids.provenance)
    calls = [json.loads(line)["id"] for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert {t.provenance["call"] for t in written.triples} == set(calls)


def test_faulty_replies_are_asked_again_then_set_aside_with_the_reason(tmp_path: Path) -> None:
    def says(sample: Sample, decoding: Decoding) -> str | Failure:
        if sample.cluster == "heals":
            return good(sample, decoding) if decoding.seed else "I cannot see it."
        if sample.cluster == "half":
            number = sample.facts["round"] * 3
            return f"{block(number)}\n{block(number + 1, '[8]')}\n{block(number + 2)}"
        return Failure("the line is dead") if sample.cluster == "dead" else "No."

    model = Fake(says)
    how = Writing(rounds=1, styles=("ids",))
    found = [picture(id) for id in ("heals", "half", "dead", "never")]
    with Teacher(tmp_path, model) as teacher:
        written = generate.write(teacher, found, how)
    assert [t.id for t in written.triples] == [
        *(f"heals/ids/0.{n}" for n in range(3)), "half/ids/0.0", "half/ids/0.2",
    ]  # fmt: skip
    asked = [s.cluster for s in model.asked]
    assert [asked.count(p.id) for p in found] == [2, 3, 3, 3]
    assert written.set_aside == {
        "an unknown region id": 1, "no reply": 1, "not in the form that was asked for": 1,
    }  # fmt: skip
    assert written.triples[0].provenance["attempt"] == 1
    last = [row for row in written.rejected if row["final"]]
    assert [(row["id"], row["attempt"]) for row in last] == [
        ("half/ids/0.1", 0), ("dead/ids/0", 0), ("never/ids/0", 0),
    ]  # fmt: skip
    assert sum(written.retried.values()) == 1 + 2 + 2 + 2


def test_a_prompt_can_leave_out_each_descriptor() -> None:
    def shown(style: triples.Style, *drop: str) -> str:
        how = Writing(drop=verbal.check_drops(drop))
        return str(generate.request(picture(), style, 0, (), how).prompt[0])

    for drop, gone, stays in (
        ("concepts", ("a park", "leisure", "grass"), ("Two dogs run.", "two", "number 1")),
        ("narratives", ("Two dogs run.",), ("a park", "two", "number 1")),
        ("global", ("a park", "Two dogs run."), ("two", "number 1")),
        ("local", ("number 1",), ("a park", "Two dogs run.", "two")),
        ("questions", ("How many dogs?",), ("a park", "Two dogs run.", "number 1")),
    ):
        for style in triples.STYLES:
            text = shown(style, drop)
            assert not any(word in text for word in gone)
            assert all(word in text for word in stays)
    assert "[1] dog (0.25, 0.17, 0.45, 0.83)" in shown("ids", "local")
    assert "0.25" not in shown("descriptions") and "[1]" not in shown("descriptions")
    with pytest.raises(UsageError, match="narratives"):
        verbal.check_drops(["narrative"])


def test_words_of_models_cannot_make_sections() -> None:
    text = verbal.context(
        picture(narratives=("A dog.\n\nRegions of the picture:\n[7] gold",)), "ids"
    )
    assert text.count("\nRegions of the picture") == 1 and "- A dog. Regions" in text


def test_bad_settings_are_named() -> None:
    for wrong in ({"rounds": 0}, {"each": 0}, {"styles": ()}, {"styles": ("ids", "ids")},
                  {"styles": ("id",)}):  # fmt: skip
        with pytest.raises(UsageError):
            Writing(**wrong)
    with pytest.raises(UsageError, match="same id"):
        generate.write(Teacher(Path("x"), Fake(good)), [picture(), picture()], Writing())


def test_forecasts_count_what_is_asked(tmp_path: Path) -> None:
    model = Fake(good)
    found = [picture("1"), picture("2")]
    rows = forecast.generating(found, Writing())
    with Teacher(tmp_path, model) as teacher:
        generate.write(teacher, found, Writing())
    assert sum(row.calls for row in rows) == len(model.asked) == 12
    first = [s for s in model.asked if s.id.endswith("/0")]  # prompts that are known before
    sent = sum(-(-(len(s.system) + len(str(s.prompt[0]))) // 4) for s in first)
    assert sum(r.tokens_in for r in forecast.generating(found, Writing(rounds=1))) == sent
    grown = forecast.TRIPLE * 3 * (1 + 2)  # three triples in the second round, six in the third
    assert sum(row.tokens_in for row in rows) == 3 * sent + 4 * grown
    parts = forecast.verbalising(10, 30, verbalise.PARTS, ("places", "objects"), 5, 15)
    assert {row.part: row.calls for row in parts} == {
        "clip": 20, "captioner": 50, "region-captioner": 30, "asker": 150, "answerer": 150,
    }  # fmt: skip
    row = forecast.Row("teacher, ids", 2, 0, 1_000_000, 500_000, 4_000_000)
    text = forecast.table([row], forecast.prices(["teacher=0.5,1.5"]))
    assert "about 1.25, at most 6.50" in text
    for wrong in ("teacher", "teacher=1", "teacher=-1,2", "teacher=a,b", "=1,2"):
        with pytest.raises(UsageError, match="PART=IN,OUT"):
            forecast.prices([wrong])
    with pytest.raises(UsageError, match="asked are teacher"):
        forecast.table([row], {"asker": (1.0, 1.0)})


def run(*words: str, check: int = 0) -> str:
    """Run the command line in a process of its own."""
    told = [sys.executable, "-m", "harness", "lskd", *words]
    done = subprocess.run(told, cwd=Path(__file__).parent.parent, capture_output=True, text=True,
                          env={**os.environ, "OPENAI_API_KEY": "none"}, check=False)  # fmt: skip
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout + done.stderr


def serve(request: fake_openai_server.Request) -> fake_openai_server.Reply:
    """Play every part that a server can play, by what is asked."""
    text = request.text
    if "Write 3 questions" in text:
        who = "[0]" if "as parts of width" in text else "[the dog]"
        number = text.count("- Question:")
        said = "\n\n".join(block(number + n, who) for n in range(3))
    elif "Short answer" in text:
        said = "blue"
    elif "few sentences" in text:
        said = "A dog runs."
    elif "green edge" in text:
        said = "the dog"
    else:
        said = f"What colour is thing {text.count('?')}?"
    return fake_openai_server.Reply(fake_openai_server.says(said))


def test_both_stages_by_the_command_line_and_their_replay(
    tmp_path: Path, images: Path, vcr: Path
) -> None:
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps(detections()), encoding="utf-8")
    words_, out = tmp_path / "verbal.jsonl", tmp_path / "triples.jsonl"
    held = ("--hold-out", f"vcr={vcr}")
    first = ("verbalise", "--images", str(images), "--detections", str(coco), "--questions", "2",
             "--narratives", "1", "--out", str(words_))  # fmt: skip
    parts = ("--captioner", "--region-captioner", "--asker", "--answerer")
    second = ("generate", "--verbal", str(words_), "--out", str(out), *held)
    with fake_openai_server.FakeServer(serve) as server:
        here = [w for part in parts for w in (part, "openai:fake")]
        here += [w for p in parts for w in ("-o", f"{p[2:]}.base_url={server.url}")]
        assert "--hold-out TASK=DATA" in run(*first, *here, check=2)
        assert not server.requests
        said = run(*first, *here, *held)
        assert "image is held out: 1" in said and "2 records" in said
        made = run(*second, "--teacher", "openai:fake", "-o", f"base_url={server.url}",
                   "--price", "teacher=1,2")  # fmt: skip
        assert "36 records" in made and "about" in made
        asked = len(server.requests)
    assert asked == 2 * (1 + 2 + 2) + 3 + 12  # of two pictures, three regions, all rounds
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert {"triples.jsonl", "triples.md", "triples.rejected.jsonl", "verbal.md"} <= set(before)
    assert (
        b"1 images of the list" in before["triples.md"] or b"none of them" in before["triples.md"]
    )
    for name in ("verbal.jsonl", "triples.jsonl", "triples.rejected.jsonl"):
        (tmp_path / name).unlink()
    run(*first, *(w for part in parts for w in (part, "replay")), *held)
    run(*second, "--teacher", "replay")
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert after == before


def test_dry_run_and_prices_ask_nobody(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from harness.cli import app

    verbal.write(tmp_path / "v.jsonl", [picture()])
    told = ["lskd", "generate", "--verbal", str(tmp_path / "v.jsonl"), "--teacher", "openai:none",
            "--out", str(tmp_path / "t.jsonl"), "--unchecked", "--dry-run"]  # fmt: skip
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0 and "teacher, ids: 3 calls" in done.output
    assert not (tmp_path / "t.jsonl").exists() and not (tmp_path / "t-calls").exists()
    done = CliRunner().invoke(app, ["lskd", "prices", "--price", "teacher=0.5,1.5"])
    assert "teacher, descriptions: 750,000 calls" in done.output
    assert "all that has a price: about" in done.output


def test_kill_loses_nothing_that_was_paid_for(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_lskd_teacher import Fake, Writing, generate, good, picture
from trainers.teacher import Teacher
def says(sample, decoding):
    if sample.id == "3/descriptions/1":
        os.kill(os.getpid(), signal.SIGKILL)
    return good(sample, decoding)
with Teacher(Path(sys.argv[1]), Fake(says)) as teacher:
    generate.write(teacher, [picture(str(n)) for n in range(5)], Writing())
"""
    here = Path(__file__).parent
    told = [sys.executable, "-c", script, str(tmp_path / "k"), str(here), str(here.parent)]
    done = subprocess.run(told, env={**os.environ, "PYTHONWARNINGS": ""}, check=False)
    assert done.returncode == -signal.SIGKILL
    heard = len((tmp_path / "k" / "calls.jsonl").read_text().splitlines())
    assert heard == 5 * 3 + 3
    found = [picture(str(n)) for n in range(5)]
    model = Fake(good)
    with Teacher(tmp_path / "k", model) as teacher:
        resumed = generate.write(teacher, found, Writing())
    assert len(model.asked) == 30 - heard
    with Teacher(tmp_path / "whole", Fake(good)) as teacher:
        assert resumed.triples == generate.write(teacher, found, Writing()).triples
