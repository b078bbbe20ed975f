"""What does the discriminator learn, and what does it teach? On the line, where everything is known exactly.

For data of density p and a generator that stands still with density q, the best discriminator is σ(D*) = p/(p + q), and
its value is 2·JS(p, q) − 2 ln 2 (Goodfellow et al. 2014, proposition 1). Here a small network finds both.

Look at optimal.png. Left: the trained σ(D) on top of p/(p + q), where there are samples. Middle: D's value rises to
the dotted line. Right: why the generator's loss is not the one of the theory. Two Gaussians are moved apart. The better
D tells them, the less the minimax loss (solid) says to G about where to go: its gradient vanishes. The non-saturating
loss (dashed) has the same fixed points and a gradient that does not. Lines: the exact D*; dots: trained networks.

    python examples/05_optimal_discriminator.py        about ten seconds
"""

import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.data import Batches, gaussian_mixture_1d
from minigan.games import GAN, Alternating, Log, NonFiniteError, Progress, Run, RunError, play
from minigan.models import mlp
from minigan.objectives import get
from minigan.report import figure, save

P = {"means": [-2.0, 1.5], "stds": [0.5, 1.0], "weights": [0.4, 0.6]}  # the data's mixture
DISTANCES = np.arange(0.5, 8.1, 1.5)


class Shifted(mg.nn.Module):
    """x = z + θ: the generator of N(θ, 1)."""

    def __init__(self, theta):
        super().__init__()
        self.theta = mg.tensor([float(theta)], requires_grad=True)

    def forward(self, z):
        """z (n, 1) → (n, 1)."""
        return z + self.theta


def normal(x, mean=0.0, std=1.0):
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))


def discriminator_alone(real, theta, args, steps, callbacks=()):
    """Train D against a generator that does not move: a solver with one optimiser."""
    D = mg.nn.init.initialize(mlp(1, 64, 64, 1, name="D"), mg.nn.init.he, args.seed).to(args.device)
    game = GAN(Shifted(theta).to(args.device), D, Batches(real, 512, args.seed), 1, "minimax", seed=args.seed)
    rate = mg.optim.cosine_decay(5e-3, steps)
    if play(game, Alternating({"D": mg.optim.Adam(D.parameters(), lr=rate)}), steps, callbacks).interrupted:
        sys.exit("interrupted: no picture was drawn")
    return game


def generator_slope(game, name):
    """|dℓ_G/dθ| on a large batch."""
    loss = get(name).generator_loss(game.D(game.G(game.latent(20_000, name="slope"))))
    return abs(mg.grad(loss, game.G.theta)[0].item())


def exact_slope(d, name):
    """The same for p = N(0, 1), q = N(d, 1) and D* = log p/q = d²/2 − d·x, by quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(80)
    logits = d**2 / 2 - d * (z + d)
    sure = 1 / (1 + np.exp(-logits)) if name == "minimax" else 1 / (1 + np.exp(logits))
    return d * (sure @ w) / w.sum()


def main():
    args = options(__doc__, steps=1500, quick=60).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "05_optimal_discriminator", "steps": steps, "seed": args.seed}, args.out, "optimal-D")
    game = discriminator_alone(gaussian_mixture_1d(50_000, args.seed, **P), 0, args, steps, [Progress(), Log(run)])
    x = np.linspace(-5, 5, 801)
    p = sum(w * normal(x, m, s) for m, s, w in zip(P["means"], P["stds"], P["weights"]))
    q, optimal = normal(x), p / (p + normal(x))
    js = np.trapezoid(p * np.log(2 * optimal) + q * np.log(2 * (1 - optimal)), x) / 2
    logits = game.D(mg.tensor(x[:, None], dtype="float32", device=args.device)).numpy()[:, 0]
    trained = 1 / (1 + np.exp(-logits))
    value = np.trapezoid(-p * np.logaddexp(0, -logits) - q * np.logaddexp(0, logits), x)

    made, (left, middle, right) = figure(1, 3, (14, 4.2))
    left.fill_between(x, p, color="0.5", alpha=0.4, label="p (data)")
    left.fill_between(x, q, color="C0", alpha=0.4, label="q (generator)")
    left.plot(x, optimal, "k:", label="p/(p + q)")
    left.plot(x, trained, "C3", label="trained σ(D)")
    left.set(xlabel="x", title="The discriminator", ylim=(0, 1.05))
    records = run.records()
    middle.plot([r["step"] for r in records], [-r["loss/D"] for r in records], "C3", linewidth=0.8, label="D's value")
    middle.axhline(2 * js - 2 * np.log(2), color="k", linestyle=":", label="2·JS − 2 ln 2")
    middle.set(xlabel="step", title="Its value (on batches of 512)")
    d = np.linspace(0.05, DISTANCES[-1], 100)
    real = gaussian_mixture_1d(50_000, args.seed, means=[0.0], stds=1.0)
    games = [discriminator_alone(real, theta, args, max(20, steps // 5)) for theta in DISTANCES]
    for name, line, color in (("minimax", "-", "C0"), ("non_saturating", "--", "C1")):
        right.plot(d, [exact_slope(v, name) for v in d], line, color=color, label=f"{name}, exact D*")
        right.plot(DISTANCES, [generator_slope(g, name) for g in games], "o", color=color, label=f"{name}, trained D")
    right.set(xlabel="distance of the means", title="The generator's gradient |dℓ_G/dθ|", yscale="log")
    for axis in (left, middle, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save(made, run.path / "optimal.png")
    print(f"value of D: {value:.4f} (2·JS − 2 ln 2 = {2 * js - 2 * np.log(2):.4f})")
    print(f"mean |σ(D) − p/(p + q)| under (p + q)/2: {np.trapezoid(abs(trained - optimal) * (p + q) / 2, x):.4f}")
    print(f"picture: {run.path / 'optimal.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
