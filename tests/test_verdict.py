"""Verdicts on real runs that were made to fail in each way (and on healthy ones), and the callbacks of the loop."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path as FilePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.data import Batches, ring, ring_modes
from minigan.games import (
    GAN,
    Alternating,
    Bilinear,
    Callback,
    Checkpoint,
    Diagnostics,
    DiracGAN,
    EarlyStop,
    ExtraGradient,
    Game,
    Log,
    Metrics,
    NonFiniteError,
    Progress,
    Proximal,
    QuadraticGame,
    Run,
    Simultaneous,
    Unrolled,
    accuracy,
    gradient_norms,
    play,
    verdict,
)
from minigan.games.loop import Moment, Trajectory
from minigan.games.verdict import COORDINATES, POINTS, RARER, Path
from minigan.metrics import mode_coverage
from minigan.models import mlp
from minigan.objectives import R1
from minigan.optim import EMA, SGD, Adam
from tests.strategies import seeds

ROOT = FilePath(__file__).parent.parent
MODES, STD = ring_modes(), 0.05


def sgd(game, lr):
    return {name: SGD(ps, lr=lr) for name, ps in game.players.items()}


def adam(game, lr=1e-3):
    return {name: Adam(ps, lr=lr, beta1=0.5) for name, ps in game.players.items()}


def judged(game, solver, steps, every=5, **settings):
    """(the verdict on a real play, the diagnostics that found it)."""
    watch = Diagnostics(every, **settings)
    play(game, solver, steps, [watch])
    return watch.verdict(), watch


# ---- games that turn -------------------------------------------------------------------------------------------------

LINE = r"{}: a turn takes about (\d+) rounds(?:, each (?:grows|leaves) ([\d.]+(?:e[+-]\d+)?)(?:-fold| of it))?"


def read(line, kind):
    """(rounds in a turn, growth of a turn) that a verdict of this kind names."""
    found = re.fullmatch(LINE.format(kind), line)
    assert found, line
    return float(found[1]), found[2] and float(found[2])


@pytest.mark.parametrize(("lr", "steps"), [(0.02, 1500), (0.1, 400), (0.5, 60), (0.5, 3000), (1.0, 1000)])
def test_alternating_steps_on_the_bilinear_game_are_rotating(lr, steps):
    """The round is a rotation by 2 arcsin(lr/2) in disguise."""
    game = Bilinear(1.0, 0.5)
    line, _ = judged(game, Alternating(sgd(game, lr)), steps, every=10)
    rounds, growth = read(line, "rotating")
    assert_allclose(rounds, math.pi / math.asin(lr / 2), rtol=0.06, atol=0.6)
    assert growth is None


def test_alternating_steps_on_the_dirac_gan_are_rotating():
    game = DiracGAN()
    line, _ = judged(game, Alternating(sgd(game, 0.2)), 600)
    assert read(line, "rotating")[0] > math.pi / math.asin(0.05)  # slower than near the equilibrium


@pytest.mark.parametrize(("lr", "steps"), [(0.1, 300), (0.3, 200), (0.5, 2000)])
def test_simultaneous_steps_spiral_outwards(lr, steps):
    """Eigenvalues 1 ± i·lr; the last ones grow 10⁹⁷-fold."""
    game = Bilinear(1.0, 0.0)
    line, _ = judged(game, Simultaneous(sgd(game, lr)), steps, every=10)
    rounds, growth = read(line, "spiralling outwards")
    turn = 2 * math.pi / math.atan(lr)
    assert_allclose(rounds, turn, rtol=0.05, atol=0.6)
    assert_allclose(math.log(growth), turn * 0.5 * math.log(1 + lr**2), rtol=0.1)


@pytest.mark.parametrize(("lr", "steps"), [(0.1, 300), (0.3, 150)])
def test_extragradient_spirals_inwards(lr, steps):
    """Eigenvalues 1 − lr² ± i·lr."""
    game = Bilinear(1.0, 0.0)
    line, _ = judged(game, ExtraGradient(sgd(game, lr)), steps)
    rounds, growth = read(line, "spiralling inwards")
    turn = 2 * math.pi / math.atan2(lr, 1 - lr**2)
    assert_allclose(rounds, turn, rtol=0.05, atol=0.6)
    assert_allclose(math.log(growth), turn * 0.5 * math.log((1 - lr**2) ** 2 + lr**2), rtol=0.1)


def test_a_regularised_dirac_gan_spirals_inwards():
    game = DiracGAN(regularizers=[R1(0.1)], theta=0.5, psi=0.5)
    line, _ = judged(game, Simultaneous(sgd(game, 0.1)), 600, every=20)
    rounds, growth = read(line, "spiralling inwards")
    eigenvalue = 1 + 0.1 * (-0.05 + 1j * math.sqrt(0.25 - 0.05**2))
    assert_allclose(rounds, 2 * math.pi / np.angle(eigenvalue), rtol=0.1)
    assert_allclose(growth, abs(eigenvalue) ** (2 * math.pi / np.angle(eigenvalue)), rtol=0.2)


def test_at_rest():
    game = Bilinear(0.0, 0.0)
    assert judged(game, Alternating(sgd(game, 0.1)), 60)[0].startswith("at rest: all gradients below")
    start = {"a": [3.0], "b": [-2.0, 1.0]}
    game = QuadraticGame({name: (np.eye(3), np.ones(3)) for name in start}, start)
    line, watch = judged(game, Simultaneous(sgd(game, 0.3)), 100)
    assert line.startswith("at rest") and watch.history[0]["gradient/a"] > 0.1
    line, _ = judged(
        game := QuadraticGame({n: (np.eye(3), np.ones(3)) for n in start}, start), Simultaneous(sgd(game, 0.3)), 20
    )
    assert line == "nothing conspicuous"  # on its way down, in a straight line


# ---- GANs that fail --------------------------------------------------------------------------------------------------


class Modes(nn.Module):
    """A generator that serves just these centres, with normal noise, all moved by one learned shift."""

    def __init__(self, centres, std):
        super().__init__()
        self.centres, self.std = np.asarray(centres, np.float32), std
        self.shift = mg.tensor(np.zeros(2, np.float32), requires_grad=True)

    def forward(self, z):
        angle = np.arctan2(z.data[:, 1], z.data[:, 0]) / (2 * np.pi) + 0.5
        which = (angle * len(self.centres)).astype(int) % len(self.centres)
        return self.std * z + self.centres[which] + self.shift


def ring_gan(G, objective="non_saturating", regularizers=(), std=STD):
    D = nn.init.initialize(mlp(2, 16, 1, name="D"), nn.init.he, 1)
    return GAN(G, D, Batches(ring(2000, 0, std=std), 32, 0), 2, objective, regularizers)


def judged_ring(G, steps=60, modes=(MODES, STD), **settings):
    game = ring_gan(G, **settings)
    return judged(game, Alternating(adam(game)), steps, modes=modes)


@pytest.mark.parametrize(
    ("k", "line"),
    [
        (1, "collapsed to 1 of 8 modes"),
        (2, "collapsed to 2 of 8 modes"),
        (4, "collapsed to 4 of 8 modes"),
        (5, "covers only 5 of 8 modes"),
        (7, "covers only 7 of 8 modes"),
        (8, "nothing conspicuous"),
    ],
)
def test_collapse_onto_some_modes(k, line):
    found, watch = judged_ring(Modes(MODES[:k], STD))
    assert found == line
    assert watch.history[-1]["modes"] == watch.history[-1]["visited modes"] == k


def test_a_generator_trained_to_collapse():
    """G moves thirty times as far as D: it runs to where D's output is highest, all of it."""
    G = nn.init.initialize(mlp(2, 16, 2, name="G"), nn.init.he, 0)
    game = ring_gan(G, "minimax")
    solver = Alternating({"D": Adam(game.players["D"], lr=1e-3), "G": Adam(game.players["G"], lr=3e-2, beta1=0.5)})
    watch = Diagnostics(10, modes=(MODES, STD))
    assert watch._samples(game, 0)["visited modes"] >= 6
    play(game, solver, 200, [watch])
    assert watch.verdict() == "collapsed to 1 of 8 modes"


