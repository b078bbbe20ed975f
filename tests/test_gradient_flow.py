"""Gradient flow: the numbers are those of the formulas, and watching changes nothing, a resumed run included."""

import json
import math

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan.data import Batches
from minigan.experiment import Experiment
from minigan.games import (
    GAN,
    Alternating,
    Bilinear,
    Callback,
    Checkpoint,
    ExtraGradient,
    Game,
    Log,
    Proximal,
    Run,
    Simultaneous,
    Solver,
    play,
)
from minigan.inspect.flow import GradientFlow, layers, weight_of
from minigan.models import mlp
from minigan.nn import BatchNorm, Dense, ReLU, Sequential
from minigan.nn.init import he, initialize
from minigan.objectives import WeightClipping
from minigan.report import figure, plot_critic, plot_diagnostics, plot_gradient_flow, plot_losses
from tests.strict_array import StrictArray, counts, no_sync

DATA = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32) + 2
D_LAYERS, G_LAYERS = ("D.dense1", "D.dense2"), ("G.dense1", "G.batchnorm1", "G.dense2")


class Regression(Game):
    """One dense layer fits y = x B: a loss whose gradient is Xᵀ(XW + b − Y)/n by hand, in float64."""

    def __init__(self, seed=0, bias=True):
        rng = np.random.default_rng(seed)
        self.X, self.Y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
        self.net = Sequential(dense=Dense(3, 2, bias=bias), name="P").to(dtype="float64")
        self.net.dense.weight.assign(rng.standard_normal((3, 2)))
        self.players = {"P": self.net.parameters()}

    def losses(self, batch=None):
        return {"P": 0.5 * mg.sum((self.net(mg.tensor(self.X)) - self.Y) ** 2) / 20}

    def slope(self, W, b):
        """(∂/∂W, ∂/∂b), written down."""
        error = (self.X @ W + b - self.Y) / 20
        return self.X.T @ error, error.sum(axis=0)


def gan(regularizers=(), seed=3, device="cpu"):
    G = initialize(Sequential(Dense(2, 8), BatchNorm(8), Dense(8, 2), name="G"), he, 0)
    D = mlp(2, 8, 1, name="D", seed=1)
    game = GAN(G.to(device), D.to(device), Batches(DATA, 10, 0), 2, "hinge", list(regularizers), seed=seed)
    return game, Alternating({name: mg.optim.Adam(p, lr=1e-2) for name, p in game.players.items()}, moves={"D": 2})


def flow(trajectory):
    return {n: trajectory[n] for n in trajectory.columns if n.startswith("flow/")}


def measured(trajectory, name):
    return [step for step, value in zip(trajectory["step"], trajectory[name]) if not math.isnan(value)]


# ---- the numbers -----------------------------------------------------------------------------------------------------


def test_one_dense_layer_by_hand():
    """With plain gradient steps the ratio is lr·‖g‖/‖w‖: of the gradient before the step and the weights before it."""
    game, lr = Regression(), 0.3
    W, b = game.net.dense.weight.numpy(), np.zeros(2)
    seen = play(game, Simultaneous({"P": mg.optim.SGD(game.players["P"], lr=lr)}), 6, [GradientFlow(every=1)])
    for i in range(6):
        g, gb = game.slope(W, b)
        after = W - lr * g
        ratio = lr * np.linalg.norm(g) / np.linalg.norm(W)
        assert_allclose(seen["flow/gradient/P.dense"][i], np.sqrt(np.mean(g**2)), rtol=1e-12)
        assert_allclose(seen["flow/update/P.dense"][i], ratio, rtol=1e-9)
        # The mistakes one could make are further away than that.
        wrong = [
            lr * np.linalg.norm(g) / np.linalg.norm(after),  # by the weights after
            np.linalg.norm(np.append(after - W, lr * gb)) / np.linalg.norm(np.append(W, b)),  # with the bias
            lr * np.linalg.norm(game.slope(after, b - lr * gb)[0]) / np.linalg.norm(W),  # the next round's
            lr * np.sqrt(np.mean(g**2)) / np.linalg.norm(W),
        ]
        assert min(abs(w / ratio - 1) for w in wrong) > 1e-3
        W, b = after, b - lr * gb
    assert_allclose(game.net.dense.weight.numpy(), W, rtol=1e-12)  # it was this run


