"""A run lives in one folder: what was asked for, what was measured, and how to go on.

    config.json              the settings
    metrics.jsonl            one line a step: {"step": 12, "loss/D": …, …}
    checkpoint.npz           everything that changes, at one step, and the settings it belongs to
    checkpoint.previous.npz  the one before
    samples/                 image grids

Nothing is ever half written: files are written aside and renamed. A checkpoint holds arrays only (no pickle), each with
the CRC of the zip format, so a damaged file is noticed and refused, and the one before offered.
"""

import json
import os
import shutil
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from .guard import NonFiniteError
from .loop import to_floats
from .state import join_states, split_state

CHECKPOINT, PREVIOUS = "checkpoint.npz", "checkpoint.previous.npz"


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
            what = f"{path} holds a run already; choose another folder (--out)"
            resumable = (path / CHECKPOINT).exists()
            raise RunError(what + (f", or go on with it: python -m minigan resume {path}" if resumable else ""))
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
        """Write the checkpoint of ``step``: the ``state_dict()`` of every part, {name: object}. The one before is kept.

        Pending metrics go first, so that a run resumed here has no gap in them. Raises `NonFiniteError`, and leaves the
        checkpoints as they are, when an array holds NaN.
        """
        self.flush()
        arrays = join_states(parts)
        broken = [name for name, a in arrays.items() if a.dtype.kind == "f" and np.isnan(a).any()]
        if broken:
            what = f"step {step}: no checkpoint was written, these hold NaN: {', '.join(broken)}"
            raise NonFiniteError(f"{what}\n    {self.path} keeps what it had: {self.checkpoints()}")
        target, settings = self.path / CHECKPOINT, json.dumps(self.config, sort_keys=True)
        with _aside(target, keep=self.path / PREVIOUS) as file:
            np.savez(file, step=np.array(step), config=np.array(settings), **arrays)

    def load(self, parts, previous=False, forget=True):
        """Put the checkpoint back into ``parts`` and forget metrics after it. Returns its step; 0 if there is none yet.

        previous: the one before the last, which then takes the last one's place. forget: False for a look at a run
        without going on with it: nothing in the folder changes. Raises `RunError` when the file is damaged or belongs
        to something else; then no part has changed.
        """
        path = self.path / (PREVIOUS if previous else CHECKPOINT)
        if not path.exists():
            if previous:
                raise RunError(f"{self.path} has no previous checkpoint; {self.checkpoints()}")
            if forget:
                self._forget_after(0)
            return 0
        try:
            step, config, arrays = _read(path)
        except Exception as error:  # a few wrong bytes in a zip file can surface as almost anything
            raise RunError(
                f"{path} is damaged ({error!r}); it cannot be resumed from{self._offer(previous)}"
            ) from error
        if config is not None and (other := _differences(config, self.config)):
            raise RunError(f"{path} belongs to another run: {other}{self._offer(previous)}")
        try:
            split_state(arrays, parts, "this run")
        except Exception as error:
            raise RunError(f"{path} does not fit this run: {error}{self._offer(previous)}") from error
        if forget:
            if previous:
                _second_name(path, self.path / CHECKPOINT)
            self._forget_after(step)
        return step

    def checkpoints(self):
        """In words: which checkpoints there are, and whether they can be read."""
        return (
            "; ".join(
                f"{what} is {_describe(self.path / name)}"
                for name, what in ((CHECKPOINT, "the last checkpoint"), (PREVIOUS, "the one before"))
                if (self.path / name).exists()
            )
            or "there is no checkpoint yet"
        )

    def _offer(self, previous):
        """How to go on without the last checkpoint, if the one before can be read."""
        path = self.path / PREVIOUS
        if previous or not path.exists():
            return ""
        return f". The one before is {_describe(path)}; --previous goes back to it: resume {self.path} --previous"

    def _forget_after(self, step):
        kept = self.records(last=step)
        _write(self.path / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in kept).encode())


def _read(path):
    """(step, config or None, {name: array}) of a checkpoint, every byte checked."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    step, config = int(arrays.pop("step")), arrays.pop("config", None)
    return step, None if config is None else json.loads(str(config)), arrays


def _describe(path):
    try:
        return f"that of step {_read(path)[0]}"
    except Exception as error:
        return f"damaged ({error!r})"


def _differences(theirs, ours):
    """The settings in which two runs differ, in words; "" if in none."""
    ours = json.loads(json.dumps(ours))
    names = [k for k in sorted(theirs.keys() | ours.keys()) if theirs.get(k) != ours.get(k)]
    return ", ".join(f"{k} is {theirs.get(k)!r} there and {ours.get(k)!r} here" for k in names)


@contextmanager
def _aside(target, keep=None):
    """Open a file beside ``target``; rename it over the target when all went well, remove it otherwise.

    keep: the name under which what ``target`` was lives on. At every moment ``target`` is whole.
    """
    temporary = target.with_name(f".{target.name}.partial")  # one name: what a kill leaves, the next save overwrites
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and target.exists():
            _second_name(target, keep)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _second_name(path, keep):
    """Let ``keep`` be what ``path`` is, and ``path`` stay."""
    temporary = keep.with_name(f".{keep.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)
        os.replace(temporary, keep)
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
