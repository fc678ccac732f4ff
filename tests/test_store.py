"""A run store: two writers, kill -9, damage, every verb; in memory, on disk and over S3."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from gate_runs import edit, gold, noisy, record, right_but, task
from s3_server import serving

from harness import api, store
from harness.errors import DataError, MissingExtra, UsageError
from harness.record import read
from reports.comparable import folders_in, load
from reports.gate.baselines import bless, find

ROOT = Path(__file__).resolve().parent.parent
needs_s3 = pytest.mark.skipif(
    not (importlib.util.find_spec("s3fs") and importlib.util.find_spec("moto")),
    reason="s3fs and moto are not installed; `make test` installs them",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def s3():
    """A server that keeps its word and one that does not, each with a bucket."""
    import boto3

    keys = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with serving() as good, serving("forgetful") as bad, pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        for url in (good, bad):
            boto3.client("s3", endpoint_url=url).create_bucket(Bucket="team")
        yield {"good": good, "bad": bad}


@pytest.fixture(params=["memory", "file", "folder", pytest.param("s3", marks=needs_s3)])
def place(request, tmp_path, monkeypatch):
    """The address of an empty store."""
    name = tmp_path.name
    if request.param == "memory":
        return f"memory://{name}/runs"
    if request.param == "s3":
        url = request.getfixturevalue("s3")["good"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        return f"s3://team/{name}/runs"
    return ("file://" if request.param == "file" else "") + str(tmp_path / "team/runs")


def pushed(folder, place, say=gold, made=None, name=""):
    record(folder, say, made or task(30))
    return store.push(folder, place, name)[0]


def objects(place):
    """Return every object of a store as (fs, path)."""
    found = store.opened(place)
    found.fs.invalidate_cache()
    return [(found.fs, path) for path in found.fs.find(found.path)]


def test_what_is_pushed_is_what_is_read(tmp_path, place):
    address = pushed(tmp_path / "pope-7b", place)
    assert address.endswith("runs/pope-7b") and len(store.runs(place)) == 1
    ours, theirs = read(tmp_path / "pope-7b"), read(address)
    assert theirs.run == ours.run and list(theirs.rows()) == list(ours.rows())
    assert theirs.folder != ours.folder and theirs.address == address
    assert load(address).task == "pope" and len(folders_in(place)) == 1
    copy = store.pull(address, tmp_path / "copy")
    assert {p.name for p in copy.iterdir()} == {"run.json", "rows.jsonl", "rows.parquet"}
    assert (copy / "rows.jsonl").read_bytes() == (ours.folder / "rows.jsonl").read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        store.pull(address, copy)


def test_pushing_twice_is_pushing_once_and_other_contents_are_refused(tmp_path, place):
    address = pushed(tmp_path / "a/run", place)
    before = {path: fs.cat_file(path) for fs, path in objects(place)}
    assert store.push(tmp_path / "a/run", place) == (address, False)
    record(tmp_path / "b/run", right_but(3), task(30))
    ours, theirs = read(tmp_path / "a/run").run["id"], read(tmp_path / "b/run").run["id"]
    with pytest.raises(DataError, match="never changes; choose another --name") as refused:
        store.push(tmp_path / "b/run", place)
    assert f"(run {ours}), here" in str(refused.value) and f"(run {theirs})" in str(refused.value)
    assert {path: fs.cat_file(path) for fs, path in objects(place)} == before
    store.push(tmp_path / "b/run", place, "other")
    assert [a.rsplit("/", 1)[1] for a in store.runs(place)] == ["other", "run"]


def test_a_damaged_object_is_refused_and_mended_by_pushing_again(tmp_path, place):
    address = pushed(tmp_path / "run", place)
    ((fs, path),) = [(fs, path) for fs, path in objects(place) if path.endswith("rows.jsonl")]
    whole = fs.cat_file(path)
    fs.pipe_file(path, whole.replace(b'"scored"', b'"Scored"', 1))
    with pytest.raises(DataError, match=r"rows.jsonl is damaged: sha256 \w+ .* the manifest says"):
        read(address)
    with pytest.raises(DataError, match="is damaged"):
        store.pull(address, tmp_path / "copy")
    assert [p.name for p in tmp_path.iterdir() if "copy" in p.name] == []
    assert store.push(tmp_path / "run", place) == (address, False)
    assert fs.cat_file(path) == whole and read(address).counts["scored"] == 30
    fs.rm_file(path)
    shutil.rmtree(store.cache_folder())
    with pytest.raises(DataError, match="the manifest names it; it is gone"):
        read(address)


def test_a_damaged_cache_is_no_source(tmp_path, place):
    address = pushed(tmp_path / "run", place)
    cached = read(address).folder / "rows.jsonl"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-9])
    assert read(address).folder == cached.parent and cached.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"schema": 1', b'"schema": 9', "schema 9"),
        (b'"rows.jsonl"', b'"../rows.js"', "digest is not that of its files"),
        (b"{", b"", "damaged manifest"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(tmp_path, place, old, new, says):
    address = pushed(tmp_path / "run", place)
    ((fs, path),) = [(fs, path) for fs, path in objects(place) if path.endswith("manifest.json")]
    fs.pipe_file(path, fs.cat_file(path).replace(old, new, 1))
    with pytest.raises(DataError, match=says):
        read(address)


def test_a_manifest_cannot_name_a_file_outside(tmp_path):
    address = pushed(tmp_path / "run", f"memory://{tmp_path.name}/hostile")
    ((fs, path),) = [(f, p) for f, p in objects(address) if p.endswith("manifest.json")]
    evil = store.Manifest("x", {"run.json": ("0" * 64, 1), "../../evil": ("0" * 64, 1)})
    fs.pipe_file(path, evil.to_json())
    with pytest.raises(DataError, match=r"'\.\./\.\./evil' is no name of a file of a run"):
        store.pull(address, tmp_path / "copy")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a b", "x" * 300])
def test_a_name_is_no_path(tmp_path, name):
    record(tmp_path / "run", gold, task(20))
    with pytest.raises(UsageError, match="cannot name a run in a store"):
        store.push(tmp_path / "run", f"memory://{tmp_path.name}", name)


def test_what_is_unfinished_or_edited_is_not_pushed(tmp_path):
    place = f"memory://{tmp_path.name}"
    record(tmp_path / "run", gold, task(20))
    edit(tmp_path / "run", status="running")
    with pytest.raises(DataError, match="the run is running, not finished"):
        store.push(tmp_path / "run", place)
    edit(tmp_path / "run", status="complete")
    rows = tmp_path / "run/rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b'"end"', b'"End"', 1))
    with pytest.raises(DataError, match="edited by hand"):
        store.push(tmp_path / "run", place)
    assert store.runs(place) == []
    import fcntl

    with (tmp_path / "run/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is writing"):
            store.push(tmp_path / "run", place)


def test_no_store_no_run_no_protocol(tmp_path):
    with pytest.raises(DataError, match="no run in a store"):
        read(f"memory://{tmp_path.name}/nothing")
    with pytest.raises(DataError, match="no manifest is there"):
        api.runs(f"memory://{tmp_path.name}")
    with pytest.raises(UsageError, match="no store can be reached so"):
        read("nonsense://x/y")
    address = pushed(tmp_path / "run", f"memory://{tmp_path.name}/runs")
    with pytest.raises(DataError, match="runs in it: run"):
        read(address.rsplit("/", 1)[0])


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra, match=r"needs the package 'gcsfs'.*\[gs\]"):
        read("gs://team/runs/x")


PUSH = """
import sys
from harness import store
from harness.errors import DataError
print("ready", flush=True)
sys.stdin.readline()
try:
    print("pushed", store.push(sys.argv[1], sys.argv[2], "one")[1])
