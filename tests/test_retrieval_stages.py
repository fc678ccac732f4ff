"""Retrieval from the command line with a small CLIP: pools, faults, kills, and what is written."""

import io
import json
import shutil
import tarfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import made_elevater
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import retrieval_pools as pools
import small_data
import tiny_encoders

from harness import cli
from harness.errors import DataError, RunStopped, UsageError
from tasks._elevater_sets import ALL
from trainers.retrieval import pool as reading
from trainers.retrieval.features import Features
from trainers.retrieval.files import Losses
from trainers.retrieval.pool import Bad, Pair

pytest.importorskip("faiss", reason="pip install faiss-cpu")
WORDS = ("a red cube", "two dogs running", "a large green tree", "the small blue car")
TASK = "eurosat_clip"


def react(*words: object) -> None:
    """Carry out a command line in this process."""
    with pytest.raises(SystemExit) as stopped:
        cli.app(["react", *map(str, words)], standalone_mode=True)
    assert stopped.value.code == 0


def fails(*words: object) -> Any:
    """Return an error of a command line in this process."""
    with pytest.raises((UsageError, DataError, RunStopped)) as failed:
        cli.app(["react", *map(str, words)], standalone_mode=False)
    return failed


def pairs_of(shard: int) -> list[dict[str, Any]]:
    return [
        {"key": f"{shard:02d}{n:03d}", "image": tiny_encoders.picture(100 * shard + n),
         "caption": f"{WORDS[(shard + n) % 4]} {n}", "url": f"http://web/{shard}/{n}.png"}
        for n in range(6)
    ]  # fmt: skip


