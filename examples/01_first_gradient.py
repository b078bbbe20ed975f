"""One gradient three times: by hand, by the engine, and by differences of values.

One data point x with the label 1, one weight w. The logistic loss and its derivatives, on paper:

    f(w) = log(1 + exp(−w x))        f′(w) = −x σ(−w x)        f″(w) = x² σ(w x) σ(−w x)

Look at gradient.png. Left: the loss with tangents whose slopes come from mg.grad; below it slope and curvature, lines
from paper, dots from the engine (the curvature by differentiating the recorded gradient once more). Right: why nobody
trains with differences. A large step h errs by the curve's bend (∼ h, h² or h⁴, whichever formula), a small one by
rounding (∼ ε/h): the famous V. The engine has no h; it errs by a rounding or two. The five-point formula has the lowest
V; mg.check_grad uses it, with an h left of the bottom: room for functions that bend more sharply than this one.

    python examples/01_first_gradient.py        two seconds        (--steps: how many step sizes h; --seed: x and w)
"""

import sys

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.autodiff.check import STEP
from minigan.backend.random import stream
from minigan.games import Run, RunError
from minigan.report import figure, save

EPSILON = np.finfo(np.float64).eps
FORMULAS = {  # name: the slope of f at w with steps h, for arrays of steps
    "forward": lambda f, w, h: (f(w + h) - f(w)) / h,
    "central": lambda f, w, h: (f(w + h) - f(w - h)) / (2 * h),
    "five points": lambda f, w, h: (8 * (f(w + h) - f(w - h)) - (f(w + 2 * h) - f(w - 2 * h))) / (12 * h),
}


def by_hand(w, x):
    """(f, f′, f″) from paper, on NumPy arrays."""
    plus, minus = 1 / (1 + np.exp(-w * x)), 1 / (1 + np.exp(w * x))  # σ(w x) and σ(−w x), which 1 − σ(w x) would round
    return np.log1p(np.exp(-w * x)), -x * minus, x * x * plus * minus


def loss(w, x):
    """The same f, of Tensors: each number in w is a weight of its own."""
    return mg.softplus(-w * x)


def by_engine(w, x, device):
    """(f, f′, f″): the slope is itself a recorded computation, so it can be differentiated like any other."""
    w = mg.tensor(np.asarray(w), requires_grad=True, name="w", device=device)
    f = loss(w, x)
    (slope,) = mg.grad(mg.sum(f), w, create_graph=True)
    (curvature,) = mg.grad(mg.sum(slope), w)
    return f.numpy(), slope.numpy(), curvature.numpy()


def draw(w, x, h, errors, device, file):
    """The loss and its tangents; slope and curvature; the Vs."""
    made, axes = figure(2, 2, (12, 6.6), width_ratios=(1, 1.15))
    top, below, right = axes[0, 0], axes[1, 0], axes[0, 1]
    axes[1, 1].remove()
    right.set_subplotspec(right.get_gridspec()[:, 1])
    grid, dots = np.linspace(-3.2, 3.2, 200), np.linspace(-3, 3, 17)
    paper, engine = by_hand(grid, x), by_engine(dots, x, device)
    top.plot(grid, paper[0], "k", linewidth=1.2)
    for i, (at, f, slope) in enumerate(zip(w, *by_engine(w, x, device)[:2])):
        near = at + np.array([-0.8, 0.8])
        top.plot(near, f + slope * (near - at), f"C{i}", linewidth=2.5)
        top.plot(at, f, f"C{i}o")
        top.annotate(f"slope {slope:.2f}", (at, f), (7, 5), textcoords="offset points", color=f"C{i}")
    top.set(title=f"f(w) = log(1 + exp(−w x)),  x = {x:.2f}: tangents by mg.grad", ylabel="loss")
    for values, points, color, label in zip(paper[1:], engine[1:], ("C4", "C5"), ("slope f′", "curvature f″")):
        below.plot(grid, values, color, linewidth=1.2)
        below.plot(dots, points, color=color, marker="o", markersize=4, linestyle="")
        below.annotate(label, (-1, np.interp(-1, grid, values)), (8, -12), textcoords="offset points", color=color)
    below.set(xlabel="weight w", title="Slope and curvature: lines from paper, dots by mg.grad")
    for i, (name, error) in enumerate(errors.items()):
        right.loglog(h, np.where(error > 0, error, np.nan), f"C{i}", linewidth=1)
        power, side, at = (("h", "right", 8e-6), ("h²", "right", 1e-4), ("h⁴", "left", 5e-3))[i]
        right.text(at, np.interp(at, h[::-1], error[::-1]), f" {name} ∼ {power} ", color=f"C{i}", ha=side, va="center")
    right.text(1e-10, 1e-4, "rounding ∼ ε/h")
    right.axhline(EPSILON, color="k", linestyle=":", linewidth=1)
    right.text(h.max(), 0.7 * EPSILON, "ε: the engine's error", ha="right", va="top")
    right.axvline(STEP, color="C2", linestyle="--", linewidth=1)
    right.text(0.8 * STEP, 3e-1, f"h = {STEP:g} of check_grad", color="C2", ha="right")
    right.set(title=f"Relative error of f′({w[0]:.2f}) by differences", xlabel="step size h", ylim=(2e-17, 3))
    for axis in (top, below, right):
        axis.grid(alpha=0.3)
    save(made, file)


def main():
    args = options(__doc__, steps=400, quick=50).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "01_first_gradient", "steps": steps, "seed": args.seed}, args.out, "first-gradient")
    rng = stream(args.seed, "points")
    x = rng.uniform(1.0, 1.6)
    w = np.array([0.4, -2.2, 2.0]) + rng.uniform(-0.3, 0.3, 3)
    paper, engine = by_hand(w[0], x), by_engine(w[0], x, args.device)

    f = lambda w: loss(mg.tensor(np.asarray(w), device=args.device), x).numpy()
    h = np.geomspace(1.0, 1e-13, steps)
    errors = {name: abs(formula(f, w[0], h) / paper[1] - 1) for name, formula in FORMULAS.items()}
    run.log({"step": i + 1, "h": h[i]} | {f"error/{n}": e[i] for n, e in errors.items()} for i in range(steps))
    draw(w, x, h, errors, args.device, run.path / "gradient.png")

    slope = FORMULAS["five points"](f, w[0], STEP)
    curvature = FORMULAS["five points"](lambda w: by_engine(w, x, args.device)[1], w[0], STEP)
    print(f"at w = {w[0]:.4f}, x = {x:.4f}      by hand            by the engine      by differences (five points)")
    print(f"slope      f′           {paper[1]:+.15f} {engine[1]:+.15f} {slope:+.15f}")
    print(f"curvature  f″           {paper[2]:+.15f} {engine[2]:+.15f} {curvature:+.15f}")
    worst = mg.check_grad(loss, w, np.array(x), order=3)
    print(f"mg.check_grad, orders 1 to 3, by w and by x: largest relative error {worst:.0e}")
    print(f"picture: {run.path / 'gradient.png'}")


if __name__ == "__main__":
    try:
        main()
    except RunError as error:
        sys.exit(f"error: {error}")
