"""Every format of the report: the same verdict, and nothing that others wrote takes effect."""

import json
import re
from datetime import date
from xml.etree import ElementTree

import pytest
from gate_runs import gold, noisy, record, task

from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt
from reports.gate.outputs import github, html, junit, markdown, sarif, text
from reports.gate.outputs import json as as_json

HOSTILE = (
    "<script>alert(1)</script>|`x`[a](javascript:b)\n::error::x\r\x1b[31m\x00\u202e%0A]]>&@all "
    "##[y]\ud800"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A gate with a task that passes, one that fell and one that is not there."""
    home = tmp_path_factory.mktemp("gate")
    for name, say in (("pope", gold), ("gqa", noisy(0.2, 1))):
        record(home / "base" / name, gold, task(600, name=name))
        record(home / "cand" / name, say, task(600, name=name))
    tasks = {"pope": TaskConfig(), "gqa": TaskConfig(), "vcr": TaskConfig()}
    config = Config(baseline=str(home / "base"), tasks=tasks)
    return attempt(config, [home / "cand"], home=home / "home", today=date(2026, 8, 1))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A gate over data and models whose every name is an attack."""
    from dataclasses import replace

    from gate_runs import Says

    from harness.api import run

    home = tmp_path_factory.mktemp("gate")
    made = task(100, name=HOSTILE)

    def samples():
        for sample in task(100).samples():
            yield replace(sample, id=f"{sample.id}", groups={HOSTILE[:-1]: HOSTILE})

    for side, say in (("base", gold), ("cand", lambda i: HOSTILE)):
        out = home / side
        run(Says(say, "m"), replace(made, samples=samples), out=out, max_failures=1)
        head = json.loads((out / "run.json").read_text())
        head["model"]["address"] = HOSTILE
        (out / "run.json").write_text(json.dumps(head))
    config = Config(baseline=str(home / "base"), tasks={HOSTILE: TaskConfig()})
    found = attempt(config, [home / "cand"], home=home / "home", today=date(2026, 8, 1))
    assert found.exit_code == 1
    return found


def test_the_text_says_what_why_and_how(report):
    shown = text.write(report)
    assert "GATE INVALID (exit 3)" in shown and "Holm over the gated tasks" in shown
    for line in (r"PASS +pope", r"REGRESSED +gqa", r"INVALID +vcr"):
        assert re.search(line, shown)
    assert "the candidate has no run of vcr" in shown or "the baseline has no run of vcr" in shown


def test_json_has_a_schema_and_the_same_bytes(report):
    plain = json.loads(as_json.write(report))
    assert plain["schema"] == "sightline.gate/1" and plain["exit_code"] == 3
    by_name = {found["task"]: found for found in plain["tasks"]}
    assert by_name["gqa"]["verdict"] == "REGRESSED" and by_name["gqa"]["p_holm"] < 0.001
    assert len(by_name["gqa"]["comparison"]["lost"]) > 80
    assert plain["baseline"]["digest"] and as_json.write(report) == as_json.write(report)


def test_junit_counts_what_failed(report):
    suite = ElementTree.fromstring(junit.write(report)).find("testsuite")
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("2", "1", "4")
    cases = {case.get("name"): case for case in suite}
    assert cases["gqa"].find("failure").get("type") == "REGRESSED"
    assert cases["vcr"].find("error") is not None and cases["pope"].find("system-out") is not None


@pytest.mark.parametrize(("policy", "tag"), [("skipped", "skipped"), ("failure", "failure")])
def test_junit_of_the_undecided_is_as_configured(tmp_path, policy, tag):
    record(tmp_path / "base", noisy(0.2, 1), task(200))
    record(tmp_path / "cand", noisy(0.2, 2), task(200))
    config = Config(
        baseline=str(tmp_path / "base"), undecided=policy, tasks={"pope": {"tier": "critical"}}
    )
    report = attempt(config, [tmp_path / "cand"], home=tmp_path / "h", today=date(2026, 8, 1))
    assert report.exit_code == 2
    case = ElementTree.fromstring(junit.write(report)).find("testsuite/testcase")
    assert case.find(tag) is not None


def test_sarif_has_rules_results_and_places(report):
    (run,) = json.loads(sarif.write(report, "ci/gate.yaml"))["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {found["ruleId"] for found in run["results"]} <= rules
    assert {found["level"] for found in run["results"]} == {"error"}
    for found in run["results"]:
        place = found["locations"][0]["physicalLocation"]["artifactLocation"]
        assert place["uri"] == "ci/gate.yaml" and found["message"]["text"]


def test_nothing_compared_is_told_in_every_format(tmp_path):
    config = Config(baseline="never", tasks={"pope": TaskConfig()})
    report = attempt(config, [tmp_path], home=tmp_path / "h", today=date(2026, 8, 1))
    for write in (
        text.write,
        markdown.write,
        github.write,
        junit.write,
        sarif.write,
        as_json.write,
        html.write,
    ):
        assert "no baseline" in write(report).replace("&#39;", "'")
    assert ElementTree.fromstring(junit.write(report)).find("testsuite").get("errors") == "1"


def test_terminals_and_runners_are_not_steered(hostile):
    shown = text.write(hostile)
    assert not set(shown) & {"\x1b", "\x00", "\u202e", "\r", "\ud800"} and "##[" not in shown
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())


def test_an_error_cannot_give_a_runner_commands(tmp_path):
    """An error has several lines, and one of them may begin with what others wrote."""
    record(tmp_path / "base", gold, task(40))
    config = Config(baseline=str(tmp_path / "base"), tasks={HOSTILE: TaskConfig()})
    found = attempt(config, [tmp_path / "base"], home=tmp_path / "h", today=date(2026, 8, 1))
    shown = text.write(found)
    assert found.exit_code == 3 and "error: :x" in shown
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())


