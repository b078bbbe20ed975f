"""Experiments from configurations: every choice builds, is refused by name, and resumes bit for bit."""

import copy
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigan import backend, nn, objectives
from minigan.backend.random import stream
from minigan.experiment import DATA, DECAYS, DEFAULTS, NETWORKS, OPTIMIZERS, Experiment
from minigan.games import Averaging, Callback, Checkpoint, Log, Run, play, solvers, spectrum
from minigan.models import Reconstruction

UNTOUCHED = copy.deepcopy(DEFAULTS)
TINY = {
    "data": {"name": "ring", "n": 200, "std": 0.05},
    "networks": {"name": "mlp", "width": 8},
    "batch_size": 8,
    "latent_dim": 2,
    "steps": 11,
    "ema": 0.9,
    "checkpoint_every": 3,
}
IMAGES = {"networks": {"name": "dcgan", "channels": 2}, "batch_size": 4, "latent_dim": 3, "steps": 2}


@pytest.fixture(autouse=True)
def defaults_stay():
    yield
    assert DEFAULTS == UNTOUCHED


def lr(rate, **settings):
    return {"optimizers": {player: {"lr": rate} | settings for player in "DG"}}


# ---- exact resume ----------------------------------------------------------------------------------------------------


class Kill(Callback):
    """A kill in round ``at``, after its moves and before anything is saved."""

    def __init__(self, at):
        self.at = at

    def after(self, moment):
        if moment.step == self.at:
            raise KeyboardInterrupt


def keep_playing(run, kill=None):
    """What `Experiment.train` does, without the pictures: everything made anew from the run's folder."""
    run = Run.open(run.path)
    made = Experiment(run.config)
    start = run.load(made.parts)
    averaging = [Averaging(made.average)] if made.average else []
    callbacks = [*averaging, Kill(kill), Log(run, 2), Checkpoint(run, made.parts, made.config["checkpoint_every"])]
    try:
        play(made.game, made.solver, made.config["steps"], callbacks, start)
    except KeyboardInterrupt:
        assert kill
    return made


def files(run):
    names = ("metrics.jsonl", "checkpoint.npz", "checkpoint.previous.npz")
    return {name: (run.path / name).read_bytes() for name in names}


def resumes_exactly(changes, folder):
    """Play without a break, and with two kills at random rounds between checkpoints; all files are the same bytes."""
    config = TINY | changes
    straight, broken = (Run.create(config, folder / name) for name in ("straight", "broken"))
    keep_playing(straight)
    rng = stream(0, json.dumps(changes, sort_keys=True))
    kills = [int(rng.choice([4, 5, 7])), int(rng.choice([8, 10, 11]))]
    if kills[0] < 6:
        kills.insert(0, int(rng.choice([1, 2])))  # before there is a checkpoint
    for kill in kills:
        keep_playing(broken, kill)
        assert len(Run.open(broken.path).records()) <= kill
    keep_playing(broken)
    one, other = (dict(np.load(run.path / "checkpoint.npz")) for run in (straight, broken))
    assert one.keys() == other.keys() and int(one["step"]) == 11
    for name, a in one.items():
        assert_array_equal(other[name], a, strict=True, err_msg=name)
    assert files(straight) == files(broken)
    assert [r["step"] for r in straight.records()] == list(range(1, 12))
    early = dict(np.load(straight.path / "checkpoint.previous.npz"))
    assert early["step"] == 9
    return one, early


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_resumes_bit_for_bit(name, tmp_path):
    last, before = resumes_exactly({"objective": name} | lr(1e-2), tmp_path)
    for player in "DG":  # all of it did go on moving
        moved = [k for k in last if k.startswith(f"game/{player}/") and (last[k] != before[k]).any()]
        assert len(moved) >= 4


