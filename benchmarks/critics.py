"""How near does a Wasserstein critic come to the true distance, and is its slope the right one?

    python -m benchmarks.critics                          4 funnels in the plane, four critics
    python -m benchmarks.critics --funnels 4 16 64 --only gp lp --steps 20000

The pairs of distributions are those of Korotin, Kolesov, Burnaev 2022 (`minigan.transport.Funnels`): their distance and
their optimal critic f* are known. Each critic is trained on P (uniform on a square) against a generator that stands
still, T#P, and then measured on 4,096 fresh points of each, of which `critic_gap` takes the first 1,024:

    estimate    E f(P) − E f(T#P): what a WGAN would report as the distance
    exact       the exact distance between the 1,024 + 1,024 points
    slope       the empirical Lipschitz constant of f on them
    bound       their estimate / slope, what the critic proves: never above `exact`, above W1 only by chance
    cos         ⟨∇f, ∇f*⟩ / (‖∇f‖ ‖∇f*‖) in L²(T#P), the paper's definition
    mean cos    the mean of the angles' cosines at the points of T#P, what the authors' code measures: their tables
    at P        the same at the points of P, where nearly all is far from the centres, and easier

Then come the published rows, what we do otherwise, and whether our rows lie in the published order.
"""

import argparse
import itertools
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

import minigan as mg
from minigan.backend.random import stream
from minigan.games import GAN, Alternating, Progress, play
from minigan.models import mlp
from minigan.objectives import GradientPenalty, LipschitzPenalty, WeightClipping
from minigan.transport import Funnels, critic_gap

POINTS, EXACT = 4096, 1024
PAIR = 27  # the seed whose distances are nearest to the published ones: 0.82, 0.47, 0.23
NAMES = {"clip": "clipping to 0.04", "gp": "penalty, 10", "lp": "one-sided, 10", "sn": "spectral norm"}
HARD, SOFT = ("clip", "sn"), ("gp", "lp")  # constraints on the weights; penalties on the gradient
PUBLISHED = {  # d = 2: the true distance, then mean cosine and estimate of each critic
    4: (0.817, {"clip": (0.07, 0.031), "gp": (0.845, 0.857), "lp": (0.818, 0.885), "sn": (0.213, 0.152)}),
    16: (0.466, {"clip": (0.07, 0.044), "gp": (0.681, 0.422), "lp": (0.810, 0.479), "sn": (0.156, 0.079)}),
    64: (0.230, {"clip": (0.07, -0.005), "gp": (0.355, 0.127), "lp": (0.676, 0.224), "sn": (0.075, 0.003)}),
}
DIFFERENCES = """
As published: how the pairs are made; the layers and their initial weights; ReLU; Adam at 2e-4 (0, 0.9); the penalties'
weight 10, the limit 0.04, the five power iterations. Otherwise: other funnels of nearly the same distance; {steps:,}
steps of {batch_size:,} fresh points for every critic (theirs: of 1,024, 60,000 with penalties, 5,000 with clipping,
10,000 with spectral norm); clipping cuts biases, too, as in Arjovsky et al. 2017; spectral norm differentiates the
whole of W/σ (theirs takes σ for a constant); ∇f* is exact (theirs, from float32 distances, is wrong near the centres,
where an eighth of T#P lies). docs/transport.md says what these do.
"""


class Result(NamedTuple):
    """A row of the table."""

    estimate: float
    exact: float
    slope: float
    bound: float
    cosine: float
    mean_cosine: float
    at_p: float
    seconds: float
    noise: float  # standard error of the bound


class Uniform:
    """Batches of P, fresh at every step."""

    def __init__(self, pair, batch_size, seed):
        self.pair, self.batch_size, self.seed = pair, batch_size, seed

    def at(self, step):
        """Batch number ``step``: float32 (batch_size, d)."""
        return self.pair.real(self.batch_size, stream(self.seed, "real", step)).astype("float32")


class Pushed(mg.nn.Module):
    """A generator that stands still: normal latents → uniform on the box → T."""

    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, z):
        """z (n, d) → (n, d), samples of T#P; nothing to differentiate."""
        from scipy.special import ndtr

        x = self.pair.half_width * (2 * ndtr(z.numpy().astype(np.float64)) - 1)
        return mg.tensor(self.pair.push(x).astype("float32"))