@pytest.mark.parametrize(
    ("looks", "line"),
    [((7, 8), "covers only 7 of 8 modes"), ((4, 5), "collapsed to 4 of 8 modes"), ((8, 8), "nothing conspicuous")],
)
def test_modes_come_in_whole_numbers(looks, line):
    """In a real run of 200 rounds with a look every 10: the last tenth is two looks, and the lower one counts."""
    assert verdict([SEEN] * 18 + [SEEN | {"visited modes": float(n)} for n in looks], modes=8) == line


def test_blurred():
    line, watch = judged_ring(Modes(MODES, 0.4))
    share = re.fullmatch(r"blurred: samples lie around all modes, but only (\d+)% of them within three .* of one", line)
    assert share and int(share[1]) < 15 and watch.history[-1]["high quality"] < 0.15


def test_samples_without_variety():
    """Of data whose modes nobody knows."""
    line, watch = judged_ring(Modes([[0.3, 0.3]], 0.01), modes=None)
    ratio = re.fullmatch(r"collapsed: samples vary ([\d.]+) times as much as the data", line)
    assert ratio and abs(float(ratio[1]) - 0.014) < 0.003
    assert "modes" not in watch.history[-1]
    assert judged_ring(Modes(MODES, STD), modes=None)[0] == "nothing conspicuous"


def test_a_penalty_that_drowns_the_objective():
    line, watch = judged_ring(Modes(MODES, STD), regularizers=[R1(1e4)])
    named = re.fullmatch(r"penalty drowns the objective of D: ([\d.]+) times as large; lower its weight", line)
    assert named and float(named[1]) > 10
    assert judged_ring(Modes(MODES, STD), regularizers=[R1(0.1)])[0] == "nothing conspicuous"