except DataError as error:
    print("refused", error)
"""


def together(*words):
    """Start processes, let them begin at the same moment, and return what each says."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PUSH, *map(str, w)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for w in words
    ]  # fmt: skip
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0] for process in started]


def test_of_two_processes_that_claim_a_name_one_wins_and_nothing_mixes(tmp_path):
    for i in range(3):
        record(tmp_path / f"{i}/run", right_but(i), task(200))
    ids = [read(tmp_path / f"{i}/run").run["id"] for i in range(3)]
    for attempt in range(4):
        place = tmp_path / f"store-{attempt}"
        said = together(*((tmp_path / f"{i}/run", f"file://{place}") for i in range(3)))
        assert sorted(line.split()[0] for line in said) == ["pushed", "refused", "refused"], said
        winner = ids[[line.split()[0] for line in said].index("pushed")]
        assert load(f"file://{place}/one").head["id"] == winner
        assert all(winner in line for line in said if line.startswith("refused"))


def test_two_processes_that_push_the_same_run_agree(tmp_path):
    record(tmp_path / "run", gold, task(200))
    said = together(*[(tmp_path / "run", f"file://{tmp_path}/store")] * 2)
    assert all(line.startswith("pushed") for line in said)
    assert load(tmp_path / "store/one").task == "pope"


