"""How many of the 1,000 modes of stacked MNIST does a GAN find, and how evenly does it serve them?

    python -m benchmarks.stacked_mnist            four rows beside the published ones: 12 minutes on 2 cores
    python -m benchmarks.stacked_mnist --only r3gan --seeds 0 1 2 --out stacked.png
    python -m benchmarks.stacked_mnist --full --device cuda                 PacGAN's protocol: hours on a GPU

An image is three digits of MNIST, one in each channel (`minigan.data.stacked_mnist`); a classifier of digits says which
of the 1,000 numbers each of 26,000 samples shows. Two numbers come of that: the modes with at least one sample, and the
reverse KL of the samples' distribution over the modes from the uniform one, in nats (Metz et al. 2017, Srivastava et
al. 2017; Lin et al. 2018, "PacGAN"). What a perfect sampler of as many images scores is printed beside: chance spreads
its samples unevenly, so that no smaller KL can be had, and real digits, stacked, score a little more again.

All rows of ours have as many steps, not as much time; the seconds tell what they cost. Read them as what can be had in
minutes on two CPU cores, not as a ranking of methods: what differs from the papers' protocols is printed below.
"""

import argparse
import statistics
import sys
import time

from minigan.backend import DeviceNotAvailable
from minigan.data import DataError, stacked_mnist
from minigan.experiment import Experiment
from minigan.games import Averaging, Progress, play
from minigan.metrics import stacked_mnist_coverage
from minigan.report import image_grid

SAMPLES = 26_000
CHANNELS = 32
STEPS, FULL_STEPS = 3_000, 100_000
GAMMA = 0.1


def adam(lr, beta2=0.99, **settings):
    return {"name": "adam", "lr": lr, "beta1": 0.5, "beta2": beta2} | settings


# ---- what is played --------------------------------------------------------------------------------------------------


