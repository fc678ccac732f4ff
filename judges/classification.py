"""Image classification by scores: the class that is taken, and probabilities from scores.

As ELEVATER's toolkit does it: the first of equal scores is taken (numpy's argmax), and metrics
over scores (ROC-AUC, mean average precision) see the softmax of the scores. Imports the standard
library only.
"""

import math
from collections.abc import Sequence


def taken(scores: Sequence[float]) -> int:
    """Return the position of the highest score, the first of equal ones."""
    return max(range(len(scores)), key=scores.__getitem__)


def softmax(scores: Sequence[float]) -> tuple[float, ...]:
    """Return positive numbers that sum to 1, in the order of the scores and as far apart."""
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return tuple(power / total for power in powers)
