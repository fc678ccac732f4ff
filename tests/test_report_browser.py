"""Pages in a real browser, from file:// with the network blocked: everything a reader does.

Every test also asserts (tests/browser.py) that nothing was asked of any network, and that the
console stayed empty: a style or script that the security policy refuses would be told there.
"""

import csv
import json
import re
from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from browser import Tab, browser
from page_runs import HOSTILE, hostile, pair
from past_runs import blessed, write_log
from test_board import three
from test_report_past import Points, grounding

from harness.api import run
from harness.types import Metric, Sample, Score, Source, Task
from leaderboards.build import Extras
from leaderboards.build import render as board
from reports.gate import baselines
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt
from reports.gate.outputs.html import write as gate_page
from reports.page import render

WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 320, "height": 640}}


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages that are looked at in many ways."""
    tmp = tmp_path_factory.mktemp("pages")
    base, cand = pair(tmp)
    (tmp / "board").mkdir()
    made = {
        **extra_pages(tmp),
        "report": render(cand.folder),
        "against": render(cand.folder, base.folder),
        "hostile": render(hostile(tmp).folder),
        "board": board(three(tmp / "board"), None),
    }
    for name, text in made.items():
        (tmp / f"{name}.html").write_bytes(text.encode())
    return {name: tmp / f"{name}.html" for name in made}


def extra_pages(tmp: Path) -> dict[str, str]:
    """Return a report and a board with a history and a training, pages of boxes and of a gate."""
    with pytest.MonkeyPatch.context() as patch:
        runs = blessed(tmp, [0.15, 0.15, 0.15, 0.45, 0.45], patch, n=300)
    baselines.waive(tmp / "blessed", "pope", date(2030, 1, 1), 2.0, HOSTILE[0], date(2026, 1, 1))
    log = write_log(tmp / "log.jsonl", steps=900)
    (tmp / "grounding").mkdir()
    made = grounding(tmp / "grounding")
    near = run(Points(lambda i: "0", "a"), made, out=tmp / "near")
    far = run(Points(lambda i: "50", "b"), made, out=tmp / "far")
    config = Config(baseline=str(runs[0].folder), tasks={"pope": TaskConfig(tier="critical")})
    ruling = attempt(config, [runs[4].folder], home=tmp / "gate", today=date(2026, 8, 1))
    folders = [record.folder for record in runs]
    return {
        "past": render(folders[4], folders[0], history=tmp / "blessed", train_log=log),
        "boxes": render(far.folder, near.folder),
        "boards": board(folders, None, extras=Extras(history=tmp / "blessed")),
        "gate": gate_page(ruling),
    }


OTHERS = ["past", "boxes", "boards", "gate"]


@pytest.mark.parametrize("name", ["report", "against", "hostile", "board", *OTHERS])
@pytest.mark.parametrize("scripts", [True, False])
def test_pages_open_without_a_network_or_scripts(chromium, pages, name, scripts):
    with Tab(chromium, pages[name], java_script_enabled=scripts, **WIDE) as tab:
        assert tab.page.locator("h1").is_visible()
        assert tab.page.locator("table svg.bar circle").first.is_visible()
        if name != "gate":
            assert tab.page.locator("#find").is_visible() is scripts
        assert tab.page.locator("#theme").is_visible() is scripts
        if not scripts and name not in ("board", "boards", "gate"):
            assert tab.page.locator(".cards article").first.is_visible()
            assert tab.page.locator("thead button").count() == 0


def test_tables_sort_both_ways_stably_with_gaps_last(chromium, pages):
    with Tab(chromium, pages["report"], **WIDE) as tab:
        before = tab.column("#metrics-1", 1)
        value = tab.page.get_by_role("button", name="value").first
        head = tab.page.locator("#metrics-1 th").nth(1)
        value.click()
        assert head.get_attribute("aria-sort") == "descending"
        down = [float(text) for text in tab.column("#metrics-1", 2)]
        assert down == sorted(down, reverse=True)
        value.click()
        assert head.get_attribute("aria-sort") == "ascending"
        up = [float(text) for text in tab.column("#metrics-1", 2)]
        assert up == sorted(up)
        names = dict(zip(before, range(len(before)), strict=True))
        order = [names[name] for name in tab.column("#metrics-1", 1)]
        ties = [(order[i], order[i + 1]) for i in range(len(up) - 1) if up[i] == up[i + 1]]
        assert ties and all(a < b for a, b in ties)
        assert tab.js("order([3, '', 1, null, 2], false)") == [2, 4, 0, 1, 3]
        assert tab.js("order([3, '', 1, null, 2], true)") == [0, 4, 2, 1, 3]
        assert tab.js("order(['b10', 'b9', ''], false)") == [1, 0, 2]


def test_a_copied_address_shows_the_same(chromium, pages):
    with Tab(chromium, pages["against"], **WIDE) as tab:
        tab.page.locator("#kind").select_option("regressed")
        tab.page.locator("#facets select").select_option("popular")
        tab.page.locator("#find").fill("KITE")
        tab.page.locator("#rows thead button", has_text="id").click()
        tab.page.locator("#rows tbody button").nth(2).click()
        tab.page.locator("#theme").click()
        seen = tab.column("#rows", 2), tab.page.locator("#detail .said").first.text_content()
        assert len(seen[0]) == 24 and "popular kite" in seen[1]
        address = tab.page.url
    hash = address[address.index("#") :]
    with Tab(chromium, pages["against"], hash, **WIDE) as tab:
        assert (
            tab.column("#rows", 2),
            tab.page.locator("#detail .said").first.text_content(),
        ) == seen
        assert tab.page.locator("#count").text_content() == "24 of 432"
        assert tab.js("document.documentElement.dataset.theme") == "dark"
        tab.js("location.hash = '#kind=wrong+in+both'")
        tab.until("#count", "72 of 432")
        assert tab.page.locator("#detail").is_hidden()


def test_both_answers_stand_side_by_side_with_what_changed(chromium, pages):
    with Tab(chromium, pages["against"], "#kind=regressed", **WIDE) as tab:
        tab.page.locator("#rows tbody button").first.click()
        detail = tab.page.locator("#detail")
        assert detail.locator(".two h3").all_text_contents() == ["baseline", "this run"]
        assert (detail.locator("del").text_content(), detail.locator("ins").text_content()) == (
            "Yes", "No",
        )  # fmt: skip
        card = tab.page.locator(".cards article").first
        assert card.locator("del").text_content() == "Yes"  # the template makes the same


def test_everything_can_be_done_with_the_keyboard(chromium, pages):
    with Tab(chromium, pages["report"], **WIDE) as tab:
        page = tab.page
        page.keyboard.press("Tab")
        assert page.locator(":focus").text_content() == "To the numbers"
        assert page.locator(":focus").bounding_box()["x"] >= 0
        page.locator("#metrics-1 thead button").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("#metrics-1 th").first.get_attribute("aria-sort") == "ascending"
        page.locator("#window").focus()
        for _ in range(30):
            page.keyboard.press("ArrowDown")
        chosen = page.locator("#rows tr.chosen")
        assert chosen.get_attribute("aria-rowindex") == "31"
        box, row = page.locator("#window").bounding_box(), chosen.bounding_box()
        assert box["y"] <= row["y"] and row["y"] + row["height"] <= box["y"] + box["height"]
        page.keyboard.press("Escape")
        assert page.locator("#detail").is_hidden()
        names = page.locator("button:visible, input:visible, select:visible").evaluate_all(
            "all => all.map(one => one.labels?.[0]?.textContent || one.textContent)"
        )
        assert names and all(name.strip() for name in names)


@pytest.mark.parametrize("name", ["against", "board", "hostile", *OTHERS])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(chromium, pages, name, scheme):
    with Tab(chromium, pages[name], color_scheme=scheme, **WIDE) as tab:
        dark = tab.js("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
        assert dark is (scheme == "dark")
        low = tab.js(CONTRAST)
        assert low == []
        tab.page.locator("#theme").click()
        now = tab.js("getComputedStyle(document.body).backgroundColor")
        assert (now == "rgb(20, 22, 26)") is (scheme == "light")


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = rgb(getComputedStyle(node).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('.picture svg')) continue;
    if (['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = node.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(rgb(ink)), light(behind(node))].sort((x, y) => y - x);
    const name = node.className.baseVal ?? node.className;
    if ((a + 0.05) / (b + 0.05) < 4.5) low.add(`${node.tagName}.${name}`);
  }
  return [...low];
}"""


