"""A critic watched while it trains: what is logged is what `critic_gap` finds, and watching changes nothing."""

import json
import warnings

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_array_equal

import minigan as mg
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.experiment import Experiment
from minigan.games import GAN, Alternating, CriticWatch, Log, Run, play
from minigan.models import mlp
from minigan.nn import BatchNorm, Dense, Module, Sequential
from minigan.nn.init import he, initialize
from minigan.objectives import GradientPenalty
from minigan.report import figure, plot_critic, plot_diagnostics, plot_losses
from minigan.transport import critic_gap, wasserstein

NAMES = {"exact", "estimate", "lower_bound", "lipschitz", "cosine", "slope_error", "floor"}
DATA = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32) + 2


def game_and_solver(generator=None):
    G = generator or initialize(Sequential(Dense(2, 8), BatchNorm(8), Dense(8, 2), name="G"), he, 0)
    D = mg.nn.spectral_norm(mlp(2, 8, 1, name="D", seed=1))
    game = GAN(G, D, Batches(DATA, 10, 0), 2, "wasserstein", [GradientPenalty()], seed=3)
    params = {name: p for name, p in game.players.items() if p}
    return game, Alternating({name: mg.optim.Adam(p, lr=1e-2) for name, p in params.items()}, moves={"D": 5})


def test_it_logs_what_critic_gap_finds_when_it_is_time():
    game, solver = game_and_solver()
    seen = play(game, solver, 8, [CriticWatch(every=3, n=20)])
    for name in NAMES:
        measured = [step + 1 for step, value in enumerate(seen[f"critic/{name}"]) if not np.isnan(value)]
        assert measured == [1, 3, 6, 8]
    rows = stream(3, "critic", 8).choice(60, 40, replace=False)
    real, other = DATA[rows[:20]], DATA[rows[20:]]
    gap = critic_gap(game.D, real, game.sample(game.latent(20, 8, "critic")))
    for name in NAMES - {"floor"}:
        assert seen[f"critic/{name}"][-1] == getattr(gap, name)
    assert seen["critic/floor"][-1] == wasserstein(real, other)
    assert gap.exact == pytest.approx(wasserstein(real, game.sample(game.latent(20, 8, "critic"))), rel=1e-12)
    assert not set(map(tuple, real)) & set(map(tuple, other))


def test_watching_changes_nothing():
    states = []
    for callbacks in ([], [CriticWatch(every=2, n=10)]):
        game, solver = game_and_solver()
        losses = play(game, solver, 7, callbacks)["loss/D"]
        states.append(game.state_dict() | {"losses": np.array(losses)})
        assert all(module.training for _, module in game.D.named_modules())
    for name, array in states[0].items():
        assert_array_equal(array, states[1][name], err_msg=name)


def test_the_bound_holds_all_along():
    game, solver = game_and_solver()
    seen = play(game, solver, 60, [CriticWatch(every=1, n=16)])
    exact, bound = np.array(seen["critic/exact"]), np.array(seen["critic/lower_bound"])
    assert (bound <= exact * (1 + 1e-6)).all() and bound.max() > 0.2 * exact[bound.argmax()]


class Still(Module):
    """z ↦ z."""

    def forward(self, z):
        return z


def test_a_generator_may_have_no_weights():
    game, solver = game_and_solver(Still())
    before = game.D.state_dict()
    seen = play(game, solver, 3, [CriticWatch(every=1, n=8)])
    assert len(set(seen["critic/exact"])) == 3  # other samples each time
    assert any((before[name] != array).any() for name, array in game.D.state_dict().items())


