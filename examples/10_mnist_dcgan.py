"""DCGAN on MNIST: handwritten digits from noise, on a laptop's CPU.

Two networks play. The generator turns 100 random numbers into a 28 × 28 image; the discriminator tells real digits from
generated ones. Watch D(real) and D(fake) in the progress bar: at the game's equilibrium both are ½ (D can only guess),
the losses 2 ln 2 ≈ 1.386 and ln 2 ≈ 0.693.

Look at samples/ in the run's folder: the same 64 latent vectors drawn again and again while the generator learns;
losses.png and diagnostics.png; interpolation.png, where each row walks from one latent vector (left) to another
(right). Real GANs hover around their equilibrium instead of resting there: expect D(real) near 0.7, D(fake) near 0.3
while the digits improve. The table at the end compares 10,000 of them with the data, through a classifier of digits
(`minigan.metrics`): a small Fréchet distance, precision (are they digits?) and recall (are all kinds of digits there?)
near those of a perfect sampler.

    python examples/10_mnist_dcgan.py            about a minute and three quarters on 2 cores
    python -m minigan resume runs/...            goes on after Ctrl-C or a kill, bit for bit
    python -m minigan sample runs/... --n 100    new digits
"""

import sys

from _options import chosen_steps, options, positive

from minigan.backend import DeviceNotAvailable
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError
from minigan.metrics import table


def configuration(args):
    """The run as a configuration: what `minigan.experiment` needs to build it, now and whenever it is resumed."""
    adam = {"name": "adam", "beta1": 0.5}
    return {
        "example": "10_mnist_dcgan",
        "title": "DCGAN on MNIST",
        "data": {"name": "mnist", "source": args.data},
        "networks": {"name": "dcgan", "channels": args.channels},
        "objective": "non_saturating",
        "optimizers": {"D": adam | {"lr": args.lr_d}, "G": adam | {"lr": args.lr_g}},
        "batch_size": args.batch_size,
        "latent_dim": args.latent_dim,
        "ema": args.ema,
        "steps": chosen_steps(args),
        "checkpoint_every": args.checkpoint_every,
        "seed": args.seed,
        "device": args.device,
    }


def main():
    parser = options(__doc__, steps=2200, quick=30)
    parser.add_argument("--checkpoint-every", type=positive, default=100, metavar="STEPS", help="default 100")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument(
        "--channels", type=positive, default=32, help="of D's first convolution; later layers double it"
    )
    parser.add_argument("--latent-dim", type=positive, default=100)
    parser.add_argument("--lr-d", type=float, default=2e-4, help="Adam's learning rate of D (default 2e-4, DCGAN's)")
    parser.add_argument("--lr-g", type=float, default=1e-3, help="of G (default 1e-3: at D's rate G falls behind)")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the generator's averaged weights")
    parser.add_argument(
        "--data", default="embedded", help="embedded (10,000 digits), a folder of IDX files, or download"
    )
    args = parser.parse_args()
    try:
        experiment = Experiment(configuration(args))
    except (ValueError, ImportError) as error:  # wrong settings, before anything is written
        sys.exit(f"error: {error}")
    run = Run.create(experiment.config, args.out, "mnist-dcgan")
    trajectory = experiment.train(run)
    if trajectory.interrupted:
        return
    tail = run.records()[-100:]
    means = {name: sum(r[name] for r in tail) / len(tail) for name in ("loss/D", "loss/G", "D(real)", "D(fake)")}
    print(f"mean of the last {len(tail)} steps:", "  ".join(f"{k} {v:.3f}" for k, v in means.items()))
    print(f"verdict: {trajectory.verdict}")
    print(table(experiment.measure(1000 if args.quick else None)))
    few = " (still noise, after so few steps)" if experiment.config["steps"] < 200 else ""
    print(f"digits: {run.path / 'digits.png'}{few}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable, NonFiniteError) as error:
        sys.exit(f"error: {error}")
