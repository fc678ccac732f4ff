"""From changes to a verdict: what regressed, what is proven not to have, what nobody can tell.

Two questions that are not each other's opposite. Has a task regressed? Holm over the gated tasks
and one pooled hypothesis, so that the chance of any false alarm stays at alpha. Is a critical task
proven to be within its margin? Its lower bound says so, uncorrected (an intersection of proofs
needs none). A drop that is real but proven to lie within the margin warns and does not block.
Pure: changes in, verdict out; the simulation runs this very code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.paired import Change, detectable, holm, pooled, unchanged_bound
from reports.gate.config import Tier

SUITE = "all tasks together"
FEWEST_CLUSTERS = 10
"""With fewer, a task cannot block: no test of so few units deserves it."""

Status = Literal["PASS", "WARN", "UNDECIDED", "REGRESSED", "INVALID", "ADVISORY"]
EXIT: Mapping[Status, int] = {
    "PASS": 0,
    "WARN": 0,
    "ADVISORY": 0,
    "REGRESSED": 1,
    "UNDECIDED": 2,
    "INVALID": 3,
}
_SEVERITY: tuple[Status, ...] = ("ADVISORY", "PASS", "WARN", "UNDECIDED", "REGRESSED", "INVALID")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one task."""

    tier: Tier
    change: Change | None
    """In the unit of `margin`; better is positive."""
    margin: float
    same_model: bool = False
    """Nothing can have changed, so nothing that was not seen can have either."""
    pool: bool = True
    """Whether its unit is points, so that it can be averaged with other tasks."""
    waived: float | None = None
    """The drop that somebody took responsibility for."""

    @property
    def gated(self) -> bool:
        """Whether it takes part in the tests that can block."""
        enough = self.change is not None and self.change.clusters >= FEWEST_CLUSTERS
        return self.tier != "advisory" and enough and self.waived is None

    def bound(self, alpha: float) -> float | None:
        """Return the lower limit of the change."""
        if self.change is None:
            return None
        if self.change.error == 0 and self.change.value == 0 and not self.same_model:
            top = 100.0 if self.pool else self.margin  # another unit has no known range
            return unchanged_bound(self.change.clusters, alpha, top)
        return self.change.bound(alpha)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows for one task."""

    status: Status
    reason: str
    p_holm: float | None = None
    bound: float | None = None
    mde: float | None = None
    """The loss that these data find four times out of five."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows for all tasks."""

    status: Status
    tasks: Mapping[str, Ruling]
    suite: Change | None
    suite_p: float | None
    """After Holm."""
    suite_rejected: bool


def decide(
    evidence: Mapping[str, Evidence], *, alpha: float = 0.05, suite_margin: float = 0.0
) -> Decision:
    """Return the decision for all tasks together."""
    family = {
        name: found.change for name, found in evidence.items() if found.gated and found.change
    }
    p = {name: change.p_worse for name, change in family.items()}
    suite = pooled([family[name] for name in family if evidence[name].pool], suite_margin)
    if suite:
        p[SUITE] = suite.p_worse
    adjusted = holm(p)
    rejected = bool(suite) and adjusted[SUITE] <= alpha
    tasks = {name: _rule(found, adjusted.get(name), alpha) for name, found in evidence.items()}
    status = worst([ruling.status for ruling in tasks.values()])
    if status == "ADVISORY":  # nothing here could have blocked: no pass
        status = "INVALID"
    if rejected:
        status = worst([status, "REGRESSED"])
    return Decision(status, tasks, suite, adjusted.get(SUITE), rejected)


def worst(statuses: "list[Status]") -> Status:
    """Return the gravest of some statuses; an empty list passes nothing and is invalid."""
    return max(statuses, key=_SEVERITY.index) if statuses else "INVALID"


def _rule(found: Evidence, p: float | None, alpha: float) -> Ruling:
    change = found.change
    if change is None:
        status: Status = "ADVISORY" if found.tier == "advisory" else "UNDECIDED"
        return Ruling(status, "the number has no interval: fewer than two clusters, or no test")
    bound = found.bound(alpha)
    mde = detectable(change.error, alpha)

    def ruling(status: Status, reason: str) -> Ruling:
        return Ruling(status, reason, p, bound, mde)

    if found.waived is not None and found.tier != "advisory":
        if change.value < -found.waived:
            return ruling("REGRESSED", f"fell by more than the {found.waived:g} that is waived")
        return ruling("WARN", f"waived: may fall by up to {found.waived:g}")
    if found.tier == "advisory":
        return ruling("ADVISORY", _advice(change, mde, found.margin, alpha))
    assert bound is not None
    proven = bound > -found.margin
    if not found.gated:
        few = f"{change.clusters} clusters are too few to block (at least {FEWEST_CLUSTERS})"
        if found.tier == "critical" and not found.same_model:
            return ruling("UNDECIDED", f"{few}, and prove nothing of a critical task")
        return ruling("ADVISORY", few)
    if p is not None and p <= alpha:
        if proven:
            return ruling("WARN", f"fell, but by less than the margin of {found.margin:g}")
        return ruling("REGRESSED", f"fell, and the loss may exceed the margin of {found.margin:g}")
    if found.tier == "critical" and not proven:
        return ruling("UNDECIDED", _needed(found, change, bound, alpha))
    if found.tier == "critical":
        return ruling("PASS", f"proven: loses less than {found.margin:g}")
    return ruling("PASS", "no loss was found")


def _advice(change: Change, mde: float, margin: float, alpha: float) -> str:
    fell = "; fell" if change.p_worse <= alpha else ""
    blind = f"; losses below {mde:.1f} go unseen, the margin is {margin:g}" if mde > margin else ""
    return f"advice only{fell}{blind}"


def _needed(found: Evidence, change: Change, bound: float, alpha: float) -> str:
    text = f"a loss of {-bound:.2f} cannot be excluded, the margin is {found.margin:g}"
    if change.value <= -found.margin:
        return f"{text}; the loss seen is itself {-change.value:.2f}: more items will not prove it"
    if change.error == 0:
        return f"{text}; {change.clusters} clusters without any change are too few to prove more"
    if not found.margin:
        return f"{text}; no data can prove a loss of nothing, set a margin"
    factor = (detectable(change.error, alpha) / found.margin) ** 2
    if factor <= 1:
        return f"{text}; as many items would usually do, if nothing changed: chance went against it"
    return f"{text}; about {factor:.1f} times the items, or a margin of " + (
        f"{found.margin * factor**0.5:.1f}, decide it 4 times out of 5 if nothing changed"
    )


def with_gaps(observed: Decision, worst_case: Decision, best_case: Decision) -> Decision:
    """Return the decision that still holds whatever the missing results would have been."""
    tasks = dict(observed.tasks)
    for name, ruling in observed.tasks.items():
        cases = {EXIT[d.tasks[name].status] for d in (observed, worst_case, best_case)}
        if len(cases) > 1:
            reason = f"hangs on missing results: {worst_case.tasks[name].status} if they went badly"
            tasks[name] = Ruling(
                "UNDECIDED",
                f"{reason}, {best_case.tasks[name].status} if they went well",
                ruling.p_holm, ruling.bound, ruling.mde,
            )  # fmt: skip
    suites = {d.suite_rejected for d in (observed, worst_case, best_case)}
    status = worst([ruling.status for ruling in tasks.values()])
    if suites == {True}:
        status = worst([status, "REGRESSED"])
    elif len(suites) > 1:
        status = worst([status, "UNDECIDED"])
    return Decision(status, tasks, observed.suite, observed.suite_p, suites == {True})
