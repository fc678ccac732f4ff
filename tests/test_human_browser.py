"""A form in a real browser, from file:// with the network blocked: filled in, downloaded, read."""

import json
from pathlib import Path

import pytest
from browser import Tab, browser
from human_batches import corpus, hostile_runs, pairs, ratings, triple, two_runs
from page_runs import HOSTILE

from reports.human import answers

WIDE = {"viewport": {"width": 1280, "height": 900}}
PUT = """([key, words]) => {
  const put = () => localStorage.setItem(key, words);
  addEventListener('pagehide', put);  // the page saves when it is left; this comes after it
  document.addEventListener('visibilitychange', put);
}"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


def saved(tab: Tab, to: Path) -> Path:
    with tab.page.expect_download() as waiting:
        tab.page.locator("#download").click()
    assert waiting.value.suggested_filename.startswith("answers-")
    path = to / waiting.value.suggested_filename
    path.write_bytes(Path(waiting.value.path()).read_bytes())
    return path


def test_pairs_by_keyboard_then_read_back(chromium, tmp_path):
    key = pairs(two_runs(tmp_path), tmp_path / "batch", samples=6, annotators=1)
    form = key["forms"][0]
    with Tab(chromium, tmp_path / "batch" / form["file"], **WIDE) as tab:
        for at in range(len(form["items"])):
            assert f"Item {at + 1} of" in tab.page.locator("#place").text_content()
            tab.page.keyboard.press("Enter")  # nothing is answered: stays
            assert f"Item {at + 1} of" in tab.page.locator("#place").text_content()
            for number in "1231":
                tab.page.keyboard.press(number)
            if at == 1:
                tab.page.locator("#note").fill("a note, 3 u b")
                tab.page.locator("#place").click()
            tab.page.keyboard.press("Enter")
        assert "done" in tab.page.locator("#download").get_attribute("class")
        path = saved(tab, tmp_path)
    votes = answers.read(answers.read_key(tmp_path / "batch"), [path])
    assert len(votes) == len(form["items"])
    for vote, place in zip(votes, form["items"], strict=True):
        left, right = ("b", "a") if place["swapped"] else ("a", "b")
        assert vote.picks == {
            "correctness": left, "informativeness": "tie", "plausibility": right, "overall": left,
        }  # fmt: skip
    assert [vote.note for vote in votes if vote.note] == ["a note, 3 u b"]
    assert any(vote.swapped for vote in votes) and not all(vote.swapped for vote in votes)


def test_ratings_by_mouse_are_kept_over_a_reload(chromium, tmp_path):
    path = corpus(tmp_path, [triple(i) for i in range(3)])
    key = ratings([path], tmp_path / "batch", annotators=1)
    form = key["forms"][0]
    with Tab(chromium, tmp_path / "batch" / form["file"], **WIDE) as tab:
        picture = tab.page.locator("figure img")
        assert picture.evaluate("node => node.complete && node.naturalWidth") == 64
        labels = tab.page.locator("figure svg text").all_text_contents()
        assert labels == ["[0]", "[2]"] and tab.page.locator("figure svg rect").count() == 4
        tab.page.locator("input[name=qa][value='1']").check()  # rejects the rationale too
        why = tab.page.locator("fieldset", has=tab.page.locator("input[name=rationale]"))
        radio = why.locator("input").first
        assert radio.is_disabled() and why.locator("input:checked").get_attribute("value") == "1"
        tab.page.locator("input[name=qa][value='3']").check()  # and asks again
        assert radio.is_enabled() and why.locator("input:checked").count() == 0
        why.locator("input[value='2']").check()
        tab.page.locator("#next").click()
        tab.page.locator("#unclear").check()
        assert tab.page.locator("fieldset:disabled").count() == 2
        tab.page.reload()
        assert tab.page.locator("#progress").text_content() == "2 of 3 done"
        assert "Item 3 of 3" in tab.page.locator("#place").text_content()
        tab.page.keyboard.press("b")
        assert tab.page.locator("#unclear").is_checked()
        tab.page.keyboard.press("b")
        assert why.locator("input:checked").get_attribute("value") == "2"
        file = saved(tab, tmp_path)
    known = answers.read_key(tmp_path / "batch")
    votes = answers.read(known, [file], partial=True)
    assert [(dict(vote.picks), vote.unclear) for vote in votes] == [
        ({"qa": 3, "rationale": 2}, False), ({}, True),
    ]  # fmt: skip
    assert all(vote.seconds >= 0 for vote in votes)


def test_hostile_answers_stay_text(chromium, tmp_path):
    key = pairs(hostile_runs(tmp_path), tmp_path / "batch", samples=72, annotators=1)
    form = key["forms"][0]
    seen = set()
    with Tab(chromium, tmp_path / "batch" / form["file"], **WIDE) as tab:
        title = tab.page.title()
        for _ in form["items"]:
            seen |= set(tab.page.locator("#texts .said").all_text_contents())
            assert tab.page.locator("#texts .said *").count() == 0
            tab.page.locator("#next").click()
        assert tab.page.title() == title
        for tag in ("iframe", "object", "img[src=x]", "svg[onload]"):
            assert tab.page.locator(tag).count() == 0, tag
        assert tab.page.locator("script:not([type])").count() == 1
    assert {words for words in HOSTILE if words.isascii() and words.isprintable()} <= seen


def test_what_a_browser_kept_is_checked_like_anything_else(chromium, tmp_path):
    key = pairs(two_runs(tmp_path), tmp_path / "batch", samples=3, annotators=1)
    form = key["forms"][0]
    place = f"sightline-human {key['batch']} {form['annotator']} {form['digest']}"
    first = form["items"][0]["key"]
    kept = {first: {"picks": {"overall": "everything", "correctness": "tie"}, "seconds": "x"}}
    with Tab(chromium, tmp_path / "batch" / form["file"], **WIDE) as tab:
        for words in (json.dumps(kept), "[1", "null", '{"__proto__": 1}'):
            tab.page.evaluate(PUT, [place, words])
            tab.page.reload()
            assert tab.page.locator("#texts .said").count() == 2
            checked = tab.page.locator("#criteria input:checked")
            assert checked.count() == (words == json.dumps(kept))
