"""Mode collapse: a ring of 8 and a grid of 25 Gaussians, and who loses some of them.

A generator that serves one mode well can fool its discriminator for a while; then D learns, and G jumps to the next
mode instead of covering both. Here G is the quicker one (its learning rate is five times D's), which provokes it. Same
networks, rates and number of steps throughout; what changes is what the players minimise. Wasserstein has a gradient
penalty and three critic steps a round; the packed D sees two samples at a time (PacGAN), and two alike give the
generator away. At seed 0 hinge and relativistic sit on a corner of the data, packed and Wasserstein keep every mode,
the others depend on the data. Other rates and seeds tell another story each: change them.

Look at collapse.png: data grey, samples blue; above each panel the modes visited (nearest to a tenth of their fair
share of the samples, near or not). No setting is sharp after so few steps: `python -m benchmarks.mode_coverage` trains
to the end. And see that little of this shows in the losses, which are in each run's folder.

    python examples/06_mode_collapse.py        about four minutes on 2 cores
"""

import sys

from _options import chosen_steps, options

from minigan.backend import DeviceNotAvailable
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError
from minigan.metrics import mode_coverage
from minigan.report import figure, plot_points, save

DATA = {"ring": {"name": "ring", "scale": 1 / 0.707}, "grid": {"name": "grid", "scale": 1 / 2.829}}
VARIANTS = {
    "minimax": {"objective": "minimax"},
    "non-saturating": {"objective": "non_saturating"},
    "hinge": {"objective": "hinge"},
    "relativistic": {"objective": "relativistic"},
    "Wasserstein + GP": {
        "objective": "wasserstein",
        "regularizers": [{"name": "gradient_penalty", "weight": 1.0}],
        "solver": {"name": "alternating", "moves": {"D": 3}},
    },
    "non-saturating, packed": {"objective": "non_saturating", "pack": 2},
    "non-saturating + R1": {"objective": "non_saturating", "regularizers": [{"name": "r1", "gamma": 0.1}]},
}


def configuration(data, variant, steps, args):
    """One run."""
    adam, chosen = {"name": "adam", "beta1": 0.5}, dict(VARIANTS[variant])
    return {
        "example": "06_mode_collapse",
        "title": f"{data}: {variant}",
        "data": DATA[data],
        "networks": {"name": "mlp", "width": 128, "depth": 3, "g_activation": "relu", "pack": chosen.pop("pack", 1)},
        "optimizers": {"D": adam | {"lr": 2e-4}, "G": adam | {"lr": 1e-3}},
        "batch_size": 128,
        "latent_dim": 8,
        "ema": 0.9,
        "steps": steps,
        "checkpoint_every": 1000,
        "seed": args.seed,
        "device": args.device,
    } | chosen


def main():
    args = options(__doc__, steps=2000, quick=40).parse_args()
    steps = chosen_steps(args)
    folder = Run.create({"example": "06_mode_collapse", "steps": steps, "seed": args.seed}, args.out, "mode-collapse")
    made, axes = figure(2, len(VARIANTS), (2.5 * len(VARIANTS), 6.2), squeeze=False)
    for row, data in zip(axes, DATA):
        for axis, variant in zip(row, VARIANTS):
            experiment = Experiment(configuration(data, variant, steps, args))
            name = f"{data}-{variant}".replace(" + ", "-").replace(", ", "-").replace(" ", "-").lower()
            try:
                if experiment.train(Run.create(experiment.config, folder.path / name), pictures=1).interrupted:
                    sys.exit(f"interrupted: what was finished is in {folder.path}")
            except NonFiniteError as error:  # an answer, too
                axis.set_title(f"{variant}\nnumbers not finite", fontsize=9)
                print(f"{data}, {variant}: {error}", file=sys.stderr)
                continue
            samples = experiment.sample(2500, name="evaluate")
            found = mode_coverage(samples, *experiment.dataset.modes)
            visited, modes = found.details["visited"], len(found.details["counts"])
            title = f"{variant}\n{visited} of {modes} modes"
            plot_points(experiment.dataset.samples[:2000], samples, title=title, axis=axis)
            axis.set(xticks=[], yticks=[])
            print(f"{data:<5} {variant:<24} {visited:>2} of {modes:>2} modes visited")
    for row, data in zip(axes, DATA):
        row[0].set_ylabel(data, fontsize=12)
    save(made, folder.path / "collapse.png")
    print(f"picture: {folder.path / 'collapse.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable) as error:
        sys.exit(f"error: {error}")
