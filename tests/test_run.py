"""The run folder: nothing overwritten, nothing half written, no damage passed over, and resuming bit for bit."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minigan as mg
from minigan import nn
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import GAN, Alternating, Averaging, Callback, Checkpoint, Log, NonFiniteError, Run, RunError, play
from minigan.optim import EMA, SGD, Adam, RMSProp
from tests.test_games import Bilinear, Pressing, moves


class Part:
    """The smallest thing with a state: one array of a fixed shape."""

    def __init__(self, values):
        self.values = np.array(values)

    def state_dict(self):
        return {"values": self.values.copy()}

    def load_state_dict(self, state):
        if state["values"].shape != self.values.shape:
            raise mg.ShapeError(f"expected {self.values.shape}")
        self.values = state["values"]


@pytest.fixture
def run(tmp_path):
    return Run.create({"seed": 3}, tmp_path / "run")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


# ---- create and open -------------------------------------------------------------------------------------------------


def test_create_and_open(tmp_path, monkeypatch):
    config = {"seed": 3, "lr": 2e-4, "name": "größe", "none": None}
    run = Run.create(config, tmp_path / "deep" / "run")
    assert files(run.path) == ["config.json", "samples"]
    again = Run.open(str(run.path))
    assert again.config == config and again.path == run.path and again.records() == []
    assert Run.open(run.path, seed=3).config == config
    monkeypatch.chdir(tmp_path)
    default = Run.create({}, name="toy")
    assert default.path.parent.name == "runs" and default.path.name.endswith("-toy") and default.path.is_dir()


def test_create_overwrites_nothing(run):
    before = content(run.path)
    with pytest.raises(RunError, match=r"holds a run already; choose another folder \(--out\)$"):
        Run.create({"seed": 4}, run.path)
    assert content(run.path) == before
    (run.path / "file").touch()
    with pytest.raises(RunError, match="file cannot hold a run"):
        Run.create({}, run.path / "file")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "config.json").unlink(), "holds no run: there is no config.json"),
        (lambda run: (run / "config.json").write_text('{"seed": '), "config.json is damaged"),
        (lambda run: (run / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json is damaged"),
        (lambda run: (run / "config.json").write_text("[1]"), "config.json is damaged"),
        (lambda run: (run / "config.json").write_text('{"seed": 4}'), "run is a run with seed 4, expected 3"),
    ],
)
def test_open_refuses(run, damage, reason):
    damage(run.path)
    with pytest.raises(RunError, match=reason):
        Run.open(run.path, seed=3)


def test_open_refuses_what_is_no_folder(run):
    for path in (run.path / "nowhere", run.path / "config.json"):
        with pytest.raises(RunError, match=f"{path.name} holds no run"):
            Run.open(path)


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_records_round_trip_every_bit(run):
    numbers = [0.1, 1 / 3, 1e-310, -0.0, 2.0**60, float(np.float32(0.1)), float("inf"), float("nan")]
    run.log([{"step": i, "loss": v} for i, v in enumerate(numbers)])
    run.log([])
    run.log([{"step": 8, "loss": 1.0}])
    back = run.records()
    assert [r["step"] for r in back] == list(range(9))
    assert np.array([r["loss"] for r in back]).tobytes() == np.array([*numbers, 1.0]).tobytes()
    assert [r["step"] for r in run.records(last=4)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rest", [b'{"step": 2, "lo', b'{"step', b"12", b'"step"', b"\x00\xff\xfe", b"[]\n{}\n"])
def test_a_half_written_line_is_passed_over(run, rest):
    run.log([{"step": 1, "loss": 0.5}])
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(rest)
    assert run.records() == [{"step": 1, "loss": 0.5}]
    assert run.load({}) == 0  # no checkpoint yet: the run begins again, and so do its metrics
    run.log([{"step": 1, "loss": 0.25}])
    assert run.records() == [{"step": 1, "loss": 0.25}]


# ---- checkpoints: there and back -------------------------------------------------------------------------------------


def test_a_checkpoint_keeps_every_bit(run):
    rng = np.random.default_rng(0)
    stored = {
        "a": Part(rng.standard_normal((3, 4)).astype(np.float32)),
        "b.c": Part(np.array([1 / 3, -0.0, np.inf, 5e-324])),
        "d": Part(np.int64(2**62)),
        "e": Part(np.zeros((0, 3))),
    }
    run.save(17, stored)
    assert not pickled(run.path / "checkpoint.npz")
    fresh = {name: Part(np.zeros_like(part.values)) for name, part in stored.items()}
    assert Run.open(run.path).load(fresh) == 17
    for name, part in stored.items():
        assert_array_equal(fresh[name].values, part.values, strict=True)
        assert fresh[name].values.tobytes() == part.values.tobytes()


def pickled(path):
    with zipfile.ZipFile(path) as archive:
        return any("'descr': '|O'" in archive.read(n)[:128].decode("latin1") for n in archive.namelist())


def test_loading_forgets_what_was_measured_after(run):
    part = Part([1.0])
    run.log([{"step": s, "loss": s / 3} for s in range(1, 6)])
    run.save(3, {"a": part})
    run.log([{"step": s, "loss": 9.0} for s in range(6, 8)])
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "l')
    before = [(run.path / "metrics.jsonl").read_text().splitlines()[:3]]
    assert run.load({"a": part}) == 3
    assert [(run.path / "metrics.jsonl").read_text().splitlines()] == before
    assert run.records() == [{"step": s, "loss": s / 3} for s in range(1, 4)]


def test_what_is_pending_is_written_before_the_checkpoint(run):
    """Else a kill after the save would leave a hole in the metrics."""

    class Kill(Callback):
        def after(self, moment):
            if moment.step == 5:
                raise KeyboardInterrupt

    game = Bilinear()
    callbacks = [Log(run, every=100), Checkpoint(run, {"part": Part([1.0])}, every=2), Kill()]
    with pytest.raises(KeyboardInterrupt):
        play(game, Alternating(moves(game)), 9, callbacks)
    resumed = Run.open(run.path)
    assert resumed.load({"part": Part([0.0])}) == 4
    assert [r["step"] for r in resumed.records()] == [1, 2, 3, 4]


def test_checkpoints_come_every_so_often_and_at_the_end(run, capsys):
    saved = []
    run.save = lambda step, parts: saved.append(step)
    for game, steps in ((Bilinear(), 7), (Bilinear(), 6), (Pressing(5, [2]), 9)):
        play(game, Alternating(moves(game)), steps, [Checkpoint(run, {}, every=3)])
    assert saved == [3, 6, 7, 3, 6, 3, 5]
    assert capsys.readouterr().err == f"\nstopped after step 5, saved; go on with python -m minigan resume {run.path}\n"


# ---- checkpoints: all or nothing -------------------------------------------------------------------------------------


def fail(*_, **__):
    raise OSError("no space left on device")


class Halfway:
    """A part whose state cannot be had."""

    def state_dict(self):
        raise MemoryError


@pytest.mark.parametrize(
    ("patched", "error"),
    [("os.replace", OSError), ("os.fsync", OSError), ("numpy.savez", OSError), (None, MemoryError)],
)
def test_a_save_that_fails_leaves_the_old_checkpoint_and_no_stray_file(run, monkeypatch, patched, error):
    run.save(1, {"a": Part([1.0, 2.0])})
    before, names = content(run.path), files(run.path)
    with monkeypatch.context() as patch:
        if patched:
            patch.setattr(patched, fail)
        with pytest.raises(error):
            run.save(2, {"a": Part([3.0, 4.0]), "b": Part([0.0]) if patched else Halfway()})
    assert content(run.path) == before and files(run.path) == names
    fresh = Part([0.0, 0.0])
    assert run.load({"a": fresh}) == 1 and fresh.values.tolist() == [1, 2]


def test_a_kill_between_write_and_rename_leaves_the_old_checkpoint(run):
    run.save(1, {"a": Part([1.0])})
    before = content(run.path)
    code = (
        "import os, sys; from minigan.games import Run; from tests.test_run import Part\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "Run.open(sys.argv[1]).save(2, {'a': Part([3.0])})"
    )
    killed = subprocess.run([sys.executable, "-c", code, run.path], cwd=Path(__file__).parent.parent)
    assert killed.returncode == -9
    after = content(run.path)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 2  # both new files, aside
    assert run.load({"a": Part([0.0])}) == 1
    run.save(3, {"a": Part([4.0])})
    assert not [name for name in files(run.path) if "partial" in str(name)]


# ---- the previous checkpoint -----------------------------------------------------------------------------------------


def test_the_previous_checkpoint_is_kept_and_offered(run):
    part = Part([0.0])
    with pytest.raises(RunError, match="no previous checkpoint; there is no checkpoint yet"):
        run.load({"a": part}, previous=True)
    for step in (1, 2, 3):
        run.log([{"step": step}])
        run.save(step, {"a": Part([float(step)])})
    assert run.load({"a": part}) == 3 and part.values == 3
    assert run.checkpoints() == "the last checkpoint is that of step 3; the one before is that of step 2"
    os.truncate(run.path / "checkpoint.npz", 100)
    offer = rf"damaged .*one before is that of step 2; --previous goes back to it: resume {run.path} --previous"
    with pytest.raises(RunError, match=offer):
        run.load({"a": part})
    assert part.values == 3 and len(run.records()) == 3
    assert run.load({"a": part}, previous=True) == 2 and part.values == 2 and len(run.records()) == 2
    os.truncate(run.path / "checkpoint.previous.npz", 100)
    with pytest.raises(RunError, match="one before is damaged"):
        run.load({"a": part})


def test_without_hard_links_the_previous_checkpoint_is_a_copy(run, monkeypatch):
    monkeypatch.setattr("os.link", fail)
    for step in (1, 2):
        run.save(step, {"a": Part([float(step)])})
    assert run.load({"a": Part([0.0])}) == 2 and run.load({"a": Part([0.0])}, previous=True) == 1


def test_going_back_to_the_previous_checkpoint_is_final(run):
    """Killed before its first save, the run must not go on from the newer checkpoint, whose metrics are forgotten."""
    for step in (1, 2, 3):
        run.log([{"step": step}])
        run.save(step, {"a": Part([float(step)])})
    before = content(run.path)
    part = Part([0.0])
    assert run.load({"a": part}, previous=True, forget=False) == 2 and content(run.path) == before  # only a look
    assert run.load({"a": part}, previous=True) == 2
    assert Run.open(run.path).load({"a": part}) == 2 and [r["step"] for r in run.records()] == [1, 2]


def test_nan_is_not_saved_over_a_good_checkpoint(run):
    run.save(1, {"a": Part([1.0])})
    before = content(run.path)
    with pytest.raises(NonFiniteError, match=r"step 2: no checkpoint was written, these hold NaN: a/values"):
        run.save(2, {"a": Part([np.nan])})
    assert content(run.path) == before


def test_a_checkpoint_of_another_run_is_refused(run, tmp_path):
    run.save(1, {"a": Part([1.0])})
    other = Run.create({"seed": 4, "lr": 0.1}, tmp_path / "other")
    (other.path / "checkpoint.npz").write_bytes((run.path / "checkpoint.npz").read_bytes())
    part = Part([0.0])
    with pytest.raises(
        RunError, match="belongs to another run: lr is None there and 0.1 here, seed is 3 there and 4 here"
    ):
        other.load({"a": part})
    assert part.values == 0


# ---- checkpoints: damage ---------------------------------------------------------------------------------------------


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def rewrite(path, **changed):
    arrays = dict(np.load(path)) | changed
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


def with_pickle(path):
    rewrite(path, **{"a/values": np.array([Bomb()], dtype=object)})


def replaced_by(write):
    def damage(path):
        with open(path, "wb") as file:
            write(file)

    return damage


DAMAGE = {
    "empty": (replaced_by(lambda f: None), "damaged"),
    "truncated": (lambda p: os.truncate(p, p.stat().st_size // 2), "damaged"),
    "one byte short": (lambda p: os.truncate(p, p.stat().st_size - 1), "damaged"),
    "no zip": (replaced_by(lambda f: f.write(b"not a zip file at all" * 50)), "damaged"),
    "a bare array": (replaced_by(lambda f: np.save(f, np.zeros(3))), "damaged"),
    "a pickle": (replaced_by(lambda f: pickle.dump(Bomb(), f)), "damaged"),
    "a pickle inside": (with_pickle, "damaged"),
    "values flipped": (lambda p: flip(p, p.read_bytes().index(b"a/values.npy") + 400), "damaged"),
    "header flipped": (lambda p: flip(p, p.read_bytes().index(b"descr")), "damaged"),
    "no step": (lambda p: rewrite(p, step=None), "damaged"),
    "two steps": (lambda p: rewrite(p, step=np.array([1, 2])), "damaged"),
    "a foreign part": (lambda p: rewrite(p, **{"x/values": np.zeros(1)}), "holds the state of 'x'"),
    "a part missing": (lambda p: rewrite(p, **{"b/values": None}), "does not fit this run"),
    "misshapen": (lambda p: rewrite(p, **{"b/values": np.zeros(7)}), "does not fit this run: expected"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_nothing_changes(run, kind, monkeypatch):
    monkeypatch.chdir(run.path.parent)
    damage, reason = DAMAGE[kind]
    run.log([{"step": 1}, {"step": 2}])
    run.save(1, {"a": Part(np.arange(100.0)), "b": Part([1.0])})
    damage(run.path / "checkpoint.npz")
    before, parts = content(run.path), {"a": Part(np.ones(100)), "b": Part([5.0])}
    with pytest.raises(RunError, match=rf"run/checkpoint.npz .*{reason}") as refusal:
        run.load(parts)
    assert "previous" not in str(refusal.value)  # there is none
    assert content(run.path) == before and not os.path.exists("unpickled")
    assert parts["a"].values.tolist() == [1] * 100 and parts["b"].values.tolist() == [5]


def test_any_flipped_byte_is_refused_or_harmless(run):
    """Whatever byte it is: either the values are what was saved, or it is a `RunError`, and then nothing changed."""
    run.save(3, {"a": Part(np.arange(20.0))})
    path, refused = run.path / "checkpoint.npz", 0
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        flip(path, at)
        part = Part(np.ones(20))
        try:
            assert run.load({"a": part}) == 3
            assert_array_equal(part.values, np.arange(20.0))
        except RunError as error:
            refused += 1
            assert "checkpoint.npz" in str(error) and part.values.tolist() == [1] * 20
        path.write_bytes(whole)
    assert refused > len(whole) / 9


# ---- resuming bit for bit --------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "adam": lambda params: Adam(params, lr=1e-2, beta1=0.5),
    "rmsprop": lambda params: RMSProp(params, lr=1e-2),
    "momentum": lambda params: SGD(params, lr=1e-2, momentum=0.9),
}


def everything(optimizer):
    """A GAN with all kinds of state: batch norm, dropout, optimisers with moments, an average of the weights."""
    G = nn.Sequential(nn.Dense(3, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dense(16, 2))
    D = nn.Sequential(nn.Dense(2, 16), nn.LeakyReLU(), nn.Dropout(0.3), nn.BatchNorm(16), nn.Dense(16, 1))
    for i, net in enumerate((G, D)):
        nn.init.initialize(net, nn.init.glorot, i)
    real = stream(0, "real").standard_normal((50, 2), dtype="float32")
    game = GAN(G, D, Batches(real, 8, 0), latent_dim=3)
    optimizers = {name: OPTIMIZERS[optimizer](params) for name, params in game.players.items()}
    ema = EMA(G.parameters(), decay=0.9)
    parts = {"G": G, "D": D, "opt.D": optimizers["D"], "opt.G": optimizers["G"], "ema": ema}
    return game, Alternating(optimizers, {"D": 2}), ema, parts


def train(run, optimizer, steps, resume=False):
    game, solver, ema, parts = everything(optimizer)
    start = run.load(parts) if resume else 0
    play(game, solver, steps, [Averaging(ema), Log(run, every=3), Checkpoint(run, parts, every=4)], start)
    return parts


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, optimizer):
    straight, broken = Run.create({}, tmp_path / "straight"), Run.create({}, tmp_path / "broken")
    expected = train(straight, optimizer, 10)
    half = train(broken, optimizer, 5)
    resumed = train(Run.open(broken.path), optimizer, 10, resume=True)
    moved = 0
    for name, part in expected.items():
        own, then = resumed[name].state_dict(), half[name].state_dict()
        assert list(own) == list(part.state_dict())
        for key, a in part.state_dict().items():
            assert_array_equal(own[key], a, strict=True, err_msg=f"{name}/{key}")
            moved += not np.array_equal(then[key], a)
    assert moved >= 20  # all of it did go on changing after the fifth round
    metrics = [(r.path / "metrics.jsonl").read_bytes() for r in (straight, broken)]
    assert metrics[0] == metrics[1] and metrics[0].count(b"\n") == 10
    saved = [dict(np.load(r.path / "checkpoint.npz")) for r in (straight, broken)]
    assert json.dumps([int(s["step"]) for s in saved]) == "[10, 10]"
    for key, a in saved[0].items():
        assert_array_equal(saved[1][key], a, strict=True)


@pytest.mark.parametrize("lost", ["D/dropout1.calls", "D/batchnorm1.running_var", "opt.G/m", "opt.G/steps", "ema/mean"])
def test_every_part_of_the_state_is_needed(tmp_path, lost):
    """The test above could fail: with one entry of the checkpoint reset, the run goes elsewhere."""
    run = Run.create({}, tmp_path / "run")
    train(run, "adam", 5)
    rewrite(run.path / "checkpoint.npz", **{lost: 0 * np.load(run.path / "checkpoint.npz")[lost]})
    resumed = train(run, "adam", 10, resume=True)
    expected = train(Run.create({}, tmp_path / "straight"), "adam", 10)
    name, _, key = lost.partition("/")
    assert not np.array_equal(resumed[name].state_dict()[key], expected[name].state_dict()[key])


def test_a_resume_with_other_networks_is_refused(run):
    train(run, "adam", 4)
    game, _, _, parts = everything("adam")
    parts["G"] = nn.Sequential(nn.Dense(3, 4), nn.Dense(4, 2))
    before = {name: part.state_dict() for name, part in parts.items()}
    with pytest.raises(RunError, match=r"(?s)does not fit this run.*unexpected: batchnorm1.*misshapen: dense1.weight"):
        run.load(parts)
    for name, part in parts.items():
        for key, a in part.state_dict().items():
            assert_array_equal(a, before[name][key])