def settings(name, steps=STEPS, source="embedded", device="cpu"):
    """A row's configuration, without its seed. All rows share generator, data, batch size and number of steps."""
    hold = {"name": "linear", "hold": 0.6}
    penalties = [{"name": "r1", "gamma": GAMMA}, {"name": "r2", "gamma": GAMMA}]
    plain = {
        "benchmark": "stacked_mnist",
        "data": {"name": "stacked_mnist", "source": source},
        "networks": {"name": "dcgan", "channels": CHANNELS},
        "objective": "non_saturating",
        "optimizers": {"D": adam(2e-4), "G": adam(5e-4)},
        "batch_size": 32,
        "ema": 0.998,
        "steps": steps,
        "device": device,
    }
    free = plain["networks"] | {"batch_norm": False}  # of batch norm in D, which penalties of single samples forbid
    penalized = plain | {
        "networks": free,
        "regularizers": penalties,
        "optimizers": {"D": adam(1e-3, decay=hold), "G": adam(2e-3, decay=hold)},
    }
    small = plain["networks"] | {"d_channels": CHANNELS // 4}
    rows = {
        "plain": plain,
        "small": plain | {"networks": small},
        "pac2": plain | {"networks": small | {"pack": 2}, "batch_size": 64},
        "penalized": penalized,  # the last row without the pairing
        "r3gan": penalized | {"objective": "relativistic"},
    }
    return rows[name]


def full_settings(name, steps=FULL_STEPS, source="full", device="cpu"):
    """PacGAN's protocol (table 2 of the paper, and its code) for "plain" and "pac2" … "pac4"."""
    pack = 1 if name == "plain" else int(name[3:])
    return {
        "benchmark": "stacked_mnist",
        "data": {"name": "stacked_mnist", "n": 128_000, "split": "all", "source": source},
        "networks": {"name": "dcgan", "channels": 2 * CHANNELS, "depth": 4, "kernel_size": 5, "pack": pack},
        "objective": "non_saturating",
        "solver": {"name": "alternating", "moves": {"D": 1, "G": 2}},
        "optimizers": {"D": adam(2e-4, 0.999), "G": adam(2e-4, 0.999)},
        "batch_size": 64 * pack,  # 64 packs
        "ema": 0,
        "steps": steps,
        "device": device,
    }


NAMES = {
    "plain": "DCGAN",
    "small": "DCGAN, D a quarter as wide",
    "pac2": "PacGAN2, D a quarter as wide",
    "penalized": "GAN + R1 + R2",
    "r3gan": "RpGAN + R1 + R2",
}
FULL_NAMES = {"plain": "DCGAN"} | {f"pac{m}": f"PacDCGAN{m}" for m in (2, 3, 4)}
DEFAULT, FULL_DEFAULT = ["plain", "small", "pac2", "r3gan"], ["plain", "pac2"]


def trial(config):
    """Train one; returns (its experiment, seconds of training)."""
    experiment = Experiment(config)
    began = time.perf_counter()
    averaging = [Averaging(experiment.average)] if experiment.average else []
    callbacks = averaging + ([Progress()] if sys.stderr.isatty() else [])
    if play(experiment.game, experiment.solver, config["steps"], callbacks).interrupted:
        sys.exit("interrupted")
    return experiment, time.perf_counter() - began


# ---- what is shown ---------------------------------------------------------------------------------------------------

PUBLISHED = """
published                              modes           reverse KL       protocol
DCGAN (PacGAN, table 2)                  78.9 ± 6.5    4.50 ± 0.13      A: 100,000 steps of 64 packs, 10 runs
PacDCGAN2                              1000            0.06 ± 0.003     A
PacDCGAN3                              1000            0.06 ± 0.003     A
PacDCGAN4                              1000            0.07 ± 0.005     A
DCGAN (PacGAN, table 3), D = 1/4 G       78.5 ± 17.6   5.21 ± 0.19      B: 3 × 3 convolutions, batches of 128, 50 runs
PacDCGAN2, D = 1/4 G                    484.5 ± 33.0   2.61 ± 0.22      B
PacDCGAN4, D = 1/4 G                    667.4 ± 29.0   1.81 ± 0.15      B
Unrolled GAN, 10 steps, D = 1/4 G       327.2 ± 74.7   4.66 ± 0.46      B
DCGAN (PacGAN, table 3), D = 1/2 G      487.7 ± 34.6   2.24 ± 0.15      B
PacDCGAN2, D = 1/2 G                    840.7 ± 15.9   1.00 ± 0.05      B
DCGAN (VEEGAN)                           99            3.4              –
VEEGAN                                  150            2.95             –
GAN + R1 (R3GAN, table 1)              fails           –                C: small norm-free ResNets
RpGAN + R1                             fails           –                C
GAN + R1 + R2                           693            0.93             C
RpGAN + R1 + R2                        1000            0.078            C
WGAN-GP (R3GAN, table 3)                959            0.73             other papers' networks and steps
StyleGAN2                               940            0.42             other papers' networks and steps
R3GAN                                  1000            0.029            10,000,000 images shown, 20.7 M weights each

A: 128,000 images of 60,000 + 10,000 digits; 5 × 5 convolutions, four a network, 64 … 512 channels, batch norm in both;
   latents uniform on (−1, 1) in 100 dimensions; Adam 2e-4 (0.5, 0.999); two updates of G for each of D.
B: the networks of Unrolled GAN (Metz et al. 2017); latents in 256 dimensions; Adam 2e-4 and 1e-4; 25,600 samples.
Each paper has its own classifier of digits, and we have ours; a wrong digit moves a sample to another mode.
"""

OURS = """
Where ours differ: {steps:,} steps of 32 images (packs) instead of 100,000 of 64; 25,600 images of stacked digits; two
4 × 4 convolutions a network ({width} and {wide} channels in G), batch norm in D too but for the rows with penalties
(γ = {gamma}), which also have higher rates; normal latents in 100 dimensions; the players move once each, in turns;
samples from averaged weights.
"""

FULLY = """
Where --full differs from A: latents are normal, and fresh for each of G's two updates; the packs are drawn anew in each
epoch, and batch norm in G looks at all images of a step; convolutions are padded by 2 on every side (theirs by 1 and 2
where a size is even); pixels are in [−1, 1] (theirs in [0, 1], though their generator ends in tanh too).
"""


def show(name, source, seed, steps, seconds, modes, kl):
    """One line of the table; what is None is left out."""
    cells = (f"{'' if x is None else format(x, form)}" for x, form in ((seed, "d"), (steps, ",d"), (seconds, ".0f")))
    seed, steps, seconds = cells
    print(f"{name:<32} {source:<9} {seed:>4} {steps:>8} {seconds:>8} {modes:>7.6g} {kl:>11.4f}", flush=True)


def show_real(source, splits, samples):
    """The lines of real digits, and of the perfect sampler. Returns the first 64 images."""
    for split in splits:
        images = stacked_mnist(samples, split, source, seed=1).images
        found = stacked_mnist_coverage(images)
        show(f"real digits, {split}", source, None, None, None, found.details["modes"], found.details["reverse_kl"])
    perfect = found.details["perfect"]
    show("perfect sampler (computed)", "–", None, None, None, perfect["modes"], perfect["reverse_kl"])
    return images[:64]


def save(path, pictures):
    """{title: images (64, 28, 28, 3)} side by side, 8 × 8 each, in one PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(pictures), 4.4), dpi=150, layout="constrained")
    for axes, (title, images) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures.items()):
        axes.imshow(image_grid(images, columns=8))
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    figure.savefig(path)


# ---- the command line ------------------------------------------------------------------------------------------------


def options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ROW", help=f"default: {' '.join(DEFAULT)}; of {', '.join(NAMES)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help=f"default {STEPS:,}; with --full {FULL_STEPS:,}")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"that are classified; default {SAMPLES:,}")
    parser.add_argument("--source", help='MNIST: "embedded" (default), "full" (default with --full), or a folder')
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--full", action="store_true", help=f"PacGAN's protocol; rows {', '.join(FULL_NAMES)}")
    parser.add_argument("--out", metavar="FILE.png", help="64 samples of each row's first seed, and real ones")
    args = parser.parse_args(arguments)
    names, default = (FULL_NAMES, FULL_DEFAULT) if args.full else (NAMES, DEFAULT)
    args.only, args.steps = args.only or default, args.steps or (FULL_STEPS if args.full else STEPS)
    args.source = args.source or ("full" if args.full else "embedded")
    if unknown := [name for name in args.only if name not in names]:
        parser.error(f"--only: no {', '.join(unknown)}; there are {', '.join(names)}")
    if args.samples < 64:
        parser.error(f"--samples: expected 64 or more, got {args.samples}")
    return args


def main(arguments=None):
    args = options(arguments)
    names, make = (FULL_NAMES, full_settings) if args.full else (NAMES, settings)
    print(f"{'setting':<32} {'digits':<9} seed {'steps':>8} {'seconds':>8} {'modes':>7} {'reverse KL':>11}")
    pictures = {}
    for name in args.only:
        results = []
        for seed in args.seeds:
            experiment, seconds = trial(make(name, args.steps, args.source, args.device) | {"seed": seed})
            samples = experiment.sample(args.samples, name="evaluate")
            found = stacked_mnist_coverage(samples).details
            results.append((seconds, found["modes"], found["reverse_kl"]))
            show(names[name], args.source, seed, args.steps, *results[-1])
            title = f"{names[name]}: {found['modes']} modes, KL {found['reverse_kl']:.2f}"
            pictures |= {title: samples[:64].copy()} if seed == args.seeds[0] else {}
            del experiment, samples
        if len(results) > 1:
            show("  mean", args.source, None, args.steps, *(statistics.mean(column) for column in zip(*results)))
    pictures["real digits"] = show_real(args.source, ("all",) if args.full else ("train", "test"), args.samples)
    if args.out:
        save(args.out, pictures)
    print(PUBLISHED)
    print(FULLY if args.full else OURS.format(steps=args.steps, width=CHANNELS, wide=2 * CHANNELS, gamma=GAMMA))


if __name__ == "__main__":
    try:
        main()
    except (DataError, DeviceNotAvailable) as error:
        sys.exit(f"error: {error}")
