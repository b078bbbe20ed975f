"""The options that all examples share."""

import argparse


def options(description, steps, quick):
    """An argument parser with the shared options; ``--quick`` is ``quick`` steps instead of ``steps``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--steps", type=int, help=f"rounds of the game (default {steps})")
    parser.add_argument("--seed", type=int, default=0, help="all randomness follows from it (default 0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--out", help="the run's folder (default runs/<time>-<example>)")
    parser.add_argument("--quick", action="store_true", help=f"only {quick} rounds: does it work here?")
    parser.set_defaults(default_steps=steps, quick_steps=quick)
    return parser


def chosen_steps(args):
    """How many rounds the options ask for."""
    return args.steps or (args.quick_steps if args.quick else args.default_steps)
