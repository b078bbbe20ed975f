"""minigan's main job beside its twin in PyTorch: are the digits as good, and how long does either take?

    python -m benchmarks.twin                              3 seeds of examples/10_mnist_dcgan.py and of its twin
    python -m benchmarks.twin --only torch --lr-g 5e-4     the example's options are taken too

The twin has the example's configuration (it is caught on its way from the example's command line to the experiment) and
is played by PyTorch: its layers, its Adam, its gradients. It starts from minigan's initial weights, and sees the same
batches and latents in the same order; so the two differ by rounding at first (tests/test_twin.py), and after some
hundred steps they are two draws of the same experiment. ``--no-same-start`` gives the twin another seed in everything.

Either then draws ``--samples`` images, from the averaged weights and batch norm's running statistics of the trained
ones, in evaluation mode, and these are compared with the training images in the features of minigan's own MNIST
classifier. "floor" is what so many real images would score. The seconds are of training alone, without files and
pictures, one after the other in one process; `python -m benchmarks` measures speed with more care. Beside other busy
processes PyTorch is several times faster with OMP_NUM_THREADS=1.
"""

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np

from benchmarks.workloads import LATENT_DIM, Workload
from minigan.experiment import Experiment
from minigan.games import Averaging, Progress, play

EXAMPLES = Path(__file__).parent.parent / "examples"
BATCH = 500  # of images drawn at a time
NAMES = {"minigan": "minigan", "torch": "PyTorch"}
PLAYED = {  # what the twin can play; the other settings of a configuration it takes as they come
    "objective": "non_saturating",
    "real_label": 1.0,
    "regularizers": [],
    "spectral_norm": False,
    "solver": "alternating",
    "instance_noise": 0.0,
    "latent_dim": LATENT_DIM,
    "device": "cpu",
}


# ---- the configuration ----------------------------------------------------------------------------------------------


class _Caught(Exception):
    """The configuration, instead of the experiment that would be made of it."""


def configuration(options=()):
    """What examples/10_mnist_dcgan.py would train with these command line options: its configuration, a dict.

    The example's own ``main`` reads the options, so that its defaults are nowhere written down twice.
    """

    def catch(config):
        raise _Caught(config)

    with mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        example = importlib.import_module("10_mnist_dcgan")
    arguments = ["benchmarks.twin", *options]
    with mock.patch.object(example, "Experiment", catch), mock.patch.object(sys, "argv", arguments):
        try:
            example.main()
        except _Caught as caught:
            return caught.args[0]
    raise RuntimeError(f"{example.__file__} made no Experiment(configuration): mend benchmarks/twin.py")


def check(config):
    """Raise ``ValueError`` for a complete configuration that the twin would play otherwise than minigan."""
    wrong = {name: config[name] for name, value in PLAYED.items() if config[name] != value}
    if set(config["networks"]) - {"channels"} != {"name"} or config["networks"]["name"] != "dcgan":
        wrong["networks"] = config["networks"]
    if any(set(o) - {"lr", "beta1", "beta2", "eps"} != {"name"} for o in config["optimizers"].values()):
        wrong["optimizers"] = config["optimizers"]
    if any(o.get("name") != "adam" for o in config["optimizers"].values()):
        wrong["optimizers"] = config["optimizers"]
    if not config["ema"]:
        wrong["ema"] = config["ema"]
    if wrong:
        raise ValueError(f"the twin is a DCGAN with {PLAYED}, Adam and an average; it cannot play {wrong}")


# ---- the twin -------------------------------------------------------------------------------------------------------