def as_torch_begins(net, seed):
    """Weights and biases uniform on ±1/√fan_in, PyTorch's default, which the authors use. Returns ``net``."""
    for _, layer in net.named_modules():
        if isinstance(layer, mg.nn.Dense):
            bound = 1 / np.sqrt(layer.weight.shape[0])
            for p in (layer.weight, layer.bias):
                p.assign(stream(seed, p.name).uniform(-bound, bound, p.shape).astype("float32"))
    return net


def critic(name, dimension, seed):
    """(network, regularizers) of a row."""
    width = max(2 * dimension, 128)
    net = as_torch_begins(mlp(dimension, width, width, 1, activation=mg.nn.ReLU, name="D"), seed)
    if name == "sn":
        mg.nn.spectral_norm(net, iterations=5)
    parts = {"clip": [WeightClipping(0.04)], "gp": [GradientPenalty(10.0)], "lp": [LipschitzPenalty(10.0)], "sn": []}
    return net, parts[name]


def slopes(net, x):
    """f's gradient at the points x (n, d): float64 (n, d)."""
    x = mg.tensor(x.astype("float32"), requires_grad=True)
    return mg.grad(mg.sum(net(x)), x)[0].numpy().astype(np.float64)


def cosines(net, pair, x):
    """(in L², mean over the points) of the cosines between ∇f and ∇f* at the points x (n, d)."""
    ours, best = slopes(net, x), pair.gradient(x)
    product, lengths = (ours * best).sum(axis=1), np.linalg.norm(ours, axis=1)
    norms = np.sqrt((lengths**2).mean() * (best**2).sum(axis=1).mean())
    return product.mean() / max(norms, 1e-15), (product / (lengths + 1e-15)).mean()


def trial(name, pair, seed, args):
    """Train one critic and measure it."""
    net, regularizers = critic(name, pair.dimension, seed)
    game = GAN(
        Pushed(pair), net, Uniform(pair, args.batch_size, seed), pair.dimension, "wasserstein", regularizers, seed=seed
    )
    solver = Alternating({"D": mg.optim.Adam(net.parameters(), lr=2e-4, beta1=0.0, beta2=0.9)})
    began = time.perf_counter()
    if play(game, solver, args.steps, [Progress()] if sys.stderr.isatty() else []).interrupted:
        sys.exit("interrupted")
    seconds = time.perf_counter() - began
    net.eval()
    real, fake = (
        draw(POINTS, stream(seed, f"evaluate/{draw.__name__}")).astype("float32") for draw in (pair.real, pair.fake)
    )
    gap = critic_gap(net, real[:EXACT], fake[:EXACT])
    estimate = float(game.outputs(real).mean(dtype=np.float64) - game.outputs(fake).mean(dtype=np.float64))
    cosine, mean_cosine = cosines(net, pair, fake)
    at_p = cosines(net, pair, real)[1]
    noise = np.hypot(*(game.outputs(x[:EXACT]).std() for x in (real, fake))) / np.sqrt(EXACT) / gap.lipschitz
    return Result(estimate, gap.exact, gap.lipschitz, gap.lower_bound, cosine, mean_cosine, at_p, seconds, float(noise))


HEADER = "critic              seed  estimate   exact    slope   bound     cos  mean cos    at P  seconds"


def row(label, seed, r):
    """A line of the table."""
    sizes = f"{r.estimate:>8.3f}  {r.exact:>6.3f}  {r.slope:>7.4f}  {r.bound:>6.3f}"
    print(
        f"{label:<18}  {seed:>4}  {sizes}  {r.cosine:>6.3f}  {r.mean_cosine:>8.3f}  {r.at_p:>6.3f}  {r.seconds:>7.0f}",
        flush=True,
    )