@pytest.mark.parametrize("settings", [{"every": 0}, {"n": 0}, {"n": 2.5}, {"every": "10"}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(ValueError, match=f"^CriticWatch: {next(iter(settings))} must be a whole number from 1 on"):
        CriticWatch(**settings)


def test_too_few_data_are_refused():
    game, solver = game_and_solver()
    with pytest.raises(ValueError, match="^CriticWatch: n = 31 needs 62 data, there are 60"):
        play(game, solver, 1, [CriticWatch(n=31)])


@pytest.mark.parametrize("first", ["log", "watch"])
def test_a_log_that_comes_too_early_says_so(first, tmp_path):
    game, solver = game_and_solver()
    run, watch = Run.create({}, tmp_path / "run"), CriticWatch(every=2, n=8)
    callbacks = [Log(run), watch] if first == "log" else [watch, Log(run)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        play(game, solver, 3, callbacks)
    late = [str(w.message) for w in said if "Log does not hold" in str(w.message)]
    assert len(late) == (first == "log") and all("critic/cosine, critic/estimate" in text for text in late)
    assert ("critic/exact" in run.records()[-1]) == (first == "watch")


# ---- as part of a run ------------------------------------------------------------------------------------------------

CONFIG = {
    "data": {"name": "ring", "n": 200, "std": 0.05},
    "networks": {"name": "mlp", "width": 8},
    "objective": "wasserstein",
    "regularizers": ["gradient_penalty"],
    "critic_gap": {"every": 2, "n": 20},
    "batch_size": 8,
    "latent_dim": 2,
    "steps": 6,
    "checkpoint_every": 3,
}


def records_of(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_keeps_and_draws_it_and_resumes_bit_for_bit(tmp_path):
    straight = Run.create(CONFIG, tmp_path / "straight")
    Experiment(CONFIG).train(straight)
    assert [r["step"] for r in records_of(straight) if "critic/exact" in r] == [1, 2, 4, 6]
    assert imread(straight.path / "critic.png")[..., :3].std() > 0.01

    broken = Run.create(CONFIG, tmp_path / "broken")
    first = Experiment(CONFIG)
    stop = type("Stop", (mg.games.Callback,), {"after": lambda self, m: m.step == 3 and m.stop("enough")})()
    first.train(broken, callbacks=[stop])
    again = Experiment(broken.config)
    again.train(broken, start=broken.load(again.parts))
    assert records_of(broken) == records_of(straight)


def test_without_it_there_is_no_picture(tmp_path):
    run = Run.create(CONFIG | {"critic_gap": None, "steps": 2}, tmp_path / "run")
    Experiment(run.config).train(run)
    assert not (run.path / "critic.png").exists() and "critic/exact" not in records_of(run)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic_gap": {"evry": 2}}, "^critic_gap: expected .*evry"),
        ({"critic_gap": 100}, "^critic_gap: expected .*got 100"),
        ({"critic_gap": {"n": 101}}, "^critic_gap: n = 101 needs 202 data, there are 200"),
        ({"critic_gap": {"n": 4001}}, "^CriticWatch: n must be at most 4,000, got 4,001"),
        ({"critic_gap": {"every": 0}}, "^CriticWatch: every must be"),
        ({"networks": {"name": "mlp", "pack": 2}}, "^critic_gap: .*packs"),
    ],
)
def test_what_is_refused_in_a_configuration_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment(CONFIG | changes)


def test_the_plot_has_the_distances_as_they_were_measured(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("minigan.report.plots.figure", lambda *a, **o: made.append(figure(*a, **o)) or made[-1])
    records = [{"step": step, "loss/D": 0.0} for step in range(1, 9)]
    for k, step in enumerate((1, 4, 8)):
        records[step - 1] |= {f"critic/{name}": k + 0.1 * i for i, name in enumerate(sorted(NAMES))}
    assert plot_critic(records, tmp_path / "c.png", "the title") is True
    left, middle, right = made[0][1]
    lines = {line.get_label(): line for line in left.get_lines()}
    assert len(lines) == 4
    for label, name in [("exact W₁, generated to real", "exact"), ("the critic's estimate", "estimate")]:
        assert_array_equal(lines[label].get_xdata(), [1, 4, 8])
        assert_array_equal(lines[label].get_ydata(), [records[s - 1][f"critic/{name}"] for s in (1, 4, 8)])
    assert_array_equal(middle.get_lines()[0].get_ydata(), [records[s - 1]["critic/lipschitz"] for s in (1, 4, 8)])
    assert_array_equal(right.get_lines()[0].get_ydata(), [records[s - 1]["critic/cosine"] for s in (1, 4, 8)])
    assert made[0][0].get_suptitle() == "the title" and imread(tmp_path / "c.png")[..., :3].std() > 0.01


def test_a_trajectory_is_drawn_as_well(tmp_path):
    game, solver = game_and_solver()
    seen = play(game, solver, 4, [CriticWatch(every=2, n=8)])
    assert plot_critic(seen, tmp_path / "c.png") is True
    assert plot_diagnostics(seen, tmp_path / "d.png") is False
    plot_losses(seen, tmp_path / "l.png")
    assert {p.name for p in tmp_path.iterdir()} == {"c.png", "l.png"}


@pytest.mark.parametrize("records", [[], [{"step": 1, "loss/D": 0.0}]])
def test_without_measurements_nothing_is_drawn(records, tmp_path):
    assert plot_critic(records, tmp_path / "c.png") is False and not list(tmp_path.iterdir())


def test_a_figure_may_be_a_mosaic():
    _, axes = figure(mosaic=[["a", "b"], ["a", "c"]], width_ratios=(2, 1))
    assert sorted(axes) == ["a", "b", "c"] and axes["a"].get_position().height > axes["b"].get_position().height
