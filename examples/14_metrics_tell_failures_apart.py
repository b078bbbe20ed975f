"""Five ways to fail at digits, and which metric notices which.

A perfect generator is played by digits that the comparison has not seen; five bad ones by what is done to them: blur,
noise, copies of the data, three digits never made, forty images repeated over and over. All are compared with the same
data, through the classifier that comes with minigan. The perfect one is measured --steps times, on other divisions of
the data, so that one knows what chance does: a failure is noticed if it scores further off than that.

Look at failures.png. Red: worse than perfect. Blue: better than perfect, which should make one suspicious. White: this
metric cannot tell this failure from perfection. The inception score does not see copies of the data; precision does not
see dropped digits.

    python examples/14_metrics_tell_failures_apart.py            about a minute on 2 cores
"""

import sys
import warnings

import numpy as np
from _options import chosen_steps, options
from scipy.ndimage import gaussian_filter
from scipy.special import stdtrit
from tqdm import tqdm

from minigan import metrics
from minigan.backend.random import stream
from minigan.data import mnist
from minigan.games import Run, RunError
from minigan.report import figure, save

BETTER_UP = {"score", "precision", "recall", "density", "coverage"}
SURE = 0.999  # the probability that a perfect generator would not be accused of this


def failures(data, reference, others, seed):
    """{what is wrong: as many images as in ``reference``}; both index the data."""
    rng, n = stream(seed, "failures"), len(reference)
    fresh, labels = data.images[others[:n]], data.labels[others]
    forty = np.concatenate([others[labels == digit][:4] for digit in range(10)])
    return {
        "blurred": gaussian_filter(fresh, (0, 1, 1, 0), mode="nearest"),
        "noisy": np.clip(fresh + 0.3 * rng.standard_normal(fresh.shape, np.float32), -1, 1),
        "copies of the data": data.images[rng.permutation(reference)],
        "no 7, 8 and 9": data.images[others[labels < 7][:n]],
        "forty, repeated": data.images[rng.choice(forty, n)],
    }


def measure(real, fake, seed=0):
    """{metric: number} of what the classifier sees in real and in generated images."""
    x, y = real.features, fake.features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of repeated images: that is the point here
        shares = metrics.precision_recall(x, y, floor=None).details | metrics.density_coverage(x, y).details
    return {
        "Fréchet": float(metrics.frechet_distance(x, y, floor=None)),
        "kernel": float(metrics.kernel_distance(x, y, 20, len(x) // 2, seed)),
        "score": float(metrics.inception_score(fake.logits)),
        **{name: shares[name] for name in ("precision", "recall", "density", "coverage")},
        "NDB": float(metrics.ndb(x, y, 50, floor=None, seed=seed)),
        "1-NN test": float(metrics.c2st(x, y, "knn", seed, nearest_k=1)),
    }


def noticed(found, perfect):
    """{metric: 1 if worse than what the perfect generator scores (a list of dicts), −1 if better, 0 if not sure}."""
    out, n = {}, len(perfect)
    far = stdtrit(n - 1, (1 + SURE) / 2) * np.sqrt(1 + 1 / n)  # Student's interval for one more score
    for name, value in found.items():
        scores = np.array([p[name] for p in perfect])
        worse = (value - scores.mean()) * (-1 if name in BETTER_UP else 1)
        out[name] = int(np.sign(worse)) if abs(worse) > far * scores.std(ddof=1) else 0
    return out


def draw(path, samples, scores, found):
    """A row for each generator: twelve of its images, and its scores, coloured by who notices."""
    made, axes = figure(len(samples), 2, (13, 0.75 * len(samples) + 0.6), width_ratios=[1, 1.15])
    for (left, right), (name, images) in zip(axes, samples.items()):
        left.imshow(np.concatenate(list(images[:12, ..., 0]), axis=1), cmap="gray", vmin=-1, vmax=1)
        left.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
        right.imshow([list(found[name].values())], cmap="bwr", vmin=-2.5, vmax=2.5, aspect="auto")
        for i, value in enumerate(scores[name].values()):
            right.text(i, 0, f"{value:.3f}" if value < 9.95 else f"{value:.1f}", ha="center", va="center")
        for axis in (left, right):
            axis.set(xticks=[], yticks=[])
    axes[0, 1].tick_params(length=0, labeltop=True, labelbottom=False)
    axes[0, 1].set_xticks(range(len(scores[name])), [f"{m}\n{'↑' if m in BETTER_UP else '↓'}" for m in scores[name]])
    text = "red: worse than a perfect generator    blue: better    white: cannot tell    "
    made.supxlabel(text + f"({len(images):,} digits on either side, inception score, NDB of 50 bins)", fontsize=10)
    save(made, path)


def main():
    args = options(__doc__, steps=8, quick=3).parse_args()
    steps, n, data = max(2, chosen_steps(args)), 500 if args.quick else 4000, mnist()
    run = Run.create({"example": "14_metrics_tell_failures_apart", "steps": steps, "n": n, "seed": args.seed}, args.out)
    seen, perfect = metrics.mnist_features(data.images), []
    for step in tqdm(range(steps), unit="division"):
        order = stream(args.seed, "division", step).permutation(len(data.images))
        real, fake = (metrics.Features(*(a[i] for a in seen)) for i in (order[:n], order[n : 2 * n]))
        perfect.append(measure(real, fake, args.seed))
        run.log([{"step": step + 1, **{f"metric/{name}": value for name, value in perfect[-1].items()}}])
    samples = failures(data, order[:n], order[n:], args.seed)
    scores = {name: measure(real, metrics.mnist_features(x), args.seed) for name, x in samples.items()}
    found = {name: noticed(x, perfect) for name, x in scores.items()}
    scores = {"perfect": {name: np.mean([p[name] for p in perfect]) for name in perfect[0]}} | scores
    samples, found = {"perfect": data.images[order[n:]]} | samples, {"perfect": dict.fromkeys(perfect[0], 0)} | found
    draw(run.path / "failures.png", samples, scores, found)
    for name, x in found.items():
        worse, better = (", ".join(metric for metric, sign in x.items() if sign == s) or "–" for s in (1, -1))
        print(f"{name:<20} worse: {worse}; better than perfect: {better}")
    print(f"picture: {run.path / 'failures.png'}")


if __name__ == "__main__":
    try:
        main()
    except RunError as error:
        sys.exit(f"error: {error}")
