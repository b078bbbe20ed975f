"""python -m minigan {resume, sample, evaluate, list}: what one can do with a run's folder."""

import argparse
import json
import sys
import warnings
from pathlib import Path

from .backend import DeviceNotAvailable
from .errors import MiniganError
from .games import Run, RunError, accuracy, duality_gap


def main(arguments=None):
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        return args.command(args) or 0
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0
    except (RunError, MiniganError, DeviceNotAvailable, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def resume(args):
    """Go on with a run from its checkpoint, bit for bit as if it had never stopped."""
    run, experiment, start = _load(args, wanted="resumed")
    steps = args.steps or experiment.config["steps"]
    if start >= steps:
        print(f"{run.path} is at step {start} already, of {steps}; go on with --steps {2 * start}")
        return None
    print(f"going on after step {start} of {steps}", file=sys.stderr)
    trajectory = experiment.train(run, steps, start)
    if not trajectory.interrupted:
        print(f"verdict: {trajectory.verdict}\npictures: {run.path}")
    return None


def sample(args):
    """Draw new samples from the averaged weights of a run into a PNG file."""
    from .report import plot_points, save_grid

    run, experiment, step = _load(args, wanted="sampled")
    drawn = experiment.sample(args.n, args.number, "sample", args.truncation)
    path = Path(args.out) if args.out else run.path / f"sample-{args.number}.png"
    if experiment.dataset.images:
        save_grid(path, drawn)
    else:
        plot_points(experiment.dataset.samples[:2000], drawn, path, f"{run.path.name}, step {step}")
    print(f"{args.n} samples of step {step}: {path}")


def evaluate(args):
    """Print what can be measured on a run: the metrics beside a perfect sampler's, what D thinks of data it has not
    seen, the duality gap.
    """
    from .metrics import table

    run, experiment, step = _load(args, wanted="evaluated")
    game, dataset, pack = experiment.game, experiment.dataset, experiment.pack
    data = {"training": dataset.samples} | ({} if dataset.held_out is None else {"held out": dataset.held_out})
    n = min(args.n or 2500, *map(len, data.values())) // pack * pack
    if not n:
        raise ValueError(f"--n: the discriminator looks at {pack} samples at a time, there are fewer")
    rows = [("step", f"{step} of {experiment.config['steps']}")]
    fake = experiment.sample(n, 0, "evaluate")
    generated = _outputs(game, fake, pack)
    for name, samples in data.items():
        right = accuracy(game.objective, _outputs(game, samples[:n], pack), generated)
        rows.append((f"D tells {name} data from generated (averaged G)", f"{right:.1%} (50 %: it can only guess)"))
    spread = fake.var(axis=0).sum() ** 0.5 / dataset.samples.var(axis=0).sum() ** 0.5
    rows.append(("samples' spread / data's", f"{spread:.3f}"))
    if args.gap:
        rows.append(("duality gap", duality_gap(game, steps=args.gap)))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        results = experiment.measure(args.n)
    fewer = args.n is not None and args.n > len(dataset.samples)
    beside = "" if not any("n_real" in r.settings for r in results) else " beside as many of the training data"
    print(f"\n{results[0].n} samples{beside}{' (there are no more)' if fewer else ''}")
    print(table(results), *(f"note: {note.message}" for note in notes), sep="\n")


def list_runs(args):
    """List the runs in a folder: what they are, how far they are, and their last losses."""
    rows = [("run", "what", "step", "losses at the end")]
    for path in sorted(p.parent for p in Path(args.folder).glob("*/config.json")):
        try:
            run = Run.open(path)
        except RunError as error:
            rows.append((str(path), "unreadable", "", str(error)))
            continue
        records = run.records()
        last = records[-1] if records else {}
        losses = "  ".join(f"{k.removeprefix('loss/')} {v:.3f}" for k, v in last.items() if k.startswith("loss/"))
        what = run.config.get("example") or run.config.get("benchmark") or run.config.get("title") or "run"
        objective = run.config.get("objective", "")
        objective = objective if isinstance(objective, str) else json.dumps(objective)
        rows.append(
            (str(path), f"{what} {objective}".strip(), f"{last.get('step', 0)}/{run.config.get('steps')}", losses)
        )
    if len(rows) == 1:
        raise RunError(f"{args.folder} holds no runs: no folder in it has a config.json")
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    print("\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths)).rstrip() for row in rows))


def _outputs(game, x, pack):
    """The discriminator's outputs on arrays of samples, some 500 at a time, in whole packs."""
    import numpy as np

    some = max(1, 500 // pack) * pack
    return np.concatenate([game.outputs(x[i : i + some]) for i in range(0, len(x), some)])


def _load(args, wanted):
    from .experiment import DEFAULTS, LABELS, Experiment

    run = Run.open(args.run)
    if "objective" not in run.config or set(run.config) - set(DEFAULTS) - set(LABELS):
        what = run.config.get("example", "a script of its own")
        raise RunError(
            f"{run.path} is a run of {what}, which no configuration describes; it cannot be {wanted} from here"
        )
    config = run.config | ({"device": args.device} if args.device else {})
    experiment = Experiment(config)
    step = run.load(experiment.parts, args.previous, forget=wanted == "resumed")
    if not step and wanted != "resumed":
        raise RunError(f"{run.path} cannot be {wanted}: it has no checkpoint yet")
    return run, experiment, step


def _parser():
    parser = argparse.ArgumentParser(prog="python -m minigan", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="{resume,sample,evaluate,list}")

    def command(name, fn):
        made = commands.add_parser(name, help=fn.__doc__, description=fn.__doc__, allow_abbrev=False)
        made.set_defaults(command=fn)
        if name != "list":
            made.add_argument("run", metavar="RUN", help="the run's folder")
            made.add_argument("--previous", action="store_true", help="from the checkpoint before the last")
            made.add_argument("--device", help="cpu or cuda (default: the run's own)")
        return made

    r = command("resume", resume)
    r.add_argument("--steps", type=_positive, help="play up to this round (default: as configured)")
    s = command("sample", sample)
    s.add_argument("--n", type=_positive, default=64, help="how many (default 64)")
    s.add_argument("--number", type=int, default=0, help="which draw of latents (default 0)")
    s.add_argument("--truncation", type=float, help="cut the latents off at ± this")
    s.add_argument("--out", help="the PNG file (default RUN/sample-NUMBER.png)")
    e = command("evaluate", evaluate)
    e.add_argument("--n", type=_two, help="samples of each kind (default 2500; in the table 10000, of images)")
    e.add_argument("--gap", type=int, default=0, metavar="STEPS", help="also the duality gap, with opponents of STEPS")
    command("list", list_runs).add_argument("folder", nargs="?", default="runs", help="default: runs")
    return parser


def _two(text):
    if text.strip() == "1":
        raise argparse.ArgumentTypeError("must be at least 2, got 1")
    return _positive(text)


def _positive(text):
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