def test_only_measured_rounds_count_not_those_between():
    """Δw is of one round, also where the last look was long ago."""
    thin, thick = (flow(play(*gan(), 13, [GradientFlow(every)])) for every in (4, 1))
    assert set(thin) == set(thick) == {f"flow/{k}/{n}" for k in ("gradient", "update") for n in D_LAYERS + G_LAYERS}
    for name, values in thin.items():
        assert [i + 1 for i, v in enumerate(values) if not math.isnan(v)] == [4, 8, 12]
        assert [values[i] for i in (3, 7, 11)] == [thick[name][i] for i in (3, 7, 11)]
        assert not any(map(math.isnan, thick[name]))


def test_a_round_of_several_steps_and_constraints_counts_as_a_whole():
    game, solver = gan([WeightClipping(0.05)])
    before = {p.name: p.numpy() for p in game.players["D"]}
    seen = play(game, solver, 1, [GradientFlow(1)])
    for name in D_LAYERS:
        w = before[f"{name}.weight"].astype(float)
        p = next(p for p in game.players["D"] if p.name == f"{name}.weight")
        change = np.linalg.norm(p.numpy().astype(float) - w) / np.linalg.norm(w)
        assert change > 0.1  # clipped hard: two steps of Adam would have moved it less
        assert_allclose(seen[f"flow/update/{name}"][0], change, rtol=1e-12)
        gradient = np.sqrt(np.mean(p.grad.numpy().astype(float) ** 2))  # of the second step, left by the solver
        assert_allclose(seen[f"flow/gradient/{name}"][0], gradient, rtol=1e-12)


def test_the_gradient_is_the_one_that_the_solver_stepped_on():
    """Extragradient on xy from (1, 2): ahead is (1 − 2η, 2 + η), and the gradients there are 2 + η and −(1 − 2η)."""
    game, lr = Bilinear(1.0, 2.0), 0.1
    solver = ExtraGradient({n: mg.optim.SGD(p, lr=lr) for n, p in game.players.items()})
    seen = play(game, solver, 1, [GradientFlow(1)])
    assert_allclose([seen["flow/gradient/x.0"][0], seen["flow/gradient/y.0"][0]], [2 + lr, 1 - 2 * lr], rtol=1e-12)
    assert_allclose(
        [seen["flow/update/x.0"][0], seen["flow/update/y.0"][0]], [lr * (2 + lr), lr * (1 - 2 * lr) / 2], rtol=1e-9
    )


def test_small_and_large_numbers_are_not_lost():
    """In float32 the squares of 1e−30 and 1e30 would be 0 and infinity."""
    game = Bilinear()
    game.x, game.y = (mg.tensor([1.0, 1.0], requires_grad=True, dtype="float32", name=n) for n in "xy")
    game.players, game.A = {"x": [game.x], "y": [game.y]}, np.eye(2, dtype=np.float32)

    class Tiny(Solver):
        def round(self, game, step):
            for p, size in ((game.x, 1e-30), (game.y, 1e30)):
                p.grad = mg.tensor(np.full(2, size, np.float32))
                p.assign(np.full(2, size, np.float32))
            return {}

    solver = Tiny({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()})
    seen = play(game, solver, 1, [GradientFlow(1)])
    assert_allclose([seen["flow/gradient/x.0"][0], seen["flow/gradient/y.0"][0]], [1e-30, 1e30], rtol=1e-6)
    assert_allclose([seen["flow/update/x.0"][0], seen["flow/update/y.0"][0]], [1, 1e30], rtol=1e-6)


def test_a_weight_that_was_all_zero_is_compared_with_what_it_became():
    game = Bilinear(x=[0.0, 0.0], y=[3.0, 4.0])  # the gradient of y is 0, x moves
    with np.errstate(all="raise"):
        seen = play(
            game, Simultaneous({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()}), 1, [GradientFlow(1)]
        )
    assert seen["flow/update/x.0"] == [1.0] and seen["flow/update/y.0"] == [0.0]
    assert seen["flow/gradient/y.0"] == [0.0]
    game = Bilinear(x=0.0, y=0.0)  # nobody moves
    with np.errstate(all="raise"):
        seen = play(
            game, Simultaneous({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()}), 1, [GradientFlow(1)]
        )
    assert seen["flow/update/x.0"] == seen["flow/update/y.0"] == [0.0]


