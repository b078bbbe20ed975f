"""DCGAN on MNIST: handwritten digits from noise, on a laptop's CPU.

Two networks play. The generator turns 100 random numbers into a 28 × 28 image; the discriminator tells real digits from
generated ones. Watch D(real) and D(fake) in the progress bar: at the game's equilibrium both are ½ (D can only guess),
the losses 2 ln 2 ≈ 1.386 and ln 2 ≈ 0.693.

Look at samples/ in the run's folder: the same 64 latent vectors drawn again and again while the generator learns;
losses.png; interpolation.png, where each row walks from one latent vector (left) to another (right). Real GANs hover
around their equilibrium instead of resting there: expect D(real) near 0.7, D(fake) near 0.3 while the digits improve.

    python examples/10_mnist_dcgan.py                      about a minute and a half on 2 cores
    python examples/10_mnist_dcgan.py --resume runs/...    goes on after Ctrl-C or a kill, bit for bit
"""

import math
import sys

from _options import chosen_steps, only, options, positive

import minigan as mg
from minigan.backend import DeviceNotAvailable
from minigan.data import Batches, mnist
from minigan.games import GAN, Alternating, Averaging, Checkpoint, Log, Progress, Run, RunError, play
from minigan.models import dcgan_discriminator, dcgan_generator
from minigan.report import SampleGrid, interpolation, plot_losses, save_grid


def build(config):
    """The game, its solver, the average of G's weights, and all parts that a checkpoint holds."""
    G = dcgan_generator(config["latent_dim"], config["channels"], seed=config["seed"]).to(config["device"])
    D = dcgan_discriminator(config["channels"], seed=config["seed"]).to(config["device"])
    data = Batches(mnist("train", config["data"]).images, config["batch_size"], config["seed"])
    game = GAN(G, D, data, config["latent_dim"], "non_saturating", config["seed"])
    optimizers = {
        "D": mg.optim.Adam(D.parameters(), lr=config["lr_d"], beta1=0.5),
        "G": mg.optim.Adam(G.parameters(), lr=config["lr_g"], beta1=0.5),
    }
    ema = mg.optim.EMA(G.parameters(), decay=config["ema"])
    parts = {"G": G, "D": D, "Adam.D": optimizers["D"], "Adam.G": optimizers["G"], "ema": ema}
    return game, Alternating(optimizers), ema, parts


def main():
    parser = options(__doc__, steps=2200, quick=30)
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this folder (its own settings hold)")
    parser.add_argument("--checkpoint-every", type=positive, default=100, metavar="STEPS", help="default 100")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument(
        "--channels", type=positive, default=32, help="of D's first convolution; later layers double it"
    )
    parser.add_argument("--latent-dim", type=positive, default=100)
    parser.add_argument("--lr-d", type=float, default=2e-4, help="Adam's learning rate of D (default 2e-4, DCGAN's)")
    parser.add_argument("--lr-g", type=float, default=5e-4, help="of G (default 5e-4: at D's rate G falls behind)")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the generator's averaged weights")
    parser.add_argument(
        "--data", default="embedded", help="embedded (10,000 digits), a folder of IDX files, or download"
    )
    args = parser.parse_args()
    if args.resume:
        only(parser, "--resume", "--steps", "--checkpoint-every")
        run = Run.open(args.resume, example="10_mnist_dcgan")
        config, steps = run.config, args.steps or run.config["steps"]
    else:
        steps = chosen_steps(args)
        names = ("seed", "device", "batch_size", "channels", "latent_dim", "lr_d", "lr_g", "ema", "data")
        config = {"example": "10_mnist_dcgan", "steps": steps} | {name: getattr(args, name) for name in names}
    try:
        game, solver, ema, parts = build(config)
    except (ValueError, ImportError) as error:  # wrong settings, before anything is written
        sys.exit(f"error: {error}")
    run = run if args.resume else Run.create(config, args.out, "mnist-dcgan")
    start = run.load(parts) if args.resume else 0
    if args.resume:
        print(
            f"going on after step {start}" if start else "no checkpoint there yet: starting at step 0", file=sys.stderr
        )

    z = game.latent(64, name="samples")
    callbacks = [
        Progress(),
        Averaging(ema),
        Log(run),
        SampleGrid(run, z, every=max(1, steps // 10), ema=ema),
        Checkpoint(run, parts, every=args.checkpoint_every),
    ]
    if play(game, solver, steps, callbacks, start).interrupted:
        return

    records = run.records()
    equilibrium = {"loss/D": 2 * math.log(2), "loss/G": math.log(2), "D(real)": 0.5}
    plot_losses(records, run.path / "losses.png", "DCGAN on MNIST: the two players", equilibrium)
    with ema.applied():
        save_grid(run.path / "digits.png", game.sample(z), columns=8)
        ends = game.latent(12, name="interpolation").numpy()
        save_grid(run.path / "interpolation.png", interpolation(game.sample, ends[:6], ends[6:], 12), columns=12)
    tail = records[-100:]
    means = {name: sum(r[name] for r in tail) / len(tail) for name in ("loss/D", "loss/G", "D(real)", "D(fake)")}
    print(f"mean of the last {len(tail)} steps:", "  ".join(f"{k} {v:.3f}" for k, v in means.items()))
    print(f"digits: {run.path / 'digits.png'}" + (" (still noise, after so few steps)" if steps < 200 else ""))


if __name__ == "__main__":
    try:
        main()
    except (RunError, DeviceNotAvailable) as error:
        sys.exit(f"error: {error}")
