"""`sightline world`: a folder from a seed, the same bytes always, and what bad input gets."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DataError, UsageError
from harness.world import build

ROOT = Path(__file__).resolve().parent.parent


def world(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "world", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that the command made, and what it said."""
    out = tmp_path_factory.mktemp("world") / "w"
    return out, world("--out", out, "--scenes", 20, "--seed", 3)


def test_the_command_makes_every_format_and_says_what_next(made):
    out, done = made
    assert done.returncode == 0, done.stderr
    assert "rendered: 180 of 180 pictures" in done.stderr
    for name in build.formats():
        assert any((out / name).rglob("*")) and f"  {name} " in done.stdout
    assert "sightline run -t gqa -d" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1] == f"next: sightline check pope -d {out / 'pope'}"
    facts = json.loads((out / "world.json").read_text())
    assert (facts["train"], facts["test"], facts["seed"]) == (16, 4, 3)
    assert sorted(facts["formats"]) == build.formats()
    assert not [path for path in out.parent.iterdir() if path != out]


def test_one_worker_or_three_make_the_same_bytes_as_two(made, tmp_path):
    first = digests(made[0])
    for workers in (1, 3):
        out = tmp_path / str(workers)
        done = world("--out", out, "--scenes", 20, "--seed", 3, "--workers", workers, "-q")
        assert done.returncode == 0 and done.stdout == "" == done.stderr
        assert digests(out) == first
    other = tmp_path / "other"
    assert world("--out", other, "--scenes", 20, "--seed", 4, "--only", "pope").returncode == 0
    second = digests(other)
    assert {name for name in second if first.get(name) == second[name]} == set()


def test_no_file_holds_the_name_of_the_folder(made):
    out = made[0]
    for path in out.rglob("*"):
        if path.is_file() and path.suffix not in (".jpg", ".png", ".zip", ".gz"):
            assert str(out).encode() not in path.read_bytes(), path
            assert b".part/" not in path.read_bytes(), path


def test_only_and_shift_choose(tmp_path):
    out = tmp_path / "w"
    done = world("--out", out, "-n", 20, "--only", "retrieval,gqa", "--shift", "dark,colours",
                 "--shift", "small", "--size", "224x160")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((out / "world.json").read_text())
    assert facts["shifts"] == ["colours", "small", "dark"]
    assert (facts["width"], facts["height"]) == (224, 160)
    assert {p.name for p in out.iterdir()} == {"world.json", "images", "clips", "gqa", "retrieval"}
    assert "next: sightline check retrieval" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "gaq"], "there is no world format 'gaq'; did you mean gqa"),
        (["--only", ","], "--only takes names of formats"),
        (["--shift", "crowd"], "there is no shift 'crowd'; did you mean crowded?"),
        (["--scenes", "7"], "at least 20 scenes, asked for 7"),
        (["--workers", "0"], "at least 1 worker, asked for 0"),
        (["--size", "big"], "--size takes WIDTHxHEIGHT in pixels, e.g. 320x240; found 'big'"),
        (["--size", "40x40"], "a picture is 120 to 2,000 pixels"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(words, said, tmp_path):
    done = world("--out", tmp_path / "w", *words)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_free_is_left_alone(made, tmp_path):
    out = made[0]
    before = digests(out)
    done = world("--out", out, "--scenes", 20)
    assert done.returncode == 2 and "holds a world already; add --replace" in done.stderr
    assert digests(out) == before
    strange = tmp_path / "mine"
    strange.mkdir()
    (strange / "thesis.txt").write_text("years of work")
    for more in ([], ["--replace"]):
        done = world("--out", strange, "--scenes", 20, *more)
        assert done.returncode == 2 and "is not empty and holds no world" in done.stderr
    assert (strange / "thesis.txt").read_text() == "years of work"
    done = world("--out", strange / "thesis.txt", "--scenes", 20)
    assert done.returncode == 2 and "is a file" in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = world("--out", tmp_path / "file/w", "--scenes", 20)
    assert done.returncode == 2 and "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    done = world("--out", ".", "--scenes", 20)
    assert done.returncode == 2 and "is where you are" in done.stderr


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "disk")
    build.make(tmp_path / "w", 20, 1, only=["pope"], workers=1, say=str)
    assert (tmp_path / "w").is_symlink() and (tmp_path / "disk/pope").is_dir()


def test_replace_throws_the_old_world_away(tmp_path):
    out = tmp_path / "w"
    build.make(out, 20, 1, only=["pope"], workers=1, say=str)
    build.make(out, 20, 2, only=["retrieval"], workers=1, replace=True, say=str)
    assert not (out / "pope").exists() and build.manifest(out)["seed"] == 2


def test_what_an_interrupted_run_left_is_cleared_and_strangers_are_not(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    out = tmp_path / "w"
    with monkeypatch.context() as patch:
        patch.setattr(build, "_render", broken)
        with pytest.raises(UsageError, match="cannot be written: no space"):
            build.make(out, 20, 1, only=["pope"], say=str)
    assert not out.exists()
    build.make(out, 20, 1, only=["pope"], workers=1, say=str)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    (tmp_path / ".v.part").mkdir()
    (tmp_path / ".v.part/mine").touch()
    with pytest.raises(UsageError, match="in the way"):
        build.make(tmp_path / "v", 20, 1, only=["pope"], say=str)
    assert (tmp_path / ".v.part/mine").exists()


def test_a_world_is_read_back_or_refused(made, tmp_path):
    out = made[0]
    world = build.load(out)
    assert build.digest_of(world) == build.manifest(out)["digest"]
    assert world.picture(world.scenes[0]).exists() and world.frames(world.clips[0])[0].exists()
    (tmp_path / "world.json").write_text((out / "world.json").read_text().replace(
        build.digest_of(world), "0" * 64))  # fmt: skip
    with pytest.raises(DataError, match="make it again"):
        build.load(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "world.json").write_text(text)
        with pytest.raises(DataError, match=r"world\.json"):
            build.load(tmp_path)
