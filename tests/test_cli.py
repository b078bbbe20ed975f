"""python -m minigan on real run folders: what it prints, what it writes, and what it refuses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_array_equal

from minigan.__main__ import main
from minigan.backend.random import stream
from minigan.experiment import Experiment
from minigan.games import Averaging, Checkpoint, Log, Run, play
from minigan.metrics import point_metrics, table

ROOT = Path(__file__).parent.parent
CONFIG = {
    "example": "tiny",
    "data": {"name": "ring", "n": 400, "std": 0.05},
    "networks": {"name": "mlp", "width": 8},
    "batch_size": 8,
    "latent_dim": 2,
    "steps": 6,
    "checkpoint_every": 3,
}
IMAGES = {
    "networks": {"name": "dcgan", "channels": 2},
    "objective": {"name": "f:kl", "saturating": True},
    "batch_size": 4,
    "latent_dim": 2,
    "steps": 1,
}


def made(folder, config, until=None):
    """A run as `Experiment.train` leaves it, but for the pictures (which take their time)."""
    experiment = Experiment(config)
    run = Run.create(experiment.config, folder)
    callbacks = [
        Averaging(experiment.average),
        Log(run, 1),
        Checkpoint(run, experiment.parts, config["checkpoint_every"]),
    ]
    play(experiment.game, experiment.solver, until or config["steps"], callbacks)
    return folder


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    made(folder / "finished", CONFIG)
    made(folder / "half", CONFIG, 4)
    made(folder / "images", IMAGES | {"checkpoint_every": 1})
    return folder


@pytest.fixture
def runs(originals, tmp_path, monkeypatch):
    """A folder runs/ of copies, and us beside it."""
    shutil.copytree(originals, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs")


@pytest.fixture
def call(capsys):
    """main with these arguments → (status, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def step_of(run):
    with np.load(run / "checkpoint.npz") as file:
        return int(file["step"])


# ---- resume ----------------------------------------------------------------------------------------------------------


def test_resume_goes_on_to_the_end(runs, call):
    status, out, err = call("resume", runs / "half")
    assert status == 0 and "going on after step 4 of 6" in err
    assert re.fullmatch(r"verdict: .+\npictures: runs/half\n", out)
    for name in ("metrics.jsonl", "checkpoint.npz"):
        new, straight = (
            [{k: v for k, v in r.items() if not k.startswith("diagnostics/")} for r in Run.open(runs / run).records()]
            if name == "metrics.jsonl"
            else (runs / run / name).read_bytes()
            for run in ("half", "finished")
        )
        assert new == straight
    assert {p.name for p in (runs / "half").glob("*.png")} == {"losses.png", "diagnostics.png", "points.png"}
    assert {p.name for p in (runs / "half" / "samples").iterdir()} == {"000005.png", "000006.png"}


def test_resume_of_a_finished_run_does_nothing(runs, call):
    before = content(runs / "finished")
    status, out, _ = call("resume", runs / "finished")
    assert status == 0 and out == "runs/finished is at step 6 already, of 6; go on with --steps 12\n"
    assert content(runs / "finished") == before


def test_resume_with_more_steps(runs, call):
    status, _, err = call("resume", runs / "finished", "--steps", 8)
    assert status == 0 and "going on after step 6 of 8" in err and step_of(runs / "finished") == 8
    assert [r["step"] for r in Run.open(runs / "finished").records()] == list(range(1, 9))
    status, out, _ = call("resume", runs / "finished", "--steps", 7)
    assert status == 0 and "is at step 8 already, of 7" in out and step_of(runs / "finished") == 8
    assert len(Run.open(runs / "finished").records()) == 8


def test_the_advice_leads_on(runs, call):
    call("resume", runs / "finished", "--steps", 12)
    _, out, _ = call("resume", runs / "finished")
    advice = int(re.search(r"--steps (\d+)", out)[1])
    assert advice > step_of(runs / "finished")


def test_resume_before_the_first_checkpoint_begins_anew(runs, call):
    for name in ("checkpoint.npz", "checkpoint.previous.npz"):
        (runs / "half" / name).unlink()
    status, _, err = call("resume", runs / "half")
    assert status == 0 and "going on after step 0 of 6" in err
    assert (runs / "half" / "checkpoint.npz").read_bytes() == (runs / "finished" / "checkpoint.npz").read_bytes()
    assert [r["step"] for r in Run.open(runs / "half").records()] == list(range(1, 7))


def test_a_damaged_checkpoint_and_the_one_before(runs, call):
    path = runs / "finished" / "checkpoint.npz"
    os.truncate(path, 200)
    before = content(runs / "finished")
    offer = "The one before is that of step 3; --previous goes back to it: resume runs/finished --previous"
    for command in ("resume", "sample", "evaluate"):
        status, out, err = call(command, runs / "finished")
        assert status == 1 and out == ""
        assert re.match(r"error: runs/finished/checkpoint.npz is damaged \(.*\); it cannot be resumed from", err)
        assert offer in err and content(runs / "finished") == before
    status, _, err = call("resume", runs / "finished", "--previous")
    assert status == 0 and "going on after step 3 of 6" in err and step_of(runs / "finished") == 6
    assert [r["step"] for r in Run.open(runs / "finished").records()] == list(range(1, 7))
    status, _, _ = call("sample", runs / "finished")
    assert status == 0


def test_a_kill_while_saving_after_previous_leaves_one_good_checkpoint(runs, call, monkeypatch):
    run, replace = runs / "finished", os.replace
    os.truncate(run / "checkpoint.npz", 200)

    def killed(source, target):
        if Path(target).name == "checkpoint.npz":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        call("resume", run, "--previous")
    assert "that of step" in Run.open(run).checkpoints()


def test_no_previous_checkpoint(runs, call):
    (runs / "half" / "checkpoint.previous.npz").unlink()
    status, _, err = call("resume", runs / "half", "--previous")
    assert status == 1
    assert err == "error: runs/half has no previous checkpoint; the last checkpoint is that of step 4\n"


def test_a_checkpoint_of_another_run(runs, call):
    made(runs / "other", CONFIG | {"seed": 7})
    shutil.copy(runs / "other" / "checkpoint.npz", runs / "half" / "checkpoint.npz")
    for command in ("resume", "sample", "evaluate"):
        status, out, err = call(command, runs / "half")
        assert status == 1 and "belongs to another run: seed is 7 there and 0 here" in err and out == ""


# ---- sample ----------------------------------------------------------------------------------------------------------


def test_sample_draws_points(runs, call):
    before = content(runs / "finished")
    status, out, err = call("sample", runs / "finished")
    assert (status, out, err) == (0, "64 samples of step 6: runs/finished/sample-0.png\n", "")
    after = content(runs / "finished")
    assert after.pop("sample-0.png") and after == before
    first = (runs / "finished" / "sample-0.png").read_bytes()
    call("sample", runs / "finished", "--out", "again.png")
    assert Path("again.png").read_bytes() == first  # the same draw, the same bytes
    status, out, _ = call("sample", runs / "finished", "--number", 3, "--n", 10)
    assert out == "10 samples of step 6: runs/finished/sample-3.png\n"
    assert (runs / "finished" / "sample-3.png").read_bytes() != first
    call("sample", runs / "finished", "--truncation", 0.1, "--out", "cut.png")
    assert Path("cut.png").read_bytes() != first


def test_sample_draws_images(runs, call):
    for n, name in ((4, "a.png"), (4, "b.png"), (9, "c.png")):
        assert call("sample", runs / "images", "--n", n, "--out", name)[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert imread("a.png").shape[:2] == (2 * (2 * 29 + 1),) * 2 and imread("c.png").shape[0] == 2 * (3 * 29 + 1)


def test_samples_are_those_of_the_experiment(runs, call, monkeypatch):
    shown = []
    monkeypatch.setattr("minigan.report.plot_points", lambda real, fake, path, title: shown.append((fake, title)))
    call("sample", runs / "finished", "--n", 5, "--number", 2, "--truncation", 0.5)
    experiment = Experiment(Run.open(runs / "finished").config)
    Run.open(runs / "finished").load(experiment.parts)
    assert_array_equal(shown[0][0], experiment.sample(5, 2, "sample", 0.5))
    assert shown[0][1] == "finished, step 6"
    assert not np.array_equal(shown[0][0], experiment.sample(5, 2, "sample"))


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (("--n", 0), 2, "argument --n: must be at least 1, got 0"),
        (("--n", "x"), 2, "argument --n"),
        (("--number", -1), 1, "error: stream('sample'): step must be >= 0, got -1"),
        (("--truncation", -1), 1, "error: latent: truncation must be positive, got -1.0"),
        (("--out", "nowhere/x.png"), 1, "error: [Errno 2] No such file or directory"),
        (("--device", "tpu"), 1, "error: device must be 'cpu' or 'cuda', got 'tpu'"),
    ],
)
def test_mistakes_of_sample(runs, call, options, status, text):
    before = content(".")
    found, out, err = call("sample", runs / "finished", *options)
    assert found == status and text in err and out == "" and content(".") == before