@pytest.mark.parametrize("name", ["report", "against", "hostile", "board", *OTHERS])
@pytest.mark.parametrize("scripts", [True, False])
def test_a_phone_needs_no_sideways_scrolling(chromium, pages, name, scripts):
    with Tab(chromium, pages[name], java_script_enabled=scripts, **PHONE) as tab:
        widest = tab.page.locator("html").evaluate("node => node.scrollWidth") if scripts else 0
        assert widest <= 320
        box = tab.page.locator("h1").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 320
        first = tab.page.locator("tbody th").first
        before = first.bounding_box()["x"]
        if scripts:
            tab.js("document.querySelectorAll('.wide').forEach((one) => { one.scrollLeft = 200; })")
            assert first.bounding_box()["x"] == pytest.approx(before, abs=1)  # the name stays


def test_print_opens_details_and_hides_controls(chromium, pages, tmp_path):
    with Tab(chromium, pages["against"], **WIDE) as tab:
        folded = tab.page.locator("details .wide").first
        assert not folded.is_visible()
        tab.page.emulate_media(media="print")
        tab.js("dispatchEvent(new Event('beforeprint'))")
        assert folded.is_visible()
        for hidden in (".top", "#find", "#window", "[data-copy]"):
            assert not tab.page.locator(hidden).first.is_visible(), hidden
        assert tab.page.locator("td.p").first.is_visible()  # p is on paper too
        assert "Run pope-recorded-cand.jsonl" in tab.page.locator("footer").inner_text()
        tab.js("dispatchEvent(new Event('afterprint'))")
        tab.page.emulate_media(media="screen")
        assert not folded.is_visible()
        pdf = tab.page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF")