KILLED = """
import os, signal, sys
from harness import store
left = int(sys.argv[3])
put = store.put
def dying(file, to):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    put(file, to)
store.put = dying
if left > 90:
    store._claim = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.push(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("files", [0, 1, 2, 99])
@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=needs_s3)])
def test_kill_9_leaves_nothing_visible_and_pushing_again_completes(
    tmp_path, kind, files, request, monkeypatch
):
    record(tmp_path / "run", gold, task(30))
    place = f"file://{tmp_path}/team"
    if kind == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3")["good"])
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        place = f"s3://team/{tmp_path.name}"
    words = [sys.executable, "-c", KILLED, str(tmp_path / "run"), place, str(files)]
    killed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(objects(place)) == min(files, 3) and store.runs(place) == []
    with pytest.raises(DataError, match=r"no run|no such"):
        folders_in(place)
    assert store.push(tmp_path / "run", place)[1] is True
    assert load(f"{place}/run").task == "pope"


@needs_s3
def test_a_server_that_forgets_the_condition_loses_nothing(tmp_path, s3, monkeypatch):
    """Neither run is overwritten and neither is read in place of the other."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["bad"])
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    place = f"s3://team/{tmp_path.name}"
    address = pushed(tmp_path / "a/run", place)
    names = [path.rsplit("/", 1)[1] for _, path in objects(place)]
    assert "manifest.json" not in names and load(address).task == "pope"
    record(tmp_path / "b/run", right_but(3), task(30))
    with pytest.raises(DataError, match="never changes"):
        store.push(tmp_path / "b/run", place)
    seen = store.manifest
    looked = []

    def blind_once(run):  # both looked before either wrote
        looked.append(run)
        return None if len(looked) == 1 else seen(run)

    monkeypatch.setattr(store, "manifest", blind_once)
    with pytest.raises(DataError, match="was claimed by writers with other contents"):
        store.push(tmp_path / "b/run", place)
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["bad"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="was claimed by writers"):
        read(address)


