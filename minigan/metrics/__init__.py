"""Metrics: samples in, one number out, together with how far off a perfect sampler would be.

    frechet_distance       two Gaussians through the features        FrechetStatistics: in pieces, merged
    kernel_distance        KID: unbiased, on subsets                 mmd: on all pairs, with a permutation test
    precision_recall       are samples where the data are, and the data where samples are?
    density_coverage       the same, robust; exact expectations for a perfect sampler
    c2st                   can a classifier tell samples from data?
    ndb                    how many bins of the data have a wrong share of the samples?
    mode_coverage          how many modes of a known mixture were found, how evenly, and how sharp the samples are
    jensen_shannon, kl     divergences of histograms; quality and coverage halves
    inception_score        sure and diverse, for a classifier
    sliced_wasserstein     transport along random directions
    parzen_log_likelihood  how one measured in 2014
    mnist_features         what a classifier of digits that comes with minigan sees; mnist_frechet_distance;
                           stacked_mnist_coverage: how many of 1,000 modes
    point_metrics          the usual ones of points, mnist_metrics: of digits; table prints them

Every metric takes plain arrays, NumPy's or CuPy's, data first, computes in float64 on the host, and returns a
`MetricResult`: the number, its spread, its conventions, and its floor. Nothing is ever n × n in memory.
"""

from .bins import Bins, ndb
from .divergences import jensen_shannon, kl
from .frechet import FrechetStatistics, frechet_distance, gaussian_frechet_distance
from .kernels import kernel_distance, mmd
from .manifolds import density_coverage, precision_recall
from .mnist import Features, mnist_classifier, mnist_features, mnist_frechet_distance, stacked_mnist_coverage
from .modes import mode_coverage
from .parzen import parzen_log_likelihood
from .result import MetricResult, table
from .score import inception_score
from .sliced import sliced_wasserstein
from .suites import mnist_metrics, point_metrics
from .two_sample import c2st

__all__ = [
    "Bins",
    "Features",
    "FrechetStatistics",
    "MetricResult",
    "c2st",
    "density_coverage",
    "frechet_distance",
    "gaussian_frechet_distance",
    "inception_score",
    "jensen_shannon",
    "kernel_distance",
    "kl",
    "mmd",
    "mnist_classifier",
    "mnist_features",
    "mnist_frechet_distance",
    "mnist_metrics",
    "mode_coverage",
    "ndb",
    "parzen_log_likelihood",
    "point_metrics",
    "precision_recall",
    "sliced_wasserstein",
    "stacked_mnist_coverage",
    "table",
]
