"""The configuration of the gate: five lines, and every mistake with its line."""

from datetime import date

import pytest

from reports.gate.config import ConfigError, condition, load

GOOD_YAML = """\
# the gate of a release
gate:
  baseline: llava-7b@2026-08
  margin: 1.0
  tasks:
    pope: {tier: critical, also: [yes_ratio in 0.40..0.60], must_pass: [17, q18]}
    vcr: {tier: critical, margin: 0.5, length: [0.2, 5]}
    gqa:
  waivers:
    - {task: gqa, until: 2026-12-31, max_drop: 2.0, why: known}
"""
GOOD_TOML = """\
[gate]
baseline = "llava-7b@2026-08"
margin = 1.0

[gate.tasks.pope]
tier = "critical"
also = ["yes_ratio in 0.40..0.60"]
must_pass = [17, "q18"]

[gate.tasks]
vcr = {tier = "critical", margin = 0.5, length = [0.2, 5]}
gqa = {}

[[gate.waivers]]
task = "gqa"
until = 2026-12-31
max_drop = 2.0
why = "known"
"""
KNOWN, TODAY = ("pope", "vcr", "gqa"), date(2026, 9, 1)


def written(tmp_path, text, name="gate.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_yaml_and_toml_say_the_same(tmp_path):
    one = load(written(tmp_path, GOOD_YAML), known=KNOWN, today=TODAY)
    other = load(written(tmp_path, GOOD_TOML, "gate.toml"), known=KNOWN, today=TODAY)
    assert one == other and one.tasks["pope"].must_pass == ("17", "q18")
    assert one.tasks["gqa"].tier == "standard" and one.limit(one.tasks["vcr"], "length") == (0.2, 5)
    assert one.limit(one.tasks["pope"], "length") == (0.5, 2) and one.waivers[0].max_drop == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("gqa:\n", "gqqa:\n", 8, "no task 'gqqa'; did you mean gqa"),
        ("margin: 1.0", "margin: -1", 4, "margin: Input should be greater than or equal to 0"),
        ("margin: 1.0", "margin: .nan", 4, "margin"),
        ("margin: 1.0", "margn: 1.0", 4, "margn: there is no such key; known: coverage"),
        ("margin: 0.5", "margin: -0.5", 7, "tasks.vcr.margin"),
        ("tier: critical, also", "tier: crucial, also", 6, "tasks.pope.tier"),
        ("in 0.40..0.60", "about 0.5", 6, "`METRIC in LOW..HIGH`"),
        ("in 0.40..0.60", "in 0.6..0.4", 6, "is empty"),
        ("2026-12-31", "2026-08-31", 10, "the waiver of gqa expired on 2026-08-31"),
        ("2026-12-31", "tomorrow", 10, "waivers.0.until"),
        ("{task: gqa, until", "{task: mme, until", 10, "mme, which is not gated"),
        ("max_drop: 2.0", "max_drop: -2", 10, "waivers.0.max_drop"),
        ("    gqa:\n", "    gqa:\n    vcr: {}\n", 9, "the key 'vcr' comes twice"),
        ("length: [0.2, 5]", "length: [5, 0.2]", 7, "two rising numbers"),
        ("  margin: 1.0\n", "  margin: 1.0\n\tx: 1\n", 5, "not YAML"),
        ("gate:\n", "gates:\n", 1, "one key `gate:`"),
        ("  margin: 1.0\n", "  margin: 1.0\n  allow: [scores]\n", 5, "no aspect to allow 'scores'"),
        ("  margin: 1.0\n", "  looks: 0\n", 4, "looks"),
    ],
)
def test_every_mistake_has_its_line(tmp_path, old, new, line, says):
    assert old in GOOD_YAML
    path = written(tmp_path, GOOD_YAML.replace(old, new, 1))
    with pytest.raises(ConfigError) as wrong:
        load(path, known=KNOWN, today=TODAY)
    assert f"{path}, line {line}: " in str(wrong.value) and says in str(wrong.value)
    assert wrong.value.exit_code == 64


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("margin = 1.0", "margin = -1.0", 3),
        ('tier = "critical"\nalso', 'tier = "x"\nalso', 6),
        ("margin = 0.5", "margin = -0.5", 11),
        ("gqa = {}", "gqqa = {}", 12),
        ("2026-12-31", "2026-08-31", 16),
        ("[gate]", "[gate", 1),
    ],
)
def test_toml_mistakes_have_lines_too(tmp_path, old, new, line):
    path = written(tmp_path, GOOD_TOML.replace(old, new, 1), "gate.toml")
    with pytest.raises(ConfigError, match=f", line {line}: "):
        load(path, known=KNOWN, today=TODAY)


@pytest.mark.parametrize("text", ["", "gate:", "[1, 2]", "gate: 3", "!!python/object:os.x {}", "{"])
def test_what_is_no_configuration_is_refused(tmp_path, text):
    with pytest.raises(ConfigError):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "no.yaml")


def test_a_condition_is_a_metric_and_a_range():
    assert condition(" mean.yes_ratio in 40 .. 60.5 ") == ("mean.yes_ratio", 40.0, 60.5)
    assert condition("x in -1..0") == ("x", -1.0, 0.0)