def test_markdown_has_no_markup_of_others(hostile):
    shown = markdown.write(hostile)
    told = re.sub(r"`[0-9a-f]{12}`", "", shown)
    assert "<script" not in told and "`" not in told and "](" not in told and "::" not in told
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and {line.count("|") for line in rows} == {10}


def test_an_annotation_is_one_line_and_one_command(hostile):
    lines = github.write(hostile).splitlines()
    assert len(lines) == 1 and re.fullmatch(r"::error title=[^:,]*::.*", lines[0])


def test_xml_takes_any_text(hostile):
    written = junit.write(hostile)
    case = ElementTree.fromstring(written).find("testsuite/testcase")
    assert "<script>alert(1)</script>" in case.get("name") and "\\x00" in case.get("name")
    written.encode("utf-8")
    json.loads(sarif.write(hostile)), json.loads(as_json.write(hostile))


def test_the_page_says_the_same_without_scripts(report):
    page = html.write(report)
    said = re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.S))
    assert "⊘ Invalid" in said and "Exit code 3" in said
    for words in ("pope standard ✓ pass accuracy", "▼ regressed", "⊘ invalid"):
        assert words in said
    assert "has no run of vcr" in said and "Holm over the gated tasks" in said
    gqa = next(found for found in report.tasks if found.task == "gqa").comparison
    low, high = gqa.headline.change.interval()
    assert f"{low:+.2f} to {high:+.2f}".replace("-", "\N{MINUS SIGN}") in said
    assert f"{len(gqa.lost):,}, {len(gqa.won):,}" in said
    assert page == html.write(report)


def test_the_page_has_a_policy_and_nothing_of_others_takes_effect(hostile):
    page = html.write(hostile)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert page.count("<script") == 2 and "<script>alert" not in page
    assert not re.search(r"""(src|href)=(?!["'](#|data:image))""", page.split("<script>")[0])
    page.encode("utf-8")
