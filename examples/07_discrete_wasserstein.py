"""The Wasserstein distance of two histograms, from both sides: the cheapest plan, and the best critic.

Ten places on a line, two piles of sand p and q (Prince 2023, "Understanding Deep Learning", § 15.2.4). Moving a grain
from place i to place j costs |i − j|/9. The primal linear program looks for the plan P that moves p onto q at the least
cost; the dual one for a function f, nowhere steeper than the cost, on which p and q differ most. Every plan costs at
least what every such function says: when the two meet, both are optimal, and nobody has to be trusted. KL divergence
finds the same histograms infinitely far apart, as q is 0 where p is not.

Look at transport.png. Left: p, q and the potential f = u = −v: high where there is sand to spare, falling at rate 1
along the ways of the sand. Middle: the plan; rows sum to p, columns to q. Right: Sinkhorn's iteration with less and
less entropy bounds the distance from above (by a plan) and below (by a potential); both come to the exact value.

    python examples/07_discrete_wasserstein.py        some seconds
"""

import sys

import numpy as np
from _options import chosen_steps, options

from minigan.games import Run, RunError
from minigan.metrics import jensen_shannon, kl
from minigan.report import figure, save
from minigan.transport import emd, sinkhorn, wasserstein_1d

P = np.array([5, 3, 2, 1, 8, 7, 5, 9, 2, 1]) / 43
Q = np.array([4, 10, 1, 1, 4, 6, 3, 2, 0, 1]) / 32


def draw_plan(axis, made, plan):
    """The plan as a picture, its sums along two sides."""
    shown = axis.imshow(np.where(plan > 1e-12, plan, np.nan), cmap="viridis", origin="lower")
    made.colorbar(shown, ax=axis, label="mass", shrink=0.8)
    axis.plot([-0.5, 9.5], [-0.5, 9.5], color="0.7", linewidth=0.8, linestyle=":")
    axis.set(xlabel="to place j (column sums: q)", ylabel="from place i (row sums: p)", title="The cheapest plan P")
    axis.xaxis.label.set_color("C1")
    axis.yaxis.label.set_color("C0")
    axis.set(xticks=range(10), yticks=range(10))


def main():
    args = options(__doc__, steps=24, quick=8).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "07_discrete_wasserstein", "steps": steps, "seed": args.seed}, args.out, "discrete-W")
    places = np.arange(10)
    cost = np.abs(places[:, None] - places) / 9
    exact = emd(P, Q, cost)
    print(exact)
    print(f"sorting instead of programming: {wasserstein_1d(places / 9, places / 9, 1, P, Q)!r}")
    print(f"KL(p‖q) = {kl(P, Q):.4g}, JS = {jensen_shannon(P, Q):.7f} nats")  # blind to which places are near others

    bounds, result = [], None
    for step, epsilon in enumerate(np.geomspace(1, 1e-3, steps)):
        result = sinkhorn(P, Q, cost, epsilon, tolerance=1e-10, max_iterations=100_000, start=result)
        bounds.append((epsilon, result.lower, result.upper, result.iterations))
        run.log([{"step": step + 1, "epsilon": epsilon, "lower": result.lower, "upper": result.upper}])

    made, (left, middle, right) = figure(1, 3, (15, 4.6))
    left.bar(places - 0.2, P, 0.4, color="C0", label="p")
    left.bar(places + 0.2, Q, 0.4, color="C1", label="q")
    left.set(xlabel="place", ylabel="mass", xticks=places, ylim=(0, 0.37), title="Two histograms and the best critic")
    critic = left.twinx()
    critic.plot(places, exact.u, "k.-", label="f = u (right axis)")
    critic.set(ylabel="f", ylim=(-0.55, 0.65))
    left.legend(
        handles=[*left.get_legend_handles_labels()[0], *critic.get_lines()], fontsize=8, loc="upper right", ncols=3
    )
    draw_plan(middle, made, exact.plan)
    epsilon, lower, upper, _ = np.array(bounds).T
    right.fill_between(epsilon, lower, upper, color="0.9")
    right.plot(epsilon, upper, "C0.-", label="a plan costs (primal)")
    right.plot(epsilon, lower, "C1.-", label="a potential says (dual)")
    right.axhline(exact.cost, color="k", linestyle=":", label=f"both linear programs: {exact.cost:.6f}")
    right.set(xscale="log", xlabel="entropy ε", ylabel="cost", title="The two problems meet")
    right.invert_xaxis()
    right.legend(fontsize=8)
    right.grid(alpha=0.3)
    save(made, run.path / "transport.png")
    print(f"with ε = {epsilon[-1]:g}: between {lower[-1]:.6f} and {upper[-1]:.6f}")
    print(f"picture: {run.path / 'transport.png'}")


if __name__ == "__main__":
    try:
        main()
    except RunError as error:
        sys.exit(f"error: {error}")
