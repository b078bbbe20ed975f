"""The smallest GAN there is: a generator with one parameter against a logistic discriminator with two.

Real points are drawn from N(4, 1). The generator adds θ to its noise: x = z + θ, z ~ N(0, 1), and starts at θ = −2. The
discriminator is the line D(x) = a·x + b, a logit. For two Gaussians of equal width the optimal discriminator is a line,
so nothing is lost by its simplicity.

Look at shift.png. Top left: θ reaches 4 and the slope a returns to 0. There the discriminator can no longer tell, both
losses stand at 2 ln 2 and ln 2, and neither player can improve: a Nash equilibrium. Top right: the value that D
maximises and G minimises, over θ and a; the equilibrium is its saddle, and the players spiral into it, because the
generator overshoots while the slope is still positive. Below: the densities and D's logistic curve, three times.

    python examples/02_shift_gan.py        a few seconds
"""

import math
import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import GAN, Alternating, Callback, Log, NonFiniteError, Progress, Run, RunError, play
from minigan.report import figure, save

REAL_MEAN = 4.0


class Shift(mg.nn.Module):
    """x = z + θ."""

    def __init__(self, start):
        super().__init__()
        self.theta = mg.tensor([start], requires_grad=True)

    def forward(self, z):
        """z (n, 1) → (n, 1)."""
        return z + self.theta


class Watch(Callback):
    """Keeps the three parameters after every round."""

    def __init__(self, game):
        self.game, self.path = game, []

    def after(self, moment):
        """One row (θ, a, b)."""
        D = self.game.D
        self.path.append([t.item() for t in (self.game.G.theta, D.weight, D.bias)])


def value(theta, slope):
    """E log σ(D(x)) + E log(1 − σ(D(G(z)))) for D(x) = slope·(x − middle): by quadrature, on arrays of any shape."""
    z, w = np.polynomial.hermite_e.hermegauss(40)
    half = slope[..., None] * (REAL_MEAN - theta[..., None]) / 2  # the middle is between the two means
    noise = slope[..., None] * z
    return -(np.logaddexp(0, -half - noise) + np.logaddexp(0, -half + noise)) @ (w / w.sum())


def draw(path, file):
    """θ and a over time, their spiral on the value's landscape, and what D makes of the densities on the way."""
    theta, slope, bias = np.array(path).T
    made, axes = figure(2, 3, (12, 6.4))
    time, land = axes[0, 0], axes[0, 2]
    axes[0, 1].remove()
    time.set_subplotspec(axes[0, 0].get_gridspec()[0, :2])
    time.plot(theta, label="θ (generator's shift)")
    time.plot(slope, label="a (discriminator's slope)")
    time.axhline(REAL_MEAN, color="k", linestyle=":", label="mean of the real data")
    time.set(xlabel="round", title="The parameters over time", xlim=(0, len(theta) - 1))
    time.legend()
    x, y = np.meshgrid(
        np.linspace(theta.min() - 0.5, theta.max() + 0.7, 80), np.linspace(slope.min() - 0.2, slope.max() + 0.2, 60)
    )
    levels = land.contourf(x, y, value(x, y), 20, cmap="RdBu_r")
    made.colorbar(levels, ax=land, label="value", format="%.1f")
    land.plot(theta, slope, "k", linewidth=0.9)
    land.plot(theta[0], slope[0], "ko", markersize=5)
    land.plot(REAL_MEAN, 0, "w*", markersize=14, markeredgecolor="k")
    land.set(xlabel="θ  (G goes down)", ylabel="a  (D goes up)", title="The landscape and its saddle ★")
    grid = np.linspace(-5, 9, 300)
    for axis, i in zip(axes[1], (int(np.argmax(slope)), len(theta) // 4, len(theta) - 1)):
        for mean, color, label in ((REAL_MEAN, "0.5", "real"), (theta[i], "C0", "generated")):
            axis.fill_between(grid, np.exp(-((grid - mean) ** 2) / 2) / 2.5066, color=color, alpha=0.4, label=label)
        axis.plot(grid, 1 / (1 + np.exp(-slope[i] * grid - bias[i])), "C3", label="σ(D(x))")
        axis.set(title=f"round {i + 1}: θ = {theta[i]:.2f}, a = {slope[i]:.2f}", ylim=(0, 1.05), xlabel="x")
    axes[1, 0].legend(loc="upper left")
    for axis in (time, *axes[1]):
        axis.grid(alpha=0.3)
    save(made, file)


def main():
    args = options(__doc__, steps=2000, quick=200).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "02_shift_gan", "steps": steps, "seed": args.seed}, args.out, "shift-gan")
    real = REAL_MEAN + stream(args.seed, "real").standard_normal((10_000, 1), dtype="float32")
    G, D = Shift(-2.0), mg.nn.Dense(1, 1, init=mg.nn.init.normal(0.0))
    game = GAN(G.to(args.device), D.to(args.device), Batches(real, 256, args.seed), latent_dim=1, seed=args.seed)
    solver = Alternating({name: mg.optim.SGD(p, lr=0.05) for name, p in game.players.items()})
    watch = Watch(game)
    if play(game, solver, steps, [Progress(), Log(run), watch]).interrupted:
        sys.exit(f"interrupted after round {len(watch.path)}: no picture was drawn")
    draw(watch.path, run.path / "shift.png")
    theta, slope, _ = watch.path[-1]
    last = run.records()[-1]
    print(f"θ = {theta:.3f} (real mean of the data {real.mean():.3f})   slope a = {slope:+.3f} (equilibrium: 0)")
    print(f"losses: D {last['loss/D']:.3f} (2 ln 2 = {2 * math.log(2):.3f})   G {last['loss/G']:.3f} (ln 2 = 0.693)")
    print(f"picture: {run.path / 'shift.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
