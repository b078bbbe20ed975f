"""The smallest GAN, ten ways: all real data at 0, all generated data at θ, discriminator D(x) = ψ·x.

Mescheder et al. (2018) ask with it which GANs converge at all. At the equilibrium, θ = ψ = 0, the generator has found
the data and the discriminator is flat. Their settings: start (1, 1), learning rate 0.2, 500 rounds.

Look at dirac.png. Arrows: the vector field, which both players follow. Blue: both step at once; orange: D, then G, as
GANs are trained. A verdict compares the farthest points of the last two quarters. Last panel: eigenvalues λ of the
field's Jacobian at rest: a blue step w ← (1 + 0.2 λ) w shrinks left of the dotted line. GAN and WGAN only turn; R1,
noise and consensus move λ to the left. (2) converges in turns, but slower than any linear rate: no λ shows that.

    python examples/04_dirac_gan.py        15 seconds (two numbers, nothing random: --device and --seed change nothing)
"""

import sys
from functools import partial

import numpy as np
from _options import chosen_steps, options

import minigan as mg
from minigan.games import DiracGAN, NonFiniteError, Run, RunError, position
from minigan.objectives import R1, GradientPenalty, WeightClipping
from minigan.report import figure, save

LR, SOLVERS = 0.2, {"at once": mg.games.Simultaneous, "in turns": mg.games.Alternating}


class Consensus(DiracGAN):
    """Both players also minimise ½‖ξ‖², ξ all gradients: what the solver `games.Consensus` does, as a game."""

    loss = mg.games.Game.loss  # a GAN's shortcut to one player's loss knows nothing of the addition

    def losses(self, batch):
        losses = super().losses(batch)
        xi = [mg.grad(losses[player], params, create_graph=True)[0] for player, params in self.players.items()]
        return {player: loss + 0.5 * sum(mg.sum(g * g) for g in xi) for player, loss in losses.items()}


pair = lambda real, square: real + np.array([1, -1]) * np.emath.sqrt(square)  # real ± √square
VARIANTS = {  # name: (how the game is made, its eigenvalues at rest on paper, with f′(0) = ½ and f″(0) = −¼)
    "GAN": (partial(DiracGAN, "minimax"), pair(0, -1 / 4)),
    "non-saturating GAN": (partial(DiracGAN, "non_saturating"), pair(0, -1 / 4)),
    "WGAN": (partial(DiracGAN, "wasserstein"), pair(0, -1)),
    "WGAN, |ψ| clipped at 1": (partial(DiracGAN, "wasserstein", [WeightClipping(1.0)]), pair(0, -1)),
    "WGAN-GP": (partial(DiracGAN, "wasserstein", [GradientPenalty(0.7)]), None),  # |ψ| has a kink at 0
    "instance noise σ = 0.7": (partial(DiracGAN, instance_noise=0.7), pair(-0.1225, 0.1225**2 - 1 / 4)),  # σ²/4
    "R1, γ = 0.3": (partial(DiracGAN, regularizers=[R1(0.3)]), pair(-0.15, 0.15**2 - 1 / 4)),
    "R1, γ = 1 (critical)": (partial(DiracGAN, regularizers=[R1(1.0)]), pair(-0.5, 0)),
    "RpGAN + R1, γ = 0.6": (partial(DiracGAN, "relativistic", [R1(0.6)]), pair(-0.3, 0.3**2 - 1 / 4)),
    "GAN, consensus γ = 1": (Consensus, pair(-1 / 4, -1 / 4)),
}


def walk(game, solver, steps):
    """The points (θ, ψ) of a play: (steps + 1, 2)."""
    optimizers = {player: mg.optim.SGD(params, lr=LR) for player, params in game.players.items()}
    solver, points = solver(optimizers), [position(game)]
    for step in range(steps):
        solver.step(game, step)
        points.append(position(game))
    return np.array(points)[:, ::-1]  # in a GAN's position the discriminator comes first


