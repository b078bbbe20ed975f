"""An experiment: a choice of data, networks, objective, regularisers and solver, written down as a configuration.

    objective × regularisers × solver × networks × data

are independent choices (each a name with its settings), so that what a run did can be read in its config.json, and any
run can be resumed, sampled and evaluated from its folder alone, without the script that started it:

    {"data": {"name": "ring"}, "networks": {"name": "mlp", "width": 64}, "objective": "relativistic",
     "regularizers": [{"name": "r1", "gamma": 0.1}], "solver": "alternating", "steps": 5000, …}

A choice without settings may be just its name. Everything here is only put together; the parts live in their packages.
"""

import copy
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from . import data, metrics, models, nn, objectives, optim
from .backend.checks import integer
from .backend.random import stream
from .games import (
    GAN,
    Averaging,
    Checkpoint,
    CriticWatch,
    Diagnostics,
    Log,
    Progress,
    play,
    solvers,
)
from .nn.init import he, initialize
from .report import (
    SampleGrid,
    SamplePoints,
    interpolation,
    plot_critic,
    plot_diagnostics,
    plot_gradient_flow,
    plot_losses,
    plot_points,
    save_grid,
)

DEFAULTS = {
    "data": "mnist",
    "networks": "dcgan",
    "objective": "non_saturating",
    "real_label": 1.0,
    "regularizers": [],
    "spectral_norm": False,
    "solver": "alternating",
    "optimizers": {
        "D": {"name": "adam", "lr": 2e-4, "beta1": 0.5},
        "G": {"name": "adam", "lr": 2e-4, "beta1": 0.5},
    },
    "batch_size": 64,
    "latent_dim": 100,
    "instance_noise": 0.0,
    "ema": 0.999,
    "steps": 2000,
    "checkpoint_every": 100,
    "critic_gap": None,
    "gradient_flow": None,
    "seed": 0,
    "device": "cpu",
}
LABELS = ("example", "benchmark", "title")  # free text that names a run


class Dataset(NamedTuple):
    """Training samples; for points with known modes (centres, std); what was held out, if there is anything."""

    samples: np.ndarray
    modes: tuple | None = None
    held_out: np.ndarray | None = None

    @property
    def images(self):
        """Are they images (n, h, w, c), not points (n, d)?"""
        return self.samples.ndim == 4


# ---- the choices: a name with settings → the part --------------------------------------------------------------------


def _mnist(seed, source="embedded"):
    return Dataset(data.mnist("train", source).images, None, data.mnist("test", source).images)


