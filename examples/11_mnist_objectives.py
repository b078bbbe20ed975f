"""The same networks under every objective: MNIST digits side by side.

Generator and discriminator, data, optimiser, seed and number of steps are the same; only what the two players minimise
changes (Wasserstein gets its gradient penalty; EBGAN and BEGAN need a discriminator that reconstructs, built of the
same convolutions, and are not there yet: it must first learn to do that). After so few steps the digits are rough: what
differs is how fast each objective gets there, and whether it does: the f-GAN of KL, with its exponential, explodes.

Look at objectives.png, one block of samples for each, with the verdict of the diagnostics below its name, and at the
losses in each run's folder: they cannot be compared with each other, nor do they say how good the samples are.

    python examples/11_mnist_objectives.py                          about four and a half minutes on 2 cores
    python examples/11_mnist_objectives.py --only hinge f:kl        some of them
    python -m minigan list runs/...                                 the runs inside
"""

import sys

from _options import chosen_steps, options

from minigan import objectives
from minigan.backend import DeviceNotAvailable
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError
from minigan.report import figure, image_grid, save

NEEDS = {"wasserstein": [{"name": "gradient_penalty", "weight": 10.0}]}  # no minimum without a Lipschitz constraint


def configuration(objective, steps, args):
    """One run; all but the objective is the same for all."""
    adam = {"name": "adam", "lr": 5e-4, "beta1": 0.5}
    return {
        "example": "11_mnist_objectives",
        "title": objective,
        "networks": {"name": "dcgan", "channels": 24, "batch_norm": False},
        "objective": objective,
        "regularizers": NEEDS.get(objective, []),
        "optimizers": {"D": adam | {"lr": 2e-4}, "G": adam},
        "batch_size": 32,
        "latent_dim": 64,
        "ema": 0.99,
        "steps": steps,
        "seed": args.seed,
        "device": args.device,
    }


def play(objective, steps, args, folder):
    """Train one; returns (36 samples or None, the verdict)."""
    experiment = Experiment(configuration(objective, steps, args))
    run = Run.create(experiment.config, folder / objective.replace(":", "-"))
    try:
        trajectory = experiment.train(run, pictures=2)
    except NonFiniteError as error:  # an answer, too
        print(f"{objective}: {error}", file=sys.stderr)
        return None, "numbers not finite"
    if trajectory.interrupted:
        raise KeyboardInterrupt
    return experiment.sample(36), trajectory.verdict


def draw(blocks, path):
    """A block of digits for each objective, its name above and its verdict below that."""
    columns = min(5, len(blocks))
    rows = -(-len(blocks) // columns)
    made, axes = figure(rows, columns, (2.6 * columns, 3.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, (samples, verdict)) in zip(axes.flat, blocks.items()):
        if samples is not None:
            axis.imshow(image_grid(samples, columns=6, scale=1))
        short = verdict.partition(":")[0]
        color = {"nothing conspicuous": "k", "too few rounds to tell": "0.5"}.get(short, "C3")
        axis.set_title(f"{name}\n{short}", fontsize=9, color=color)
    save(made, path)


def main():
    parser = options(__doc__, steps=500, quick=12)
    names = objectives.names()
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    args = parser.parse_args()
    steps, chosen = chosen_steps(args), args.only or names
    folder = Run.create({"example": "11_mnist_objectives", "steps": steps, "seed": args.seed}, args.out, "objectives")
    blocks = {name: play(name, steps, args, folder.path) for name in chosen}
    draw(blocks, folder.path / "objectives.png")
    for name, (_, verdict) in blocks.items():
        print(f"{name:<22} {verdict}")
    print(f"picture: {folder.path / 'objectives.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: what was finished is in the run's folder")
