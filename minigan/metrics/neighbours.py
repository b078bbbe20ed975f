"""Pairs of points in blocks: distances to the k-th neighbour, points inside balls, nearest neighbours.

All of it works on n × m distances and keeps only a block of them. A block is one matrix product,

    ‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y,        wrong by at most  2 (d + 4) ε (‖x‖² + ‖y‖²),

which is quick and, for points that are close together, not exact: a copy seems to lie a little way off. So it decides
only what it can: where the answer hangs on less than that error, the differences x − y are taken and squared
themselves. The result is then that of the plain loop over `squared_distances`, ties and copies included. (A ball that
reaches exactly to its k-th neighbour does not contain it, on every machine.)
"""

import numpy as np

BLOCK = 2**23  # bytes of distances at a time: of 2**22 … 2**24 the quickest, with 64 and with 2,048 features


def squared_distances(x, y):
    """‖xᵢ − yᵢ‖² of two lists of points (n, d), row by row, from their differences: (n,)."""
    return np.square(x - y).sum(axis=1)


def kth_squared_distance(x, k):
    """For each point of x (n, d) the squared distance to its k-th nearest other point, k < n: float64 (n,)."""
    out = np.empty(len(x))
    for rows, distance, error in blocks(x, x):
        own = np.arange(rows.start, rows.stop)
        distance[own - rows.start, own] = np.inf
        _, exact = _smallest(x, x, rows, distance, error, k)
        out[rows] = exact[:, -1]
    return out


def nearest(x, y, k):
    """For each point of y (m, d) its k nearest points of x (n, d), k ≤ n, nearest first: int64 (m, k).

    Of points equally far the first ones.
    """
    out = np.empty((len(y), k), np.int64)
    for rows, distance, error in blocks(y, x):
        out[rows], _ = _smallest(y, x, rows, distance, error, k)
    return out


def inside_balls(centres, squared_radii, points):
    """Which points lie strictly inside which balls: how many per ball (n,) and in how many balls per point (m,), int64.

    centres (n, d), squared_radii (n,), points (m, d).
    """
    per_ball, per_point = np.zeros(len(centres), np.int64), np.zeros(len(points), np.int64)
    for rows, distance, error in blocks(centres, points):
        distance -= squared_radii[rows, None]  # negative: inside
        inside = distance < 0
        i, j = np.nonzero(abs(distance) <= error)
        inside[i, j] = pair_distances(centres, i + rows.start, points, j) < squared_radii[i + rows.start]
        per_ball[rows] = inside.sum(axis=1)
        per_point += inside.sum(axis=0)
    return per_ball, per_point


def blocks(x, y):
    """(rows of x, their squared distances to all of y, how wrong these may be): both (rows, m), free to be changed."""
    middle = np.median(x[:1000], axis=0)  # near it the error is least; a mean would follow an outlier
    with np.errstate(over="ignore"):
        x, y = x - middle, y - middle
        x_squared, y_squared = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
        largest = 4 * (x_squared.max() + y_squared.max())
    if not np.isfinite(largest):
        raise ValueError("real and fake: their squared distances overflow; scale them down")
    share = 2 * (x.shape[1] + 4) * np.finfo(float).eps
    size = max(1, BLOCK // (8 * len(y)))
    for first in range(0, len(x), size):
        rows = slice(first, min(first + size, len(x)))
        error = x_squared[rows, None] + y_squared
        distance = x[rows] @ y.T
        distance *= -2
        distance += error
        error *= share
        yield rows, distance, error


def _smallest(x, y, rows, distance, error, k):
    """Of each row of a block (rows of x, all of y) the k smallest distances, in order: columns and values (rows, k)."""
    reach = np.partition(distance + error, k - 1, axis=1)[:, k - 1]
    i, j = np.nonzero(distance - error <= reach[:, None])  # they are among these, which often are no more than k
    exact = pair_distances(x, i + rows.start, y, j)
    order = np.lexsort((j, exact, i))
    chosen = order[np.searchsorted(i, np.arange(len(distance)))[:, None] + np.arange(k)]
    return j[chosen], exact[chosen]


def pair_distances(x, i, y, j):
    """‖xᵢ − yⱼ‖² for lists of indices: (len(i),), in pieces."""
    out, size = np.empty(len(i)), max(1, BLOCK // (8 * x.shape[1]))
    for first in range(0, len(i), size):
        some = slice(first, first + size)
        out[some] = squared_distances(x[i[some]], y[j[some]])
    return out