def test_hostile_words_stay_text(chromium, pages):
    with Tab(chromium, pages["hostile"], **WIDE) as tab:
        title = tab.page.title()
        for words in (text for text in HOSTILE if text.isascii() and text.isprintable()):
            tab.page.locator("#find").fill(words)
            tab.page.locator("#rows tbody button").first.click()
            assert words in tab.page.locator("#detail .said").all_text_contents()
        tab.page.locator("#find").fill("<b><b>")
        tab.page.locator("#rows tbody button").first.click()
        said = tab.page.locator("#detail .said").nth(1).text_content()
        assert said.startswith("<b><b>") and len(said) == 20_001
        assert "1,050,000 characters" in tab.page.locator("#detail").text_content()
        assert tab.page.title() == title
        for tag in ("script:not([type])", "iframe", "object", "img[src=x]", ".said *"):
            assert tab.page.locator(tag).count() == (tag == "script:not([type])"), tag
        # a bidirectional override turns its own text round and no other
        box = tab.page.locator(".said").first
        assert box.evaluate("node => getComputedStyle(node).unicodeBidi") == "plaintext"


def test_an_address_made_by_someone_else_does_nothing(chromium, pages):
    bad = (
        "#answer=%3Cimg%20src=x%20onerror=1%3E&sort=99.sideways&kind=__proto__&theme=x&f.split=%22"
    )
    with Tab(chromium, pages["report"], bad, **WIDE) as tab:
        assert tab.page.locator("h1").is_visible() and tab.page.locator("#detail").is_hidden()
    bad = "#sort.t-1=99.up&show=constructor&find=%5B"
    with Tab(chromium, pages["board"], bad, **WIDE) as tab:
        assert tab.page.locator("#count").text_content().startswith("0 of")


def test_ten_thousand_answers_keep_only_a_window_in_the_page(chromium, tmp_path):
    def samples():
        for i in range(10_000):
            yield Sample(f"q{i:05d}", (f"What is {i}?",), str(i % 7), groups={"seven": i % 7})

    task = Task(
        "many", "1", Source("nowhere"), samples, lambda s, a: Score(float(a.text == s.target)),
        "many@1", (Metric("accuracy"),), "accuracy",
    )  # fmt: skip
    record = run("constant:3", task, out=tmp_path / "run")
    file = tmp_path / "many.html"
    file.write_bytes(render(record.folder).encode())
    assert file.stat().st_size < 15_000_000
    with Tab(chromium, file, **WIDE) as tab:
        rows = tab.page.locator("#rows tbody tr")
        assert tab.page.locator("#count").text_content() == "10,000 of 10,000"
        assert tab.page.locator("#rows").get_attribute("aria-rowcount") == "10001"
        assert rows.count() < 80
        tab.page.locator("#rows thead button", has_text="id").click()
        tab.js("document.getElementById('window').scrollTop = 32 * 5000")
        tab.page.get_by_role("button", name="q05000").wait_for()
        assert rows.count() < 80
        tab.page.locator("#find").fill("what is 9999?")
        assert tab.column("#rows", 2) == ["q09999"]


def saved(tab: Tab, name: str) -> str:
    with tab.page.expect_download() as waiting:
        tab.page.locator(f"[data-export={name}]").click()
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_exports_and_the_command_to_copy(chromium, pages):
    with Tab(chromium, pages["hostile"], **WIDE) as tab:
        rows = list(csv.DictReader(StringIO(saved(tab, "csv"))))
        assert len(rows) == 72
        assert {row["answer"] for row in rows if "cmd|" in row["answer"]} == {"'=cmd|' /C calc'!A0"}
        tab.page.locator("#find").fill("kite")
        found = json.loads(saved(tab, "json"))
        assert found["schema"] == 1 and len(found["rows"]) == 12
        tab.page.locator("[data-copy]").click()
        tab.until("[data-copy]", re.compile("^(Copied|Selected)"))
        assert tab.js("getSelection().toString()").startswith("sightline run --model recorded:")


