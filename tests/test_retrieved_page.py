"""The page of a retrieval: what it shows, in a real browser, with hostile captions."""

import json
from pathlib import Path

import pytest
import retrieval_pools as pools
import tiny_encoders
from browser import Tab, browser
from page_runs import HOSTILE
from test_report_browser import CONTRAST

from harness.errors import DataError, UsageError
from reports.retrieved import render
from trainers.retrieval import write

PHONE = {"viewport": {"width": 320, "height": 640}}
LABELS = ("<b>dog</b>", "tree", "nothing")


def write_retrieval(folder: Path) -> Path:
    """Write what `react retrieve` does, with words that would like to be markup."""
    texts = [text.encode("utf-8", "replace").decode().replace("\0", " ") for text in HOSTILE]
    facts = [
        {"key": f"<i>{n}", "shard": "0", "at": n, "size": 1, "suffix": "png", "caption": text,
         "url": "javascript:alert(1)", "width": 60, "height": 45, "sha256": f"{n}", "look": n,
         "flat": False}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    hits = [
        [{"label": label, "template": 0, "rank": n + 1, "distance": 0.5 + n / 100, "mode": "t2i"}
         for label in LABELS[: 1 + n % 2]]
        for n in range(len(facts))
    ]  # fmt: skip
    rows = write.manifest_rows(facts, hits, 4)
    asked = [{"label": label, "template": 0, "text": f"a photo of {label}"} for label in LABELS]
    folder.mkdir()
    write.table(folder / "manifest.parquet", rows, write.MANIFEST)
    write.table(folder / "queries.parquet", asked, write.QUERIES)
    for name in {row["tar"] for row in rows}:
        own = [row for row in rows if row["tar"] == name]
        pools.write_tar(folder / name, [
            (f"{row['key']}.png", tiny_encoders.picture(n) if row is not rows[1] else b"none")
            for n, row in enumerate(own)
        ])  # fmt: skip
    counts = [{"queries": 1, "found": n, "within_cap": n, "kept": n} for n in (9, 4, 0)]
    run = {
        "modes": ["t2i"], "queries": {"source": "<u>task", "count": 3, "digest": "q"},
        "model": "transformers:x", "kept": 9, "k_used": 9, "cap": None, "exact": False,
        "pool": {"pairs": 20, "bad": {"no caption": 2}, "unreadable": {"s<7": "<b>truncated"}},
        "found": 11, "within_caps": 11, "dropped": {"same file": 2}, "recall": {"at": 9, "t2i": 1},
        "held_out": {"tasks": {}}, "short_of_target": 0, "target": None, "encoder": "e",
        "features": "f", "index": {"links": 32, "build": 80, "storage": "fp16"}, "ef": 64,
        "near": 3, "near_held": 6, "tau": None, "labels_without_pairs": ["nothing"],
        "labels": dict(zip(LABELS, counts, strict=True)),
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_retrieval(tmp_path_factory.mktemp("page") / "out")


def test_a_page_shows_the_best_of_each_class(folder):
    page = render(folder, each=3)
    assert page == render(folder, each=3)
    assert page.count("<article") == 3 + 3 and page.count("<img src=") == 4
    assert "<script>document" not in page and "<b>dog" not in page and "<i>" not in page
    assert "9 pairs for 3 classes" in page and "cosine 0.500" in page
    assert "a photo of &lt;b&gt;dog&lt;/b&gt;" in page
    assert "<img src=" not in render(folder, images=False)
    assert render(folder, each=0).count("<article") == 0


def test_what_is_no_retrieval_is_told(folder, tmp_path):
    with pytest.raises(UsageError, match=r"has no run\.json"):
        render(tmp_path)
    broken = write_retrieval(tmp_path / "broken")
    (broken / "pool-00000.tar").write_bytes(b"half")
    with pytest.raises(DataError, match=r"pool-00000\.tar: cannot be read"):
        render(broken)
    (broken / "manifest.parquet").write_bytes(b"half")
    with pytest.raises(DataError, match=r"manifest\.parquet: cannot be read"):
        render(broken)
    (broken / "run.json").write_text("[]")
    with pytest.raises(DataError, match=r"run\.json: no record of a retrieval"):
        render(broken)


def test_hostile_captions_stay_text_in_a_browser(folder, tmp_path):
    path = tmp_path / "retrieved.html"
    path.write_bytes(render(folder, each=9).encode())
    with browser() as chromium:
        with Tab(chromium, path) as tab:
            assert tab.page.title() == "Retrieved: 9 pairs"
            said = tab.page.locator(".card .said").all_text_contents()
            assert said[:2] == [HOSTILE[0], HOSTILE[1]] and len(said) == 13
            assert (
                tab.page.locator("main script, main svg, main iframe, main b, main i").count() == 0
            )
            shown = tab.js("[...document.images].map((one) => one.naturalWidth)")
            assert shown == [60] * 11  # of 13 pairs two are the picture that does not open
            assert tab.page.locator("a[href^='javascript']").count() == 0
            tab.page.locator("#coverage thead button").nth(4).click()
            assert tab.column("#coverage", 1) == ["<b>dog</b>", "tree", "nothing"]
            tab.page.locator("#coverage tbody a").first.click()
            assert tab.js("location.hash") == "#class-0"
            assert tab.js(CONTRAST) == []
        with Tab(chromium, path, color_scheme="dark", **PHONE) as tab:
            assert tab.js("document.documentElement.scrollWidth") <= 320
            assert tab.js(CONTRAST) == []
