"""min over x, max over y of x·y: the smallest game that gradient descent cannot play, and ways to play it.

The equilibrium is (0, 0). The field (−y, x) that both players follow turns around it and never points at it. A round of
each solver is a linear map here, and its largest |eigenvalue| is the factor by which the distance changes in the end.

Look at bilinear.png. Above: the same start for all. Simultaneous steps spiral out; alternating ones go round for ever,
while the mean of their points converges; the others look ahead, or brake the rotation, and spiral in. Below: the
distance, where each factor is a straight line's slope. Optimism takes one gradient a round and beats extragradient,
which takes two; consensus and SGA know the Jacobian; the proximal step, which extragradient imitates, solves an
equation. So it is in this game at this rate: from η = 0.577 on optimism diverges, and no GAN is bilinear.

    python examples/03_bilinear_game.py        three seconds (two numbers: on the CPU, whatever --device says)
"""

import sys

import numpy as np
from _options import chosen_steps, options

from minigan import games
from minigan.backend.random import stream
from minigan.games import Bilinear, NonFiniteError, Run, RunError, play, position
from minigan.optim import SGD
from minigan.report import figure, save

LR, BETA, MEAN = 0.3, -0.5, "mean of Alternating"
OPTIMISTIC, CONSENSUS = np.sqrt((1 + np.sqrt(1 - 4 * LR**2)) / 2), np.hypot(1 - LR, LR)
MOMENTUM = np.polyadd(np.polymul([1, -2, 1], np.polymul([1, -BETA], [1, -BETA])), [LR**2, 0, 0, 0])  # Gidel 2019b
SOLVERS = {  # name: (the solver of a game, given an SGD for each player; the factor on paper; its colour)
    "Simultaneous": (lambda g, o: games.Simultaneous(o), np.hypot(1, LR), "C3"),
    "Alternating": (lambda g, o: games.Alternating(o), 1.0, "C1"),
    "negative_momentum": (lambda g, o: games.negative_momentum(g, LR, BETA), max(abs(np.roots(MOMENTUM))), "C6"),
    "ExtraGradient": (lambda g, o: games.ExtraGradient(o), np.sqrt(1 - LR**2 + LR**4), "C0"),
    "Proximal": (lambda g, o: games.Proximal(LR), 1 / np.hypot(1, LR), "C9"),
    "PastExtraGradient": (lambda g, o: games.PastExtraGradient(o), OPTIMISTIC, "C2"),
    "Optimistic": (lambda g, o: games.Optimistic(o), OPTIMISTIC, "C8"),
    "Unrolled": (lambda g, o: games.Unrolled(o, 2, leader="x"), np.sqrt(1 - 3 * LR**2), "C5"),
    "Consensus": (lambda g, o: games.Consensus(o, gamma=1.0), CONSENSUS, "C4"),
    "SGA": (lambda g, o: games.SymplecticGradientAdjustment(o, strength=1.0), CONSENSUS, "C7"),
}


class Watch(games.Callback):
    """Keeps (x, y) after every round."""

    def __init__(self, game):
        self.path = [position(game)]

    def after(self, moment):
        """One row."""
        self.path.append(position(moment.game))


def race(start, steps):
    """{name: path (steps + 1, 2)} of all solvers from one start, and of the mean of one."""
    paths = {}
    for name, (solver, *_) in SOLVERS.items():
        game = Bilinear(*start)
        watch = Watch(game)
        if play(game, solver(game, {p: SGD(t, lr=LR) for p, t in game.players.items()}), steps, [watch]).interrupted:
            sys.exit("stopped")
        paths[name] = np.array(watch.path)
    paths[MEAN] = paths["Alternating"].cumsum(axis=0) / np.arange(1, steps + 2)[:, None]  # as optim.UniformAverage
    return paths


def draw(paths, distances, file):
    """A phase plot for each solver over the vector field; all distances below, named where they leave the frame."""
    made, axes = figure(3, 5, (13, 9.6), height_ratios=(1, 1, 1.6))
    grid, rounds = np.stack(np.meshgrid(*2 * [np.linspace(-1.8, 1.8, 9)])), len(paths[MEAN]) - 1
    for axis, (name, (_, _, color)) in zip(axes.flat, SOLVERS.items()):
        axis.quiver(*grid, -grid[1], grid[0], color="0.8", pivot="mid", width=0.006)  # x goes down, y goes up
        axis.plot(*paths[name].T, ".-", color=color, linewidth=0.9, markersize=3)
        axis.plot(*paths[name][0], "o", color=color, markersize=7)
        axis.plot(0, 0, "k*", markersize=9)
        axis.set(title=name, xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes[0, 1].plot(*paths[MEAN].T, "k.-", linewidth=0.9, markersize=3)
    axes[0, 1].set_title("Alternating (black: its mean)")
    axes[0, 0].set(xlabel="x", ylabel="y")
    for axis in axes[2, 1:]:
        axis.remove()
    below, low, before = axes[2, 0], 1e-8, np.inf
    below.set_subplotspec(below.get_gridspec()[2, :])
    for name in sorted(paths, key=lambda name: -distances[name][-1]):
        color, far = SOLVERS[name][2] if name in SOLVERS else "k", distances[name]
        twin = name in ("Optimistic", "SGA")  # the same distances as PastExtraGradient, Consensus
        below.semilogy(far, color=color, linewidth=1.6, linestyle=(0, (4, 4)) if twin else "-", zorder=2 + twin)
        before = min(far[-1], before / 3)  # names do not lie on each other
        at, up = ((rounds, before), 0) if before > 3 * low else ((np.argmax(far < 3 * low), 3 * low), 14 * twin)
        below.annotate(name, at, (6, up), textcoords="offset points", color=color, va="center")
    below.set(xlabel="round", ylabel="distance to the equilibrium", xlim=(0, 1.16 * rounds), ylim=(low, None))
    below.grid(alpha=0.3)
    save(made, file)


def main():
    args = options(__doc__, steps=200, quick=30).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "03_bilinear_game", "steps": steps, "seed": args.seed}, args.out, "bilinear-game")
    angle = stream(args.seed, "start").uniform(0, 2 * np.pi)
    paths = race(1.5 * np.array([np.cos(angle), np.sin(angle)]), steps)
    distances = {name: np.hypot(*path.T) for name, path in paths.items()}
    run.log({"step": t} | {f"distance/{n}": d[t] for n, d in distances.items()} for t in range(1, steps + 1))
    draw(paths, distances, run.path / "bilinear.png")
    print(f"factor per round at learning rate {LR}: measured (mean of the later half), on paper")
    for name, far in distances.items():
        later = far[far > 1e-200][-(steps // 2) - 1 :]  # where it has not underflowed
        measured = (later[-1] / later[0]) ** (1 / max(len(later) - 1, 1))
        print(f"  {name:20} {measured:.4f}   {f'{SOLVERS[name][1]:.4f}' if name in SOLVERS else 'distance ∼ 1/rounds'}")
    print(f"picture: {run.path / 'bilinear.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