def far_away(objective):
    """D moves often until it is sure; the samples are where no datum is."""
    game = ring_gan(Modes(MODES + [100, 0], STD), objective)
    solver = Alternating(adam(game, 1e-2), {"D": 3})
    return judged(game, solver, 150, modes=None)


def test_a_saturated_discriminator():
    line, watch = far_away("minimax")
    assert re.fullmatch(r"discriminator saturated: it is right in 100% of cases, generator gradient \de-\d+", line)
    assert watch.history[-1]["accuracy/D"] == 1
    assert watch.history[-1]["gradient/G"] <= 1e-3 * max(h["gradient/G"] for h in watch.history) + 1e-6
    line, watch = far_away("non_saturating")  # D is as sure, but G hears it all the louder: its loss's whole point
    assert line == "nothing conspicuous" and watch.history[-1]["accuracy/D"] == 1


@pytest.mark.parametrize("objective", ["non_saturating", "relativistic", "wasserstein", "hinge"])
def test_a_short_healthy_run(objective):
    G = nn.init.initialize(mlp(2, 16, 2, name="G"), nn.init.he, 0)
    line, watch = judged_ring(G, modes=None, objective=objective, regularizers=[R1(0.1)])
    assert line == "nothing conspicuous" and len(watch.history) == 12


def test_before_there_is_enough_to_tell():
    game = Bilinear()
    line, watch = judged(game, Alternating(sgd(game, 0.1)), 2)
    assert "too few rounds" in line and len(watch.history) == 1
    assert "too few rounds" in verdict([]) and "too few rounds" in Diagnostics().verdict()


# ---- made-up histories: limits and order -----------------------------------------------------------------------------

FINE = {"gradient/G": 1.0, "gradient/D": 1.0, "accuracy/D": 0.7, "variety": 0.9, "penalty/D": 1.0}
FINE |= {"objective/D": 1.0, "objective/G": 1.0}
SEEN = FINE | {"visited modes": 8.0, "high quality": 0.9}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "nothing"),
        ({"accuracy/D": 0.99}, "nothing"),  # sure, but G still learns
        ({"gradient/G": 1e-9}, "nothing"),  # G does not move, but D is not sure
        ({"accuracy/D": 0.99, "gradient/G": 1e-9}, "discriminator saturated"),
        ({"accuracy/D": 0.97, "gradient/G": 1e-9}, "nothing"),
        ({"visited modes": 4.0}, "collapsed to 4 of 8"),
        ({"visited modes": 5.0}, "covers only 5 of 8"),
        ({"high quality": 0.51}, "nothing"),
        ({"high quality": 0.49}, "blurred"),
        ({"variety": 0.21}, "nothing"),
        ({"variety": 0.19}, "collapsed: samples vary 0.19 times"),
        ({"penalty/D": 9.0}, "nothing"),
        ({"penalty/D": 11.0}, "penalty drowns the objective of D: 11 times"),
        ({"penalty/G": 11.0}, "penalty drowns the objective of G: 11 times"),
        ({"gradient/G": 1e-7, "gradient/D": 1e-7}, "at rest"),
        ({"gradient/G": 1e-7, "gradient/D": 1e-5}, "nothing"),
        ({"visited modes": 1.0, "high quality": 0.1, "variety": 0.01}, "collapsed to 1 of 8"),
        ({"high quality": 0.1, "variety": 0.01}, "blurred"),
        ({"variety": 0.01, "penalty/D": 99.0}, "collapsed: "),
        ({"penalty/D": 99.0, "gradient/G": 0.0, "gradient/D": 0.0}, "penalty drowns"),
        ({"accuracy/D": 1.0, "gradient/G": 0.0, "visited modes": 1.0}, "discriminator saturated"),
    ],
)
def test_the_limits_and_the_order(changed, line):
    assert verdict([SEEN] * 27 + [SEEN | changed] * 3, modes=8).startswith(line)


def test_single_looks_do_not_count_and_old_ones_neither():
    bad = SEEN | {"visited modes": 1.0}
    assert verdict([SEEN] * 28 + [bad, SEEN], modes=8) == "nothing conspicuous"
    assert verdict([SEEN] * 27 + [bad, SEEN, bad], modes=8).startswith("collapsed")
    assert verdict([bad] * 27 + [SEEN] * 3, modes=8) == "nothing conspicuous"
    assert verdict([bad] * 5, modes=None) == "nothing conspicuous"


def test_the_player_whose_penalty_drowns_is_named():
    assert "the objective of critic:" in verdict([{"penalty/critic": 20.0, "objective/critic": 1.0}] * 3)


# ---- the path --------------------------------------------------------------------------------------------------------


