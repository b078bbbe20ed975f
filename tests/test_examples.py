"""The examples as their readers run them: from the command line, with what they promise to leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("[0-9]*.py"))
DCGAN, SMALL = "10_mnist_dcgan.py", ("--channels", "4", "--batch-size", "8")
ALWAYS = {"config.json", "metrics.jsonl"}
PICTURES = {"losses.png", "diagnostics.png", "interpolation.png"}
LEAVES = {  # example: (options that make it small, the picture that it names, what else is in the run's folder)
    "01_first_gradient.py": ((), "gradient.png", ALWAYS),
    "02_shift_gan.py": ((), "shift.png", ALWAYS),
    "03_bilinear_game.py": ((), "bilinear.png", ALWAYS),
    "04_dirac_gan.py": (("--steps", "30"), "dirac.png", ALWAYS),
    "05_optimal_discriminator.py": (("--steps", "20"), "optimal.png", ALWAYS),
    "06_mode_collapse.py": (("--steps", "3"), "collapse.png", {"config.json"}),
    "07_discrete_wasserstein.py": ((), "transport.png", ALWAYS),
    "08_parallel_lines.py": (("--steps", "3"), "lines.png", {"config.json"}),
    "09_critics_and_transport.py": (("--steps", "3"), "critics.png", {"config.json"}),
    "11_mnist_objectives.py": (("--steps", "2", "--only", "hinge", "began"), "objectives.png", {"config.json"}),
    "12_mnist_wgan_gp.py": (
        ("--steps", "2", "--n-critic", "1", *SMALL),
        "critic.png",
        ALWAYS | PICTURES | {"checkpoint.npz", "digits.png"},
    ),
    "13_mnist_classifier.py": ((), "classifier.png", ALWAYS),
    "14_metrics_tell_failures_apart.py": ((), "failures.png", ALWAYS),
    "15_look_inside.py": (
        ("--steps", "3"),
        "inside.png",
        ALWAYS | PICTURES | {"checkpoint.npz", "digits.png", "gradient_flow.png", "graph.svg", "tape.txt"},
    ),
    DCGAN: (
        ("--steps", "5", *SMALL),
        "digits.png",
        ALWAYS | PICTURES | {"checkpoint.npz"},
    ),
}
TRAINED = {name for name in EXAMPLES if name[:2] in ("02", "05", "06", "08", "09", "10", "11", "12", "15")}


def command(example, *options):
    return [sys.executable, str(FOLDER / example), *map(str, options)]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "MINIGAN_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def example(name, *options, cwd):
    result = subprocess.run(command(name, *options), cwd=cwd, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in result.stderr, result.stderr
    return result


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_leaves_what_it_promises(name, tmp_path):
    options, picture, others = LEAVES[name]
    result = example(name, "--quick", "--seed", 3, "--out", "run", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir() if p.is_file()} == {picture, *others}
    assert os.listdir(tmp_path) == ["run"]
    pictures = sorted(run.rglob("*.png"))
    assert all(imread(p)[..., :3].std() > 0.01 for p in pictures)  # something is on them
    config = json.loads((run / "config.json").read_text())
    assert config["seed"] == 3 and config["example"] == name.removesuffix(".py")
    if "metrics.jsonl" in others:
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [r["step"] for r in records] == list(range(1, config["steps"] + 1))
        assert all(np.isfinite(list(r.values())).all() for r in records)
    if name in TRAINED:
        assert "step/s" in result.stderr and "D(real)=" in result.stderr and "D=" in result.stderr
    assert str(Path("run", picture)) in result.stdout
    if name == DCGAN:
        assert {p.name for p in (run / "samples").iterdir()} == {f"{step:06d}.png" for step in range(1, 6)}
        with np.load(run / "checkpoint.npz") as saved:
            assert saved["step"] == saved["average/steps"] == saved["solver/D/steps"] == saved["solver/G/steps"] == 5
        assert imread(run / "digits.png").shape[:2] == (2 * (8 * 29 + 1),) * 2
        assert imread(run / "interpolation.png").shape[:2] == (2 * (6 * 29 + 1), 2 * (12 * 29 + 1))


@pytest.mark.parametrize("name", EXAMPLES)
def test_help(name, tmp_path):
    result = example(name, "--help", cwd=tmp_path)
    assert result.returncode == 0
    for option in ("--steps", "--seed", "--device", "--out", "--quick"):
        assert option in result.stdout
    first_line = (FOLDER / name).read_text().split("\n", 1)[0].strip('"')
    assert first_line in result.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(name):
    assert len((FOLDER / name).read_text().splitlines()) < 120


MISTAKES = [
    (("--device", "tpu"), 2, "device must be 'cpu' or 'cuda', got 'tpu'"),
    (("--steps", "0"), 2, "argument --steps: must be at least 1, got 0"),
    (("--steps", "many"), 2, "argument --steps"),
]
DCGAN_MISTAKES = [
    (("--batch-size", "0"), 2, "argument --batch-size: must be at least 1"),
    (("--data", "nowhere"), 1, "error: nowhere: no such folder"),
    (("--out", "other"), 1, "error: other holds a run already; choose another folder (--out)"),
]


@pytest.mark.parametrize(
    ("name", "options", "status", "text"),
    [("02_shift_gan.py", *case) for case in MISTAKES] + [(DCGAN, *case) for case in DCGAN_MISTAKES],
)
def test_a_mistake_is_named_and_nothing_is_written(name, options, status, text, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"example": "02_shift_gan"}')
    result = example(name, *options, cwd=tmp_path)
    assert result.returncode == status and text in result.stderr and result.stdout == ""
    assert [p.name for p in tmp_path.rglob("*")] == ["other", "config.json"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_gpu_is_an_error_and_no_silent_fallback(name, tmp_path):
    result = example(name, "--device", "cuda", "--help", cwd=tmp_path)  # --help: where there is a GPU, do nothing
    if result.returncode == 0:
        pytest.skip("a GPU works here")
    assert result.returncode == 2 and "argument --device: device 'cuda'" in result.stderr
    assert not list(tmp_path.iterdir())


# ---- killed, interrupted, resumed ------------------------------------------------------------------------------------


def resume(run, *options):
    return [sys.executable, "-m", "minigan", "resume", *map(str, (run, *options))]


def stop_when(ready, number, arguments):
    """Start a process, send it a signal once ``ready()`` holds, and return (exit status, what it wrote to stderr)."""
    process = subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stderr


def saved_step(run):
    try:
        with np.load(run / "checkpoint.npz") as file:
            return int(file["step"])
    except FileNotFoundError:
        return 0


def test_a_killed_and_an_interrupted_run_resume_bit_for_bit(tmp_path):
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    settings = ("--steps", 300, "--checkpoint-every", 3, "--seed", 1, *SMALL)
    start = command(DCGAN, "--out", broken, *settings)
    status, _ = stop_when(lambda: saved_step(broken) >= 3, signal.SIGKILL, start)
    killed_at = saved_step(broken)
    assert status == -signal.SIGKILL and killed_at % 3 == 0 and killed_at < 300

    status, stderr = stop_when(lambda: saved_step(broken) > killed_at, signal.SIGINT, resume(broken))
    stopped_at = saved_step(broken)
    hint = f"stopped after step {stopped_at}, saved; go on with python -m minigan resume {broken}"
    assert status == 0 and hint in stderr
    assert "Traceback" not in stderr and not (broken / "digits.png").exists()

    subprocess.run(resume(broken), env=environment(), check=True, capture_output=True)
    example(DCGAN, "--out", straight, *settings, cwd=tmp_path)
    assert (broken / "metrics.jsonl").read_text() == (straight / "metrics.jsonl").read_text()
    for checkpoint in ("checkpoint.npz", "checkpoint.previous.npz"):
        resumed, expected = (dict(np.load(run / checkpoint)) for run in (broken, straight))
        assert resumed.keys() == expected.keys() and len(expected) > 20
        for name, a in expected.items():
            np.testing.assert_array_equal(resumed[name], a, strict=True, err_msg=name)
    assert int(resumed["step"]) == 297
    for picture in ("digits.png", "interpolation.png", "losses.png"):
        assert (broken / picture).read_bytes() == (straight / picture).read_bytes()
