"""Two parallel lines, θ apart: why one would want to train a GAN with the Wasserstein distance.

The data lie on the line x = 0, the generator's samples on the line x = θ (Arjovsky, Chintala, Bottou 2017, example 1).
The closer the lines, the better the generator; but for every θ ≠ 0

    W₁ = |θ|,      JS = ln 2,      KL(p‖q) = KL(q‖p) = ∞,

so only the first says so, and only its slope tells the generator where to go. That is for the best critic there is.
What do trained ones say?

Look at lines.png. Left: the distances, exact as lines, and as trained networks see them as dots (a discriminator's JS
from its value 2·JS − 2 ln 2; a WGAN-GP critic's estimate of W₁; exact transport between two batches). Middle: the slope
that the generator gets to see: next to none from the discriminator, but for the smallest θ. Right: both at θ = 0.6.

    python examples/08_parallel_lines.py        about half a minute on 2 cores
"""

import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.data import Batches
from minigan.games import GAN, Alternating, NonFiniteError, Progress, Run, RunError, play
from minigan.models import mlp, spread
from minigan.objectives import GradientPenalty
from minigan.report import figure, save
from minigan.transport import wasserstein

THETAS = np.array([-1.0, -0.75, -0.5, -0.3, -0.15, -0.05, 0.05, 0.15, 0.3, 0.5, 0.6, 0.75, 1.0])
SHOWN = 0.6


class Line(mg.nn.Module):
    """z ↦ (θ, z): a vertical line, z normal."""

    def __init__(self, theta):
        super().__init__()
        self.theta = mg.tensor([float(theta)], requires_grad=True)

    def forward(self, z):
        """z (n, 1) → (n, 2)."""
        return mg.concatenate([0 * z + self.theta, z], axis=1)


def trained(theta, objective, args, steps):
    """A game whose discriminator has been trained against the line at θ, which stands still."""
    real = np.random.default_rng(args.seed).standard_normal((20_000, 2)).astype(np.float32) * np.float32([0, 1])
    D = spread(mlp(2, 64, 64, 1, name="D", seed=args.seed), args.seed).to(args.device)
    penalty = [GradientPenalty()] if objective == "wasserstein" else []
    game = GAN(Line(theta).to(args.device), D, Batches(real, 256, args.seed), 1, objective, penalty, seed=args.seed)
    adam = mg.optim.Adam(D.parameters(), lr=mg.optim.cosine_decay(5e-3, steps), beta1=0.5)
    if play(game, Alternating({"D": adam}), steps, [Progress()]).interrupted:
        sys.exit("interrupted: no picture was drawn")
    return game


def seen(game):
    """What the discriminator says the divergence is, and the slope dℓ_G/dθ that it gives the generator."""
    batch = game.batch(10**6)
    value = -game.objective.discriminator_loss(game.D(batch.real), game.D(game.G(batch.z))).item()
    loss = game.objective.generator_loss(game.D(game.G(batch.z)))
    return value, mg.grad(loss, game.G.theta)[0].item()


def field(axis, made, game, title):
    """The discriminator's output on the plane, the lines on top."""
    x, y = np.meshgrid(np.linspace(-0.5, 1.1, 81), np.linspace(-2, 2, 81))
    f = game.outputs(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape)
    made.colorbar(axis.contourf(x, y, f, 20, cmap="PRGn"), ax=axis, shrink=0.9)
    axis.axvline(0, color="0.3", linewidth=2)
    axis.axvline(SHOWN, color="C0", linewidth=2)
    axis.set_title(f"{title}, θ = {SHOWN} (grey: data, blue: samples)", fontsize=9)


def main():
    args = options(__doc__, steps=400, quick=20).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "08_parallel_lines", "steps": steps, "seed": args.seed}, args.out, "parallel-lines")
    games = {o: [trained(theta, o, args, steps) for theta in THETAS] for o in ("minimax", "wasserstein")}
    (js, js_slope), (w, w_slope) = (np.array([seen(game) for game in some]).T for some in games.values())
    js = js / 2 + np.log(2)
    y = np.random.default_rng(args.seed).standard_normal((2, 256))
    batches = [wasserstein(np.stack([0 * y[0], y[0]], 1), np.stack([t + 0 * y[1], y[1]], 1)) for t in THETAS]

    layout = [["distance", "slope", "D"], ["distance", "slope", "f"]]
    made, axes = figure(size=(14, 4.6), mosaic=layout, width_ratios=(2, 2, 1.2))
    left, middle, theta = axes["distance"], axes["slope"], np.linspace(-1, 1, 401)
    left.plot(theta, abs(theta), "C0-", label="W₁ = |θ|")
    left.plot(THETAS, w, "C0o", label="WGAN-GP critic's estimate")
    left.plot(THETAS, batches, "k+", label="exact W₁ of two batches of 256")
    left.plot(theta, np.where(theta == 0, np.nan, np.log(2)), "C1--", label="JS = ln 2, and 0 at θ = 0")
    left.plot(0, 0, "C1o", markerfacecolor="none", markersize=9)
    left.plot(THETAS, js, "C1s", label="trained discriminator's JS")
    left.set(xlabel="θ", title="Distance of the lines (KL = ∞ throughout)", ylim=(-0.06, 1.5))
    middle.plot(theta, np.sign(theta), "C0-", label="dW₁/dθ = ± 1")
    middle.plot(THETAS, w_slope, "C0o", label="from the WGAN-GP critic")
    middle.plot(THETAS, 0 * THETAS, "C1--", label="dJS/dθ = 0")
    middle.plot(THETAS, js_slope, "C1s", label="from the discriminator (minimax loss)")
    middle.set(xlabel="θ", title="Slope of the generator's loss", ylim=(-2.5, 12))
    middle.set_yscale("symlog", linthresh=1)
    for axis in (left, middle):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper left", ncols=2 if axis is left else 1)
    shown = list(THETAS).index(SHOWN)
    field(axes["D"], made, games["minimax"][shown], "discriminator's logit")
    field(axes["f"], made, games["wasserstein"][shown], "critic")
    save(made, run.path / "lines.png")
    for name, values in {"θ": THETAS, "W₁ (critic)": w, "JS (discriminator)": js}.items():
        print(f"{name:<19}", *(f"{v:6.3f}" for v in values))
    print(f"picture: {run.path / 'lines.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
