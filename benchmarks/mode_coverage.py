"""How many modes of a ring of 8 and a grid of 25 Gaussians does a GAN find, and how sharply?

    python -m benchmarks.mode_coverage          our best setting and two plain GANs: 18 runs, half an hour
    python -m benchmarks.mode_coverage --only ours --seeds 0 --data grid --steps 3000

The data and the three numbers are those of PacGAN (Lin et al. 2018) and VEEGAN (Srivastava et al. 2017): of 2,500
samples, the modes with a high-quality sample, the share of high-quality samples (within 3σ of a mode), and the reverse
KL of the samples' distribution over the modes from the uniform one. It prints the published rows and the perfect
sampler's beside ours. What differs from the papers' protocol, besides the objective, is printed with them: read the
rows as what can be had in minutes on two CPU cores, not as a ranking of methods.
"""

import argparse
import statistics
import sys
import time

from minigan.experiment import Experiment
from minigan.games import Averaging, Progress, play
from minigan.metrics import mode_coverage

SCALE = {"ring": 1 / 0.707, "grid": 1 / 2.829}  # both have unit variance per axis for the networks
STEPS = 20_000


def adam(lr, decay=None):
    return {"name": "adam", "lr": lr, "beta1": 0.5, "beta2": 0.99} | ({"decay": decay} if decay else {})


def settings(name, data, steps):
    """A row's configuration, without its seed. All rows share networks, data, batch size and number of steps."""
    hold = {"name": "linear", "hold": 0.6}
    noise = {"name": "exponential", "start": 0.25, "end": 0.01, "until": 0.8 * steps}
    plain = {
        "benchmark": "mode_coverage",
        "data": {"name": data, "scale": SCALE[data]},
        "networks": {"name": "mlp", "width": 128, "depth": 3, "g_activation": "tanh", "g_gain": 2.0},
        "objective": "non_saturating",
        "optimizers": {"D": adam(2e-4), "G": adam(2e-4)},
        "batch_size": 128,
        "latent_dim": 4,
        "ema": 0.999,
        "steps": steps,
    }
    scheduled = plain | {"optimizers": {"D": adam(5e-4, hold), "G": adam(1e-3, hold)}}
    rows = {
        "plain": plain,
        "textbook": plain | {"networks": {"name": "mlp", "width": 128, "depth": 3, "spread": False}},
        "scheduled": scheduled,  # ours without its two ideas
        "ours": scheduled | {"objective": "relativistic", "instance_noise": noise},
        "unpaired": scheduled | {"instance_noise": noise},  # without the pairing
        "pac2": plain | {"networks": plain["networks"] | {"pack": 2}},
        "wgan-gp": scheduled
        | {"objective": "wasserstein", "regularizers": [{"name": "gradient_penalty", "weight": 1.0}]},
        "r3gan": scheduled
        | {
            "objective": "relativistic",
            "regularizers": [{"name": "r1", "gamma": 0.01}, {"name": "r2", "gamma": 0.01}],
        },
    }
    return rows[name]


NAMES = {
    "textbook": "GAN, LeakyReLU generator, biases 0",
    "plain": "GAN on our networks",
    "scheduled": "GAN on our networks, our rates",
    "ours": "RpGAN + decaying instance noise",
    "unpaired": "GAN + decaying instance noise",
    "pac2": "PacGAN2",
    "wgan-gp": "WGAN-GP",
    "r3gan": "RpGAN + R1 + R2",
}
PUBLISHED = """
published                          ring: modes  HQ %  rev. KL     grid: modes  HQ %  rev. KL    protocol
GAN (PacGAN, table 1)              6.3 ± 0.5    98.2  0.45        17.3 ± 0.8   94.8  0.70       400,000 steps of 100
ALI                                6.6 ± 0.3    97.6  0.36        24.1 ± 0.4   95.7  0.14       400,000 steps of 100
PacGAN2                            7.9 ± 0.1    95.6  0.07        23.8 ± 0.7   91.3  0.13       400,000 steps of 100
PacGAN4                            7.8 ± 0.1    95.9  0.07        24.8 ± 0.2   93.6  0.04       400,000 steps of 100
GAN (VEEGAN, table 1)              1            99.3  –           3.3          0.5   –          other networks
Unrolled GAN (VEEGAN, table 1)     7.6          35.6  –           23.6         16    –          other networks
VEEGAN                             8            52.9  –           24.6         40    –          other networks
perfect sampler, 2,500 samples     8            98.9  0.0014      25           98.9  0.0048

Where we differ from PacGAN's protocol: 20,000 steps of 128 samples instead of 400,000 of 100; three tanh layers of 128
(theirs: four ReLU layers of 400 with batch norm) against three LeakyReLU layers of 128 (theirs: maxout, 200 × 5);
players move in turns (theirs: together); latents in 4 dimensions (theirs: 2); data scaled to unit variance; samples
from averaged weights. The modes' distances and widths, the 2,500 samples and the 3σ are theirs.
"""


def trial(name, data, seed, steps):
    """Train one; returns (modes, high quality, reverse KL, seconds of training)."""
    experiment = Experiment(settings(name, data, steps) | {"seed": seed})
    began = time.perf_counter()
    callbacks = [Averaging(experiment.average)] + ([Progress()] if sys.stderr.isatty() else [])
    if play(experiment.game, experiment.solver, steps, callbacks).interrupted:
        sys.exit("interrupted")
    seconds = time.perf_counter() - began
    found = mode_coverage(experiment.sample(2500, name="evaluate"), *experiment.dataset.modes)
    return int(float(found)), found.details["high_quality"], found.details["reverse_kl"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=["ours", "plain", "textbook"], help="default: ours plain textbook"
    )
    parser.add_argument("--data", nargs="+", choices=SCALE, default=list(SCALE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help=f"default {STEPS:,}")
    args = parser.parse_args()
    print(f"{'setting':<36} data  seed  modes  high quality  reverse KL  seconds")
    for name in args.only:
        for data in args.data:
            results = []
            for seed in args.seeds:
                results.append(trial(name, data, seed, args.steps))
                modes, quality, kl, seconds = results[-1]
                print(
                    f"{NAMES[name]:<36} {data}  {seed:>4}  {modes:>5}  {quality:>12.1%}  {kl:>10.4f}  {seconds:>7.0f}"
                )
            if len(results) > 1:
                m, q, k, s = (statistics.mean(column) for column in zip(*results))
                print(f"{'  mean':<36} {data}        {m:>5.1f}  {q:>12.1%}  {k:>10.4f}  {s:>7.0f}", flush=True)
    print(PUBLISHED)


if __name__ == "__main__":
    main()