# ---- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_prints_and_changes_nothing(runs, call):
    before = content(runs)
    status, out, err = call("evaluate", runs / "finished", "--n", 100, "--gap", 3)
    assert status == 0 and err == "" and content(runs) == before
    above, below = out.split("\n\n")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in above.splitlines())
    assert list(rows) == [
        "step",
        "D tells training data from generated (averaged G)",
        "D tells held out data from generated (averaged G)",
        "samples' spread / data's",
        "duality gap",
    ]
    assert rows["step"] == "6 of 6"
    experiment = Experiment(Run.open(runs / "finished").config)
    Run.open(runs / "finished").load(experiment.parts)
    order = stream(0, "measure").permutation(400)
    fake, (real, others) = (
        experiment.sample(100, 0, "evaluate"),
        experiment.dataset.samples[order[:200]].reshape(2, 100, 2),
    )
    results = point_metrics(real, fake, experiment.dataset.modes, floor=others)
    head, below = below.split("\n", 1)
    assert head == "100 samples beside as many of the training data" and below == table(results) + "\n"
    names = ["modes", "high quality", "reverse kl", "sliced wasserstein", "mmd"]
    names += ["precision", "recall", "density", "coverage"]
    assert [line.split("  ")[0] for line in below.splitlines()] == ["", *names]
    fake, real = experiment.sample(40, 0, "evaluate"), experiment.dataset.samples  # as many as are held out
    share = fake.var(axis=0).sum() ** 0.5 / real.var(axis=0).sum() ** 0.5
    assert rows["samples' spread / data's"] == f"{share:.3f}"
    logits = [experiment.game.D(x).numpy() for x in (real[:40], experiment.dataset.held_out[:40], fake)]
    for name, own in (("training", logits[0]), ("held out", logits[1])):
        right = ((own > 0).mean() + (logits[2] < 0).mean()) / 2
        assert rows[f"D tells {name} data from generated (averaged G)"] == f"{right:.1%} (50 %: it can only guess)"
    assert rows["duality gap"].startswith("DualityGap(") and rows["duality gap"].endswith("by 3 steps)")
    assert call("evaluate", runs / "finished", "--n", 100, "--gap", 3)[1] == out