class Twin:
    """An `Experiment` played by PyTorch: ``G`` and ``D``, its networks; ``mean``, G's averaged parameters.

    experiment: not yet trained, and left as it is; it gives the initial weights, batches, latents, and every setting.
    layout: how PyTorch holds images, "channels_last" or "contiguous". Raises ``ValueError`` for what is no DCGAN with
    the settings `PLAYED`.
    """

    def __init__(self, experiment, layout="channels_last"):
        import torch

        from benchmarks.libraries import torch_

        check(experiment.config)
        self.torch, self.parts, self.experiment, self.game = torch, torch_, experiment, experiment.game
        weights = {player: [p.numpy() for p in ps] for player, ps in self.game.players.items()}
        channels = self.game.D.parameters()[0].shape[-1]
        workload = Workload("twin", "dcgan", experiment.config["batch_size"], channels, ())
        self.layout = getattr(torch, {"channels_last": "channels_last", "contiguous": "contiguous_format"}[layout])
        networks = torch_._networks(workload, SimpleNamespace(**weights))
        dtype = getattr(torch, str(self.game.D.parameters()[0].dtype))
        self.G, self.D = (net.to(dtype=dtype, memory_format=self.layout) for net in networks)
        self.adam = {p: self._adam(net, p) for p, net in (("D", self.D), ("G", self.G))}
        self.mean, self.updates = [p.detach().clone() for p in self.G.parameters()], 0

    def _adam(self, net, player):
        """PyTorch's Adam with the settings of the player's own."""
        ours = self.experiment.solver.optimizers[player]
        how = {"fused": True} if self.parts.fused(self.torch.__version__) else {}
        betas = (ours.beta1, ours.beta2)
        return self.torch.optim.Adam(net.parameters(), lr=ours.rate, betas=betas, eps=ours.eps, **how)

    def _images(self, x):
        """n h w c → n c h w."""
        return self.torch.from_numpy(self.parts._first(x)).contiguous(memory_format=self.layout)

    def step(self, number):
        """Round ``number``: D's move, G's move on fresh latents, then the average's. Returns the two losses."""
        F, draws = self.torch.nn.functional, {player: self.game.batch(number, player) for player in ("D", "G")}
        z = {player: self.torch.from_numpy(draw.z.numpy()) for player, draw in draws.items()}
        with self.torch.no_grad():
            fake = self.G(z["D"])
        real_logits, fake_logits = self.D(self._images(draws["D"].real.numpy())), self.D(fake)
        loss_d = self.parts._move(self.adam["D"], F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
        self.D.requires_grad_(False)
        loss_g = self.parts._move(self.adam["G"], F.softplus(-self.D(self.G(z["G"]))).mean())
        self.D.requires_grad_(True)
        self.average()
        return loss_d, loss_g

    def average(self):
        """Move the averaged weights as `optim.EMA` does: parameters only, less slowly at the start."""
        self.updates += 1
        with self.torch.no_grad():
            self.torch._foreach_lerp_(
                self.mean, list(self.G.parameters()), self.experiment.average.weight(self.updates)
            )

    def train(self, steps):
        """Play ``steps`` rounds from the first."""
        for number in _progress(steps):
            self.step(number)

    def sample(self, n, number=0, name="samples"):
        """n samples (n, 28, 28, 1) of the latents (name, number), as `Experiment.sample`."""
        own = [p.detach().clone() for p in self.G.parameters()]
        z = self.torch.from_numpy(self.game.latent(n, number, name).numpy())
        self._put(self.mean)
        self.G.eval()
        try:
            with self.torch.inference_mode():
                return self.G(z).permute(0, 2, 3, 1).numpy().copy()
        finally:
            self.G.train()
            self._put(own)

    def _put(self, values):
        with self.torch.no_grad():
            for p, value in zip(self.G.parameters(), values, strict=True):
                p.copy_(value)


def _progress(steps):
    if not sys.stderr.isatty():
        return range(steps)
    from tqdm import tqdm

    return tqdm(range(steps), unit="step")


# ---- training and measuring -----------------------------------------------------------------------------------------


class Result(NamedTuple):
    """A row of the table: the metrics, then seconds of training and steps a second."""

    frechet: float
    inception: float
    precision: float
    recall: float
    seconds: float
    rate: float


def trained(who, experiment, layout="channels_last"):
    """Train ``who``, "minigan" or "torch"; returns (what has ``sample(n, number, name)``, seconds)."""
    steps, twin = experiment.config["steps"], Twin(experiment, layout) if who == "torch" else None
    began = time.perf_counter()
    if twin:
        twin.train(steps)
    else:
        callbacks = [Averaging(experiment.average)] + ([Progress()] if sys.stderr.isatty() else [])
        if play(experiment.game, experiment.solver, steps, callbacks).interrupted:
            sys.exit("interrupted")
    return twin or experiment, time.perf_counter() - began


def draw(player, n):
    """n images of a trained player, float32 (n, 28, 28, 1)."""
    sizes = [min(BATCH, n - first) for first in range(0, n, BATCH)]
    return np.concatenate([player.sample(size, number, "evaluate") for number, size in enumerate(sizes)])


def measured(fake, real):
    """(what images ``fake`` score beside ``real``, what a perfect sampler would): two tuples of the Fréchet distance,
    inception score, precision, recall.
    """
    from minigan.metrics import inception_score, precision_recall
    from minigan.metrics.mnist import mnist_features, mnist_frechet_distance

    distance = mnist_frechet_distance(real, fake)
    data, samples = mnist_features(real), mnist_features(fake)
    score = inception_score(samples.logits, real_logits=data.logits)
    near = precision_recall(data.features, samples.features).details
    names = ("precision", "recall")
    values = (float(distance), float(score), *(near[name] for name in names))
    return values, (distance.floor, score.floor, *(near["perfect"][name] for name in names))


# ---- the table ------------------------------------------------------------------------------------------------------

HEADER = "                seed   Fréchet  inception  precision   recall  seconds  steps/s"


def row(label, seed, r):
    """A line of the table."""
    quality = f"{r.frechet:>8.3f}  {r.inception:>9.3f}  {r.precision:>9.3f}  {r.recall:>7.3f}"
    print(f"{label:<14}  {seed:>4}  {quality}  {r.seconds:>7.1f}  {r.rate:>7.2f}", flush=True)


def summary(results):
    """Print mean and standard deviation of each, and the difference of the distances."""
    for who, rows in results.items():
        if len(rows) > 1:
            row(f"{NAMES[who]} mean", "", Result(*map(statistics.mean, zip(*rows))))
            row("           ± sd", "", Result(*map(statistics.stdev, zip(*rows))))
    if set(results) == set(NAMES) and all(len(rows) > 1 for rows in results.values()):
        apart = [a.frechet - b.frechet for a, b in zip(results["minigan"], results["torch"])]
        error = statistics.stdev(apart) / len(apart) ** 0.5
        print(f"\nFréchet distance, minigan − PyTorch: {statistics.mean(apart):+.3f} ± {error:.3f} (standard error)")


def trial(who, options, args):
    """Train, draw, measure: (a row, the floors of its metrics)."""
    experiment = Experiment(configuration(options))
    player, seconds = trained(who, experiment, args.layout)
    found, floors = measured(draw(player, args.samples), experiment.dataset.samples)
    return Result(*found, seconds, experiment.config["steps"] / seconds), floors


def arguments(argv=None):
    """The options that are ours, and a list of those for the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="default: both")
    parser.add_argument("--samples", type=int, default=10_000, help="images drawn and measured, default 10,000")
    parser.add_argument("--layout", choices=("channels_last", "contiguous"), default="channels_last", help="PyTorch's")
    parser.add_argument(
        "--same-start", action=argparse.BooleanOptionalAction, default=True, help="the twin has minigan's seeds"
    )
    return parser.parse_known_args(argv)


def main():
    args, options = arguments()
    if "torch" in args.only:
        try:
            import torch
        except ImportError:
            sys.exit("error: the twin is PyTorch's and PyTorch is not installed: pip install torch, or --only minigan")
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {args.layout}")
    print(f"options of the example: {' '.join(options) or 'its defaults'}\n{HEADER}", flush=True)
    results, floors = {who: [] for who in args.only}, ()
    for seed in args.seeds:
        for who in args.only:
            own = seed + 1000 if who == "torch" and not args.same_start else seed
            try:
                found, floors = trial(who, [*options, "--seed", str(own)], args)
            except ValueError as error:
                sys.exit(f"error: {error}")
            results[who].append(found)
            row(NAMES[who], own, found)
    print(f"{'floor':<14}        {floors[0]:>8.3f}  {floors[1]:>9.3f}  {floors[2]:>9.3f}  {floors[3]:>7.3f}")
    summary(results)


if __name__ == "__main__":
    main()
