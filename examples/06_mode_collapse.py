"""Mode collapse: a ring of 8 and a grid of 25 Gaussians, and which objectives lose some of them.

A generator that serves one mode well can fool its discriminator for a while; then D learns, and G jumps to the next
mode instead of covering both. Same networks, rates and number of steps throughout; what changes is what the players
minimise (Wasserstein has its gradient penalty; “+ noise” is instance noise that fades; “packed” shows D two at a
time). After so few steps even the best samples are still blurred: `benchmarks.mode_coverage` trains to the end.

Look at collapse.png: data grey, samples blue, and above each panel the modes visited (with a tenth of their share of
the samples) and the samples within three deviations of a mode. The plain GAN's losses look fine all the while.

    python examples/06_mode_collapse.py        about three minutes on 2 cores
"""

import sys

import numpy as np
from _options import chosen_steps, options

from minigan.backend import DeviceNotAvailable
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError
from minigan.metrics import mode_coverage
from minigan.report import figure, plot_points, save

DATA = {"ring": {"name": "ring", "scale": 1 / 0.707}, "grid": {"name": "grid", "scale": 1 / 2.829}}
VARIANTS = {
    "minimax": {"objective": "minimax"},
    "non_saturating": {"objective": "non_saturating"},
    "non_saturating, packed": {"objective": "non_saturating", "networks": {"pack": 2}},
    "least_squares": {"objective": "least_squares"},
    "wasserstein + GP": {
        "objective": "wasserstein",
        "regularizers": [{"name": "gradient_penalty", "weight": 1.0}],
    },
    "relativistic": {"objective": "relativistic"},
    "relativistic + noise": {"objective": "relativistic", "instance_noise": {"name": "exponential", "start": 0.25}},
}


def configuration(data, variant, steps, args):
    """One run."""
    adam = {"name": "adam", "beta1": 0.5, "beta2": 0.99, "decay": {"name": "linear", "hold": 0.6}}
    config = {
        "example": "06_mode_collapse",
        "title": f"{data}: {variant}",
        "data": DATA[data],
        "optimizers": {"D": adam | {"lr": 5e-4}, "G": adam | {"lr": 1e-3}},
        "batch_size": 128,
        "latent_dim": 4,
        "ema": 0.99,
        "steps": steps,
        "checkpoint_every": 1000,
        "seed": args.seed,
        "device": args.device,
    } | VARIANTS[variant]
    networks = {"name": "mlp", "width": 128, "depth": 3, "g_activation": "tanh", "g_gain": 2.0}
    config["networks"] = networks | config.get("networks", {})
    if noise := config.get("instance_noise"):
        config["instance_noise"] = noise | {"end": 0.01, "until": 0.8 * steps}
    return config


def main():
    args = options(__doc__, steps=2000, quick=40).parse_args()
    steps = chosen_steps(args)
    folder = Run.create({"example": "06_mode_collapse", "steps": steps, "seed": args.seed}, args.out, "mode-collapse")
    made, axes = figure(2, len(VARIANTS), (2.5 * len(VARIANTS), 6.2), squeeze=False)
    for row, data in zip(axes, DATA):
        for axis, variant in zip(row, VARIANTS):
            experiment = Experiment(configuration(data, variant, steps, args))
            name = f"{data}-{variant}".replace(" + ", "-").replace(", ", "-").replace(" ", "-")
            try:
                if experiment.train(Run.create(experiment.config, folder.path / name)).interrupted:
                    sys.exit(f"interrupted: what was finished is in {folder.path}")
            except NonFiniteError as error:  # an answer, too
                axis.set_title(f"{variant}\nnumbers not finite", fontsize=9)
                print(f"{data}, {variant}: {error}", file=sys.stderr)
                continue
            samples = experiment.sample(2500, name="evaluate")
            found = mode_coverage(samples, *experiment.dataset.modes)
            counts = np.array(found.details["counts"])
            visited, quality = (counts >= 0.1 * 2500 / len(counts)).sum(), found.details["high_quality"]
            title = f"{variant}\n{visited} of {len(counts)} modes, {quality:.0%} near one"
            plot_points(experiment.dataset.samples[:2000], samples, title=title, axis=axis)
            axis.set(xticks=[], yticks=[])
            print(f"{data:<5} {variant:<24} {visited:>2} of {len(counts):>2} modes visited, {quality:6.1%} near one")
    save(made, folder.path / "collapse.png")
    print(f"picture: {folder.path / 'collapse.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable) as error:
        sys.exit(f"error: {error}")