def test_evaluate_images(runs, call):
    before = content(runs / "images")
    status, out, _ = call("evaluate", runs / "images", "--n", 16)
    assert status == 0 and "step" in out and "modes" not in out and "duality gap" not in out
    assert re.findall(r"^(mnist frechet distance|c2st) +[\d.]+ ", out, re.M) == ["mnist frechet distance", "c2st"]
    assert "kernel distance" not in out and "recall" not in out  # too few images
    assert "note: frechet_distance: fake has 16 samples of 64 features" in out
    status, out, err = call("evaluate", runs / "images", "--n", 120)
    names = [
        "mnist frechet distance",
        "kernel distance",
        "inception score",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    shown = re.findall(rf"^({'|'.join(names)}|c2st)  +-?[\d.e-]+ ", out, re.M)
    assert status == 0 and err == "" and shown == [*names, "c2st"] and "note:" not in out
    assert "classifier network" in out and "mnist classifier " in out and "p < 1e-9" in out
    assert content(runs / "images") == before


@pytest.mark.parametrize("pack", [2, 4])
def test_evaluate_with_packs(runs, call, pack):
    made(runs / "pack", CONFIG | {"networks": {"name": "mlp", "width": 4, "pack": pack}, "steps": 1, "batch_size": 8})
    assert call("evaluate", runs / "pack")[0] == 0


@pytest.mark.parametrize("pack", [3, 8])
def test_evaluate_with_other_packs(runs, call, pack):
    config = CONFIG | {"networks": {"name": "mlp", "width": 4, "pack": pack}, "steps": 1, "batch_size": 24}
    made(runs / "pack", config | {"data": {"name": "ring", "n": 8000}})
    status, _, err = call("evaluate", runs / "pack")
    assert status == 0, err


def test_evaluate_of_few_samples(runs, call):
    status, out, err = call("evaluate", runs / "finished", "--n", 5)
    assert status == 0 and err == "" and "precision" not in out and "sliced wasserstein" in out
    status, out, err = call("evaluate", runs / "finished", "--n", 1)
    assert status == 2 and out == "" and "argument --n: must be at least 2, got 1" in err
    status, out, _ = call("evaluate", runs / "finished", "--n", 4000)
    assert status == 0 and "\n400 samples beside as many of the training data (there are no more)\n" in out


def test_evaluate_stacked_digits(runs, call):
    data = {"name": "stacked_mnist", "n": 60, "split": "all"}
    made(runs / "stacked", IMAGES | {"data": data, "checkpoint_every": 1})
    status, out, err = call("evaluate", runs / "stacked", "--n", 40)
    assert status == 0 and err == "" and "held out" not in out
    assert re.search(r"\n40 samples\n.*\nmodes +\d+ +[\d.]+ +40  mnist classifier", out)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_look_at_a_living_run_forgets_nothing(runs, call, command, checkpoint):
    """Another process may be at it: it has logged rounds that its next checkpoint will need."""
    run = runs / "half"
    Run.open(run).log([{"step": 5, "loss/D": 1.0}])
    if not checkpoint:
        for path in run.glob("*.npz"):
            path.unlink()
    before = (run / "metrics.jsonl").read_bytes()
    call(command, run, "--n", 16)
    assert (run / "metrics.jsonl").read_bytes() == before


# ---- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["resume", "sample", "evaluate"])
def test_what_is_no_run(runs, call, command):
    for folder in ("runs", "nowhere"):
        status, out, err = call(command, folder)
        assert (status, out, err) == (1, "", f"error: {folder} holds no run: there is no config.json in it\n")
    (runs / "half" / "config.json").write_text("{")
    status, _, err = call(command, runs / "half")
    assert status == 1 and err.startswith("error: runs/half/config.json is damaged")


@pytest.mark.parametrize(("command", "done"), [("resume", "resumed"), ("sample", "sampled"), ("evaluate", "evaluated")])
def test_a_run_that_no_configuration_describes(runs, call, command, done):
    Run.create({"example": "02_shift_gan", "steps": 5, "seed": 0}, "shift")
    Run.create({"objective": "hinge", "benchmark": "own", "my own": 1}, "own")
    Run.create({}, "empty")
    before = content(".")
    for folder, what in (("shift", "02_shift_gan"), ("own", "a script of its own"), ("empty", "a script of its own")):
        status, out, err = call(command, folder)
        expected = (
            f"error: {folder} is a run of {what}, which no configuration describes; it cannot be {done} from here\n"
        )
        assert (status, out, err) == (1, "", expected)
    assert content(".") == before


@pytest.mark.parametrize(("command", "done"), [("sample", "sampled"), ("evaluate", "evaluated")])
def test_a_run_without_a_checkpoint(runs, call, command, done):
    config = Run.open(runs / "finished").config
    Run.create(config, "fresh")
    status, out, err = call(command, "fresh")
    assert (status, out, err) == (1, "", f"error: fresh cannot be {done}: it has no checkpoint yet\n")


def test_a_configuration_with_a_mistake(runs, call):
    Run.create(CONFIG | {"objective": "hing"}, "wrong")
    for command in ("resume", "sample", "evaluate"):
        status, _, err = call(command, "wrong")
        assert status == 1 and err.startswith("error: no objective named 'hing'; there are")


def test_a_run_that_breaks(runs, call):
    config = CONFIG | {"steps": 9, "optimizers": {p: {"name": "sgd", "lr": 1e25} for p in "DG"}}
    run = Run.create(Experiment(config).config, "wild")
    status, out, err = call("resume", run.path)
    assert status == 1 and out == "" and "error: step" in err and "not finite" in err
    assert "the run so far is in wild: there is no checkpoint yet" in err


@pytest.mark.parametrize(
    "arguments",
    [(), ("frobnicate",), ("resume",), ("resume", "x", "--steps", "0"), ("resume", "x", "--prev"), ("list", "--n")],
)
def test_usage(call, arguments):
    status, out, err = call(*arguments)
    assert status == 2 and out == "" and "usage: python -m minigan" in err


def test_help(call):
    status, out, _ = call("--help")
    assert status == 0 and all(name in out for name in ("resume", "sample", "evaluate", "list"))
    for name in ("resume", "sample", "evaluate", "list"):
        status, out, _ = call(name, "--help")
        assert status == 0 and len(out) > 100


# ---- list ------------------------------------------------------------------------------------------------------------


def test_list(runs, call):
    Run.create({"example": "02_shift_gan"}, runs / "shift").log([{"step": 2, "loss/D": 0.12345, "D(real)": 9.0}])
    Run.create({"benchmark": "speed", "objective": "hinge", "steps": 9}, runs / "speed")
    (runs / "torn").mkdir()
    (runs / "torn" / "config.json").write_text("{")
    (runs / "no run").mkdir()
    before = content(runs)
    status, out, err = call("list")
    assert status == 0 and err == "" and content(runs) == before
    assert call("list", "runs")[1] == out
    head, *lines = out.splitlines()
    assert head.split("  ")[0] == "run" and all(len(line.rstrip()) == len(line) for line in lines)
    cells = {line.split()[0]: re.split(r"  +", line) for line in lines}
    assert list(cells) == [f"runs/{n}" for n in ("finished", "half", "images", "shift", "speed", "torn")]
    losses = Run.open(runs / "half").records()[-1]
    assert cells["runs/half"][1:] == [
        "tiny non_saturating",
        "4/6",
        f"D {losses['loss/D']:.3f}",
        f"G {losses['loss/G']:.3f}",
    ]
    assert cells["runs/images"][1:3] == ['run {"name": "f:kl", "saturating": true}', "1/1"]
    assert cells["runs/shift"][1:] == ["02_shift_gan", "2/None", "D 0.123"]
    assert cells["runs/speed"][1:] == ["speed hinge", "0/9"]
    assert cells["runs/torn"][1] == "unreadable" and "config.json is damaged" in cells["runs/torn"][2]
    starts = [line.index(c[2]) for line, c in zip(lines, cells.values()) if c[1] != "unreadable"]
    assert len(set(starts)) == 1  # a table


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_list_of_nothing(tmp_path, monkeypatch, call, folder):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    message = f"error: {folder} holds no runs: no folder in it has a config.json\n"
    assert call("list", folder) == (1, "", message)
    assert call("list")[0] == 1


# ---- as a process ----------------------------------------------------------------------------------------------------


def test_in_a_process_of_its_own(runs):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

    def minigan(*arguments):
        command = [sys.executable, "-m", "minigan", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    listed = minigan("list", runs)
    assert listed.returncode == 0 and listed.stderr == "" and "tiny non_saturating" in listed.stdout
    missing = minigan("sample", "nowhere")
    assert missing.returncode == 1 and missing.stderr.startswith("error: nowhere holds no run")
    assert minigan("resume").returncode == 2