@pytest.mark.parametrize("name", solvers._by_name)
def test_every_solver_resumes_bit_for_bit(name, tmp_path):
    last, before = resumes_exactly({"solver": name} | lr(1e-2), tmp_path)
    assert any((last[k] != before[k]).any() for k in last if k.startswith("game/G/"))


REGULARIZERS = {name: {"name": name} for name in objectives._regularizers} | {
    "orthogonal": {"name": "orthogonal", "weight": 0.1, "player": "G"},
    "feature_matching": {"name": "feature_matching", "layer": "leakyrelu1"},
    "feature_matching beside": {"name": "feature_matching", "layer": "dense2", "replaces_objective": False},
    "pulling_away": {"name": "pulling_away", "layer": "leakyrelu2"},
    "historical_averaging of D": {"name": "historical_averaging", "player": "D", "weight": 0.5},
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regulariser_resumes_bit_for_bit(name, tmp_path):
    last, _ = resumes_exactly({"regularizers": [REGULARIZERS[name]]} | lr(1e-2), tmp_path)
    kind, player = REGULARIZERS[name]["name"], REGULARIZERS[name].get("player", "G")
    records = Run.open(tmp_path / "straight").records()
    if kind == "weight_clipping":
        assert max(abs(a).max() for k, a in last.items() if k.startswith("game/D/")) <= np.float32(0.01)
    else:
        assert any(n in (f"D/{kind}", f"{player}/{kind}") for n in records[-1])


FAR = {"name": "ring", "n": 200, "radius": 9.0}  # real samples are reconstructed worse than generated ones: k grows
OTHERS = {
    "noise": {"instance_noise": 0.1},
    "decaying noise": {"instance_noise": {"name": "linear", "start": 0.5, "until": 8}},
    "cosine": lr(1e-2, decay="cosine"),
    "linear, to an end": lr(1e-2, decay={"name": "linear", "end": 1e-3}),
    "exponential": lr(1e-2, decay={"name": "exponential", "end": 1e-4}),
    "momentum": lr(1e-2, name="sgd", momentum=0.9),
    "rmsprop": lr(1e-2, name="rmsprop"),
    "no average": {"ema": 0},
    "three moves of D": {"solver": {"name": "alternating", "moves": {"D": 3}}},
    "fresh extragradient": {"solver": {"name": "extragradient", "fresh": True}},
    "unrolled": {"solver": {"name": "unrolled", "steps": 2}},
    "tanh": {"networks": {"name": "mlp", "width": 8, "g_activation": "tanh"}},
    "spectral norm": {"spectral_norm": True},
    "no spread, steeper": {"networks": {"name": "mlp", "width": 8, "g_gain": 2.0, "spread": False}},
    "packs": {"networks": {"name": "mlp", "width": 8, "pack": 2}, "objective": "relativistic"},
    "began, spectral norm": {"spectral_norm": True, "objective": "began"},
    "settings of the objective": {"objective": {"name": "f:kl", "saturating": True}},
    "a quick k": {"objective": {"name": "began", "rate": 0.05}, "data": FAR},
    "all at once": {
        "objective": {"name": "began", "rate": 0.05},
        "data": FAR,
        "regularizers": [{"name": "historical_averaging", "player": "D"}, "historical_averaging", "orthogonal"],
        "solver": "optimistic",
        "instance_noise": {"name": "linear", "start": 0.5, "until": 8},
    }
    | lr(1e-3, decay="linear"),
    "another seed": {"seed": 12345},
    "grid": {"data": {"name": "grid", "n": 300}},
    "swiss roll": {"data": {"name": "swiss_roll", "n": 300}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_choices_resume_bit_for_bit(name, tmp_path):
    resumes_exactly(OTHERS[name], tmp_path)


@pytest.mark.parametrize("lost", ["objective/k", "D.historical_averaging/mean0", "G.historical_averaging/rounds"])
def test_every_part_of_the_state_is_needed(lost, tmp_path):
    """The tests above could fail."""
    config = TINY | OTHERS["all at once"] | {"checkpoint_every": 5}
    runs = [Run.create(config, tmp_path / name) for name in ("straight", "broken")]
    keep_playing(runs[0])
    keep_playing(runs[1], 6)
    path = runs[1].path / "checkpoint.npz"
    arrays = dict(np.load(path))
    assert arrays[f"game/{lost}"].any()
    arrays[f"game/{lost}"] = arrays[f"game/{lost}"] * 0 + (3 if lost.endswith("rounds") else 0)
    np.savez(path, **arrays)
    keep_playing(runs[1])
    one, other = (dict(np.load(run.path / "checkpoint.npz")) for run in runs)
    assert any((one[k] != other[k]).any() for k in one if k.startswith(("game/G/", "game/D/")))


def test_decay_and_noise_follow_the_round():
    made = Experiment(
        TINY
        | lr(1e-2, decay={"name": "linear", "end": 1e-3})
        | {"instance_noise": {"name": "linear", "start": 1, "until": 4}}
    )
    optimizer = made.solver.optimizers["D"]
    assert_allclose(optimizer.rate, 1e-2)
    play(made.game, made.solver, 11)
    assert_allclose(optimizer.rate, 1e-3)  # reached with the configuration's last step
    assert [made.game.instance_noise(i) for i in (0, 1, 4, 9)] == [1, 0.75, 0, 0]


@pytest.mark.parametrize("moves", [{"D": 5}, {"D": 1, "G": 2}])
def test_noise_is_the_same_for_both_players_however_often_they_move(moves):
    noise = {"name": "linear", "start": 0.5, "until": 100}
    made = Experiment(TINY | {"instance_noise": noise, "solver": {"name": "alternating", "moves": moves}})
    asked, schedule = [], made.game.instance_noise
    made.game.instance_noise = lambda n: asked.append(n) or schedule(n)
    play(made.game, made.solver, 4)
    assert sorted(set(asked)) == [0, 1, 2, 3] and made.game.rounds == 4
    spectrum(made.game, k=1)
    assert asked[-1] == 4  # diagnostics see the game as it is now


def test_a_run_whose_rates_have_decayed_is_not_played_on(tmp_path):
    made = Experiment(TINY | lr(1e-2, decay="cosine") | {"steps": 3})
    run = Run.create(made.config, tmp_path / "run")
    made.train(run)
    with pytest.raises(ValueError, match=r"rate of D and G has decayed to 0 by step 3, as configured \(3 steps\)"):
        made.train(run, 6, 3)


def test_a_resumed_run_knows_what_was_seen(tmp_path):
    made = Experiment(TINY | {"steps": 60})
    run = Run.create(made.config, tmp_path / "run")
    assert made.train(run, 55).verdict != "too few rounds to tell"
    assert made.train(run, 60, 55).verdict != "too few rounds to tell"


@pytest.mark.parametrize("solver", [{"name": "alternating", "moves": {"D": 3, "G": 1}}, "extragradient"])
def test_the_decay_lasts_as_long_as_the_run(solver):
    made = Experiment(TINY | {"solver": solver, "steps": 12} | lr(1e-2, decay={"name": "linear", "end": 1e-3}))
    play(made.game, made.solver, 6)
    assert_allclose([o.rate for o in made.solver.optimizers.values()], 5.5e-3)  # half-way


def test_train_keeps_everything_and_draws(tmp_path, capsys):
    """The real `train`, stopped by Ctrl-C in between and resumed: files and pictures as if it never had."""
    config = TINY | {"title": "tiny", "steps": 6, "checkpoint_every": 2}
    straight, broken = (Run.create(config, tmp_path / name) for name in ("straight", "broken"))
    whole = Experiment(config).train(straight)
    assert len(whole) == 6 and whole.verdict == "too few rounds to tell"

    class Interrupt(Callback):
        def after(self, moment):
            moment.interrupted = moment.step == 3

    first = Experiment(config).train(broken, callbacks=[Interrupt()])
    assert first.interrupted and len(first) == 3 and not (broken.path / "points.png").exists()
    assert f"go on with python -m minigan resume {broken.path}" in capsys.readouterr().err
    again = Run.open(broken.path)
    made = Experiment(again.config)
    rest = made.train(again, start=again.load(made.parts))
    assert rest["step"] == [4, 5, 6]
    names = {"losses.png", "diagnostics.png", "points.png", "metrics.jsonl", "checkpoint.npz", "config.json"}
    contents = [{p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()} for run in (straight, broken)]
    assert set(contents[0]) == names | {"checkpoint.previous.npz"} == set(contents[1])
    assert {n for n in names if contents[0][n] != contents[1][n]} == set()
    samples = [{p.name: p.read_bytes() for p in (run.path / "samples").iterdir()} for run in (straight, broken)]
    assert samples[0] == samples[1] and len(samples[0]) == 6


# ---- what is refused -------------------------------------------------------------------------------------------------


def optimizer(**settings):
    return {"optimizers": {"D": settings, "G": {}}}


REFUSED = {
    "an unknown key": (
        {"objectiv": "hinge", "z": 1},
        r"unknown in a configuration: objectiv, z; known are data, networks",
    ),
    "data": ({"data": "rings"}, r"data: no 'rings'; there are mnist, ring, grid, swiss_roll"),
    "data's setting": ({"data": {"name": "ring", "mode": 3}}, r"data 'ring' does not take these settings.*mode"),
    "data's value": ({"data": {"name": "ring", "modes": 0}}, r"modes"),
    "networks": ({"networks": "cnn"}, r"networks: no 'cnn'; there are dcgan, mlp"),
    "networks' setting": ({"networks": {"name": "mlp", "widht": 3}}, r"networks 'mlp' does not take.*widht"),
    "an activation": (
        {"networks": {"name": "mlp", "g_activation": "elu"}},
        r"g_activation: no 'elu'; there are leaky_relu",
    ),
    "objective": ({"objective": "gan"}, r"no objective named 'gan'; there are minimax"),
    "objective's setting": ({"objective": {"name": "began", "gamma": 1}}, r"objective does not take.*gamma"),
    "objective's value": ({"objective": {"name": "began", "diversity": 2}}, r"diversity must be in \(0, 1\], got 2"),
    "regulariser": ({"regularizers": ["r3"]}, r"no regulariser named 'r3'; there are gradient_penalty"),
    "regulariser's setting": ({"regularizers": [{"name": "r1", "gama": 1}]}, r"regularizer does not take.*gama"),
    "regulariser's value": ({"regularizers": [{"name": "r1", "gamma": -1}]}, r"gamma must be positive, got -1"),
    "the same regulariser twice": ({"regularizers": ["r1", "r1"]}, r"listed twice for one player: D/r1, D/r1"),
    "no name": ({"regularizers": [{"gamma": 1}]}, r"no regulariser named None"),
    "solver": ({"solver": "euler"}, r"no solver named 'euler'; there are alternating"),
    "solver's setting": ({"solver": {"name": "consensus", "gama": 1}}, r"solver does not take.*gama"),
    "solver's player": ({"solver": {"name": "alternating", "moves": {"E": 2}}}, r"unknown players \['E'\]"),
    "optimizer": (optimizer(name="adamw"), r"optimizer: no 'adamw'; there are sgd, rmsprop, adam"),
    "optimizer's setting": (optimizer(beta3=1), r"optimizer 'adam' does not take.*beta3"),
    "optimizer's value": (optimizer(lr=-1), r"lr must be positive, got -1"),
    "decay": (optimizer(decay="step"), r"decay: no 'step'; there are cosine, linear"),
    "decay's setting": (optimizer(decay={"name": "cosine", "until": 3}), r"decay 'cosine' does not take.*until"),
    "noise": ({"instance_noise": {"name": "step", "start": 1}}, r"instance_noise: no 'step'; there are cosine, linear"),
    "noise's setting": (
        {"instance_noise": {"name": "linear", "start": 1, "untill": 3}},
        r"instance_noise 'linear' does not take.*untill",
    ),
    "batch size": ({"batch_size": 0}, r"batch_size"),
    "a batch larger than the data": ({"batch_size": 201}, r"batch_size: expected at most n = 200"),
    "a list for a name": ({"data": ["ring"]}, "ring"),
    "points for networks of images": ({"networks": "dcgan"}, "dcgan"),
    "images for networks of points": ({"data": "mnist"}, "mlp"),
    "packs that do not fit the batch": ({"networks": {"name": "mlp", "pack": 3}}, "pack"),
    "packs of nothing": ({"networks": {"name": "mlp", "pack": 0}}, "Pack: m must be at least 1"),
    "packs for an auto-encoder": ({"objective": "ebgan", "networks": {"name": "mlp", "pack": 2}}, "got pack 2"),
    "average": ({"ema": 1.5}, r"decay must be in \[0, 1\), got 1.5"),
    "device": ({"device": "tpu"}, r"device must be 'cpu' or 'cuda', got 'tpu'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    changes, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        Experiment(TINY | changes)


BUGS = {
    "a player that is not there": ({"optimizers": {"D": {}, "G": {}, "E": {}}}, "E"),
    "a player without an optimiser": ({"optimizers": {"D": {}}}, "G"),
}


@pytest.mark.parametrize("name", BUGS)
def test_what_should_be_refused_by_name_too(name):
    changes, reason = BUGS[name]
    with pytest.raises(ValueError, match=reason):
        Experiment(TINY | changes)


def test_no_gpu_is_an_error():
    try:
        backend.get("cuda")
    except backend.DeviceNotAvailable:
        with pytest.raises(backend.DeviceNotAvailable, match="cuda"):
            Experiment(TINY | {"device": "cuda"})
    else:
        pytest.skip("a GPU works here")


# ---- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, OTHERS["all at once"], OTHERS["unrolled"]])
def test_a_configuration_goes_through_json(changes):
    made = Experiment(TINY | changes)
    there_and_back = json.loads(json.dumps(made.config))
    assert there_and_back == made.config and set(DEFAULTS) <= set(made.config)
    again = Experiment(there_and_back)
    assert again.config == made.config
    for name, a in made.game.state_dict().items():
        assert_array_equal(again.game.state_dict()[name], a, strict=True)
    assert repr(again.solver) == repr(made.solver) and repr(again.game.objective) == repr(made.game.objective)


def test_the_configuration_given_is_not_changed():
    given = TINY | OTHERS["all at once"]
    before = copy.deepcopy(given)
    made = Experiment(given)
    play(made.game, made.solver, 1)
    assert given == before and made.config == DEFAULTS | before


def test_an_experiments_configuration_is_its_own():
    made = Experiment(TINY)
    assert made.config["optimizers"] is not DEFAULTS["optimizers"]
    assert made.config["regularizers"] is not DEFAULTS["regularizers"]


def test_the_defaults_build():
    made = Experiment({})
    assert made.config == DEFAULTS and made.dataset.images and type(made.game.objective) is objectives.NonSaturating
    assert {name: (o.rate, o.beta1) for name, o in made.solver.optimizers.items()} == {
        "D": (2e-4, 0.5),
        "G": (2e-4, 0.5),
    }
    assert made.parts.keys() == {"game", "solver", "average"} and made.average.decay == 0.999


def test_labels_change_nothing():
    made, plain = (Experiment(TINY | labels) for labels in ({"example": "x", "benchmark": "y", "title": "z"}, {}))
    for name, a in made.game.state_dict().items():
        assert_array_equal(plain.game.state_dict()[name], a)


def test_the_seed_says_all():
    one, same, other = (Experiment(TINY | {"seed": seed}) for seed in (1, 1, 2))
    assert_array_equal(one.sample(5), same.sample(5))
    assert_array_equal(one.dataset.samples, same.dataset.samples)
    assert not np.array_equal(one.sample(5), other.sample(5))
    assert not np.array_equal(one.dataset.samples, other.dataset.samples)
    assert not np.array_equal(one.dataset.samples[:20], one.dataset.held_out)


def test_samples_are_those_of_the_average():
    made = Experiment(TINY | lr(0.1))
    play(made.game, made.solver, 3)  # the average does not move
    fresh = Experiment(TINY)
    assert_array_equal(made.sample(4, 2, "x"), fresh.sample(4, 2, "x"))
    assert not np.array_equal(made.game.sample(made.game.latent(4, 2, "x")), made.sample(4, 2, "x"))
    plain = Experiment(TINY | lr(0.1) | {"ema": 0})
    play(plain.game, plain.solver, 3)
    assert_array_equal(plain.sample(4), plain.game.sample(plain.game.latent(4, name="samples")))
    assert not np.array_equal(made.sample(4, 2), made.sample(4, 3))
    assert not np.array_equal(made.sample(4, truncation=0.1), made.sample(4))


# ---- choices ---------------------------------------------------------------------------------------------------------


def one_round(changes):
    made = Experiment(changes)
    trajectory = play(made.game, made.solver, 1)
    assert all(math.isfinite(trajectory[name][0]) for name in ("loss/D", "loss/G"))
    sample = made.sample(3)
    assert sample.shape == (3, *made.dataset.samples.shape[1:]) and np.isfinite(sample).all()
    return made


@pytest.mark.parametrize(
    ("data", "shape", "modes"),
    [
        ({"name": "ring", "n": 100, "modes": 5, "radius": 2.0, "std": 0.1, "scale": 3.0}, (100, 2), 5),
        ({"name": "grid", "n": 100, "side": 3, "spacing": 1.0, "std": 0.01, "scale": 0.5}, (100, 2), 9),
        ({"name": "swiss_roll", "n": 100}, (100, 2), None),
    ],
)
def test_every_data_set_of_points(data, shape, modes):
    made = one_round(TINY | {"data": data})
    samples, known, held_out = made.dataset
    assert samples.shape == shape and samples.dtype == np.float32 and not made.dataset.images
    assert held_out.shape == (10, 2) and held_out.dtype == np.float32
    assert (known is None) == (modes is None)
    if modes:
        centres, std = known
        assert len(centres) == modes and std == data["std"] * data["scale"]
        nearest = np.linalg.norm(samples[:, None] - centres, axis=2).min(axis=1)
        assert nearest.max() < 6 * std and nearest.max() > std  # scaled alike


def test_every_choice_is_named_here():
    """A new one needs a test."""
    assert set(DATA) == {"mnist", "stacked_mnist", "ring", "grid", "swiss_roll"} and set(NETWORKS) == {"dcgan", "mlp"}
    assert set(OPTIMIZERS) == {"sgd", "rmsprop", "adam"} and set(DECAYS) == {"cosine", "linear", "exponential"}


@pytest.mark.parametrize("objective", ["non_saturating", "wasserstein", "began", "ebgan"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_images(objective, spectral_norm):
    networks = IMAGES["networks"] | {"code": 3}
    made = one_round(IMAGES | {"objective": objective, "networks": networks, "spectral_norm": spectral_norm})
    assert made.dataset.images and made.dataset.held_out.shape[1:] == (28, 28, 1)
    kinds = [type(m) for _, m in made.game.D.named_modules()]
    assert (Reconstruction in kinds) == (objective in ("began", "ebgan"))
    assert (nn.SpectralNorm in kinds) == spectral_norm
    assert (nn.BatchNorm in kinds) == (objective in ("non_saturating", "wasserstein"))
    if Reconstruction in kinds:
        assert made.game.D.power == {"began": 1, "ebgan": 2}[objective]
        assert made.game.D.autoencoder.encoder(made.dataset.samples[:2]).shape == (2, 3)


def test_images_without_batch_norm():
    networks = IMAGES["networks"] | {"batch_norm": False}
    made = one_round(IMAGES | {"networks": networks, "objective": "wasserstein", "regularizers": ["gradient_penalty"]})
    assert nn.BatchNorm not in [type(m) for _, m in made.game.D.named_modules()]


def test_image_pictures(tmp_path):
    made = Experiment(IMAGES)
    run = Run.create(made.config, tmp_path / "run")
    made.train(run)
    assert {p.name for p in run.path.glob("*.png")} == {
        "digits.png",
        "interpolation.png",
        "losses.png",
        "diagnostics.png",
    }


@pytest.mark.parametrize("depth", [1, 3])
def test_mlps(depth):
    made = one_round(
        TINY | {"networks": {"name": "mlp", "width": 5, "depth": depth, "pack": 4, "g_activation": "relu"}}
    )
    kinds = [type(m).__name__ for _, m in made.game.D.named_modules()]
    assert kinds.count("Dense") == depth + 1 and kinds.count("Pack") == 1
    assert made.game.D(made.dataset.samples[:8]).shape == (2, 1)
    kinds = [type(m).__name__ for _, m in made.game.G.named_modules()]
    assert kinds.count("Dense") == depth + 1 and kinds.count("ReLU") == depth
    names = [p.name for p in made.game.G.parameters() + made.game.D.parameters()]
    assert len(set(names)) == len(names) and all(n.startswith(("G.", "D.")) for n in names)


@pytest.mark.parametrize("name", ["began", "ebgan"])
def test_mlps_that_reconstruct(name):
    made = one_round(TINY | {"objective": name, "networks": {"name": "mlp", "width": 5, "code": 1}})
    assert made.game.D(made.dataset.samples[:8]).shape == (8, 1)
    assert made.game.D.autoencoder.encoder(made.dataset.samples[:8]).shape == (8, 1)


# ---- the equilibrium -------------------------------------------------------------------------------------------------

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimax", (2 * LN2, -LN2, 0.5)),
        ("non_saturating", (2 * LN2, LN2, 0.5)),
        ("least_squares", (0.25, 0.125, 0.5)),
        ("hinge", (2.0, None, None)),
        ("relativistic", (LN2, LN2, None)),
        ("relativistic_average", (2 * LN2, 2 * LN2, None)),
        ("wasserstein", (0.0, None, None)),
        ("ebgan", (1.0, None, None)),
        ("began", None),
    ],
)
def test_the_equilibrium(name, expected):
    found = objectives.get(name).equilibrium()
    if expected is None:
        assert found == {}
        return
    d, g, shown = expected
    wanted = {"loss/D": d, "loss/G": g, "D(real)": shown, "D(fake)": shown}
    wanted = {column: value for column, value in wanted.items() if value is not None}
    assert found == pytest.approx(wanted, abs=1e-12)


def test_the_equilibrium_of_smoothed_labels():
    found = objectives.OneSidedLabelSmoothing(objectives.get("minimax"), 0.9).equilibrium()
    assert found["D(real)"] == pytest.approx(0.45)  # α p/(p + q)
    at = [0.9 * math.log(0.45), 0.1 * math.log(0.55), math.log(0.55)]
    assert found["loss/D"] == pytest.approx(-sum(at))


@pytest.mark.parametrize("name", [n for n in objectives.names() if n.startswith("f:")])
def test_at_the_equilibrium_an_f_divergence_is_zero(name):
    """−D_f(p‖p) = 0, but for Jensen–Shannon's usual shift: the discriminator's loss there."""
    assert_allclose(objectives.get(name).equilibrium()["loss/D"], 0, atol=1e-12)
