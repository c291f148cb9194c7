"""Medians, percentiles and ratios of what was measured."""

import math
import statistics


def percentile(values, share):
    """Return the smallest value that at least `share` of the values (0.99: 99 %) don't exceed."""
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)]


def median(values):
    """Return the median of what was measured, None if nothing was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(ones, others):
    """Return the median of the ratios round by round, so that a slow round slows both sides."""
    pairs = zip(ones, others, strict=False)
    return median([one / other for one, other in pairs if one is not None and other])
