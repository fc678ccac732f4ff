"""JUnit XML: a task is a test case. What is undecided fails or is skipped, as configured."""

import re
from xml.etree import ElementTree

from reports.gate.evaluate import Report
from reports.gate.outputs import facts

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(report: Report) -> str:
    """Return the report as JUnit XML."""
    suite = ElementTree.Element("testsuite", name="sightline gate")
    for found in report.tasks:
        _case(suite, report, f"{found.task}", found.status, facts.sentence(found))
    if facts.suite(report) and report.decision:
        status = "REGRESSED" if report.decision.suite_rejected else "PASS"
        _case(suite, report, "all tasks together", status, facts.suite(report))
    stray = [e for e in report.errors if not any(e.startswith(f"{t.task}: ") for t in report.tasks)]
    if stray:
        _case(suite, report, "comparable", "INVALID", "\n".join(stray))
    if report.status == "UNDECIDED" and all(t.status != "UNDECIDED" for t in report.tasks):
        _case(suite, report, "missing results", "UNDECIDED", "the verdict hangs on missing results")
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites, " ")
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(suite: ElementTree.Element, report: Report, name: str, status: str, message: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname="gate", name=_legal(name))
    tags = {"REGRESSED": "failure", "INVALID": "error", "UNDECIDED": report.config.undecided}
    if status in tags:
        ElementTree.SubElement(case, tags[status], message=_legal(message), type=status)
    else:
        ElementTree.SubElement(case, "system-out").text = _legal(message)


def _legal(text: str) -> str:
    """Return text without characters that XML 1.0 cannot hold; they become visible escapes."""
    return _ILLEGAL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
