"""The PyTorch twin of the main example: the same game, so in float64 the same weights, step by step."""

import numpy as np
import pytest

from benchmarks import twin
from minigan.data import Batches
from minigan.experiment import DEFAULTS, Experiment, _optimizers
from minigan.games import Averaging, play, solvers
from minigan.optim import EMA

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
SMALL = ["--channels", "4", "--batch-size", "8", "--steps", "3", "--seed", "5"]


def experiment(dtype="float64", options=SMALL):
    """The main job in ``dtype``. In float32 Adam divides gradients that are all rounding by themselves: weights whose
    gradient is nearly 0 go either way, and nothing could be said after a few steps.
    """
    made = Experiment(twin.configuration(options))
    for net in made.game.networks.values():
        net.to(dtype=dtype)
    made.solver = solvers.get(made.config["solver"], _optimizers(made.game, made.config))
    made.average = EMA(made.game.G.parameters(), made.config["ema"])
    return made


def played(steps, dtype="float64", layout="channels_last", change=None):
    """(the main job, its twin) after ``steps`` rounds; ``change(twin)`` before the first."""
    ours, theirs = experiment(dtype), twin.Twin(experiment(dtype), layout)
    if change:
        change(theirs)
    play(ours.game, ours.solver, steps, [Averaging(ours.average)])
    theirs.train(steps)
    return ours, theirs


def pairs(ours, theirs):
    """(our weight, the twin's, both in PyTorch's layout) of both players, then of the average."""
    for player, net in (("D", theirs.D), ("G", theirs.G)):
        for w, p in zip(ours.game.players[player], net.parameters(), strict=True):
            yield theirs.parts._to_torch(w.numpy(), p), p.detach().numpy()
    with ours.average.applied():
        for w, p in zip(ours.game.players["G"], theirs.mean, strict=True):
            yield theirs.parts._to_torch(w.numpy(), p), p.numpy()


def distance(ours, theirs):
    """The largest relative difference of a weight array."""
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs(ours, theirs))


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_three_steps_leave_the_same_weights_averages_and_images(layout):
    ours, theirs = played(3, layout=layout)
    before = [p.numpy().copy() for p in experiment().game.G.parameters()]
    moved = [np.linalg.norm(a - p.numpy()) for a, p in zip(before, ours.game.G.parameters())]
    assert min(moved) > 1e-5  # every array was trained, so there was something to agree on
    assert distance(ours, theirs) < 1e-9
    for module, ours_too in ((theirs.G[2], ours.game.G.batchnorm1), (theirs.G[5], ours.game.G.batchnorm2)):
        np.testing.assert_allclose(module.running_mean, ours_too.running_mean, atol=1e-12)
        np.testing.assert_allclose(module.running_var, ours_too.running_var, rtol=1e-9)
        assert (module.momentum, module.eps) == (ours_too.momentum, ours_too.eps)
    images = theirs.sample(6, 2, "evaluate")
    assert images.shape == (6, 28, 28, 1)
    np.testing.assert_allclose(images, ours.sample(6, 2, "evaluate"), atol=1e-10)


def test_sampling_changes_nothing():
    _, theirs = played(1)
    before = {name: a.clone() for name, a in theirs.G.state_dict().items()}
    np.testing.assert_array_equal(theirs.sample(4), theirs.sample(4))
    assert theirs.G.training and all(torch.equal(a, before[name]) for name, a in theirs.G.state_dict().items())


def test_the_first_step_agrees_in_float32_too():
    assert distance(*played(1, "float32")) < 1e-3


MISTAKES = {
    "another rate": lambda t: t.adam["G"].param_groups[0].update(lr=9.8e-4),
    "another beta1": lambda t: t.adam["D"].param_groups[0].update(betas=(0.6, 0.999)),
    "another eps": lambda t: t.adam["G"].param_groups[0].update(eps=1e-7),
    "another decay": lambda t: setattr(t.experiment.average, "weight", lambda n: 0.002),
    "other batches": lambda t: setattr(t.game, "data", Batches(t.game.data.arrays, 8, seed=6)),
    "other latents": lambda t: setattr(t.game, "seed", 6),
    "batch norm's eps": lambda t: setattr(t.G[2], "eps", 1e-4),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_difference_would_be_seen(mistake):
    assert distance(*played(3, change=MISTAKES[mistake])) > 1e-7


def test_the_configuration_is_the_examples_own():
    config = twin.configuration(["--lr-g", "0.001", "--seed", "3"])
    assert config["optimizers"]["G"]["lr"] == 0.001 and config["seed"] == 3
    assert config["steps"] == 2200 and config["example"] == "10_mnist_dcgan"
    twin.check(DEFAULTS | twin.configuration())


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "hinge"},
        {"regularizers": ["r1"]},
        {"ema": None},
        {"networks": {"name": "dcgan", "batch_norm": False}},
        {"optimizers": {p: {"name": "adam", "lr": 2e-4, "decay": "cosine"} for p in "DG"}},
        {"optimizers": {p: {"name": "sgd", "lr": 2e-4} for p in "DG"}},
    ],
)
def test_what_the_twin_cannot_play_is_refused(change):
    with pytest.raises(ValueError, match=f"cannot play .*{next(iter(change))}"):
        twin.check(DEFAULTS | twin.configuration() | change)


def test_options_are_told_apart():
    args, options = twin.arguments(["--seeds", "4", "--lr-g", "0.001", "--no-same-start", "--steps", "7"])
    assert args.seeds == [4] and not args.same_start and options == ["--lr-g", "0.001", "--steps", "7"]


def test_the_metrics_get_what_they_take(monkeypatch):
    """The inception score of logits, not of probabilities; real and generated not exchanged."""
    from scipy.special import softmax

    from minigan.metrics import frechet_distance, mnist

    def features(images):
        x = np.asarray(images, np.float64).reshape(len(images), -1)[:, 300:310]
        return mnist.Features(x.astype(np.float32), (4 * x).astype(np.float32))

    def distance(real, fake):
        return frechet_distance(features(real).features, features(fake).features)

    monkeypatch.setattr(mnist, "mnist_features", features)
    monkeypatch.setattr(mnist, "mnist_frechet_distance", distance)
    rng = np.random.default_rng(0)
    fake, real = (rng.uniform(-1, high, (n, 28, 28, 1)) for high, n in ((1, 400), (0.9, 600)))
    values, floors = twin.measured(fake, real)
    p = softmax(features(fake).logits.astype(np.float64), axis=1).reshape(10, 40, 10)
    kl = (p * np.log(p / p.mean(axis=1, keepdims=True))).sum(axis=2).mean(axis=1)
    assert values[1] == pytest.approx(np.exp(kl).mean()) and values[1] > 2
    assert values[3] > values[2]  # the samples reach further than the data
    assert len(values) == len(floors) == 4 and 0 < floors[0] < values[0]