def test_a_board_sorts_within_barriers_filters_and_shows_columns(chromium, tmp_path):
    folders = three(tmp_path)
    data = tmp_path / "pope24"
    for i, model in enumerate(("random", "constant:yes")):
        folders.append(run(model, "pope", data=data, out=tmp_path / f"floor{i}").folder)
    less = run("constant:no", "pope", data=data, out=tmp_path / "less", limit=30)
    file = tmp_path / "board.html"
    file.write_bytes(board([*folders, less.folder], folders[0]).encode())
    with Tab(chromium, file, **WIDE) as tab:
        page = tab.page
        page.locator("#t-1 thead button", has_text="value").click()
        page.locator("#t-1 thead button", has_text="value").click()
        bodies = page.locator("#t-1 tbody")
        values = bodies.nth(0).locator("td.value").all_text_contents()
        assert [float(v) for v in values] == sorted(map(float, values)) and len(values) == 5
        assert "not comparable" in bodies.nth(1).locator("tr").first.text_content()
        assert bodies.nth(1).locator("tr").count() == 2
        head = page.locator("#t-1 thead th", has_text="random.recall")
        assert head.is_hidden()
        page.get_by_label("other metrics").check()
        assert head.is_visible()
        page.get_by_label("quality").uncheck()
        assert page.locator("#t-1 thead th", has_text="coverage").is_hidden()
        page.locator("select[data-facet=role]").select_option("floor")
        assert page.locator("#count").text_content() == "3 of 6 rows"
        address = page.url
    assert re.search(r"f\.role=floor.*show=metrics.*sort\.t-1=2\.ascending", address)
    with Tab(chromium, file, address[address.index("#") :], **WIDE) as tab:
        assert tab.page.locator("#count").text_content() == "3 of 6 rows"
        assert tab.page.get_by_label("other metrics").is_checked()


def test_reduced_motion_and_forced_colours(chromium, pages):
    with Tab(chromium, pages["board"], reduced_motion="reduce", **WIDE) as tab:
        assert tab.js("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        assert tab.js("document.getAnimations().length") == 0
    with Tab(chromium, pages["board"], forced_colors="active", **WIDE) as tab:
        assert tab.page.locator("svg.bar circle").first.is_visible()


def test_verdicts_do_not_rest_on_colour(chromium, pages):
    with Tab(chromium, pages["against"], **WIDE) as tab:
        chips = set(tab.page.locator("#baseline .chip").all_text_contents())
        assert chips == {"▼ worse", "↕ changed"}


def test_a_history_is_drawn_inside_its_axes(chromium, pages):
    with Tab(chromium, pages["past"], **WIDE) as tab:
        figure = tab.page.locator("figure.trend svg")
        assert figure.is_visible() and figure.locator("circle.dot, rect.dot").count() == 5
        frame = figure.bounding_box()
        inside = (
            "node => [...node.querySelectorAll('text, circle, rect, line, polyline')].every("
            "(one) => { const a = one.getBoundingClientRect(), b = node.getBoundingClientRect();"
            " return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1"
            " && a.bottom <= b.bottom + 1; })"
        )
        assert frame["width"] == 720 and figure.evaluate(inside)
        assert "▼" in figure.locator("text.worse").text_content()
        for panel in tab.page.locator(".panels svg:not(.tags svg)").all():
            assert panel.evaluate(inside)
        tab.page.emulate_media(media="print")
        assert figure.is_visible() and tab.page.locator(".panels figure").first.is_visible()


def test_boxes_in_the_list_are_those_of_the_cards(chromium, pages):
    with Tab(chromium, pages["boxes"], **WIDE) as tab:
        tab.page.locator("#rows tbody button").first.click()
        card = tab.page.locator(".cards article").first
        detail = tab.page.locator("#detail")
        for what in (".frame rect", ".frame text", ".tags line"):
            own, other = (
                side.locator(what).evaluate_all("all => all.map((one) => one.className.baseVal)")
                for side in (card, detail)
            )
            assert own == other and own, what
        assert card.locator(".tags li").all_text_contents() == (
            detail.locator(".tags li").all_text_contents()
        )
        dashes = {
            kind: detail.locator(f".frame rect.{kind}").first.evaluate(
                "node => getComputedStyle(node).strokeDasharray"
            )
            for kind in ("region", "a", "b")
        }
        assert len(set(dashes.values())) == 3 and dashes["region"] == "none"  # not by colour alone


def test_a_verdict_sorts_and_exports(chromium, pages):
    with Tab(chromium, pages["gate"], **WIDE) as tab:
        assert tab.page.locator("h1").text_content().strip() == "▼ Regressed"
        tab.page.locator("#gate-tasks thead button", has_text="change").click()
        assert json.loads(saved(tab, "json"))["schema"] == "sightline.gate/1"