class Puppet(Game):
    """A game whose players stand where one puts them."""

    def __init__(self, *sizes):
        self.players = {f"p{i}": [mg.tensor(np.zeros(n), requires_grad=True)] for i, n in enumerate(sizes)}

    def put(self, w):
        at = 0
        for (p,) in self.players.values():
            p.assign(w[at : at + p.size])
            at += p.size


def walked(points, *sizes):
    points = np.asarray(points, np.float64)
    puppet, path = Puppet(*(sizes or points.shape[1:])), Path()
    for p in points:
        puppet.put(p)
        path.add(puppet)
    return path


@given(n=st.integers(1, 5000))
def test_a_path_keeps_few_points_evenly_at_every_scale(n):
    path = Path()
    path._coordinates = lambda game: game
    for i in range(n):
        path.add(i)
    assert POINTS == 64 and RARER == 4 and len(path.levels) <= 2 + math.log(n, 4)
    for k, level in enumerate(path.levels):
        kept = np.array(level)
        assert 1 <= len(kept) <= 64 and (np.diff(kept) == 4**k).all() and not (kept % 4**k).any()
        assert n - 1 - 4**k < kept[-1] <= n - 1  # up to the end
        assert len(kept) == 64 or kept[0] <= 4**k  # and from the beginning, if there is room
    assert len(path.levels[-1]) * 4 ** len(path.levels) >= n / 4  # the coarsest one sees it all


def coordinates(path, level=0, at=-1):
    return np.concatenate(path.levels[level][at])


def test_a_large_game_is_followed_in_some_of_its_coordinates():
    w = np.arange(6000.0)
    path = walked([w, w + 0.5], 10, 3000, 2990)
    first, second = coordinates(path, at=0), coordinates(path, at=1)
    assert COORDINATES == 4096 and first.shape == (4096,)
    assert len(set(first)) == 4096 and set(first) <= set(w)
    assert all(((low <= first) & (first < high)).any() for low, high in ((0, 10), (10, 3010), (3010, 6000)))
    assert_array_equal(second, first + 0.5)  # the same ones every time
    assert_array_equal(coordinates(walked([w], 10, 3000, 2990)), first)
    assert_array_equal(coordinates(walked([w[:4096]], 4000, 96)), w[:4096])


def test_a_path_is_made_of_copies():
    path = walked([[1.0, 2.0], [3.0, 4.0]], 1, 1)
    assert [coordinates(path, at=i).tolist() for i in (0, 1)] == [[1, 2], [3, 4]]


