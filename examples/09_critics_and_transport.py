"""Four ways to keep a critic Lipschitz, and the critic they are meant to find.

Data on a ring of eight Gaussians, samples from one in the middle: neither moves, only critics are trained. By duality
the best one, f*, differs on the two by their Wasserstein distance; linear programming finds it: its potentials,
extended to the plane as a 1-Lipschitz function. The others try: weight clipping, the gradient penalty, its one-sided
form, spectral normalisation.

Look at critics.png. Level sets of each critic, 0.06 apart in all panels; white arrows are the directions in which the
critic pulls the samples. The exact critic rises at rate 1 from the samples to the modes. The gradient
penalties come near, and a little above: their estimate is no lower bound. Clipping makes a pit with few corners, which
pulls some samples the wrong way; spectral norm bounds each layer so well that half the slope is left. Last: what
each says the distance is, what that is worth (divided by its Lipschitz constant, a true lower bound), and how its
gradient agrees with the exact one on the ways of transport.

    python examples/09_critics_and_transport.py        some fifteen seconds on 2 cores
"""

import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.data import Batches, ring
from minigan.games import GAN, Alternating, NonFiniteError, Progress, Run, RunError, play
from minigan.models import mlp, spread
from minigan.objectives import GradientPenalty, LipschitzPenalty, WeightClipping
from minigan.report import figure, save
from minigan.transport import OptimalCritic, critic_gap

CRITICS = {  # name: (regularisers, spectral norm)
    "weight clipping": ([WeightClipping(0.04)], False),
    "gradient penalty": ([GradientPenalty(10.0)], False),
    "one-sided penalty": ([LipschitzPenalty(10.0)], False),
    "spectral norm": ([], True),
}


LEVELS = np.arange(-0.5, 1.6, 0.06)  # of all critics alike: where lines are dense, they are steep


class Still(mg.nn.Module):
    """z ↦ z/4: a generator that does not learn."""

    def forward(self, z):
        """z (n, 2) → (n, 2)."""
        return z / 4


def trained(name, args, steps):
    """The critic's game after training."""
    regularizers, spectral = CRITICS[name]
    D = spread(mlp(2, 128, 128, 1, name="D", seed=args.seed), args.seed)
    D = mg.nn.spectral_norm(D) if spectral else D
    data = Batches(ring(20_000, args.seed, std=0.05), 256, args.seed)
    game = GAN(Still(), D.to(args.device), data, 2, "wasserstein", regularizers, seed=args.seed)
    adam = mg.optim.Adam(D.parameters(), lr=mg.optim.cosine_decay(2e-3, steps), beta1=0.5, beta2=0.9)
    if play(game, Alternating({"D": adam}), steps, [Progress()]).interrupted:
        sys.exit("interrupted: no picture was drawn")
    return game


def draw(axis, f, real, fake, title):
    """Level sets of a function (k, 2) → (k,), and its gradient at some samples, by differences."""
    x, y = np.meshgrid(np.linspace(-1.4, 1.4, 141), np.linspace(-1.4, 1.4, 141))
    values = f(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)).reshape(x.shape) - f(fake).mean()
    axis.contourf(x, y, values, LEVELS, cmap="viridis", extend="both")
    axis.contour(x, y, values, LEVELS, colors="k", linewidths=0.3)
    axis.scatter(*real.T, s=3, color="0.8", linewidths=0, label="data")
    axis.scatter(*fake.T, s=3, color="C0", linewidths=0, label="samples")
    at, h = fake[:40], np.float32(1e-2)
    slope = np.stack([(f(at + step) - f(at - step)).reshape(-1) for step in np.eye(2, dtype=np.float32) * h])
    axis.quiver(*at.T, *(slope / (np.linalg.norm(slope, axis=0) + 1e-12)), color="w", width=0.006, scale=18)
    axis.set(title=title, xticks=[], yticks=[], aspect="equal")


def main():
    args = options(__doc__, steps=800, quick=20).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "09_critics_and_transport", "steps": steps, "seed": args.seed}, args.out, "critics")
    real = ring(512, args.seed + 1, std=0.05)
    fake = np.random.default_rng(args.seed + 1).standard_normal((512, 2), dtype=np.float32) / 4
    best = OptimalCritic(real, fake)
    made, axes = figure(2, 3, (12.5, 8.4))
    draw(axes.flat[0], best, real, fake, f"exact: W₁ = {best.transport.cost:.3f}")
    axes.flat[0].legend(fontsize=8, markerscale=3, loc="lower right")
    print(f"exact W1 {best.transport.cost:.3f}\n{'':<20}estimate  Lipschitz  lower bound  cosine")
    gaps = {}
    for axis, name in zip(axes.flat[1:], CRITICS):
        game = trained(name, args, steps)
        gaps[name] = gap = critic_gap(game.D, real, fake)
        draw(axis, game.outputs, real, fake, f"{name}: estimate {gap.estimate:.3f}")
        print(f"{name:<20}{gap.estimate:8.3f}{gap.lipschitz:11.3f}{gap.lower_bound:13.3f}{gap.cosine:8.3f}")
    last, row = axes.flat[-1], np.arange(len(gaps))
    last.barh(row - 0.13, [g.estimate for g in gaps.values()], 0.28, color="C0", label="estimate")
    last.barh(row + 0.17, [g.lower_bound for g in gaps.values()], 0.28, color="C2", label="estimate / Lipschitz")
    last.axvline(best.transport.cost, color="k", linestyle=":", label="exact W₁")
    for k, (name, g) in enumerate(gaps.items()):
        last.text(0.01, k - 0.37, f"{name}, cosine {g.cosine:.2f}", fontsize=9, va="center")
    last.set(xlim=(0, 1.6 * best.transport.cost), yticks=[], title="What they say, and what it is worth")
    last.set_ylim(len(gaps), -0.7)
    last.legend(fontsize=8, loc="lower right", ncols=3)
    save(made, run.path / "critics.png")
    print(f"picture: {run.path / 'critics.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
