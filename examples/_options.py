"""The options that all examples share."""

import argparse

from minigan import backend


def positive(text):
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def device(name):
    """The name of a device that works here: known before anything is written."""
    try:
        backend.get(name)
    except (ValueError, backend.DeviceNotAvailable) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def options(description, steps, quick):
    """An argument parser with the shared options; ``--quick`` is ``quick`` steps instead of ``steps``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--steps", type=positive, help=f"rounds of the game (default {steps})")
    parser.add_argument("--seed", type=int, default=0, help="all randomness follows from it (default 0)")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--out", help="the run's folder (default runs/<time>-<example>)")
    parser.add_argument("--quick", action="store_true", help=f"only {quick} rounds: does it work here?")
    parser.set_defaults(default_steps=steps, quick_steps=quick)
    return parser


def chosen_steps(args):
    """How many rounds the options ask for."""
    return args.steps or (args.quick_steps if args.quick else args.default_steps)
