"""Games, solvers and the loop: who moves, on what, what is left untouched, and what Ctrl-C does."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import nn
from minigan.autodiff import node
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import GAN, Alternating, Callback, Game, Progress, play
from minigan.models import mlp
from minigan.objectives import Minimax
from minigan.optim import SGD, Adam


class Bilinear(Game):
    """min over x, max over y of x·y: the players circle around the equilibrium (0, 0)."""

    def __init__(self, x=1.0, y=0.0):
        self.x, self.y = (mg.tensor(v, requires_grad=True, dtype="float64") for v in (x, y))
        self.players = {"x": [self.x], "y": [self.y]}

    def losses(self, batch):
        return {"x": self.x * self.y, "y": -self.x * self.y}


def small_gan(objective="non_saturating", seed=0):
    G = nn.Sequential(nn.Dense(2, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 2))
    real = stream(seed, "real").standard_normal((40, 2), dtype="float32")
    return GAN(G, mlp(2, 8, 1), Batches(real, 4, seed), latent_dim=2, objective=objective, seed=seed)


def moves(game, lr=0.05):
    return {name: SGD(params, lr=lr) for name, params in game.players.items()}


def values(module):
    return {name: a.copy() for name, a in module.state_dict().items()}


class RealToo(Minimax):
    """A generator that looks at the real logits, like the relativistic ones."""

    generator_uses_real = True

    def generator_loss(self, fake, real=None):
        return mg.mean(real - fake)


# ---- losses ----------------------------------------------------------------------------------------------------------


def recorded_parameters(loss):
    """The names of the parameters that a loss depends on, as far as it was recorded."""
    seen, stack = set(), [loss.node]
    while stack:
        n = stack.pop()
        if n is not None and n not in seen:
            seen.add(n)
            stack.extend(n.parents)
    return {n.tensor().name.partition(".")[0] for n in seen if n.tensor is not None}


@pytest.mark.parametrize("objective", ["minimax", "non_saturating", RealToo()])
@pytest.mark.parametrize(("player", "other"), [("D", "G"), ("G", "D")])
def test_a_players_loss_records_and_moves_that_player_only(player, other, objective):
    game = small_gan(objective)
    loss = game.loss(player, game.batch(0, player))
    assert recorded_parameters(loss) == {player}
    loss.backward()
    assert all(p.grad is not None for p in game.players[player])
    assert all(p.grad is None for p in game.players[other])
    assert all(p.requires_grad for params in game.players.values() for p in params)


def test_the_discriminators_loss_makes_no_node_for_the_generator():
    game = small_gan()
    batch = game.batch(0, "D")
    before = next(node._counter)
    loss = game.loss("D", batch)
    made = next(node._counter) - before - 1
    assert recorded_parameters(loss) == {"D"}
    fake = game.G(batch[1]).detach()  # the same loss without any generator makes as many nodes
    before = next(node._counter)
    game.objective.discriminator_loss(game.D(batch[0]), game.D(fake))
    assert made == next(node._counter) - before - 1


def test_the_discriminator_is_unfrozen_even_after_an_exception():
    game = small_gan()
    game.D.hooks.append(lambda *_: 1 / 0)
    for player in ("G", "D"):
        with pytest.raises(ZeroDivisionError):
            game.loss(player, game.batch(0, player))
        assert all(p.requires_grad for params in game.players.values() for p in params)
    game.D.hooks.clear()
    game.loss("D", game.batch(0, "D")).backward()
    assert all(p.grad is not None for p in game.D.parameters())


@pytest.mark.parametrize("objective", ["minimax", "non_saturating", RealToo()])
def test_both_losses_at_once_are_the_single_ones(objective):
    game = small_gan(objective)
    batch = game.batch(7)
    both = game.losses(batch)
    readings = {name: a.item() for name, a in game.readings().items()}
    for player, loss in both.items():
        single = game.loss(player, batch)
        assert single.item() == loss.item()
        expected = mg.grad(single, game.players[player])
        for g, e in zip(mg.grad(loss, game.players[player], retain_graph=True), expected):
            assert_allclose(g.data, e.data, rtol=1e-5, atol=1e-7)
        if player == "D":
            assert readings == {name: a.item() for name, a in game.readings().items()}
    probability = 1 / (1 + np.exp(-game.D(batch[0]).numpy().astype(float)))
    assert_allclose(readings["D(real)"], probability.mean(), rtol=1e-6)


def test_unnamed_networks_are_named_after_their_players():
    game = small_gan()
    assert {p.name.partition(".")[0] for p in game.players["G"]} == {"G"} and game.D.path == "D"


# ---- batches, latents, samples ---------------------------------------------------------------------------------------


def test_batches_and_latents_follow_from_seed_and_number():
    game, same, other = small_gan(), small_gan(), small_gan(seed=1)
    for player in ("D", "G", None):
        for number in (0, 3):
            real, z, *_ = game.batch(number, player)
            real_again, z_again, *_ = same.batch(number, player)
            assert (real is None) == (player == "G") == (real_again is None)
            assert z.shape == (4, 2) and z.dtype == "float32" and z.node is None
            assert_array_equal(z.data, z_again.data)
            if real is not None:
                assert_array_equal(real.data, real_again.data)
                assert_array_equal(real.data, game.data.at(number))
    drawn = [game.batch(n, p)[1].numpy().tobytes() for n in range(3) for p in ("D", "G", None)]
    drawn += [game.latent(4, name="samples").numpy().tobytes(), other.batch(0, "D")[1].numpy().tobytes()]
    assert len(set(drawn)) == len(drawn)
    assert small_gan(RealToo()).batch(0, "G")[0] is not None


@pytest.mark.parametrize("training", [True, False])
def test_sampling_changes_nothing(training):
    game = small_gan()
    game.loss("D", game.batch(0, "D"))  # running statistics away from their start
    game.G.train(training)
    game.G.dense1.eval()  # one layer in a mode of its own
    modes, before = [m.training for _, m in game.G.named_modules()], values(game.G)
    z = game.latent(5, name="z")
    images = game.sample(z)
    assert type(images) is np.ndarray and images.shape == (5, 2)
    assert_array_equal(images, game.sample(z.numpy()))
    assert_array_equal(images, game.sample(z.numpy().astype(np.float64)))
    assert_allclose(images[:2], game.sample(z.numpy()[:2]), rtol=1e-5)  # evaluation mode: each sample by itself
    assert [m.training for _, m in game.G.named_modules()] == modes
    for name, a in values(game.G).items():
        assert_array_equal(a, before[name])
    with pytest.raises(mg.ShapeError):
        game.sample(np.zeros((2, 3)))
    assert [m.training for _, m in game.G.named_modules()] == modes


# ---- the alternating solver ------------------------------------------------------------------------------------------


class Spied(GAN):
    """Remembers who asked for which batch."""

    def batch(self, number, player=None):
        self.asked = [*getattr(self, "asked", []), (player, number)]
        return super().batch(number, player)


def spied():
    game = small_gan()
    game.__class__ = Spied
    return game


def test_alternating_moves_in_turn_on_fresh_batches():
    game = spied()
    before = {name: values(m) for name, m in (("G", game.G), ("D", game.D))}
    solver = Alternating(moves(game), moves={"D": 3})
    losses = [solver.step(game, step) for step in range(2)]
    assert game.asked == [("D", 0), ("D", 1), ("D", 2), ("G", 0), ("D", 3), ("D", 4), ("D", 5), ("G", 1)]
    assert [o.steps for o in solver.optimizers.values()] == [6, 2]
    drawn = {b[1].numpy().tobytes() for b in (GAN.batch(game, n, p) for p, n in game.asked)}
    assert len(drawn) == len(game.asked)
    assert [list(of_round) for of_round in losses] == [["D", "G"]] * 2
    assert all(loss.node is None and loss.shape == () for of_round in losses for loss in of_round.values())
    for name, module in (("G", game.G), ("D", game.D)):
        assert all((a != before[name][key]).any() for key, a in values(module).items() if key.endswith("weight"))


def test_alternating_is_the_algorithm_written_out():
    """Goodfellow et al. 2014, algorithm 1, one D step and one G step, by hand."""
    game, by_hand = small_gan(), small_gan()
    by_hand.G.load_state_dict(game.G.state_dict())
    by_hand.D.load_state_dict(game.D.state_dict())
    losses = Alternating(moves(game, 0.1)).step(game, 4)
    (real, z, *_), (_, z_g, *_) = by_hand.batch(4, "D"), by_hand.batch(4, "G")
    loss = mg.mean(mg.softplus(-by_hand.D(real))) + mg.mean(mg.softplus(by_hand.D(by_hand.G(z).detach())))
    for p, g in zip(by_hand.D.parameters(), mg.grad(loss, by_hand.D.parameters())):
        p.assign(p.data - 0.1 * g.data)
    loss_g = mg.mean(mg.softplus(-by_hand.D(by_hand.G(z_g))))
    for p, g in zip(by_hand.G.parameters(), mg.grad(loss_g, by_hand.G.parameters())):
        p.assign(p.data - 0.1 * g.data)
    assert_allclose([losses["D"].item(), losses["G"].item()], [loss.item(), loss_g.item()], rtol=1e-6)
    for a, b in ((game.G, by_hand.G), (game.D, by_hand.D)):
        for name, value in a.state_dict().items():
            assert_allclose(value, b.state_dict()[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_solvers_refuse_players_that_are_not_there():
    game = Bilinear()
    with pytest.raises(ValueError, match=r"moves for unknown players \['z'\]; the optimisers are for \['x', 'y'\]"):
        Alternating(moves(game), {"z": 2})
    with pytest.raises(ValueError, match="at least one move"):
        Alternating(moves(game), {"x": 0})
    with pytest.raises(ValueError, match=r"optimisers for unknown players \['G'\]; the game has \['x', 'y'\]"):
        Alternating({"G": SGD([game.x])}).step(game, 0)


# ---- what games do ---------------------------------------------------------------------------------------------------


def test_alternating_gradient_descent_circles_in_the_bilinear_game():
    """Each round is the linear map x ← x − η y, y ← y + η x of determinant 1: an ellipse, neither in nor out."""
    game, eta = Bilinear(), 0.1
    solver, x, y, radii, angle = Alternating(moves(game, eta)), 1.0, 0.0, [], 0.0
    for step in range(500):
        solver.step(game, step)
        before = np.arctan2(y, x)
        x = x - eta * y
        y = y + eta * x
        angle += (np.arctan2(y, x) - before + np.pi) % (2 * np.pi) - np.pi
        assert_allclose([game.x.item(), game.y.item()], [x, y], atol=1e-9)
        radii.append(game.x.item() ** 2 + game.y.item() ** 2)
    assert min(radii) > 0.9 and max(radii) < 1.1 and angle > 7 * 2 * np.pi


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = mg.tensor([-2.0], requires_grad=True)

    def forward(self, z):
        return z + self.theta


def test_the_shift_gan_finds_the_mean():
    real = 4 + stream(0, "real").standard_normal((5000, 1), dtype="float32")
    game = GAN(Shift(), nn.Dense(1, 1, init=nn.init.normal(0.0)), Batches(real, 128, 0), latent_dim=1)
    trajectory = play(game, Alternating(moves(game, 0.05)), 3000)
    assert abs(game.G.theta.item() - 4) < 0.2 and abs(game.D.weight.item()) < 0.2
    last = np.mean(trajectory["loss/D"][-300:]), np.mean(trajectory["loss/G"][-300:])
    assert_allclose(last, [2 * np.log(2), np.log(2)], atol=0.02)


# ---- play ------------------------------------------------------------------------------------------------------------


class Diary(Callback):
    def __init__(self, name, pages):
        self.name, self.pages = name, pages

    def after(self, moment):
        self.pages.append((self.name, moment.step))

    def finish(self, moment):
        self.pages.append((self.name, "finish", moment.step, moment.interrupted))

    def abort(self, moment):
        self.pages.append((self.name, "abort", moment.step))


def test_play_plays_calls_and_records():
    game, pages = Bilinear(), []
    seen = []

    class Solver(Alternating):
        def step(self, game, step):
            seen.append(step)
            return super().step(game, step)

    trajectory = play(game, Solver(moves(game)), 5, [Diary("a", pages), Diary("b", pages)], start=2)
    assert seen == [2, 3, 4]
    assert pages[:6] == [(name, step) for step in (3, 4, 5) for name in "ab"]
    assert pages[6:] == [("a", "finish", 5, False), ("b", "finish", 5, False)]
    assert trajectory["step"] == [3, 4, 5] and not trajectory.interrupted and len(trajectory) == 3
    assert set(trajectory.columns) == {"step", "loss/x", "loss/y"} and type(trajectory["loss/x"][0]) is float
    with pytest.raises(KeyError):
        trajectory["loss/D"]


def test_play_of_a_gan_has_its_readings_too():
    game = small_gan()
    trajectory = play(game, Alternating({name: Adam(p) for name, p in game.players.items()}), 2)
    assert set(trajectory.columns) == {"step", "loss/D", "loss/G", "D(real)", "D(fake)"}
    assert 0 < trajectory["D(real)"][1] < 1


def test_nothing_left_to_play_still_finishes():
    pages = []
    trajectory = play(Bilinear(), None, 4, [Diary("a", pages)], start=4)
    assert len(trajectory) == 0 and pages == [("a", "finish", 4, False)]


def test_the_progress_bar_counts_and_names(capsys):
    game = Bilinear()
    play(game, Alternating(moves(game)), 7, [Progress()], start=4)
    bar = capsys.readouterr().err
    assert "7/7" in bar and "x=" in bar and "y=" in bar and "loss/" not in bar


def test_an_error_in_a_round_is_passed_on_and_the_handlers_are_back():
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    game, pages = Bilinear(), []
    game.losses = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        play(game, Alternating(moves(game)), 3, [Diary("a", pages)])
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert pages == [("a", "abort", 0)]


class Pressing(Bilinear):
    """Sends signals while the losses of round ``at`` are computed."""

    def __init__(self, at, signals):
        super().__init__()
        self.at, self.signals, self.calls = at, signals, 0

    def losses(self, batch):
        self.calls += 1
        if self.calls == 2 * self.at - 1:  # two moves a round
            for s in self.signals:
                os.kill(os.getpid(), s)
        return super().losses(batch)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_round_in_hand(number):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    game, pages = Pressing(3, [number]), []
    trajectory = play(game, Alternating(moves(game)), 10, [Diary("a", pages)])
    assert trajectory.interrupted and trajectory["step"] == [1, 2, 3] and game.calls == 6
    assert pages == [("a", 1), ("a", 2), ("a", 3), ("a", "finish", 3, True)]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    game, pages = Pressing(3, [signal.SIGINT, signal.SIGINT]), []
    with pytest.raises(KeyboardInterrupt):
        play(game, Alternating(moves(game)), 10, [Diary("a", pages)])
    assert pages == [("a", 1), ("a", 2), ("a", "abort", 2)] and signal.getsignal(signal.SIGINT) is before


def test_play_outside_the_main_thread():
    results = []
    game = Bilinear()
    thread = threading.Thread(target=lambda: results.append(play(game, Alternating(moves(game)), 3)))
    thread.start()
    thread.join()
    assert results[0]["step"] == [1, 2, 3] and not results[0].interrupted


def test_the_loop_imports_no_pictures():
    code = "import sys, minigan.games; assert not {'matplotlib', 'tqdm', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_losses_of_shape_1_are_numbers_too():
    class OneElement(Bilinear):
        def losses(self, batch):
            return {name: mg.reshape(loss, 1) for name, loss in super().losses(batch).items()}

    game = OneElement()
    trajectory = play(game, Alternating(moves(game)), 2)
    assert all(type(value) is float for value in trajectory["loss/x"]) and len(trajectory["loss/x"]) == 2