def test_a_dead_layer_is_exactly_zero():
    game, solver = gan()
    D = Sequential(Dense(2, 8), ReLU(), Dense(8, 8), ReLU(), Dense(8, 1), name="D")
    initialize(D, he, 0)
    D.dense2.bias.assign(np.full(8, -1e4, np.float32))  # its ReLU never opens
    game = GAN(game.G, D, game.data, 2)
    solver = Alternating({n: mg.optim.Adam(p, lr=1e-3) for n, p in game.players.items()})
    seen = play(game, solver, 3, [GradientFlow(1)])
    for kind in ("gradient", "update"):
        assert seen[f"flow/{kind}/D.dense1"] == seen[f"flow/{kind}/D.dense2"] == [0.0] * 3
        assert seen[f"flow/{kind}/G.dense1"] == [0.0] * 3  # behind the dead layer
    assert seen["flow/gradient/D.dense3"] == [0.0] * 3  # its inputs are 0: only the bias learns


# ---- names -----------------------------------------------------------------------------------------------------------


class Anything(Game):
    """A game whose players have parameters of these names (and shapes)."""

    def __init__(self, **players):
        self.players = {
            player: [mg.tensor(np.ones(shape), requires_grad=True, name=name) for name, shape in params]
            for player, params in players.items()
        }

    def losses(self, batch=None):
        return {n: 0.5 * sum(mg.sum(p**2) for p in ps) for n, ps in self.players.items()}


def test_layers_are_named_by_their_paths():
    game = Anything(
        D=[("D.block1.conv.weight", (2, 2)), ("D.block1.conv.bias", (2,)), ("D.scale", ()), (None, (3,)), ("x", (3,))],
        G=[("dense1.weight", (2,)), ("Dense.weight", (2,)), ("D.block1.conv.weight", (2,))],
    )
    found = layers(game)
    assert list(found) == ["D.block1.conv", "D", "D.3", "D.4", "G.dense1", "G.Dense", "G.D.block1.conv"]
    assert found["D.block1.conv"] == game.players["D"][:2] and found["D"] == [game.players["D"][2]]
    seen = play(game, Simultaneous({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()}), 1, [GradientFlow(1)])
    assert [n.removeprefix("flow/gradient/") for n in seen.columns if "gradient" in n] == list(found)
    assert_allclose([v[0] for n, v in flow(seen).items() if "update" in n], 0.1)


def test_the_weight_of_a_layer_is_not_its_bias():
    def of(*shapes):
        params = [mg.tensor(np.zeros(s), name=f"p{i}") for i, s in enumerate(shapes)]
        return weight_of(params).name

    assert of((8,), (4, 1)) == "p1"  # axes count before numbers
    assert of((3, 2), (2,)) == of((3,), (3,)) == of(()) == "p0"  # the first of equals: γ before β
    assert of((2,), (5,), (5,)) == "p1"
    game, _ = gan()
    weights = [weight_of(params).name for params in layers(game).values()]
    assert weights == ["D.dense1.weight", "D.dense2.weight", "G.dense1.weight", "G.batchnorm1.gamma", "G.dense2.weight"]


def test_what_got_no_gradient_is_left_out():
    game, _ = gan()
    alone = Alternating({"D": mg.optim.SGD(game.players["D"], lr=1e-2)})
    seen = play(game, alone, 4, [GradientFlow(2)])
    assert {n.split("/")[2] for n in flow(seen)} == set(D_LAYERS)
    bilinear = Bilinear()
    assert flow(play(bilinear, Proximal(0.1), 2, [GradientFlow(1)])) == {}


class Resting(Solver):
    """x moves in odd rounds only: in the others it still has its last gradient."""

    def round(self, game, step):
        losses = {n: self.gradient(game, n, None) for n in (("x", "y") if step % 2 else ("y",))}
        for n in losses:
            self.move(game, n)
        return losses