def verdict(points):
    """The farthest point of the last quarter against the third's: a tenth less converges, a tenth more diverges."""
    third, last = (quarter.max() for quarter in np.array_split(np.hypot(*points.T), 4)[2:])
    return "converges" if last < 0.9 * third else "diverges" if last > 1.1 * third else "cycles"


def draw(paths, spectra, file):
    """Field and paths of each variant; all eigenvalues."""
    made, axes = figure(3, 4, (13, 10.4))
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-2, 2, 11)]), axis=-1).reshape(-1, 2)
    for axis, (i, (name, (make, _))) in zip(axes.flat, enumerate(VARIANTS.items(), 1)):
        games = [make(theta=theta, psi=psi) for theta, psi in grid]
        for game in games:
            game.constrain("D")  # clipping: no arrows where ψ may not be
        w = np.array([position(game)[::-1] for game in games])
        v = np.array([mg.games.vector_field(game, game.batch(0))[::-1] for game in games])
        v = v.T / np.sqrt(np.linalg.norm(v, axis=1) + 1e-9)  # lengths nearer to 1
        axis.quiver(*w.T, *v, color="0.75", pivot="mid", width=0.006, scale=17)
        for x, align, color, (solver, points) in zip((-2.3, 2.3), ("left", "right"), ("C0", "C1"), paths[name].items()):
            axis.plot(*points.T, color, linewidth=1)
            axis.text(x, 2.4, f"{solver}: {verdict(points)}", color=color, ha=align, size=9)
        axis.plot(1, 1, "ko", 0, 0, "k*", markersize=6)
        axis.set(title=f"{i}  {name}\n", xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal")
    axes[2, 0].set(xlabel="θ (generator)", ylabel="ψ (discriminator)")
    axes[2, 3].remove()
    plane, circle = axes[2, 2], (np.exp(1j * np.linspace(-0.25, 0.25, 99)) - 1) / LR
    plane.set_subplotspec(plane.get_gridspec()[2, 2:])
    plane.plot(circle.real, circle.imag, "k:", [0, 0], [-1.2, 1.2], "k", linewidth=0.8)
    for i, (name, (_, paper)) in enumerate(VARIANTS.items(), 1):
        if paper is not None:
            plane.plot(spectra[name].real, spectra[name].imag, "C2o", paper.real, paper.imag, "kx", markersize=6)
            plane.text(paper[0].real, paper[0].imag, f"   {i}   ", ha=("left", "right")[i % 2], va="center")
    plane.set(title=f"λ: dots by games.spectrum, × on paper; dotted |1 + {LR} λ| = 1", xlabel="Re λ", ylabel="Im λ")
    save(made, file)


def main():
    args = options(__doc__, steps=500, quick=100).parse_args()
    steps = chosen_steps(args)
    run = Run.create({"example": "04_dirac_gan", "steps": steps, "seed": args.seed}, args.out, "dirac-gan")
    paths = {n: {s: walk(make(), S, steps) for s, S in SOLVERS.items()} for n, (make, _) in VARIANTS.items()}
    spectra = {name: mg.games.spectrum(make(theta=0.0, psi=0.0)) for name, (make, _) in VARIANTS.items()}
    far = {f"distance/{name} {s}": np.hypot(*points.T) for name, both in paths.items() for s, points in both.items()}
    run.log({"step": t} | {name: d[t] for name, d in far.items()} for t in range(1, steps + 1))
    draw(paths, spectra, run.path / "dirac.png")
    for name, (_, paper) in VARIANTS.items():
        shown = "" if paper is None else f"λ = {spectra[name][0].real:.3f} ± {spectra[name][0].imag:.3f}i"
        print(f"{name:23} {shown:21}", *(f"{s}: distance {far[f'distance/{name} {s}'][-1]:7.2g}  " for s in SOLVERS))
    print(f"picture: {run.path / 'dirac.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
