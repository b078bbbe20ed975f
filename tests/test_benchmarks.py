"""The benchmarks run, every library computes the same steps, and ratios are computed right. No time is tested."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from benchmarks import compare, report, scaling
from benchmarks.__main__ import arguments
from benchmarks.libraries import LIBRARIES, floor, make
from benchmarks.measure import measure
from benchmarks.table import table
from benchmarks.workloads import Aim, Workload, smallest, workloads

ROOT = Path(__file__).parent.parent
QUICK = workloads(quick=True)


def number(value):
    """A loss of any library as a Python float."""
    return float(np.asarray(getattr(value, "data", value)))


def losses(candidate, workload, steps=3):
    """[losses of each step], and the task."""
    task = make(candidate, workload)
    return [[number(loss) for loss in task.step()] for _ in range(steps)], task


# ---- every library makes the same step ------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "autograd", "mygrad"])
def test_toy_step_is_minigans(library):
    pytest.importorskip(LIBRARIES[library][1])
    (workload,) = QUICK["toy"]
    ours, task = losses("minigan", workload)
    theirs, peer = losses(library, workload)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert ours[0] != ours[2]
    for a, b in zip(peer.weights(), task.weights(), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("candidate", ["torch contiguous", "torch channels_last", "jax"])
@pytest.mark.parametrize("family", ["dcgan", "critic", "wgan_gp"])
def test_image_step_is_minigans(family, candidate):
    pytest.importorskip(candidate.split()[0])
    (workload,) = QUICK[family]
    np.testing.assert_allclose(losses(candidate, workload)[0], losses("minigan", workload)[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("candidate", ["torch contiguous", "torch channels_last", "jax"])
def test_the_same_digits(candidate):
    pytest.importorskip(candidate.split()[0])
    (workload,) = QUICK["sampling"]
    ours, theirs = (np.stack([np.asarray(batch) for batch in make(c, workload).step()]) for c in ("minigan", candidate))
    theirs = theirs if candidate == "jax" else np.moveaxis(theirs, 2, -1)
    assert ours.shape == (workload.count, workload.batch, 28, 28, 1)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("workload", [w for family in QUICK.values() for w in family], ids=lambda w: w.name)
def test_the_smallest_workload_makes_a_step(workload):
    make("minigan", smallest(workload)).step()


def test_products_of_the_toy_step():
    (workload,) = workloads()["toy"]
    task = make("floor", workload)
    task.step()
    n, c = workload.batch, workload.width
    G, D = 2 * c + c * c + 2 * c, 2 * c + c * c + c  # multiplications per row, forward
    # D's step: G forward; D forward twice, its gradients twice (no input's: minus the first layer)
    # G's step: both forward; through D to its input; G's gradients
    forward = G + 2 * D + (G + D)
    backward = 2 * (2 * D - 2 * c) + D + (2 * G - 2 * c)
    assert task.flops == 2 * n * (forward + backward)
    products, flops = floor.record(make("minigan", workload).step)
    assert flops == task.flops and all(len(product) == 4 for product in products)


def test_products_of_a_critic_step():
    (workload,) = workloads()["critic"]
    task = make("floor", workload)
    n, c = workload.batch, workload.width
    first, second, dense = 14 * 14 * 16 * c, 7 * 7 * 16 * c * 2 * c, 7 * 7 * 2 * c  # multiplications per image
    assert task.flops == 2 * 2 * n * (3 * (first + second + dense) - first)  # forward and both gradients, but by x
    assert not vars(mg.backend.get("cpu")), "the backend is as it was"


# ---- measuring ------------------------------------------------------------------------------------------------------


def test_quick_run_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--peers", "numpy", "--threads", "1", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for shown in ("NumPy by hand", "matrix products alone", "overhead forward", "exponent", "scaling.png"):
        assert shown in done.stdout
    written = report.load(tmp_path / "benchmarks.json")
    assert {"versions", "threads", "device", "absent", "failures", "workloads"} == set(written)
    assert written["threads"] == 1 and written["failures"] == [] and "numpy" in written["versions"]
    assert list(written["workloads"]) == [w.name for family in QUICK.values() for w in family]
    for results in written["workloads"].values():
        assert results["minigan"]["seconds"]
        for result in results.values():
            assert set(result) == {"seconds", "memory", "flops", "calls"}
            assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    assert compare.main([str(tmp_path / "benchmarks.json")] * 2) == 0


def test_a_candidate_that_dies_is_named_and_the_others_go_on(capfd):
    workload = Workload("broken", "sampling", 2, 2, ("minigan", "numpy"))  # by hand there is only the toy step
    results, failures = measure([workload], ["numpy"], rounds=1, threads=1, at_least=0.0)
    assert list(results["broken"]) == ["minigan"] and len(results["broken"]["minigan"]["seconds"]) == 1
    (message,) = failures
    assert message.startswith("numpy on broken ended with status 1") and "ValueError: by hand" in message
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dcgan", "nothing"], "unknown workload nothing"),
        (["--peers", "caffe"], "unknown peer caffe"),
        (["--repeats", "0"], "at least 1"),
        (["--device", "tpu"], "device must be"),
    ],
)
def test_wrong_command_lines(argv, message, capsys):
    with pytest.raises(SystemExit):
        arguments(argv)
    assert message in capsys.readouterr().err


def test_without_a_gpu_one_is_told(capsys):
    from minigan import backend

    try:
        backend.get("cuda")
    except backend.DeviceNotAvailable as error:
        with pytest.raises(SystemExit):
            arguments(["--device", "cuda"])
        assert str(error).split("\n")[0] in capsys.readouterr().err
    else:
        assert "scaling" not in arguments(["--device", "cuda"]).families


# ---- arithmetic on reports ------------------------------------------------------------------------------------------


def result(*seconds, memory=None, flops=None):
    return {"seconds": list(seconds), "memory": memory, "flops": flops, "calls": {}}


def made(**results):
    """A report of the workload dcgan; a name's underscore stands for the variant's space."""
    results = {name.replace("_", " ", 1): value for name, value in results.items()}
    return {
        "versions": {"numpy": "2"},
        "threads": 1,
        "device": "cpu",
        "absent": ["jax"],
        "failures": [],
        "workloads": {"dcgan": results},
    }


def test_ratios_are_medians_over_rounds_against_the_quicker_variant():
    values = made(
        minigan=result(2, 6, 3, memory=10),
        torch_contiguous=result(2, 2, 9, memory=40),
        torch_channels_last=result(4, 3, 1, memory=20),
    )
    assert report.best(values["workloads"]["dcgan"], "torch") == [2, 2, 1]
    assert report.reached(Aim("dcgan", "torch", 1), values) == 3  # of 1, 3, 3
    assert report.reached(Aim("dcgan", "torch", 1, "memory"), values) == 0.5
    assert report.reached(Aim("dcgan", "jax", 1), values) is None
    assert report.reached(Aim("toy", "torch", 1), values) is None
    assert report.reached(Aim("dcgan", "minigan", 1, other="critic"), values) is None


def test_tf32_is_compared_with_tf32():
    results = {"torch contiguous": result(1), "torch contiguous tf32": result(0.5)}
    assert report.best(results, "torch") == [1] and report.best(results, "torch", tf32=True) == [0.5]


def test_table():
    values = made(minigan=result(0.3, memory=2**20), floor=result(0.1, flops=10**9), torch_contiguous=result(0.2))
    text = table(values)
    rows = {line.split("  ")[0]: line for line in map(str.strip, text.splitlines())}
    assert "300.00 ms" in rows["dcgan"] and "1.0 MiB" in rows["dcgan"] and "3.3" in rows["dcgan"]
    assert "3.00 ×" in rows["matrix products alone"] and "10.0" in rows["matrix products alone"]
    assert "1.50 ×" in rows["aim: PyTorch"] and "≤ 0.75 ✗" in rows["aim: PyTorch"]
    assert "JAX" in text.splitlines()[-1]
    assert "aim:" not in table(values, aims=())


def write(path, values):
    report.save(values, path)
    return str(path)


def test_compare_names_what_got_slower_for_its_reference(tmp_path, capsys):
    old = write(tmp_path / "old.json", made(minigan=result(1, 1), torch_contiguous=result(1, 1)))
    busy = write(tmp_path / "busy.json", made(minigan=result(3, 3), torch_contiguous=result(3, 3)))
    slow = write(tmp_path / "slow.json", made(minigan=result(1.3, 1.3), torch_contiguous=result(1, 1)))
    assert compare.main([old, busy]) == 0
    assert compare.main([old, slow, "--tolerance", "0.5"]) == 0
    assert "SLOWER" not in capsys.readouterr().out
    assert compare.main([old, slow]) == 1
    assert "SLOWER by more than 15%:\n  dcgan: 1.30 times" in capsys.readouterr().out


def test_compare_uses_the_floor_only_if_it_is_the_same():
    old = made(minigan=result(2), floor=result(1, flops=100))
    same = made(minigan=result(4), floor=result(2, flops=100))
    fewer = made(minigan=result(1), floor=result(0.25, flops=50))
    (change,) = compare.changes(old, same)
    assert change.reference == "floor" and change.ratio == 1
    (change,) = compare.changes(old, fewer)
    assert change.reference is None and change.ratio == 0.5


def test_compare_wants_reports(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text(json.dumps([1]))
    with pytest.raises(SystemExit):
        compare.main([str(path), str(path)])
    assert "is no report" in capsys.readouterr().err


def test_exponents():
    scaled = workloads()["scaling"]
    results = {w.name: {"minigan": result(1e-3 * w.batch * w.width**2)} for w in scaled}
    points = scaling.series(scaled, results)
    assert [size for size, *_ in points["batch"]] == [size for size, *_ in points["channels"]] == [16, 32, 64, 128]
    assert [round(e, 6) for *_, e in scaling.exponents(points["batch"], "minigan")] == [1, 1, 1]
    assert [round(e, 6) for *_, e in scaling.exponents(points["channels"], "minigan")] == [2, 2, 2]
    assert scaling.exponents(points["batch"], "floor") == []
