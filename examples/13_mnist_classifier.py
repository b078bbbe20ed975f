"""A classifier of MNIST's digits: the ordinary use of the engine, and the judge of what the GANs draw.

No game here, one player: a small convolutional network, cross-entropy, Adam with a learning rate that falls to 0 along
half a cosine, each image shifted by up to 2 pixels either way so that no two are alike. minigan ships with one trained
on all 60,000 digits (minigan.metrics.mnist_classifier): its features are what mnist_frechet_distance looks at.

Look at classifier.png. Left: nearly all is learnt in the first fifth of the steps. Right: the test digits whose truth
it finds least probable, truth → guess. Would you have known?

    python examples/13_mnist_classifier.py                 about two minutes on 2 cores, 10,000 digits
    python examples/13_mnist_classifier.py --data full --steps 8000 --weights minigan/metrics/mnist_classifier.npz
                                                           ten minutes, 60,000 digits: the weights that ship
"""

import sys
import time
from pathlib import Path

import numpy as np
from _options import chosen_steps, options
from tqdm import tqdm

import minigan as mg
from minigan import backend
from minigan.backend.random import stream
from minigan.data import Batches, mnist
from minigan.data.embed import archive
from minigan.games import Run, RunError
from minigan.models import digit_classifier
from minigan.report import figure, image_grid, save

RATE, BATCH, SHIFT = 2e-3, 128, 2


def shifted(images, rng):
    """Each image moved by up to 2 pixels in either direction: a 28 × 28 window of it with a border of background."""
    border = np.pad(images[..., 0], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(border, images.shape[1:3], axis=(1, 2))
    dy, dx = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    return windows[np.arange(len(images)), dy, dx][..., None]


def judge(net, images, device):
    """The class probabilities of images: (n, 10)."""
    with mg.no_grad(), net.evaluating():
        chunks = (mg.tensor(images[i : i + 500], device=device) for i in range(0, len(images), 500))
        return np.concatenate([mg.softmax(net(x)).numpy() for x in chunks])


def train(net, batches, test, steps, device):
    """Train ``net``; returns one record a step, the test errors in some of them."""
    optimizer, records = mg.optim.Adam(net.parameters(), mg.optim.cosine_decay(RATE, until=steps)), []
    with backend.training(), tqdm(total=steps, unit="step", file=sys.stderr) as bar:
        for step in range(steps):
            images, labels = batches.at(step)
            images = shifted(images, stream(batches.seed, "shift", step))
            log_p = mg.log_softmax(net(mg.tensor(images, device=device)))
            loss = -mg.mean(log_p[np.arange(BATCH), labels])  # cross-entropy, in nats
            records.append({"step": step + 1, "rate": optimizer.rate, "loss": loss.item()})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % max(4, steps // 25) == 0 or step + 1 == steps:
                guess = judge(net, test.images, device).argmax(axis=1)
                records[-1]["test_error"] = error = float(np.mean(guess != test.labels))
                bar.set_postfix_str(f"loss={loss.item():.3f}, test error={100 * error:.2f} %")
            bar.update()
    return records


def draw(records, test, probability, file):
    """The errors over the steps; the digits with the least probability of the truth, and what was guessed."""
    made, (left, right) = figure(1, 2, (13, 5), width_ratios=(1, 1.35))
    step, error = np.array([(r["step"], r["test_error"]) for r in records if "test_error" in r]).T
    left.semilogy(step, 100 * np.maximum(error, 1e-4), "C0.-")
    left.set(xlabel="step", ylabel="% of test images", title=f"Errors on {len(test.labels):,} test images")
    left.grid(alpha=0.3, which="both")
    left.yaxis.set(major_formatter="{x:g}", minor_formatter="{x:g}")
    truth, guess = test.labels, probability.argmax(axis=1)
    worst = np.argsort(probability[np.arange(len(truth)), truth])[:40]
    words = np.pad(test.images[worst], ((0, 0), (11, 0), (0, 0), (0, 0)), constant_values=1)  # white above, for words
    right.imshow(image_grid(words, 10, scale=1))
    for i, k in enumerate(worst):
        color, place = ("C3" if truth[k] != guess[k] else "C2"), (i % 10 * 29 + 14.5, i // 10 * 40 + 6.5)
        right.text(*place, f"{truth[k]} → {guess[k]}", color=color, ha="center", va="center", size=9)
    right.set(title="truth → guess: the least probable truths (red: wrong)", xticks=[], yticks=[])
    save(made, file)


def main():
    parser = options(__doc__, steps=1600, quick=8)
    parser.add_argument("--data", default="embedded", help="embedded (10,000), full (MINIGAN_DATA), a folder, download")
    parser.add_argument("--weights", metavar="FILE", help="write the weights here too, as .npz")
    args = parser.parse_args()
    try:
        batches, test = Batches(mnist("train", args.data), BATCH, args.seed), mnist("test", args.data)
    except (ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    steps = chosen_steps(args)
    config = {"example": "13_mnist_classifier", "data": args.data, "steps": steps, "seed": args.seed}
    run = Run.create(config, args.out, "mnist-classifier")
    net, start = digit_classifier(seed=args.seed).to(args.device), time.perf_counter()
    run.log(records := train(net, batches, test, steps, args.device))
    seconds, probability = time.perf_counter() - start, judge(net, test.images, args.device)
    draw(records, test, probability, run.path / "classifier.png")
    right = probability.argmax(axis=1) == test.labels
    if args.weights:
        about = {"accuracy": np.array([right.mean()]), "steps": np.array([steps]), "seed": np.array([args.seed])}
        Path(args.weights).write_bytes(archive(net.state_dict() | about))
    print(f"{right.sum():,} of {len(right):,} test images right: {100 * right.mean():.2f} %, in {seconds:.0f} s")
    print(f"picture: {run.path / 'classifier.png'}")


if __name__ == "__main__":
    try:
        main()
    except RunError as error:
        sys.exit(f"error: {error}")