def test_a_gradient_of_an_earlier_round_is_none():
    """Else a resumed run, which has none, would differ."""

    def seen(start, steps, game):
        solver = Resting({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()})
        return play(game, solver, steps, [GradientFlow(1)], start)

    game = Bilinear()
    straight = seen(0, 6, game)
    assert measured(straight, "flow/gradient/x.0") == measured(straight, "flow/update/x.0") == [2, 4, 6]
    assert measured(straight, "flow/update/y.0") == [1, 2, 3, 4, 5, 6]
    first, second = Bilinear(), Bilinear()
    seen(0, 2, first)
    second.load_state_dict(first.state_dict())
    rest = seen(2, 6, second)
    for name, values in flow(rest).items():
        assert_array_equal(values, straight[name][2:], err_msg=name)


# ---- when, and at what price -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [0, -1, 2.5, "10", True, None])
def test_wrong_settings_are_named(every):
    with pytest.raises(ValueError, match="^GradientFlow: every: expected an integer >= 1, got"):
        GradientFlow(every)


def test_watching_changes_nothing():
    states = []
    for callbacks in ([], [GradientFlow(1)], [GradientFlow(3)]):
        game, solver = gan([WeightClipping(0.1)])
        seen = play(game, solver, 7, callbacks)
        gradients = {f"grad/{p.name}": p.grad.numpy() for ps in game.players.values() for p in ps}
        losses = {n: np.array(seen[n]) for n in ("loss/D", "loss/G", "D(real)", "D(fake)")}
        states.append(game.state_dict() | solver.state_dict() | gradients | losses)
    for name, array in states[0].items():
        for other in states[1:]:
            assert array.tobytes() == other[name].tobytes(), name


def test_weights_are_copied_only_for_the_round_that_is_measured():
    held, watch = [], GradientFlow(4)
    see = type("See", (Callback,), {"after": lambda self, m: held.append(bool(watch.before))})()
    play(*gan(), 8, [watch, see])
    assert held == [False, False, True, False, False, False, True, False] and not watch.before
    fails = type("Fails", (Callback,), {"after": lambda self, m: 1 / 0})()
    with pytest.raises(ZeroDivisionError):
        play(*gan(), 5, [GradientFlow(4), watch, fails])
    assert not watch.before


def test_the_device_is_not_waited_for():
    game, solver = gan(device="strict")
    watch, kinds = GradientFlow(2), []

    class Watched(Callback):
        def after(self, moment):
            with no_sync():
                watch.after(moment)
            kinds.extend((type(v), v.ndim) for n, v in moment.extra.items() if n.startswith("flow/"))

        def begin(self, moment):
            with no_sync():
                watch.begin(moment)

    seen = play(game, solver, 4, [Watched()])
    assert set(kinds) == {(StrictArray, 0)} and len(kinds) == 2 * 2 * 5
    before = counts.syncs
    play(*gan(device="strict"), 4)
    plain, before = counts.syncs - before, counts.syncs
    play(*gan(device="strict"), 4, [GradientFlow(2)])
    assert counts.syncs - before == plain
    host = flow(play(*gan(), 4, [GradientFlow(2)]))
    for name, values in flow(seen).items():
        assert_allclose(values, host[name], rtol=1e-3)


# ---- a callback's beginning ------------------------------------------------------------------------------------------


def test_begin_is_called_once_before_the_first_round():
    pages = []

    class Diary(Callback):
        def begin(self, moment):
            pages.append(("begin", moment.step, moment.steps, moment.game is game))

        def after(self, moment):
            pages.append(("after", moment.step))

        def finish(self, moment):
            pages.append(("finish", moment.step))

    class Bare:  # a callback by its methods alone needs no begin
        def after(self, moment):
            pass

        def finish(self, moment):
            pass

        def abort(self, moment):
            pages.append("abort")

    game = Bilinear()
    solver = Simultaneous({n: mg.optim.SGD(p, lr=0.1) for n, p in game.players.items()})
    play(game, solver, 5, [Diary(), Bare()], start=3)
    assert pages == [("begin", 3, 5, True), ("after", 4), ("after", 5), ("finish", 5)]
    pages.clear()
    broken = type("Broken", (Callback,), {"begin": lambda self, m: 1 / 0})()
    with pytest.raises(ZeroDivisionError):
        play(game, solver, 5, [Bare(), broken])
    assert pages == ["abort"]


