"""Numbers as a page shows them: digits, shared scales, places on an axis.

Bars are inline SVG made of attributes, because the page's security policy admits no style
attributes. Standard library only.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_PAD = 6.0
NONE = "\N{EN DASH}"
"""Where there is no number."""


@dataclass(frozen=True)
class Scale:
    """One axis that many bars share."""

    low: float
    high: float
    ticks: tuple[float, ...]
    width: float = 288.0

    def x(self, value: float) -> float:
        """Return where a value lies, in the bar's units; cut at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(_PAD + share * (self.width - 2 * _PAD), 1)

    def label(self, tick: float) -> str:
        """Return the text of a tick."""
        return f"{tick:.10g}".replace("-", "\N{MINUS SIGN}")


def scale(
    values: Iterable[float | None], *, zero: bool = False, percent: bool = False, most: int = 4
) -> Scale | None:
    """Return a scale with round ends that holds all values; None when there are none.

    `zero` puts 0 on it and makes it as long on both sides (differences); `percent` keeps it
    between 0 and 100 where the values are.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    if zero:
        reach = max(abs(low), abs(high)) or 1.0
        low, high = -reach, reach
    if high == low:
        low, high = low - 1, high + 1
    step = _step((high - low) / most)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if percent and min(known) >= 0 and max(known) <= 100:
        low, high = max(low, 0.0), min(high, 100.0)
    count = round((high - low) / step)
    ticks = tuple(round(low + i * step, 10) + 0.0 for i in range(count + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def _step(raw: float) -> float:
    ten: float = 10.0 ** math.floor(math.log10(raw))
    return next(ten * part for part in (1, 2, 2.5, 5, 10) if ten * part >= raw * 0.999)


def show(value: float | None, digits: int = 2) -> str:
    """Return a number; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def short(value: float) -> str:
    """Return a score with three decimals at most."""
    return f"{round(value, 3) + 0.0:g}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 2) -> str:
    """Return a difference with its sign."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:+,.{digits}f}"
    return (
        show(0.0, digits)
        if float(text.replace(",", "")) == 0
        else text.replace("-", "\N{MINUS SIGN}")
    )


def interval(low: float | None, high: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """Return the ends of an interval; a dash where there is none."""
    if low is None or high is None:
        return NONE
    write = signed if sign else show
    return f"{write(low, digits)} to {write(high, digits)}"


def p_value(p: float | None) -> str:
    """Return a probability as it is printed beside a difference."""
    return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(part: int, of: int, digits: int = 1) -> str:
    """Return a percentage; 99.99 % is not printed as 100."""
    if not of:
        return NONE
    text = f"{100 * part / of:.{digits}f}"
    if part < of and float(text) == 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    if part and float(text) == 0:
        text = f"< {10**-digits:.{digits}f}"
    return f"{text} %"
