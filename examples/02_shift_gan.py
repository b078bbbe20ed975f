"""The smallest GAN there is: a generator with one parameter against a logistic discriminator with two.

Real points are drawn from N(4, 1). The generator adds θ to its noise: x = z + θ, z ~ N(0, 1), and starts at θ = −2. The
discriminator is the line D(x) = a·x + b, a logit. For two Gaussians of equal width the optimal discriminator is a line,
so nothing is lost by its simplicity.

Look at shift.png: θ reaches 4 and the slope a returns to 0. There the discriminator can no longer tell, both losses
stand at 2 ln 2 and ln 2, and neither player can improve: a Nash equilibrium. On the way they spiral: the generator
overshoots while the slope is still positive.

    python examples/02_shift_gan.py        a few seconds
"""

import math
import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import GAN, Alternating, Callback, Log, Progress, Run, RunError, play

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


def draw(path, file):
    """θ and the slope over time, and the two as a curve in the plane: the spiral into the equilibrium."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    theta, slope = np.array(path)[:, 0], np.array(path)[:, 1]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(theta, label="θ (generator's shift)")
    left.plot(slope, label="a (discriminator's slope)")
    left.axhline(REAL_MEAN, color="k", linestyle=":", label="mean of the real data")
    left.set(xlabel="round", title="The parameters over time")
    left.legend()
    right.plot(theta, slope, linewidth=1)
    right.plot(theta[0], slope[0], "o", label="start")
    right.plot(theta[-1], slope[-1], "s", label="end")
    right.plot(REAL_MEAN, 0, "k*", markersize=12, label="equilibrium (4, 0)")
    right.set(xlabel="θ", ylabel="a", title="The same in the plane of both players")
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main():
    args = options(__doc__, steps=2000, quick=200).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "02_shift_gan", "steps": steps, "seed": args.seed}, args.out, "shift-gan")
    real = REAL_MEAN + stream(args.seed, "real").standard_normal((10_000, 1), dtype="float32")
    G, D = Shift(-2.0), mg.nn.Dense(1, 1, init=mg.nn.init.normal(0.0))
    game = GAN(G.to(args.device), D.to(args.device), Batches(real, 256, args.seed), latent_dim=1, seed=args.seed)
    solver = Alternating({name: mg.optim.SGD(p, lr=0.05) for name, p in game.players.items()})
    watch = Watch(game)
    play(game, solver, steps, [Progress(), Log(run), watch])
    draw(watch.path, run.path / "shift.png")
    theta, slope, _ = watch.path[-1]
    last = run.records()[-1]
    print(f"θ = {theta:.3f} (real mean of the data {real.mean():.3f})   slope a = {slope:+.3f} (equilibrium: 0)")
    print(
        f"losses: D {last['loss/D']:.3f} (2 ln 2 = {2 * math.log(2):.3f})   "
        f"G {last['loss/G']:.3f} (ln 2 = {math.log(2):.3f})"
    )
    print(f"picture: {run.path / 'shift.png'}")


if __name__ == "__main__":
    try:
        main()
    except RunError as error:
        sys.exit(f"error: {error}")
