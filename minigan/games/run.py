"""A run lives in one folder: what was asked for, what was measured, and how to go on.

    config.json      the settings            metrics.jsonl    one line a step: {"step": 12, "loss/D": …, …}
    checkpoint.npz   everything that changes, at one step     samples/         image grids

Nothing is ever half written: files are written aside and renamed. A checkpoint holds arrays only (no pickle), each with
the CRC of the zip format, so a damaged file is noticed and refused.
"""

import json
import os
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from .loop import to_floats


class RunError(Exception):
    """A run folder that cannot be used: missing, damaged, or already taken."""


class Run:
    """The folder of one run. Make one with `Run.create` or `Run.open`."""

    def __init__(self, path, config):
        self.path, self.config = Path(path), config
        self.pending = []  # records not yet written, still on the device

    @classmethod
    def create(cls, config, path=None, name="run"):
        """A new folder ``path`` (default: runs/<time>-<name>) with ``config`` (JSON types).

        Raises `RunError` when the folder holds a run already: nothing saved is overwritten.
        """
        path = Path(path) if path else Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
        if (path / "config.json").exists():
            raise RunError(f"{path} holds a run already; resume it with --resume {path}, or choose another --out")
        try:
            (path / "samples").mkdir(parents=True, exist_ok=True)
            _write(path / "config.json", json.dumps(config, indent=2).encode())
        except OSError as error:
            raise RunError(f"{path} cannot hold a run: {error}") from error
        return cls(path, config)

    @classmethod
    def open(cls, path, **expected):
        """The existing run in ``path``, with these settings ``expected`` in its config (``example="10_mnist_dcgan"``).

        Raises `RunError` when there is none, its config cannot be read, or it is a run of something else.
        """
        path = Path(path)
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{path} holds no run: there is no config.json in it") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path / 'config.json'} is damaged: {error}") from None
        if not isinstance(config, dict):
            raise RunError(f"{path / 'config.json'} is damaged: it holds no settings")
        for name, value in expected.items():
            if config.get(name) != value:
                raise RunError(f"{path} is a run with {name} {config.get(name)!r}, expected {value!r}")
        return cls(path, config)

    # ---- metrics --------------------------------------------------------------------------------------------------

    def log(self, records):
        """Append records (dicts with a "step") to metrics.jsonl."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))

    def flush(self):
        """Log what is pending: one wait for the device, however many records there are."""
        pending, self.pending = self.pending, []
        if pending:
            self.log(to_floats(pending))

    def records(self, last=None):
        """The logged records up to step ``last``. A line that a kill left half written is passed over."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        records = [r for r in map(_parse, lines) if r is not None]
        return [r for r in records if last is None or r["step"] <= last]

    # ---- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, step, parts):
        """Write the checkpoint of ``step``: the ``state_dict()`` of every part, {name: object}.

        Pending metrics go first, so that a run resumed here has no gap in them.
        """
        self.flush()
        arrays = {f"{name}/{key}": a for name, part in parts.items() for key, a in part.state_dict().items()}
        target = self.path / "checkpoint.npz"
        with _aside(target) as file:
            np.savez(file, step=np.array(step), **arrays)

    def load(self, parts):
        """Put the checkpoint back into ``parts`` and forget metrics after it. Returns its step; 0 if there is none yet.

        Raises `RunError` when the file is damaged or belongs to something else; then no part has changed.
        """
        path = self.path / "checkpoint.npz"
        if not path.exists():
            self._forget_after(0)
            return 0
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            step = int(arrays.pop("step"))
        except Exception as error:  # a few wrong bytes in a zip file can surface as almost anything
            raise RunError(f"{path} is damaged ({error!r}); it cannot be resumed from") from error
        states = {name: {} for name in parts}
        for key, a in arrays.items():
            name, _, rest = key.partition("/")
            if name not in states:
                raise RunError(f"{path} holds the state of {name!r}, which this run does not have")
            states[name][rest] = a
        before = {name: part.state_dict() for name, part in parts.items()}
        try:
            for name, part in parts.items():
                part.load_state_dict(states[name])
        except Exception as error:
            for name, part in parts.items():
                part.load_state_dict(before[name])
            raise RunError(f"{path} does not fit this run: {error}") from error
        self._forget_after(step)
        return step

    def _forget_after(self, step):
        kept = self.records(last=step)
        _write(self.path / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept).encode())


@contextmanager
def _aside(target):
    """Open a file beside ``target``; rename it over the target when all went well, remove it otherwise."""
    temporary = target.with_name(f".{target.name}.partial")  # one name: what a kill leaves, the next save overwrites
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path, content):
    with _aside(path) as file:
        file.write(content)


def _parse(line):
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record else None