def table(pair, args):
    """Train and print all rows of one pair; returns {name: [Result of each seed]}."""
    print(f"\n{pair}: W1 = {pair.distance:.4f} ± {pair.distance_error:.4f}\n{HEADER}", flush=True)
    results = {name: [] for name in args.only}
    for name in args.only:
        for seed in args.seeds:
            results[name].append(trial(name, pair, seed, args))
            row(NAMES[name], seed, results[name][-1])
        if len(args.seeds) > 1:
            row("  mean", "", mean(results[name]))
    return results


def mean(results):
    """The mean row."""
    return Result(*map(statistics.mean, zip(*results)))


def beside(pair, results):
    """Print the published rows beside ours."""
    true, rows = PUBLISHED[pair.funnels]
    print(
        f"\n{f'{pair.funnels} funnels in the plane':<26}published, W1 = {true:.3f}       ours, W1 = {pair.distance:.3f}"
    )
    print(f"{'critic':<18}" + 2 * "        estimate  of W1  mean cos")
    for name in results:
        cosine, estimate = rows[name]
        r = mean(results[name])
        columns = [(estimate, estimate / true, cosine), (r.estimate, r.estimate / pair.distance, r.mean_cosine)]
        print(f"{NAMES[name]:<18}" + "".join(f"        {e:>8.3f}  {share:>5.0%}  {c:>8.3f}" for e, share, c in columns))


def order(pair, results):
    """[(what is expected, whether it holds, the numbers)] of the critics that were trained, means over the seeds."""
    W, means, found = pair.distance, {name: mean(rows) for name, rows in results.items()}, []
    rows = [r for several in results.values() for r in several]
    published = PUBLISHED.get(pair.funnels) if pair.dimension == 2 else None
    for name, r in means.items():
        share, numbers = r.estimate / W, f"{r.estimate:.3f} of {W:.3f}"
        if name in HARD:
            found.append((f"{NAMES[name]}: estimate at most 60% of W1", share < 0.6, numbers))
        elif published and published[1][name][1] > 0.8 * published[0]:
            found.append((f"{NAMES[name]}: estimate near W1 or above, 80% at least", share > 0.8, numbers))
    for low, high in itertools.product(HARD, SOFT):
        if low in means and high in means:
            for what in ("estimate", "mean_cosine"):
                a, b = getattr(means[low], what), getattr(means[high], what)
                text = f"{what.replace('_', ' ')}: {NAMES[low]} below {NAMES[high]}"
                found.append((text, a < b, f"{a:.3f} < {b:.3f}"))
    r = max(rows, key=lambda r: r.bound - r.exact)
    text = "no bound above its points' exact distance"
    found.append((text, r.bound <= r.exact + 1e-6, f"{r.bound:.4f} <= {r.exact:.4f}"))
    r = max(rows, key=lambda r: r.bound - 3 * r.noise)
    text = "no bound above W1 by more than 3 standard errors"
    found.append((text, r.bound <= W + 3 * r.noise, f"{r.bound:.3f} <= {W:.3f} + 3 × {r.noise:.3f}"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--funnels", nargs="+", type=int, default=[4], help="how many; published: 4 16 64. Default 4")
    parser.add_argument("--dimension", type=int, default=2, help="default 2")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of networks and batches; default 0")
    parser.add_argument("--pair", type=int, default=PAIR, help=f"seed of the funnels; default {PAIR}")
    parser.add_argument("--steps", type=int, default=5000, help="default 5,000")
    parser.add_argument("--batch-size", type=int, default=1024, help="default 1,024")
    args = parser.parse_args()
    everything = []
    for funnels in args.funnels:
        pair = Funnels(args.dimension, funnels, args.pair)
        everything.append((pair, table(pair, args)))
    for pair, results in everything:
        if pair.dimension == 2 and pair.funnels in PUBLISHED:
            beside(pair, results)
    print(DIFFERENCES.format(steps=args.steps, batch_size=args.batch_size))
    for pair, results in everything:
        found = order(pair, results)
        verdict = "yes" if all(holds for _, holds, _ in found) else "not in all lines"
        print(f"{pair.funnels} funnels, {pair.dimension} dimensions: order as published: {verdict}")
        for what, holds, numbers in found:
            print(f"  {'yes' if holds else 'NO':<4} {what} ({numbers})")


if __name__ == "__main__":
    main()