# ---- as part of a run ------------------------------------------------------------------------------------------------

CONFIG = {
    "data": {"name": "ring", "n": 200, "std": 0.05},
    "networks": {"name": "mlp", "width": 8},
    "solver": {"name": "alternating", "moves": {"D": 2}},
    "gradient_flow": {"every": 3},
    "batch_size": 8,
    "latent_dim": 2,
    "steps": 8,
    "checkpoint_every": 1,
}


def records_of(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("cut", [2, 3, 5, 7])  # 2 and 5: in the round just before a measurement
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cut, tmp_path):
    def go_on(run, *callbacks):
        made = Experiment(run.config)
        start = run.load(made.parts)
        callbacks = [made.gradient_flow, *callbacks, Log(run), Checkpoint(run, made.parts, 1)]
        play(made.game, made.solver, CONFIG["steps"], callbacks, start)
        return (run.path / "metrics.jsonl").read_bytes()

    straight, broken = (Run.create(CONFIG, tmp_path / name) for name in ("straight", "broken"))
    expected = go_on(straight)
    assert [r["step"] for r in records_of(straight) if "flow/update/D.dense1" in r] == [3, 6]
    go_on(broken, type("Stop", (Callback,), {"after": lambda self, m: m.step == cut and m.stop("enough")})())
    assert len(records_of(broken)) == cut
    assert go_on(Run.open(broken.path)) == expected


def test_a_run_keeps_and_draws_it(tmp_path):
    run = Run.create(CONFIG, tmp_path / "run")
    Experiment(CONFIG).train(run, pictures=1)
    assert imread(run.path / "gradient_flow.png")[..., :3].std() > 0.01
    named = {n.split("/")[2] for r in records_of(run) for n in r if n.startswith("flow/")}
    assert named == {f"{player}.dense{i}" for player in "DG" for i in (1, 2, 3)}


def test_without_it_there_is_no_picture(tmp_path):
    run = Run.create(CONFIG | {"gradient_flow": None, "steps": 3}, tmp_path / "run")
    made = Experiment(run.config)
    made.train(run, pictures=1)
    assert made.gradient_flow is None and not (run.path / "gradient_flow.png").exists()
    assert not any(n.startswith("flow/") for r in records_of(run) for n in r)


def test_the_default_interval_is_fifty():
    assert Experiment(CONFIG | {"gradient_flow": {}}).gradient_flow.every == 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evry": 2}, "^gradient_flow: expected .*evry"),
        (100, "^gradient_flow: expected .*got 100"),
        (True, "^gradient_flow: expected .*got True"),
        ({"every": 0}, "^GradientFlow: every: expected an integer >= 1, got 0"),
    ],
)
def test_what_is_refused_in_a_configuration_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Experiment(CONFIG | {"gradient_flow": settings})


# ---- the picture -----------------------------------------------------------------------------------------------------


def records_with(**lines):
    """Records of steps 10, 20, …, between others: {"D_a": [gradients]}; each ratio is a tenth of the gradient."""
    records = [{"step": step, "loss/D": 0.0} for step in range(1, 51)]
    for name, values in lines.items():
        for i, value in enumerate(values):
            name = name.replace("_", ".")
            records[10 * i + 9] |= {f"flow/gradient/{name}": value, f"flow/update/{name}": value / 10}
    return records


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """draw(records) → (figure, axes)."""
    made = []
    monkeypatch.setattr("minigan.report.plots.figure", lambda *a, **o: made.append(figure(*a, **o)) or made[-1])

    def draw(records, title=""):
        assert plot_gradient_flow(records, tmp_path / "f.png", title) is True
        assert imread(tmp_path / "f.png")[..., :3].std() > 0.01
        return made[-1]

    return draw


def lines_of(axis):
    return {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}


