"""A WGAN-GP on MNIST whose critic is compared with the exact Wasserstein distance while it trains.

The critic's loss is said to estimate the distance between data and samples. Does it? Every so often the exact distance
of 256 digits from 256 samples is computed by linear programming, next to what the critic believes.

Look at critic.png. Left: the critic's estimate, blue, starts at nothing, overshoots the exact distance, black, and soon
is next to nothing again, while the exact distance, after a low when the samples were blurs (a blur is near to
everything), has risen with the digits. What 256 digits are from 256 others is the dotted line: in 784 dimensions all
batches are far from each other. Divided by the critic's Lipschitz constant (middle; the penalty only asks for 1) the
estimate is a true lower bound, green, at all times. Right: the critic's gradient, which is what the generator learns
from, soon has little to do with optimal transport. And look at digits.png: Wasserstein GANs work "because they fail (to
approximate the Wasserstein distance)" (Stanczuk, Etmann, Kreusser, Schönlieb 2021).

    python examples/12_mnist_wgan_gp.py          about four minutes on 2 cores
    python -m minigan resume runs/...            goes on after Ctrl-C or a kill, bit for bit
"""

import sys

from _options import chosen_steps, options, positive

from minigan.backend import DeviceNotAvailable
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError


def configuration(args):
    """The run as a configuration."""
    adam = {"name": "adam", "lr": args.lr, "beta1": 0.5, "beta2": 0.9}
    steps = chosen_steps(args)
    return {
        "example": "12_mnist_wgan_gp",
        "title": "WGAN-GP on MNIST",
        "networks": {"name": "dcgan", "channels": args.channels, "batch_norm": False},
        "objective": "wasserstein",
        "regularizers": [{"name": "gradient_penalty", "weight": 10.0}],
        "solver": {"name": "alternating", "moves": {"D": args.n_critic}},
        "optimizers": {"D": adam, "G": adam},
        "batch_size": args.batch_size,
        "latent_dim": 64,
        "ema": 0.99,
        "critic_gap": {"every": max(1, steps // 50), "n": 256},
        "steps": steps,
        "checkpoint_every": 100,
        "seed": args.seed,
        "device": args.device,
    }


def main():
    parser = options(__doc__, steps=2000, quick=4)
    parser.add_argument("--n-critic", type=positive, default=3, help="critic's steps for one of the generator")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--channels", type=positive, default=32, help="of the critic's first convolution")
    parser.add_argument("--lr", type=float, default=5e-4, help="Adam's learning rate, of both")
    args = parser.parse_args()
    experiment = Experiment(configuration(args))
    run = Run.create(experiment.config, args.out, "mnist-wgan-gp")
    if experiment.train(run).interrupted:
        return
    last = [r for r in run.records() if "critic/exact" in r][-1]
    print(f"exact W1 of 256 digits and 256 samples: {last['critic/exact']:.2f} (of digits: {last['critic/floor']:.2f})")
    print(f"the critic's estimate {last['critic/estimate']:.2f}, its lower bound {last['critic/lower_bound']:.2f}")
    print(f"picture: {run.path / 'critic.png'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable, NonFiniteError) as error:
        sys.exit(f"error: {error}")
