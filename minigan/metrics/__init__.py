"""Metrics: samples in, one number out, together with how far off a perfect sampler would be.

    mode_coverage    how many modes of a known mixture were found, how evenly, and how sharp the samples are

Every metric takes plain arrays, NumPy's or CuPy's, computes in float64 on the host, and returns a
`MetricResult`.
"""

from .modes import mode_coverage
from .result import MetricResult

__all__ = ["MetricResult", "mode_coverage"]