def test_the_plot_has_the_numbers_as_they_were_measured(drawn):
    records = records_with(D_conv1=[1.0, 2.0, 4.0], D_block_conv2=[0.1, 0.2, 0.4], G_dense1=[3.0, 5.0])
    made, axes = drawn(records, "the title")
    assert axes.shape == (2, 2) and made.get_suptitle() == "the title"
    for row, factor in zip(axes, (1, 0.1)):
        assert list(lines_of(row[0])) == ["conv1", "block.conv2"] and list(lines_of(row[1])) == ["dense1"]
        line = lines_of(row[0])["block.conv2"]
        assert_array_equal(line.get_xdata(), [10, 20, 30])
        assert_allclose(line.get_ydata(), factor * np.array([0.1, 0.2, 0.4]))
        assert {axis.get_yscale() for axis in row} == {"log"} and row[0].get_ylim() == row[1].get_ylim()
        assert row[0].get_ylabel()
    assert [axis.get_title()[0] for axis in axes[0]] == ["D", "G"] and axes[1, 0].get_xlabel() == "step"
    for axis in axes[1]:  # the rule of thumb
        assert any(set(np.atleast_1d(line.get_ydata())) == {1e-3} for line in axis.get_lines())
    assert axes[1, 0].get_ylim()[0] < 1e-3
    colours = [sum(line.get_color()[:3]) for line in lines_of(axes[0, 0]).values()]
    assert colours == sorted(colours) and colours[0] < colours[1]  # from dark to light
    assert not axes[0, 0].texts  # no zeros, no strip


def test_zeros_and_what_is_not_finite_are_seen(drawn):
    nan = math.nan
    records = records_with(D_a=[1.0, 1.0, 1.0], D_b=[0.0, 0.0, 0.5], D_c=[0.0, nan, math.inf], G_a=[1.0, 2.0, 3.0])
    _, axes = drawn(records)
    for row in axes:
        low, high = row[0].get_ylim()
        assert [t.get_text() for t in row[0].texts] == ["0", "not\nfinite"]
        seen = [np.array(line.get_ydata(), float) for line in row[0].get_lines() if len(line.get_xdata()) == 3]
        plain, zeros, broken = seen[0::3], seen[1::3], seen[2::3]
        assert [list(np.isfinite(z)) for z in zeros] == [[False] * 3, [True, True, False], [True, False, False]]
        assert [list(np.isfinite(b)) for b in broken] == [[False] * 3, [False] * 3, [False, True, True]]
        smallest, largest = np.nanmin(plain), np.nanmax(plain)
        assert low < np.nanmin(zeros) and np.nanmax(zeros) < smallest
        assert largest < np.nanmin(broken) and np.nanmax(broken) < high
        assert zeros[1][0] != zeros[2][0]  # one does not hide the other
        ticks = [t for t in row[0].get_yticks() if low <= t <= high]
        assert len(ticks) > 1 and np.nanmax(zeros) < min(ticks) and max(ticks) < np.nanmin(broken)


@pytest.mark.parametrize("values", [[0.0, 0.0], [math.nan], [math.inf, 1.0], [0.3], [1e-200, 1e200]])
def test_any_numbers_can_be_drawn(values, drawn):
    _, axes = drawn(records_with(x_0=values))
    assert axes.shape == (2, 1) and list(lines_of(axes[0, 0])) == ["0"]
    assert len(axes[0, 0].get_yticks()) >= 1


def test_a_trajectory_is_drawn_as_well(tmp_path):
    seen = play(*gan(), 4, [GradientFlow(2)])
    assert plot_gradient_flow(seen, tmp_path / "f.png") is True
    assert plot_diagnostics(seen, tmp_path / "d.png") is False and plot_critic(seen, tmp_path / "c.png") is False
    plot_losses(seen, tmp_path / "l.png")
    assert {p.name for p in tmp_path.iterdir()} == {"f.png", "l.png"}


@pytest.mark.parametrize("records", [[], [{"step": 1, "loss/D": 0.0}]])
def test_without_measurements_nothing_is_drawn(records, tmp_path):
    assert plot_gradient_flow(records, tmp_path / "f.png") is False and not list(tmp_path.iterdir())


def test_a_log_that_comes_too_early_says_so(tmp_path):
    with pytest.warns(UserWarning, match="Log does not hold flow/gradient/D.dense1"):
        play(*gan(), 2, [Log(Run.create({}, tmp_path / "run")), GradientFlow(2)])
