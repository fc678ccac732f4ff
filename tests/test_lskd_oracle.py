"""The rule-based teacher: what it says is true but for the errors it owns up to.

Truth is checked by rules of the test's own, from the scenes and the pictures' boxes.
"""

import json
import re
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import DataError, UsageError
from harness.types import Decoding, Sample
from harness.world import build
from harness.world.scene import Scene, Thing, World
from trainers.localized import held_out, labels, oracle, triples
from trainers.localized.triples import Triple, words

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world on disk."""
    out = tmp_path_factory.mktemp("oracle") / "world"
    build.make(out, 40, seed=5, only=["sherlock"], workers=1, size=(160, 120), say=lambda _: None)
    return out


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    """The same, in memory."""
    return build.load(folder)


def make(
    folder: Path, out: Path, rate: float, styles: tuple[triples.Style, ...] = triples.STYLES
) -> tuple[list[Triple], dict[str, dict[str, object]]]:
    """Write a corpus; return it with its truth by id."""
    oracle.corpus(folder, out, hallucination=rate, per_image=18, seed=3, styles=styles)
    rows = map(json.loads, (out / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    return list(triples.read(out / "triples.jsonl")), {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def true(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Triple]:
    """A corpus without errors, regions by number."""
    return make(folder, tmp_path_factory.mktemp("true"), 0.0, ("ids",))[0]


@pytest.fixture(scope="module")
def wrong(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Triple], dict[str, dict[str, object]]]:
    """A corpus in which every triple has an error, and its truth."""
    return make(folder, tmp_path_factory.mktemp("wrong"), 1.0, ("ids",))


def scene_of(world: World, triple: Triple) -> Scene:
    number = int(re.findall(r"([0-9]+)\.jpg", triple.image)[0])
    return next(scene for scene in world.scenes if scene.id == number)


def thing_of(scene: Scene, triple: Triple, region: int) -> Thing:
    """Return the thing whose box a region is."""
    box = triple.boxes(region)[0]
    return min(scene.things, key=lambda t: sum(abs(a - b) for a, b in zip(t.box, box, strict=True)))


def claims(text: str, scene: Scene, triple: Triple) -> list[bool]:
    """Return whether each statement that this test understands holds of the scene."""

    def at(number: str) -> Thing:
        return thing_of(scene, triple, int(number))

    found = []
    for n, hair in re.findall(r"\[(\d+)\] has (\w+) hair", text):
        person = at(n).person
        found.append(person is not None and person.hair == hair)
    for n, mood in re.findall(r"\[(\d+)\] (?:looks|feels) (\w+)", text):
        person = at(n).person
        found.append(person is not None and person.mood == mood)
    worn = r"\[(\d+)\] (?:has \w+ hair and|looks \w+ in) an? (\w+) shirt"
    for n, shirt in re.findall(worn, text):
        found.append(at(n).colour == shirt)
    for n, gender, shirt in re.findall(r"\[(\d+)\] is a (man|woman) in an? (\w+) shirt", text):
        person = at(n).person
        found.append(person is not None and (person.gender, person.shirt) == (gender, shirt))
    for n, colour, kind in re.findall(r"\[(\d+)\] is an? (\w+) ([a-z ]+?) (?:\.|,)", text):
        if colour in COLOURS:
            found.append((at(n).colour, at(n).kind) == (colour, kind))
    for one, side, two in re.findall(r"\[(\d+)\] is (to the left of|to the right of|above|below) "
                                     r"\[(\d+)\]", text):  # fmt: skip
        (x, y), (a, b) = at(one).centre, at(two).centre
        holds = {"to the left of": x < a, "to the right of": x > a, "above": y < b, "below": y > b}
        found.append(holds[side])
    for n, other in re.findall(r"\[(\d+)\] is looking at \[(\d+)\]", text):
        person = at(n).person
        found.append(person is not None and person.gaze == at(other).id)
    for place in re.findall(r"They are (?:in|on) an? (\w+)", text):
        found.append(scene.place == place)
    doing = r"\[(\d+)\] is (holding|reading|drinking|eating|walking|waving)"
    for n, verb in re.findall(doing, text):
        person = at(n).person
        stems = {"drinking": "drink", "holding": "hold", "reading": "read", "eating": "eat",
                 "walking": "walk", "waving": "wave"}  # fmt: skip
        found.append(person is not None and person.action == stems[verb])
    return found


def parts_of(triple: Triple) -> tuple[str, str]:
    """Return question with answer, and the rationale."""
    return f"{words(triple.question)} {words(triple.answer)}", words(triple.rationale)


def test_without_hallucination_everything_said_holds(world: World, true: list[Triple]) -> None:
    assert len(true) > 400
    count = 0
    for triple in true:
        for part in parts_of(triple):
            held = claims(part, scene_of(world, triple), triple)
            assert all(held), part
            count += len(held)
    assert count > 500
    assert not any("{" in words(t.question) + words(t.answer) for t in true)


def test_an_error_is_where_truth_says_and_nowhere_else(
    world: World, wrong: tuple[list[Triple], dict[str, dict[str, object]]]
) -> None:
    found, truth = wrong
    seen: Counter[object] = Counter()
    for triple in found:
        row, scene = truth[triple.id], scene_of(world, triple)
        assert row["true"] is False and row["was"] != row["is"]
        qa, why = parts_of(triple)
        if row["part"] == "rationale":  # the answer was left alone
            assert all(claims(qa, scene, triple))
        checked = claims(qa if row["part"] == "qa" else why, scene, triple)
        if not all(checked):
            seen[row["error"]] += 1
    # kinds of error that the test's own rules can see
    assert {"colour", "kind", "relation", "event", "region", "place"} <= set(seen)


def test_the_rate_is_what_it_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    found, truth = make(folder, tmp_path, 0.3)
    share = sum(not row["true"] for row in truth.values()) / len(found)
    spread = (0.3 * 0.7 / len(found)) ** 0.5
    assert abs(share - 0.3) < 4 * spread
    assert {t.id for t in found} == set(truth)


def test_errors_use_no_word_that_is_never_true(
    true: list[Triple], wrong: tuple[list[Triple], dict[str, dict[str, object]]], world: World
) -> None:
    colours = {t.colour for s in world.split("train") for t in s.things}
    kinds = {t.kind for s in world.split("train") for t in s.things}
    for triple in wrong[0]:
        for colour, kind in re.findall(r"\] is an? (\w+) ([a-z ]+?) (?:\.|,)", parts_of(triple)[1]):
            if colour in COLOURS:
                assert colour in colours and kind in kinds


def test_train_pictures_only_and_no_truth_in_the_corpus(
    world: World, true: list[Triple], wrong: tuple[list[Triple], dict[str, dict[str, object]]]
) -> None:
    assert {scene_of(world, t).split for t in true} == {"train"}
    assert {t.image for t in true} == {
        world.picture(s).relative_to(world.out / "images").as_posix() for s in world.split("train")
    }
    for triple in wrong[0][:50]:
        line = json.loads(triples.to_line(triple))
        assert not {"error", "true", "was", "fact"} & (set(line) | set(line["provenance"]))


def test_evaluated_pictures_are_held_out_and_those_of_the_corpus_are_not(
    folder: Path, world: World
) -> None:
    known = held_out.read([f"sherlock={folder / 'sherlock'}"], None)
    train = oracle.pictures(world)
    assert held_out.split(train, known) == (train, 0)
    copies = [
        replace(train[0], sha256=sha256(world.picture(scene).read_bytes()).hexdigest())
        for scene in world.split("test")
    ]
    assert held_out.split(copies, known) == ([], len(world.split("test")))


def test_per_image_styles_and_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        oracle.corpus(folder, tmp_path / name, hallucination=0.5, per_image=5, seed=9)
    for file in ("triples.jsonl", "truth.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    before = (tmp_path / "one" / "triples.jsonl").read_bytes()
    oracle.corpus(folder, tmp_path / "one", hallucination=0.5, per_image=5, seed=9)  # from cache
    assert (tmp_path / "one" / "triples.jsonl").read_bytes() == before
    found = list(triples.read(tmp_path / "one" / "triples.jsonl"))
    counts = Counter((t.image, t.style) for t in found)
    assert set(counts.values()) <= {2, 3} and max(Counter(t.image for t in found).values()) == 5
    plain = [t for t in found if t.style == "descriptions"]
    assert plain and all(not triples.mentioned(t.question, t.answer) and t.region for t in plain)


def test_judge_knows_its_own_words_only(world: World, true: list[Triple]) -> None:
    teacher = oracle.Oracle(world, 0.0, 3)
    assert teacher.judge(true[0], 3, 3).part == ""
    with pytest.raises(DataError, match="never said"):
        teacher.judge(replace(true[0], answer=("Something", "else", ".")), 3, 3)
    with pytest.raises(UsageError, match="cannot rank"):
        next(iter(teacher.answer([], "rank", Decoding())))
    stranger = Sample("x/ids/0", ("say",), cluster="x", facts={"style": "ids"})
    assert "train pictures" in str(next(iter(teacher.answer([stranger], "generate", Decoding()))))


def test_two_annotators_rate_truth_with_stated_noise(tmp_path: Path) -> None:
    truth = [{"id": str(n), "part": part} for n, part in enumerate((None, "qa", "rationale"))]
    assert [row["ratings"] for row in oracle.annotate(truth, noise=0.0, seed=1)] == [
        [{"annotator": name, "qa": qa, "r": r} for name in ("one", "two")]
        for qa, r in ((3, 3), (1, None), (3, 1))
    ]
    many = [{"id": str(n), "part": None} for n in range(3000)]
    rated = oracle.annotate(many, noise=0.2, seed=1)
    given = Counter(r["qa"] for row in rated for r in row["ratings"])
    assert abs(given[3] / 6000 - 0.8) < 0.02 and abs(given[1] / given[2] - 1) < 0.2
    assert sorted(map(str, oracle.annotate(many[::-1], noise=0.2, seed=1))) == sorted(
        map(str, rated)
    )
    file = tmp_path / "ratings.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rated), encoding="utf-8")
    assert len(labels.read(file)) == 3000
    with pytest.raises(UsageError, match="noise"):
        oracle.annotate(truth, noise=1.5, seed=0)


def test_bad_numbers_and_no_world(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hallucination rate"):
        oracle.corpus(folder, tmp_path, hallucination=2, per_image=3, seed=0)
    with pytest.raises(UsageError, match="at least one triple"):
        oracle.corpus(folder, tmp_path, hallucination=0, per_image=0, seed=0)
    with pytest.raises(DataError, match="no world"):
        oracle.corpus(tmp_path / "none", tmp_path, hallucination=0, per_image=3, seed=0)