def write_pool(folder: Path) -> Path:
    """Write four shards; among the pairs are duplicates, evaluated pictures and bad ones."""
    shards = [pairs_of(n) for n in range(4)]
    shards[1][0]["image"] = shards[0][0]["image"]
    shards[1][1]["url"] = shards[0][1]["url"]
    shards[2][0] |= {"image": small_data.picture(1), "suffix": "jpg"}  # an evaluated picture
    with_space = {"caption": " a red\tcube\n"}
    shards[2][1] |= with_space
    shards[3][0]["image"] = b"no picture"
    for number, pairs in enumerate(shards):
        members = pools.members(pairs)
        if number == 3:
            members += [("03900.png", tiny_encoders.picture(9)), ("03901.txt", b"alone")]
        pools.write_tar(folder / f"{number:05d}.tar", members)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a pool, an encoder, a task, features and an index of them."""
    tmp = tmp_path_factory.mktemp("react")
    write_pool(tmp / "pool")
    tiny_encoders.make_clip(tmp / "clip")
    (tmp / "data").mkdir()
    made_elevater.write_names(tmp / "data")
    pictures = [small_data.picture(seed) for seed in range(4)]
    made_elevater.write_set(
        tmp / "data" / TASK, ALL[TASK], {"test": [[0], [1], [2], [3]]}, pictures
    )
    embed(tmp, tmp / "features")
    react("index", "--features", tmp / "features", "--out", tmp / "index", "--rows", 10,
          "--links", 8, "--build", 20)  # fmt: skip
    return tmp


def embed(place: Path, out: Path, *more: object) -> None:
    react("embed", *embed_words(place, out), *more)


def embed_words(place: Path, out: Path) -> list[object]:
    return ["--pool", place / "pool", "--model", f"transformers:{place / 'clip'}", "--out", out,
            "--failure-limit", "0.15"]  # fmt: skip


def retrieve_words(place: Path, out: Path, *more: object) -> list[object]:
    return ["retrieve", "--features", place / "features", "--pool", place / "pool", "--index",
            place / "index", "--task", f"elevater/{TASK}", "--data", place / "data", "--out", out,
            "--k", "4", *more]  # fmt: skip


def test_features_say_what_is_in_the_pool(place):
    summary = json.loads((place / "features" / "embed.json").read_text())
    assert summary["pairs"] == 26
    assert summary["bad"] == {"no caption": 1, "no picture": 1, "picture that does not open": 1}
    features = Features(place / "features")
    assert features.rows == 23 and features.encoder["width"] == 24
    rows = pq.read_table(place / "features" / "shards" / "00002" / "pairs.parquet").to_pylist()
    assert rows[0]["suffix"] == "jpg" and (rows[0]["width"], rows[0]["height"]) == (64, 48)
    assert rows[1]["caption"] == "a red cube" and rows[1]["url"] == "http://web/2/1.png"
    data = (place / "pool" / "00002.tar").read_bytes()
    assert sha256(data[rows[3]["at"] :][: rows[3]["size"]]).hexdigest() == rows[3]["sha256"]


def test_vectors_are_the_models_own(place):
    import torch
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(place / "clip").eval()
    processor = AutoProcessor.from_pretrained(place / "clip")
    from PIL import Image

    with torch.inference_mode():
        image = Image.open(io.BytesIO(tiny_encoders.picture(2))).convert("RGB")
        inputs = processor(
            text=["the small blue car 3"], images=[image], return_tensors="pt", truncation=True,
            max_length=16,
        )  # fmt: skip
        told = model(**inputs)
    folder = place / "features" / "shards" / "00000"
    image_row, text_row = (np.load(folder / f"{kind}.npy") for kind in ("image", "text"))
    assert image_row.dtype == np.float16
    np.testing.assert_allclose(image_row[2], told.image_embeds[0].numpy(), atol=2e-3)
    np.testing.assert_allclose(text_row[3], told.text_embeds[0].numpy(), atol=2e-3)


def test_embedding_that_was_killed_ends_with_the_same_bytes(place, tmp_path):
    shards = tmp_path / "features" / "shards"
    words = ["react", "embed", *embed_words(place, tmp_path / "features")]
    pools.killed(words, 1, 29, (shards / "00001").is_dir)
    assert sorted(path.name for path in shards.iterdir()) == ["00000", "00001"]
    (shards / "00002.part").mkdir()
    (shards / "00002.part" / "image.npy").write_bytes(b"half")
    before = (shards / "00000" / "image.npy").stat().st_mtime_ns
    embed(place, tmp_path / "features")
    assert (shards / "00000" / "image.npy").stat().st_mtime_ns == before
    assert pools.files(tmp_path / "features") == pools.files(place / "features")


def test_retrieved_pairs_are_whole_and_say_where_they_are_from(place, tmp_path):
    out = tmp_path / "out"
    react(*retrieve_words(place, out, "--per-tar", 5, "--recall", 30))
    run = json.loads((out / "run.json").read_text())
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    assert run["kept"] == len(rows) and run["recall"]["t2i"] >= 0.95
    assert run["queries"]["count"] == 30 and len(run["labels"]) == 10
    assert run["held_out"]["tasks"] == {f"elevater/{TASK}": 4}
    assert not (out / "search").exists()
    assert [row["source_key"] for row in rows] == sorted(row["source_key"] for row in rows)
    given = {pair["key"]: pair for n in range(4) for pair in pairs_of(n)}
    found: dict[str, dict[str, bytes]] = {}
    for name, told in run["tars"].items():
        data = (out / name).read_bytes()
        assert sha256(data).hexdigest() == told["sha256"]
        with tarfile.open(out / name) as tar:
            for member in tar:
                key, ending = member.name.split(".")
                opened = tar.extractfile(member)
                assert opened is not None and (member.mtime, member.uid) == (0, 0)
                found.setdefault(key, {})[ending] = opened.read()
    assert len(found) == len(rows)
    for row in rows:
        own = found[row["key"]]
        assert own["txt"].decode() == row["caption"]
        assert sha256(own[row["suffix"]]).hexdigest() == row["sha256"]
        assert json.loads(own["json"])["source_key"] == row["source_key"]
        if row["source_key"] not in ("01000", "02001"):
            assert row["caption"] == given[row["source_key"]]["caption"]
        assert len({*map(len, (row["labels"], row["ranks"], row["modes"], row["templates"]))}) == 1
        assert row["rank"] == min(row["ranks"]) and row["rank"] <= 4
    hashes = [row["sha256"] for row in rows]
    urls = [row["url"] for row in rows]
    assert len({*hashes}) == len(hashes) and len({*urls}) == len(urls)
    dropped = pq.read_table(out / "dropped.parquet").to_pylist()
    assert Counter(row["reason"] for row in dropped) == run["dropped"]
    assert len(dropped) + len(rows) == run["within_caps"]


def test_no_evaluated_picture_is_retrieved(place, tmp_path):
    """With K as large as the pool everything is found, so all that is missing was dropped."""
    react(*retrieve_words(place, tmp_path / "out", "--k", 23))
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    evaluated = {sha256(small_data.picture(seed)).hexdigest() for seed in range(4)}
    assert not evaluated & {row["sha256"] for row in rows}
    told = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    why = {row["key"]: row["reason"] for row in told}
    assert why["02000"] == "held out: same file"
    assert {why.get("01000"), why.get("00000")} == {"same file", None}
    assert {why.get("01001"), why.get("00001")} == {"same address", None}
    assert run["found"] == 23 and run["kept"] == 23 - len(told)
    assert run["dropped"]["same address"] == run["dropped"]["same file"] == 1


def test_the_same_command_gives_the_same_bytes_and_another_is_refused(place, tmp_path):
    more = ("--mode", "both", "--target", 9, "--cap", 14, "--k", 20)
    react(*retrieve_words(place, tmp_path / "one", *more))
    react(*retrieve_words(place, tmp_path / "two", *more, "--workers", 2))
    assert pools.files(tmp_path / "one") == pools.files(tmp_path / "two")
    run = json.loads((tmp_path / "one" / "run.json").read_text())
    assert 1 < run["k_used"] < 20 and run["kept"] >= 9 and run["short_of_target"] == 0
    assert all(one["within_cap"] <= 14 for one in run["labels"].values())
    before = pools.files(tmp_path / "two")
    for name in ("run.json", "manifest.parquet"):  # as if it had been killed while writing
        (tmp_path / "two" / name).unlink()
    react(*retrieve_words(place, tmp_path / "two", *more))
    assert pools.files(tmp_path / "two") == before
    failed = fails(*retrieve_words(place, tmp_path / "two", "--mode", "t2t"))
    assert failed.match(r"begun with other settings \(modes: \['t2t', 't2i'\] before")


def test_captions_ask_exactly_and_class_files_do(place, tmp_path, capsys):
    (tmp_path / "said.txt").write_text("two dogs running\na red cube\n")
    words = ["retrieve", "--features", place / "features", "--pool", place / "pool", "--exact"]
    react(*words, "--captions", tmp_path / "said.txt", "--out", tmp_path / "out", "--mode", "t2t",
          "--k", 3)  # fmt: skip
    assert "nothing was held out" in capsys.readouterr().out
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(run["labels"]) == ["two dogs running", "a red cube"] and run["index"] == {}
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    best = [row for row in rows if 1 in row["ranks"][-1:] and row["labels"][-1] == "a red cube"]
    # The small model knows no digits, so captions that differ in them alone are ties: first key.
    assert [(row["caption"], row["distances"][-1]) for row in best] == [("a red cube 0", 0)]
    react(*words, "--captions", tmp_path / "said.txt", "--out", tmp_path / "none", "--k", 3,
          "--hold-out", f"elevater/{TASK}={place / 'data'}", "--tau", "-1")  # fmt: skip
    run = json.loads((tmp_path / "none" / "run.json").read_text())
    assert run["kept"] == 0 and run["labels_without_pairs"] == ["two dogs running", "a red cube"]


def test_another_encoder_is_refused_at_every_stage(place, tmp_path):
    other = tiny_encoders.make_clip(tmp_path / "other", seed=1)
    model = f"transformers:{other}"
    failed = fails("embed", "--pool", place / "pool", "--model", model, "--out", place / "features")
    assert failed.match("holds vectors of another encoder") and failed.match("differ in weights")
    failed = fails(*retrieve_words(place, tmp_path / "out", "--model", model))
    assert failed.match("holds vectors of another encoder")
    moved = shutil.copytree(place / "clip", tmp_path / "moved")  # another place is no other encoder
    react(*retrieve_words(place, tmp_path / "out", "--model", f"transformers:{moved}"))


# --- pools -----------------------------------------------------------------------------------


def read(folder: Path) -> list[Pair | Bad]:
    return [pair for shard in reading.shards(folder) for pair in shard.pairs()]


def test_tars_parquet_and_folders_hold_the_same_pairs(tmp_path):
    pairs = pairs_of(0)
    pools.write_tar(tmp_path / "tar" / "a" / "0.tar", pools.members(pairs))
    pq.write_table(pa.table({"key": ["not looked at"]}), tmp_path / "tar" / "a" / "0.parquet")
    for pair in pairs:
        for name, data in pools.members([pair]):
            (tmp_path / "folder").mkdir(exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "table").mkdir()
    columns = {"Key": [p["key"] for p in pairs], "TEXT": [p["caption"] for p in pairs],
               "URL": [p["url"] for p in pairs],
               "image": [{"bytes": p["image"], "path": None} for p in pairs]}  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "table" / "0.parquet", row_group_size=2)
    wanted = [(p["key"], p["image"], p["caption"], p["url"]) for p in pairs]
    for name in ("tar", "folder", "table"):
        found = read(tmp_path / name)
        told = [(p.key, p.image, p.caption, p.url) for p in found if isinstance(p, Pair)]
        assert told == wanted, name
        (shard,) = reading.shards(tmp_path / name)
        places = [(p.at, len(p.image)) for p in found if isinstance(p, Pair)]
        assert [*shard.images([places[1], places[4]])] == [pairs[1]["image"], pairs[4]["image"]]
    assert [shard.name for shard in reading.shards(tmp_path / "tar")] == ["a/0"]


def test_bad_pairs_are_named(tmp_path):
    members = pools.members(pairs_of(0)[:1])
    picture = tiny_encoders.picture(1)
    members += [("b.png", picture), ("b.txt", b"  "), ("c.png", picture), ("c.json", b"{"),
                ("d.png", b""), ("d.txt", b"x"), *members]  # fmt: skip
    members += [("e.JPG", picture), ("e.json", b'{"caption": "of the json", "url": 7}')]
    pools.write_tar(tmp_path / "0.tar", members)
    found = read(tmp_path)
    assert [(p.key, p.why) for p in found if isinstance(p, Bad)] == [
        ("b", "no caption"), ("c", "json that cannot be read"), ("d", "no picture"),
        ("00000", "key twice"),
    ]  # fmt: skip
    assert [(p.key, p.caption, p.url) for p in found if isinstance(p, Pair)][1:] == [
        ("e", "of the json", "")
    ]


@pytest.mark.parametrize("cut", [512, 1000, 1024, 5000])
def test_a_tar_that_breaks_off_anywhere_is_known(tmp_path, cut):
    path = pools.write_tar(tmp_path / "0.tar", pools.members(pairs_of(0)))
    with tarfile.open(path) as tar:
        end = max(member.offset_data + member.size for member in tar)
        end += -end % 512
    path.write_bytes(path.read_bytes()[: end + 512 - cut])  # 512: all members, and no end mark
    with pytest.raises(DataError, match=r"0\.tar is truncated or no tar"):
        read(tmp_path)


def test_a_truncated_shard_is_named_and_passed_over_under_the_limit(place, tmp_path, capsys):
    shutil.copytree(place / "pool", tmp_path / "pool")
    shutil.copytree(place / "clip", tmp_path / "clip")
    path = tmp_path / "pool" / "00001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    words = embed_words(tmp_path, tmp_path / "features")
    failed = fails("embed", *words)
    assert failed.match(r"1 of 4 shards cannot be read \(--failure-limit is 0\.15\): 00001: ")
    assert failed.match(r"00001\.tar is truncated") and "00000: " not in str(failed.value)
    embed(tmp_path, tmp_path / "features", "--failure-limit", "0.3")
    assert "shard passed over: 00001: " in capsys.readouterr().out
    features = Features(tmp_path / "features")
    assert [shard.name for shard in features.shards] == ["00000", "00002", "00003"]
    path.write_bytes(whole)  # mended: only this one is made
    embed(tmp_path, tmp_path / "features")
    assert pools.files(tmp_path / "features" / "shards") == pools.files(place / "features/shards")
    (tmp_path / "pool" / "00002.tar").write_bytes(whole + bytes(512))
    assert fails("embed", *words).match("00002 was made of a shard with .* bytes, and now it has")


def test_too_many_bad_pairs_stop_the_run():
    losses = Losses(0.1, shards=1, pairs=20)
    losses.bad["no caption"] = 2
    losses.check_pairs()
    losses.bad["no picture"] = 1
    with pytest.raises(RunStopped, match=r"3 of 20 pairs cannot be used .*no caption: 2"):
        losses.check_pairs()
    losses.bad["no picture"] = 18
    with pytest.raises(DataError, match="no pair that can be used"):
        losses.check_pairs()


def test_tables_without_pictures_and_broken_ones_are_told(tmp_path):
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"url": ["http://x"], "caption": ["a"]}), path)
    with pytest.raises(DataError, match=r"no column of the image .*has to be downloaded first"):
        read(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"0\.parquet is truncated or no parquet file"):
        read(tmp_path)
    with pytest.raises(UsageError, match=r"holds no \.tar, no \.parquet and no picture"):
        reading.shards(place_of(tmp_path / "empty"))


def place_of(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_words_that_cannot_be_meant_are_told(place, tmp_path):
    words = retrieve_words(place, tmp_path / "out")
    assert fails(*words, "--captions", "x.txt").match("one of --task, --classes, --captions; found")
    assert fails(*words, "--mode", "i2t").match("no choice 'i2t'")
    assert fails(*words, "--tau", "2").match("--tau is 2.0")
    assert fails(*words, "--k", "0").match("--k is 0")
    assert fails(*words, "--hold-out", "pope").match("--hold-out takes TASK=DATA")
    assert fails("index", "--features", tmp_path, "--out", tmp_path / "i").match("react embed")
    none = ["retrieve", "--features", place / "features", "--pool", place / "pool", "--out",
            tmp_path / "none", "--task", f"elevater/{TASK}", "--data", place / "data"]  # fmt: skip
    assert fails(*none).match("give --index, or --exact")


def test_a_pool_that_changed_under_its_features_is_told(place, tmp_path):
    shutil.copytree(place / "pool", tmp_path / "pool")
    data = (tmp_path / "pool" / "00000.tar").read_bytes()
    (tmp_path / "pool" / "00000.tar").write_bytes(data.replace(b"IEND", b"XEND"))
    words = retrieve_words(place, tmp_path / "out", "--k", 23)
    words[words.index("--pool") + 1] = tmp_path / "pool"
    assert fails(*words).match("is not the one that was embedded")


def test_a_siglip_encodes_too_and_a_language_model_does_not(tmp_path):
    from trainers.retrieval.encode import Encoder

    encoder = Encoder(f"transformers:{tiny_encoders.make_siglip(tmp_path / 'siglip')}")
    seen = encoder.images([encoder.ready(tiny_encoders.picture(n), "p") for n in range(3)])
    read = encoder.texts(["A Red cube", "a red cube"])
    assert seen.shape == (3, encoder.width) and np.allclose(np.linalg.norm(seen, axis=1), 1)
    np.testing.assert_array_equal(read[0], read[1])  # SigLIP's texts are in lower case
    with pytest.raises(UsageError, match="constant:yes has no vectors of images and texts"):
        Encoder("constant:yes")