def embedded(plane, dims, seed, noise=0.0):
    """Points of the plane (n, 2), somewhere in R^dims."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((dims, 2)))
    return plane @ axes.T + rng.standard_normal(dims) + noise * rng.standard_normal((len(plane), dims))


def spiral(period, n, growth=1.0):
    """n rounds of a spiral: ``period`` rounds a turn, growing ``growth``-fold in each."""
    turns = np.arange(n) / period
    return growth ** turns[:, None] * np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1)


@given(
    period=st.floats(5, 150),
    dims=st.integers(2, 40),
    seed=seeds,
    n=st.integers(520, 1500),
    sign=st.sampled_from([1, -1]),
    squeezed=st.just(1.0) | st.floats(0.6, 1),
)
def test_circles_and_ellipses_turn(period, dims, seed, n, sign, squeezed):
    rounds, growth = walked(embedded(spiral(period, n) * [1, sign * squeezed], dims, seed)).turning()
    assert abs(rounds / period - 1) < 0.2
    assert squeezed < 1 or 0.95 < growth < 1.05


def test_an_ellipse_is_steady():
    """Where players have different learning rates, orbits are ellipses."""
    assert verdict([{}] * 3, walked(spiral(55.0, 520) * [1, 0.625])).startswith("rotating")


@given(period=st.floats(8, 20), dims=st.integers(2, 9), seed=seeds, growth=st.sampled_from([0.3, 0.8, 1.25, 4.0]))
def test_spirals_turn_and_grow_or_shrink(period, dims, seed, growth):
    points = spiral(period, 90, growth)
    rounds, measured = walked(embedded(points, dims, seed) if growth > 0.5 else points).turning()
    assert abs(rounds / period - 1) < 0.1
    assert_allclose(math.log(measured), math.log(growth), rtol=0.15)


def test_a_slow_turn_is_seen_through_quick_noise():
    rng = np.random.default_rng(0)
    points = spiral(400, 4000) + 0.02 * rng.standard_normal((4000, 2))
    rounds, growth = walked(points).turning()
    assert abs(rounds / 400 - 1) < 0.1 and 0.9 < growth < 1.1


def called_rotating(path):
    return "a turn takes" in verdict([{}] * 3, path)


@given(seed=seeds, dims=st.sampled_from([1, 2, 3, 10, 300]), n=st.integers(1, 400))
def test_straight_lines_do_not_turn(seed, dims, n):
    rng = np.random.default_rng(seed)
    line = rng.standard_normal(dims) + np.linspace(0, 1, n)[:, None] * rng.standard_normal(dims)
    assert not called_rotating(walked(line))
    assert not called_rotating(walked(line + 0.01 * rng.standard_normal(line.shape)))
    halved = 0.9 ** np.arange(n)[:, None] * rng.standard_normal(dims)  # towards a minimum
    assert not called_rotating(walked(halved)) and not called_rotating(walked(1 + halved))


@pytest.mark.parametrize("dims", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("n", [31, 32, 40, 64, 300])
def test_random_walks_and_noise_do_not_turn(dims, n):
    rng, wrong = np.random.default_rng(dims), 0
    for _ in range(25 if n < 300 else 8):
        steps = rng.standard_normal((n, dims))
        wrong += called_rotating(walked(np.cumsum(steps, axis=0))) + called_rotating(walked(steps))
    assert wrong <= 1  # of 50; over all of these cases it is one in a thousand


@pytest.mark.parametrize("direction", [[1.0, 2.0], [1.0, 0.3, -0.7], [0.1, 1e-3]])
@pytest.mark.parametrize("rounds", [7.3, 16.0, 40.0])
def test_back_and_forth_is_no_turn(direction, rounds):
    swing = np.cos(2 * np.pi * np.arange(300) / rounds)[:, None] * np.array(direction)
    assert not called_rotating(walked(swing)) and not called_rotating(walked(swing[:, :1]))


@pytest.mark.parametrize("direction", [[1.0, 2.0], [1.0, 0.3, -0.7]])
def test_back_and_forth_somewhere_else_is_no_turn_either(direction):
    swing = np.cos(2 * np.pi * np.arange(300) / 40)[:, None] * np.array(direction)
    assert not called_rotating(walked(3 + swing))
    assert not called_rotating(walked(0.99 ** np.arange(300)[:, None] * swing))


def test_less_than_one_turn_is_none():
    assert not called_rotating(walked(spiral(80, 64))) and called_rotating(walked(spiral(50, 64)))


def test_a_path_too_short_or_at_a_standstill_says_nothing():
    assert Path().turning() is None
    assert walked(spiral(8, 31)).turning() is None and walked(spiral(8, 32)).turning() is not None
    assert walked(np.ones((50, 2))).turning() is None and walked(np.zeros((50, 2))).turning() is None
    assert walked(1 + 1e-14 * spiral(8, 64)).turning() is None  # rounding
    assert walked(1 + 1e-6 * spiral(8, 64)).turning() is not None


# ---- the callback ----------------------------------------------------------------------------------------------------


def test_diagnostics_are_logged_in_the_rounds_in_which_they_looked(tmp_path):
    run = Run.create({}, tmp_path / "run")
    game = ring_gan(Modes(MODES, STD), regularizers=[R1(1.0)])
    watch = Diagnostics(4, modes=(MODES, STD), samples=64)
    trajectory = play(game, Alternating(adam(game)), 10, [watch, Log(run)])
    looked = {r["step"]: r for r in run.records() if any(n.startswith("diagnostics/") for n in r)}
    assert list(looked) == [4, 8, 10] and len(run.records()) == 10
    names = {n.removeprefix("diagnostics/") for n in looked[8] if n.startswith("diagnostics/")}
    assert names == {
        *["gradient/D", "gradient/G", "objective/D", "penalty/D", "accuracy/D", "variety"],
        *["modes", "high quality", "visited modes"],
    }
    assert watch.history == [
        {n.removeprefix("diagnostics/"): v for n, v in r.items() if n.startswith("diagnostics/")}
        for r in looked.values()
    ]
    column = trajectory["diagnostics/gradient/G"]
    assert [i + 1 for i, v in enumerate(column) if not math.isnan(v)] == [4, 8, 10]


def test_what_diagnostics_find_by_hand():
    game = ring_gan(Modes(MODES[:3], STD), "least_squares", regularizers=[R1(1.0)])
    watch = Diagnostics(1, modes=(MODES, STD), layers=True, samples=200)
    play(game, Alternating(adam(game)), 3, [watch])
    found, norms = watch.history[-1], gradient_norms(game)
    for player in "DG":
        own = [n for name, n in norms.items() if name.startswith(player)]
        assert_allclose(found[f"gradient/{player}"], np.sqrt(np.sum(np.square(own))))
    assert {f"gradient/{name}": n for name, n in norms.items()}.items() <= found.items()
    terms = game.terms["D"]
    assert_allclose([found["penalty/D"], found["objective/D"]], [terms["r1"], terms["objective"]], rtol=1e-6)
    assert "penalty/G" not in found and "objective/G" not in found
    assert found["accuracy/D"] == accuracy(game.objective, game.logits["real"], game.logits["fake"])
    fake, real = game.sample(game.latent(200, 3, "diagnostics")).astype(float), game.data.at(3).astype(float)
    spread = lambda x: np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    assert_allclose(found["variety"], spread(fake) / spread(real), rtol=1e-6)
    coverage = mode_coverage(fake, MODES, STD)
    assert (found["modes"], found["high quality"]) == (float(coverage), coverage.details["high_quality"])
    assert found["visited modes"] == sum(c >= 200 / 80 for c in coverage.details["counts"]) == 3


def test_layers_are_only_logged_if_asked():
    game = ring_gan(Modes(MODES, STD))
    _, watch = judged(game, Alternating(adam(game)), 5)
    assert [n for n in watch.history[-1] if n.startswith("gradient/")] == ["gradient/D", "gradient/G"]


def test_diagnostics_of_a_game_that_is_no_gan():
    game = Bilinear(3.0, 4.0)
    _, watch = judged(game, Alternating(sgd(game, 1e-9)), 10)
    assert [set(h) for h in watch.history] == [{"gradient/x", "gradient/y"}] * 2
    assert_allclose(list(watch.history[-1].values()), [4, 3], rtol=1e-6)


def test_diagnostics_change_nothing():
    states = []
    for callbacks in ([], [Diagnostics(1, modes=(MODES, STD), layers=True)]):
        G = nn.Sequential(nn.Dense(2, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dense(6, 2), name="G")
        game = ring_gan(nn.init.initialize(G, nn.init.he, 0))
        play(game, Alternating(adam(game)), 5, callbacks)
        states.append({name: a.tobytes() for name, a in game.state_dict().items()})
    assert states[0] == states[1]


# ---- stopping early --------------------------------------------------------------------------------------------------


class Feed(Callback):
    """Measures these numbers, one a round; None: not measured."""

    def __init__(self, values, name="score"):
        self.values, self.name = values, name

    def after(self, moment):
        value = self.values[moment.step - 1]
        if value is not None:
            moment.extra[self.name] = value


def stopped_after(values, *args, **settings):
    game = Bilinear()
    trajectory = play(
        game, Alternating(sgd(game, 0.1)), len(values), [Feed(values), EarlyStop("score", *args, **settings)]
    )
    return len(trajectory), trajectory.stopped


@pytest.mark.parametrize(
    ("values", "settings", "rounds", "reason"),
    [
        ([3, 2, 1, 1, 2, 0], {}, 5, "score has not improved on 1 in 2 looks"),
        ([3, 2, 1, 1, 0, 0, 0, 0], {}, 7, "score has not improved on 0 in 2 looks"),
        ([1, 2, 3, 3, 2, 9], {"mode": "max"}, 5, "score has not improved on 3 in 2 looks"),
        ([5, 4, 3, 2], {}, 4, None),
        ([3, None, None, None, 4, None, 4, 1], {}, 7, "score has not improved on 3 in 2 looks"),
        ([3, math.nan, math.nan, 1], {}, 3, "score has not improved on 3 in 2 looks"),
        ([3, math.nan, 2, math.nan, 1], {}, 5, None),
        ([1.0, 0.95, 0.91, 0.5], {"least": 0.1}, 3, "score has not improved on 1 in 2 looks"),
        ([1.0, 0.95, 0.85, 0.7], {"least": 0.1}, 4, None),
        ([-1, -2, -2, -2, 5], {"mode": "max"}, 3, "score has not improved on -1 in 2 looks"),
        ([None] * 5, {}, 5, None),
        ([np.float32(1), np.array(2.0), 3, 0], {}, 3, "score has not improved on 1 in 2 looks"),
    ],
)
@pytest.mark.filterwarnings("ignore:EarlyStop never saw")
def test_early_stop(values, settings, rounds, reason):
    assert stopped_after(values, 2, **settings) == (rounds, reason)


def test_early_stop_says_that_it_had_nothing_to_look_at():
    game = Bilinear(1.0, 1.0)
    with pytest.warns(UserWarning, match=r"EarlyStop never saw 'metric/typo'; there are step, loss/x, loss/y"):
        play(game, Alternating(sgd(game, 0.1)), 3, [EarlyStop("metric/typo", 2)])


def test_a_gradient_that_is_not_there_is_not_zero():
    game = Bilinear(3.0, 4.0)
    line, watch = judged(game, Proximal(0.3), 60)
    assert watch.history[-1] == {} and line.startswith("spiralling inwards")
    game = ring_gan(nn.init.initialize(mlp(2, 8, 2, name="G"), nn.init.he, 0), "minimax")
    line, watch = judged(game, Alternating({"D": Adam(game.players["D"], lr=1e-2)}), 60)
    assert "gradient/G" not in watch.history[-1] and "saturated" not in line


def test_an_unrolled_round_is_read_off_the_discriminator_there_is():
    game = ring_gan(nn.init.initialize(mlp(2, 8, 2, name="G"), nn.init.he, 0))
    losses = Unrolled({name: Adam(ps) for name, ps in game.players.items()}, steps=5, lr=0.5).step(game, 0)
    at_hand = game.objective.discriminator_loss(*(mg.tensor(game.logits[kind]) for kind in ("real", "fake")))
    assert_allclose(at_hand.item(), losses["D"].item(), rtol=1e-6)
    assert_allclose([float(game.terms[p]["objective"]) for p in "DG"], [losses[p].item() for p in "DG"], rtol=1e-6)


def test_early_stop_refuses_other_modes():
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'smallest'"):
        EarlyStop("loss/D", 3, "smallest")


def test_early_stop_looks_at_losses_and_finishes_like_the_end(tmp_path, capsys):
    run, game = Run.create({}, tmp_path / "run"), Bilinear(1.0, 1.0)
    stop = EarlyStop("loss/x", 3)  # the loss x·y turns round with the players
    parts = {"game": game, "stop": stop}
    callbacks = [stop, Log(run), Progress(), Checkpoint(run, parts, every=1000)]
    trajectory = play(game, Alternating(sgd(game, 0.1)), 500, callbacks)
    losses = trajectory["loss/x"]
    assert len(losses) < 500 and min(losses) == losses[-4] and not trajectory.interrupted
    assert trajectory.stopped == f"loss/x has not improved on {min(losses):.4g} in 3 looks"
    assert len(run.records()) == len(losses)
    assert f"stopped after step {len(losses)}: {trajectory.stopped}" in capsys.readouterr().err
    fresh = EarlyStop("loss/x", 3)
    assert run.load({"game": Bilinear(), "stop": fresh}) == len(losses)
    assert (fresh.best, fresh.waited) == (min(losses), 3) == (stop.best, stop.waited)


@pytest.mark.parametrize("cut", range(1, 7))
def test_early_stop_resumes(cut):
    values = [3, 1, 2, 2, 0.5, 1, 1, 1, 1, 1]
    first, second = EarlyStop("score", 4), EarlyStop("score", 4)
    game = Bilinear()
    play(game, Alternating(sgd(game, 0.1)), cut, [Feed(values), first])
    second.load_state_dict(first.state_dict())
    rest = play(game, Alternating(sgd(game, 0.1)), 10, [Feed(values), second], start=cut)
    assert rest["step"][-1] == 9 and rest.stopped == "score has not improved on 0.5 in 4 looks"


def test_any_callback_may_stop():
    class Enough(Callback):
        def after(self, moment):
            if moment.step == 3:
                moment.stop("enough")

        def finish(self, moment):
            ends.append((moment.step, moment.stopped))

    game, ends = Bilinear(), []
    after = Feed([1, 2, 3])
    trajectory = play(game, Alternating(sgd(game, 0.1)), 9, [Enough(), after])
    assert trajectory.stopped == "enough" and trajectory["score"] == [1, 2, 3] and ends == [(3, "enough")]
    assert not trajectory.interrupted


# ---- metrics, trajectories, the bar ----------------------------------------------------------------------------------


def test_metrics_are_measured_now_and_then_and_at_the_end(tmp_path):
    run, game, seen = Run.create({}, tmp_path / "run"), Bilinear(), []
    average = EMA(game.players["x"], 0.5)
    solver = Alternating({"x": SGD([game.x], lr=0.1)})
    callbacks = [Metrics({"x": lambda g: g.x.item(), "1": lambda g: mg.tensor(1.0)}, 4, average), Log(run)]
    callbacks.append(type("See", (Callback,), {"after": lambda self, m: seen.append(m.game.x.item())})())
    trajectory = play(game, solver, 10, callbacks)
    assert [r["step"] for r in run.records() if "metric/x" in r] == [4, 8, 10]
    assert [r.get("metric/1") for r in run.records()] == [None, None, None, 1, None, None, None, 1, None, 1]
    measured = [v for v in trajectory["metric/x"] if not math.isnan(v)]
    assert measured == [1.0] * 3  # the average has never moved
    assert seen[-1] != 1 and len(set(seen)) == 10  # and the players got their own weights back
    plain = play(game, solver, 12, [Metrics({"x": lambda g: g.x.item()}, 1)], start=10)
    assert len(plain) == 2 and all(v < seen[-1] for v in plain["metric/x"])


def test_columns_of_a_trajectory_are_padded_with_nan_and_keep_their_order():
    trajectory = Trajectory()
    trajectory.extend([{"step": 1, "a": 0.5}, {"step": 2, "b": 7}])
    trajectory.extend([])
    trajectory.extend([{"c": 1, "b": 8, "step": 3}])
    assert list(trajectory.columns) == ["step", "a", "b", "c"] and len(trajectory) == 3
    nan = math.nan
    for name, expected in {"step": [1, 2, 3], "a": [0.5, nan, nan], "b": [nan, 7, 8], "c": [nan, nan, 1]}.items():
        assert_array_equal(trajectory[name], expected)
    trajectory["step"].append(4)
    assert len(trajectory["step"]) == 3  # a copy


def test_a_long_play_loses_no_round():
    game = Bilinear()
    trajectory = play(game, Alternating(sgd(game, 0.01)), 250, [Feed([None] * 120 + [1.5] * 130)])
    assert trajectory["step"] == list(range(1, 251))
    assert_array_equal(trajectory["score"], [math.nan] * 120 + [1.5] * 130)


def test_the_bar_shows_no_names_with_a_slash(capsys):
    game = ring_gan(Modes(MODES, STD), regularizers=[R1(1.0)])
    callbacks = [Diagnostics(1), Feed([0.125] * 5, "metric/score"), Feed([0.25] * 5, "plain"), Progress(every=0)]
    play(game, Alternating(adam(game)), 5, callbacks)
    last = capsys.readouterr().err.rsplit("\r", 1)[-1]
    shown = re.findall(r"([^\s,]+)=", last)
    assert shown == ["D", "G", "D(real)", "D(fake)"]
    assert Moment(1, 1, {}, game, None).numbers().keys() >= {"D/r1"}  # it is there, but not shown


# ---- errors ----------------------------------------------------------------------------------------------------------


class Breaks(Bilinear):
    """Its losses become infinite in round ``at``."""

    def __init__(self, at):
        super().__init__(1.0, 1.0)
        self.at, self.calls = at, 0

    def losses(self, batch):
        self.calls += 1
        factor = 1.0 if self.calls <= 2 * (self.at - 1) else math.inf
        return {name: factor * loss for name, loss in super().losses(batch).items()}


def test_numbers_that_are_not_finite_end_the_play_and_spare_the_checkpoint(tmp_path, capsys):
    run, game, aborted = Run.create({}, tmp_path / "run"), Breaks(8), []

    class Witness(Callback):
        def abort(self, moment):
            aborted.append(moment.step)

        def finish(self, moment):
            aborted.append("finish")

    solver = Alternating(sgd(game, 0.1))
    parts = {"game": game, "solver": solver}
    callbacks = [Witness(), Progress(), Log(run), Checkpoint(run, parts, every=3), Witness()]
    with pytest.raises(NonFiniteError, match=r"(?s)step 8: player 'x' cannot move.*loss: inf"):
        play(game, solver, 20, callbacks)
    assert aborted == [7, 7]
    err = capsys.readouterr().err
    assert (
        f"the run so far is in {run.path}: the last checkpoint is that of step 6; the one before is that of step 3"
        in err
    )
    assert [r["step"] for r in run.records()] == list(range(1, 8))
    healthy = Bilinear(1.0, 1.0)
    play(healthy, Alternating(sgd(healthy, 0.1)), 6)
    fresh = Bilinear()
    assert Run.open(run.path).load({"game": fresh, "solver": Alternating(sgd(fresh, 0.1))}) == 6
    assert (fresh.x.item(), fresh.y.item()) == (healthy.x.item(), healthy.y.item())


def test_an_error_before_the_first_checkpoint(tmp_path, capsys):
    run, game = Run.create({}, tmp_path / "run"), Breaks(1)
    with pytest.raises(NonFiniteError):
        play(game, Alternating(sgd(game, 0.1)), 5, [Checkpoint(run, {"game": game})])
    assert f"the run so far is in {run.path}: there is no checkpoint yet" in capsys.readouterr().err


def test_an_error_in_a_callback_aborts_all(tmp_path):
    aborted = []

    class Witness(Callback):
        def __init__(self, name):
            self.name = name

        def after(self, moment):
            if self.name == "b" and moment.step == 2:
                raise ZeroDivisionError

        def abort(self, moment):
            aborted.append((self.name, moment.step))

    game = Bilinear()
    with pytest.raises(ZeroDivisionError):
        play(game, Alternating(sgd(game, 0.1)), 5, [Witness(name) for name in "abc"])
    assert aborted == [("a", 2), ("b", 2), ("c", 2)]


def test_a_script_that_diverges_has_a_status(tmp_path):
    """Learning rates that cannot go well, in the example's own process."""
    script, environment = ROOT / "examples" / "10_mnist_dcgan.py", os.environ | {"PYTHONPATH": str(ROOT)}
    options = ["--channels", "2", "--batch-size", "4", "--latent-dim", "2", "--lr-d", "1e30", "--lr-g", "1e30"]
    options += ["--steps", "20", "--checkpoint-every", "1", "--out", "run"]
    result = subprocess.run(
        [sys.executable, str(script), *options], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert (
        "error: step" in result.stderr and "not finite" in result.stderr and "the run so far is in run" in result.stderr
    )
    assert not (tmp_path / "run" / "digits.png").exists()


def test_exploding():
    """KL's f-GAN at a learning rate that its exponential does not bear; the numbers stay finite for a while."""
    game = ring_gan(nn.init.initialize(mlp(2, 16, 2, name="G"), nn.init.he, 0), "f:kl")
    game.D.dense2.bias.assign(np.array([18.0], np.float32))  # the loss holds exp(V − 1)
    line, watch = judged(game, Alternating(adam(game, 1e-5)), 15)
    assert re.fullmatch(r"exploding: the gradient of D has length \de\+0[6-9]", line), line
