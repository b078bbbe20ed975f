"""Classifier two-sample test (C2ST): can a classifier, trained on one half, tell real from generated on the other?

If both have one distribution, no classifier can, and the accuracy t on n_te test samples is

    t ~ N(½, 1/(4 n_te))  approximately,      p-value = 1 − Φ((t − ½) · 2 √n_te)      (Lopez-Paz & Oquab 2017, § 3)

Their classifiers: a network with one hidden layer of 20 ReLUs, 100 epochs of Adam; and the k nearest neighbours, k =
⌊√n_tr⌋. An accuracy far *below* ½ is a finding too: generated samples that are copies have their twins, of the other
class, as neighbours.
"""

import math

import numpy as np

from .. import nn, optim
from ..autodiff.modes import enable_grad, no_grad
from ..autodiff.tensor import Tensor
from ..backend import training
from ..backend.checks import integer, two_samples
from ..backend.random import stream
from ..nn.init import he, initialize, undisturbed
from ..ops import mean, softplus
from .neighbours import nearest
from .result import MetricResult

CLASSIFIERS = ("network", "knn")
BATCH = 64


def c2st(real, fake, classifier="network", seed=0, hidden=20, epochs=100, nearest_k=None):
    """Classifier two-sample test of ``real`` (n, …) and ``fake`` (m, …): the accuracy on held-out samples, in [0, 1]
    (Lopez-Paz & Oquab 2017, § 3).

    Of the larger set, as many samples as the smaller has are drawn, so that guessing gives ½; a random half of each is
    for training, the other for testing. classifier: "network", Dense–ReLU–Dense with ``hidden`` units on features
    scaled to mean 0 and variance 1, ``epochs`` of Adam with batches of 64 and learning rate 1e-3, in float32; or "knn",
    ``nearest_k`` neighbours (None: ⌊√n_tr⌋), ties of votes broken at random. ``seed`` decides the split, the weights
    and the batches. On the host.

    Returns a `MetricResult`: n is the number of test samples, the floor ½, ``spread`` the accuracy's binomial standard
    error. ``details``:

        p_value       of the accuracy or more, if it is normal, N(½, 1/4n), as for equal distributions
        exact_p_value the same under Binomial(n, ½)
        null_std      1 / (2 √n), the standard deviation under the null
        n_train       training samples

    Raises ``ValueError`` naming the argument: fewer than 2 samples of a kind, shapes, NaN.
    """
    from scipy.special import bdtrc, ndtr

    x, y = two_samples(real, fake)
    each = min(len(x), len(y))
    if each < 2:
        raise ValueError(f"real and fake: expected at least 2 samples of each, got {len(x)} and {len(y)}")
    if classifier not in CLASSIFIERS:
        raise ValueError(f"classifier: expected one of {CLASSIFIERS}, got {classifier!r}")
    rng = stream(seed, "split")
    x, y = x[rng.permutation(len(x))[:each]], y[rng.permutation(len(y))[:each]]
    half = each // 2
    train, test = np.concatenate([x[:half], y[:half]]), np.concatenate([x[half:], y[half:]])
    is_fake = np.arange(len(train)) >= half
    if classifier == "knn":
        k = max(1, math.isqrt(len(train))) if nearest_k is None else integer("nearest_k", nearest_k, 1)
        if k > len(train):
            raise ValueError(f"nearest_k: expected at most {len(train)}, the training samples, got {k}")
        settings, scores = {"nearest_k": k}, _neighbours(train, is_fake, test, k, rng)
    else:
        settings = {"hidden": integer("hidden", hidden, 1), "epochs": integer("epochs", epochs, 1)}
        scores = _network(train, is_fake, test, hidden, epochs, seed)
    n = len(test)
    right = int(((scores > 0) == (np.arange(n) >= n // 2)).sum())
    accuracy = right / n
    return MetricResult(
        "c2st",
        value=accuracy,
        n=n,
        spread=math.sqrt(accuracy * (1 - accuracy) / n),
        floor=0.5,
        settings={"classifier": classifier, **settings},
        details={
            "p_value": float(ndtr(-(accuracy - 0.5) * 2 * math.sqrt(n))),
            "exact_p_value": float(bdtrc(right - 1, n, 0.5)) if right else 1.0,
            "null_std": 0.5 / math.sqrt(n),
            "n_train": len(train),
        },
    )


def _neighbours(train, is_fake, test, k, rng):
    """Votes for "generated" above one half, never 0."""
    votes = is_fake[nearest(train, test, k)].mean(axis=1) - 0.5
    return np.where(votes == 0, rng.choice([-1, 1], len(votes)), votes)


def _network(train, is_fake, test, hidden, epochs, seed):
    """Logits of "generated" for the test samples, of a network trained with cross-entropy."""
    with np.errstate(over="ignore", invalid="ignore"):
        middle, scale = train.mean(axis=0), train.std(axis=0)
    if not np.isfinite(scale).all():
        raise ValueError("real and fake: their squares overflow; scale them down")
    scale[scale == 0] = 1  # a constant feature tells nothing
    train, test = (((a - middle) / scale).astype(np.float32) for a in (train, test))
    with undisturbed():
        net = initialize(nn.Sequential(nn.Dense(train.shape[1], hidden), nn.ReLU(), nn.Dense(hidden, 1)), he, seed)
    adam = optim.Adam(net.parameters(), lr=1e-3)
    sign = np.where(is_fake, 1, -1).astype(np.float32)[:, None]
    with training(), enable_grad():
        for epoch in range(epochs):
            order = stream(seed, "shuffle", epoch).permutation(len(train))
            for first in range(0, len(order), BATCH):
                rows = order[first : first + BATCH]
                adam.zero_grad()
                mean(softplus(-sign[rows] * net(Tensor(train[rows])))).backward()
                adam.step()
    with no_grad():
        return net(Tensor(test)).numpy()[:, 0]