def _stacked_mnist(seed, n=25_600, source="embedded", split="train"):
    images = data.stacked_mnist(n, split, source, seed).images
    if split != "train":  # then the test digits are no others
        return Dataset(images)
    return Dataset(images, None, data.stacked_mnist(max(1, n // 10), "test", source, seed).images)


def _mixture(draw, centres, std, seed, n, scale, settings):
    held_out = draw(n // 10, seed + 1, std=std, **settings) * np.float32(scale)
    return Dataset(draw(n, seed, std=std, **settings) * np.float32(scale), (centres * scale, std * scale), held_out)


def _ring(seed, n=100_000, modes=8, radius=1.0, std=0.01, scale=1.0):
    settings = {"modes": modes, "radius": radius}
    return _mixture(data.ring, data.ring_modes(modes, radius), std, seed, n, scale, settings)


def _grid(seed, n=100_000, side=5, spacing=2.0, std=0.05, scale=1.0):
    settings = {"side": side, "spacing": spacing}
    return _mixture(data.grid, data.grid_modes(side, spacing), std, seed, n, scale, settings)


def _swiss_roll(seed, n=100_000):
    return Dataset(data.swiss_roll(n, seed), None, data.swiss_roll(n // 10, seed + 1))


def _packing(pack, batch_size):
    packing = nn.Pack(pack)  # refuses what is no number of samples
    if batch_size % pack:
        raise ValueError(f"networks: pack {pack} does not divide the batch size {batch_size}")
    return packing


def _dcgan(
    dataset,
    config,
    energy,
    channels=64,
    d_channels=None,
    batch_norm=True,
    code=64,
    pack=1,
    depth=2,
    kernel_size=4,
):
    """channels: of the layer next to the image, in G and (unless ``d_channels``) in D; batch_norm: in D; depth and
    kernel_size: of both, but an auto-encoder keeps its own.
    """
    shape, seed, d_channels = dataset.samples.shape[1:], config["seed"], d_channels or channels
    if shape not in ((28, 28, 1), (28, 28, 3)):
        raise ValueError(f"networks: dcgan is for images (28, 28, 1 or 3), the data are {shape}")
    packing = _packing(pack, config["batch_size"])
    form = {"depth": depth, "kernel_size": kernel_size}
    G = models.dcgan_generator(config["latent_dim"], channels, seed, shape[2], **form)
    if energy:
        if shape[2] > 1 or pack > 1:
            raise ValueError(f"networks: dcgan's auto-encoder is for single grey images, got {shape} and pack {pack}")
        D = models.Reconstruction(models.dcgan_autoencoder(d_channels, code, seed), energy).named("D")
    else:
        D = models.dcgan_discriminator(d_channels, batch_norm, seed, pack * shape[2], **form)
    return G, nn.Sequential(packing, dcgan=D, name="D") if pack > 1 else D


def _mlp(
    dataset, config, energy, width=128, depth=2, pack=1, code=2, g_activation="leaky_relu", g_gain=1.0, spread=True
):
    """g_gain: how many times larger than He's G's first weights are (steeper from mode to mode); spread: of biases."""
    if dataset.images:
        raise ValueError(f"networks: mlp is for points, the data are images {dataset.samples.shape[1:]}")
    packing = _packing(pack, config["batch_size"])
    features, hidden, seed = dataset.samples.shape[1], [width] * depth, config["seed"]
    activation = _choice("g_activation", g_activation, {name: lambda a=a: a for name, a in ACTIVATIONS.items()})
    G = models.mlp(config["latent_dim"], *hidden, features, activation=activation, name="G")
    if energy and pack > 1:
        raise ValueError(f"networks: an auto-encoder looks at single samples, got pack {pack}")
    if energy:
        D = models.Reconstruction(models.mlp_autoencoder(features, width, code), energy).named("D")
    elif pack > 1:
        D = nn.Sequential(packing, mlp=models.mlp(pack * features, *hidden, 1), name="D")
    else:
        D = models.mlp(features, *hidden, 1, name="D")
    G, D = initialize(G, he, seed), initialize(D, he, seed)
    G.dense1.weight.assign(G.dense1.weight.data * np.float32(g_gain))
    return (models.spread(G, seed), models.spread(D, seed)) if spread else (G, D)


ACTIVATIONS = {"leaky_relu": nn.LeakyReLU, "relu": nn.ReLU, "tanh": nn.Tanh}
DATA = {"mnist": _mnist, "ring": _ring, "grid": _grid, "swiss_roll": _swiss_roll, "stacked_mnist": _stacked_mnist}
NETWORKS = {"dcgan": _dcgan, "mlp": _mlp}
OPTIMIZERS = {"sgd": optim.SGD, "rmsprop": optim.RMSProp, "adam": optim.Adam}
DECAYS = {"cosine": optim.cosine_decay, "linear": optim.linear_decay, "exponential": optim.exponential_decay}


def _split(spec):
    """(name, settings) of a choice: a name, or {"name": …, settings}."""
    settings = dict(spec) if isinstance(spec, dict) else {"name": spec}
    return settings.pop("name", None), settings


def _choice(what, spec, table, *arguments):
    """Call the entry of ``table`` that ``spec`` chooses, with its settings."""
    name, settings = _split(spec)
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{what}: no {name!r}; there are {', '.join(table)}")
    try:
        return table[name](*arguments, **settings)
    except TypeError as error:
        raise ValueError(f"{what} {name!r} does not take these settings, {settings}: {error}") from error


def _named(what, spec, get, *arguments):
    """The same with a function ``get(name, …, **settings)`` of another package in place of the table."""
    name, settings = _split(spec)
    try:
        return get(name, *arguments, **settings)
    except TypeError as error:
        raise ValueError(f"{what} does not take these settings, {settings}: {error}") from error


def _optimizer(params, steps, name, lr=2e-4, decay=None, **settings):
    """decay: from lr to 0 over the configured steps, or {"name": …, "end": …}."""
    if decay is not None:
        lr = _choice("decay", decay, DECAYS, lr, steps)
    return _choice("optimizer", {"name": name, **settings}, OPTIMIZERS, params, lr)


def _optimizers(game, config):
    """{player: its optimiser}, schedules ending with the configured steps."""
    chosen, made = config["optimizers"], {}
    if not isinstance(chosen, dict) or set(chosen) != set(game.players):
        raise ValueError(f"optimizers: one for D and one for G, like {DEFAULTS['optimizers']}, got {chosen}")
    for player, spec in chosen.items():
        name, settings = _split(spec)
        steps = config["steps"] * _moves(config["solver"], player)
        made[player] = _optimizer(game.players[player], steps, name or "adam", **settings)
    return made


def _moves(solver, player):
    """How many steps the player's optimiser takes in a round: what schedules count."""
    name, settings = _split(solver)
    return 2 if name == "extragradient" else (settings.get("moves") or {}).get(player, 1)


def _critic_watch(settings, pack, n):
    """A `CriticWatch` of n data from {"every": …, "n": …}; None from None."""
    if settings is None:
        return None
    if not isinstance(settings, dict) or set(settings) - {"every", "n"}:
        raise ValueError(f"critic_gap: expected {{'every': …, 'n': …}}, either or both, or None, got {settings!r}")
    if pack > 1:
        raise ValueError("critic_gap: a discriminator that sees packs of samples is no critic of single ones; drop one")
    watch = CriticWatch(**settings)
    if 2 * watch.n > n:
        raise ValueError(f"critic_gap: n = {watch.n} needs {2 * watch.n} data, there are {n}")
    return watch


def _gradient_flow(settings):
    """A `GradientFlow` from {"every": …}; None from None."""
    if settings is None:
        return None
    if not isinstance(settings, dict) or set(settings) - {"every"}:
        raise ValueError(f"gradient_flow: expected {{'every': …}} or None, got {settings!r}")
    from .inspect.flow import GradientFlow  # brings all of inspect: 20 ms that most runs can do without

    return GradientFlow(**settings)


def _diagnostics(record):
    return {name.removeprefix("diagnostics/"): v for name, v in record.items() if name.startswith("diagnostics/")}


# ---- the experiment --------------------------------------------------------------------------------------------------


class Experiment:
    """Everything a configuration stands for, ready to be played: ``game``, ``solver``, ``average`` (of G's weights, or
    None), ``dataset``, ``pack`` (how many samples D sees at a time), and ``parts``, what a checkpoint holds.

    config: a dict of JSON types; top-level keys that it leaves out are as in `DEFAULTS`. Raises ``ValueError`` that
    names an unknown key, name or setting, and `backend.DeviceNotAvailable`.
    """

    def __init__(self, config):
        unknown = set(config) - set(DEFAULTS) - set(LABELS)
        if unknown:
            unknown, known = ", ".join(sorted(unknown)), ", ".join(DEFAULTS)
            raise ValueError(f"unknown in a configuration: {unknown}; known are {known}")
        self.config = config = copy.deepcopy(DEFAULTS | config)
        for name in ("steps", "batch_size", "latent_dim", "checkpoint_every"):
            if not isinstance(config[name], int) or config[name] < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {config[name]!r}")
        if not isinstance(config["regularizers"], list):
            raise ValueError(f"regularizers must be a list, got {config['regularizers']!r}")
        seed = config["seed"]
        self.dataset = _choice("data", config["data"], DATA, seed)
        objective = _named("objective", config["objective"], objectives.get)
        if config["real_label"] != 1:
            objective = objectives.OneSidedLabelSmoothing(objective, config["real_label"])
        G, D = _choice("networks", config["networks"], NETWORKS, self.dataset, config, objective.reconstruction)
        networks = config["networks"]
        self.pack = networks.get("pack", 1) if isinstance(networks, dict) else 1
        D = nn.spectral_norm(D) if config["spectral_norm"] else D
        noise = config["instance_noise"]
        self.game = GAN(
            G.to(config["device"]),
            D.to(config["device"]),
            data.Batches(self.dataset.samples, config["batch_size"], seed),
            config["latent_dim"],
            objective,
            [_named("regularizer", r, objectives.regularizer) for r in config["regularizers"]],
            _choice("instance_noise", noise, DECAYS) if isinstance(noise, dict) else noise,
            seed,
        )
        optimizers = _optimizers(self.game, config)
        self.solver = _named("solver", config["solver"], solvers.get, optimizers)
        self.critic_watch = _critic_watch(config["critic_gap"], self.pack, len(self.dataset.samples))
        self.gradient_flow = _gradient_flow(config["gradient_flow"])
        self.average = optim.EMA(G.parameters(), config["ema"]) if config["ema"] else None
        self.parts = {"game": self.game, "solver": self.solver}
        if self.average:
            self.parts["average"] = self.average

    def averaged(self):
        """A context in which the generator has its averaged weights, if there is an average."""
        return self.average.applied() if self.average else nullcontext()

    def sample(self, n, number=0, name="samples", truncation=None):
        """n samples, a NumPy array, from the averaged weights: those of the latents called (name, number)."""
        with self.averaged():
            return self.game.sample(self.game.latent(n, number, name, truncation))

    def measure(self, n=None):
        """`MetricResult`s of n samples from the averaged weights beside as many training samples: a list, for
        `metrics.table`. n: at least 2; None: 10,000 images or 2,500 points; never more than there are data.

        The training samples are drawn at random; where there are n more, these tell what a perfect sampler scores.
        Points: mode coverage, if the modes are known, sliced Wasserstein, MMD, precision and recall, density and
        coverage. Digits: the distances and shares of `metrics.mnist_metrics`; stacked ones: their modes. The samples
        are those that ``python -m minigan evaluate`` draws.
        """
        samples, seed = self.dataset.samples, self.config["seed"]
        n = (10_000 if self.dataset.images else 2500) if n is None else integer("n", n, 2)
        n = min(n, len(samples))
        fake = self.sample(n, name="evaluate")
        if self.dataset.images and samples.shape[-1] == 3:
            return [metrics.stacked_mnist_coverage(fake)]
        order = stream(seed, "measure").permutation(len(samples))  # a file's neighbours may be alike
        real, others = samples[order[:n]], samples[order[n : 2 * n]]
        floor = others if len(others) == n else "halves"
        if not self.dataset.images:
            return metrics.point_metrics(real, fake, self.dataset.modes, floor, seed)
        return metrics.mnist_metrics(real, fake, floor, seed)

    def train(self, run, steps=None, start=0, callbacks=(), pictures=10):
        """Play from round ``start`` up to ``steps`` (default: the configuration's), keeping everything in ``run``; at
        the end draw the run's pictures. callbacks: further ones, called before the log. pictures: how many of the
        samples to take on the way. Returns the `Trajectory`, with the diagnostics' verdict. Raises ``ValueError``
        where a learning rate has decayed to 0, and `NonFiniteError`.
        """
        steps, planned = steps or self.config["steps"], self.config["steps"]
        if resting := [player for player, o in self.solver.optimizers.items() if o.rate == 0]:
            what = f"the learning rate of {' and '.join(resting)} has decayed to 0 by step {start}, as configured"
            raise ValueError(f"{what} ({planned} steps): more rounds would change nothing; start a longer run instead")
        latents = self.game.latent(64 if self.dataset.images else 2000, name="samples")
        every = max(1, planned // pictures)
        if self.dataset.images:
            samples = SampleGrid(run, latents, every, self.average)
        else:
            samples = SamplePoints(run, latents, self.dataset.samples, every, self.average)
        few = 64 if self.dataset.images else 512
        watch = Diagnostics(max(10, planned // 50), self.dataset.modes, samples=few)
        watch.history = [look for r in run.records() if (look := _diagnostics(r))]  # of a run that is resumed
        all_callbacks = [
            Progress(),
            *([Averaging(self.average)] if self.average else []),
            watch,
            *([self.critic_watch] if self.critic_watch else []),
            *([self.gradient_flow] if self.gradient_flow else []),
            *callbacks,
            Log(run),
            samples,
            Checkpoint(run, self.parts, self.config["checkpoint_every"]),
        ]
        trajectory = play(self.game, self.solver, steps, all_callbacks, start)
        trajectory.verdict = watch.verdict()
        if not trajectory.interrupted:
            self.draw(run)
        return trajectory

    def draw(self, run):
        """The run's pictures: losses.png, diagnostics.png, critic.png, gradient_flow.png, and digits.png with
        interpolation.png, or points.png.
        """
        records, resting = run.records(), self.game.objective.equilibrium()
        if any(r.replaces_objective for r in self.game.regularizers):
            resting.pop("loss/G", None)
        title = self.config.get("title") or self.config.get("example") or run.path.name
        plot_losses(records, run.path / "losses.png", f"{title}: the two players", resting)
        plot_diagnostics(records, run.path / "diagnostics.png", title)
        plot_critic(records, run.path / "critic.png", title)
        plot_gradient_flow(records, run.path / "gradient_flow.png", title)
        if self.dataset.images:
            save_grid(run.path / "digits.png", self.sample(64), columns=8)
            ends = self.game.latent(12, name="interpolation").numpy()
            with self.averaged():
                strip = interpolation(self.game.sample, ends[:6], ends[6:], 12)
            save_grid(run.path / "interpolation.png", strip, columns=12)
        elif self.dataset.samples.shape[1] == 2:
            plot_points(self.dataset.samples[:2000], self.sample(2000), run.path / "points.png", title)