def sightline(*words, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=needs_s3)])
def test_every_reading_verb_takes_an_address(tmp_path, kind, request, monkeypatch):
    place = f"file://{tmp_path}/team/runs"
    if kind == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3")["good"])
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        place = f"s3://team/{tmp_path.name}/runs"
    made = task(1200, per_image=3)
    for name, say in (("base", noisy(0.1, 1)), ("cand", noisy(0.1, 1)), ("worse", noisy(0.3, 2))):
        record(tmp_path / name, say, made)
        done = sightline("push", tmp_path / name, place, cwd=tmp_path)
        assert done.returncode == 0 and f"runs/{name}" in done.stdout, done.stderr
        shutil.rmtree(tmp_path / name)
    (tmp_path / "gate.yaml").write_text(
        f"gate: {{baseline: ['{place}/base'], tasks: {{pope: {{tier: critical, margin: 2}}}}}}"
    )
    base, cand, worse = (f"{place}/{name}" for name in ("base", "cand", "worse"))
    for words, code, says in (
        (["show", base], 0, "accuracy"),
        (["export", base, "--csv"], 0, "q17"),
        (["compare", base, worse], 0, "right -> wrong"),
        (["gate", cand], 0, "GATE PASS"),
        (["gate", worse], 1, "GATE REGRESSED"),
        (["gate", "--plan", worse], 0, "measured against"),
        (["bless", "v1", base, "--why", "first"], 0, "blessed v1"),
        (["gate", cand, "--baseline", "v1"], 0, "GATE PASS"),
        (["query", "select count(*) n from rows", "-r", place, "--format", "csv"], 0, "3600"),
        (["board", place, "--out", "board.html"], 0, "board.html"),
        (["report", worse, "-b", base, "--images", "none"], 0, "report.html"),
        (["pull", base], 0, "runs/base"),
        (["judge", base, "--judge", "oracle"], 2, ""),
        (["run", "-m", "random", "-t", "pope", "--out", base], 2, ""),
    ):
        if kind == "file" and words[0] not in ("compare", "gate", "bless", "board"):
            continue
        done = sightline(*words, cwd=tmp_path)
        assert done.returncode == code and says in done.stdout, (words, done.stdout, done.stderr)
    if kind == "s3":
        assert (tmp_path / "runs/base/run.json").exists() and (tmp_path / "report.html").exists()
    frame = api.runs(place)
    here = [place.removeprefix("file://") + end for end in ("/base", "/cand", "/worse")]
    assert sorted(frame["folder"]) == here and set(frame["task"]) == {"pope"}
    assert find(tmp_path / "baselines", "v1").load()["pope"].task == "pope"


def test_the_data_frame_of_a_store_reads_no_rows(tmp_path):
    place = f"memory://{tmp_path.name}/runs"
    pushed(tmp_path / "run", place)
    assert len(api.runs(place)) == 1
    assert [p.name for p in store.cache_folder().rglob("*") if p.is_file()] == ["run.json"]


def test_a_blessed_run_in_a_store_is_held_to_its_digest(tmp_path):
    address = pushed(tmp_path / "run", f"memory://{tmp_path.name}/runs")
    entry = bless(tmp_path / "home", "v1", [address], "first")
    assert entry.runs[0]["folder"] == address and entry.load()["pope"].task == "pope"
    store.opened(address).fs.rm(store.opened(address).path, recursive=True)
    record(tmp_path / "b/run", right_but(1), task(30))
    store.push(tmp_path / "b/run", f"memory://{tmp_path.name}/runs")
    with pytest.raises(DataError, match=f"{address} is not what was blessed as v1: rows.jsonl"):
        entry.load()


def test_a_run_in_a_store_is_not_judged_in_place(tmp_path):
    from judged_runs import answered, judged, scripted

    made, folder = answered(tmp_path / "x")
    address = store.push(folder, f"memory://{tmp_path.name}/runs")[0]
    with pytest.raises(UsageError, match="in a store, where a run never changes"):
        judged(address, made, scripted(lambda sample, decoding: "8 6"))
    copy = store.pull(address, tmp_path / "copy")
    judged(copy, made, scripted(lambda sample, decoding: "8 6"))
    with pytest.raises(DataError, match="choose another --name"):
        store.push(copy, f"memory://{tmp_path.name}/runs", "run")
    assert store.push(copy, f"memory://{tmp_path.name}/runs", "judged")[1]


def test_the_served_board_follows_a_store(tmp_path):
    from leaderboards.serve import Live

    place = f"memory://{tmp_path.name}/runs"
    pushed(tmp_path / "the-first", place)
    live = Live([place])
    assert "the-first" in live.page() and "the-second" not in live.page()
    pushed(tmp_path / "the-second", place, right_but(2))
    assert "the-second" in live.page()


@needs_s3
def test_a_bucket_that_is_not_there_is_told_in_one_line(tmp_path, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["good"])
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    record(tmp_path / "run", gold, task(20))
    done = sightline("push", tmp_path / "run", "s3://nobody/runs", cwd=tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "s3://nobody/runs/run" in done.stderr and "bucket" in done.stderr
