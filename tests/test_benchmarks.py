"""The benchmarks run, every library computes the same steps, and ratios are computed right. No time is tested."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from benchmarks import compare, report, scaling
from benchmarks.__main__ import arguments
from benchmarks.libraries import LIBRARIES, conditions, floor, make
from benchmarks.measure import measure
from benchmarks.table import table
from benchmarks.workloads import LATENT_DIM, Aim, Workload, smallest, workloads

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


def test_products_of_a_dcgan_step_are_those_of_whole_batches(monkeypatch):
    for limit in ("MOST", "SMALL_PRODUCT"):  # the backend cuts a batch into as many parts as it can
        monkeypatch.setattr(f"minigan.backend.numpy_convolution.{limit}", 1)
    (workload,) = QUICK["dcgan"]
    products, flops = floor.record(make("minigan", workload).step)
    n, c = workload.batch, workload.width
    wide, dense_d, dense_g = 7 * 7 * 16 * c * 2 * c, 7 * 7 * 2 * c, LATENT_DIM * 7 * 7 * 2 * c
    G = dense_g + wide + 14 * 14 * 16 * c  # multiplications per image, forward
    D = 14 * 14 * 16 * c + wide + dense_d
    # D's step: G forward; D forward twice, its gradients twice (no input's); G's step as for the toy
    to_d, to_g = G + 2 * D + 2 * (2 * D - 14 * 14 * 16 * c), (G + D) + D + (2 * G - dense_g)
    assert flops == 2 * n * (to_d + to_g)
    assert len(products) == (3 + 6 + 2 * 5) + (6 + 3 + 5), "a product for each layer, whatever the backend's parts"
    make("floor", workload).step()
    assert not vars(mg.backend.get("cpu")), "the backend is as it was"


def test_products_of_a_critic_step():
    (workload,) = workloads()["critic"]
    task = make("floor", workload)
    n, c = workload.batch, workload.width
    first, second, dense = 14 * 14 * 16 * c, 7 * 7 * 16 * c * 2 * c, 7 * 7 * 2 * c  # multiplications per image
    assert task.flops == 2 * 2 * n * (3 * (first + second + dense) - first)  # forward and both gradients, but by x
    assert not vars(mg.backend.get("cpu")), "the backend is as it was"


@pytest.mark.parametrize("version", ["2.3.1", "2.4.0", "2.13.0+cpu"])
def test_pytorch_has_its_quickest_adam(version):
    torch = pytest.importorskip("torch")
    from benchmarks.libraries import torch_

    assert torch_.fused(torch.torch_version.TorchVersion(version)) == (version != "2.3.1")
    ours = torch_._adam(torch.nn.Linear(1, 1)).defaults
    assert bool(ours["fused"]) == torch_.fused(torch.__version__)


@pytest.mark.parametrize(
    ("candidate", "keeps", "threads"),
    [
        ("minigan", True, "ours"),
        ("minigan tf32", True, "ours"),
        ("floor", True, "ours"),
        ("numpy", True, "its own"),
        ("torch contiguous", False, "its own"),
        ("autograd", False, "its own"),
    ],
)
def test_conditions(candidate, keeps, threads, monkeypatch):
    happened = []

    @contextmanager
    def in_charge():
        happened.append("in charge")
        yield
        happened.append("no longer")

    monkeypatch.setattr("minigan.backend.keep_memory", lambda: happened.append("keeps"))
    monkeypatch.setattr("minigan.backend.threads.in_charge", in_charge)
    with conditions(candidate):
        happened.append("step")
    before, after = (["in charge"], ["no longer"]) if threads == "ours" else ([], [])
    assert happened == ["keeps"] * keeps + before + ["step"] + after


# ---- measuring ------------------------------------------------------------------------------------------------------


def test_quick_run_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--peers", "numpy", "--threads", "1", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for shown in ("NumPy by hand", "matrix products alone", "overhead forward", "exponent", "scaling.png"):
        assert shown in done.stdout
    written = report.load(tmp_path / "benchmarks.json")
    facts = {"versions", "threads", "device", "quick", "sizes", "absent", "failures", "workloads"}
    assert facts == set(written) and written["quick"] is True
    assert written["threads"] == 1 and written["failures"] == [] and {"numpy", "python"} < set(written["versions"])
    assert written["sizes"] == report.sizes(w for family in QUICK.values() for w in family)
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


def test_one_workload_beside_one_peer():
    args = arguments(["toy", "--peers", "torch"])
    assert args.families == ["toy"] and args.peers == ["torch"]
    assert arguments(["--peers"]).peers == []


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
        "quick": False,
        "sizes": {"dcgan": {"batch": 64, "width": 64, "count": 1}},
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


# ---- two reports ----------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path, capsys):
    """A function: two reports → the status of comparing them, and what was printed."""

    def call(old, new, *options):
        paths = [str(tmp_path / name) for name in ("old.json", "new.json")]
        for path, values in zip(paths, (old, new)):
            report.save(values, path)
        try:
            status = compare.main([*paths, *options])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_compare_names_what_got_slower_by_every_indication(compared):
    old = made(minigan=result(1, 1), torch_contiguous=result(1, 1))
    slow = made(minigan=result(1.3, 1.3), torch_contiguous=result(1, 1))
    status, text = compared(old, slow, "--tolerance", "0.5")
    assert status == 0 and "SLOWER" not in text and "nothing is slower by more than 50%" in text
    status, text = compared(old, slow)
    assert status == 1 and "SLOWER by more than 15%, by every indication:\n  dcgan: at least 1.30 times" in text


@pytest.mark.parametrize(
    ("new", "ratio"),
    [
        ({"minigan": 3, "numpy": 3, "torch": 3}, 1),  # a busy machine
        ({"minigan": 1, "numpy": 0.6, "torch": 1}, 1),  # one reference was lucky
        ({"minigan": 1.02, "numpy": 0.7, "torch": 0.7}, 1.02),  # both were, the time has hardly moved
        ({"minigan": 1.5, "numpy": 1.5, "torch": 1}, 1),  # one reference says that the machine is slower
        ({"minigan": 1.5, "numpy": 1, "torch": 1.2}, 1.25),  # all agree
        ({"minigan": 1.5, "jax": 1.5, "autograd": 1.5}, 1.5),  # these are no references
    ],
)
def test_compare_alarms_only_if_all_indications_agree(new, ratio, compared):
    old = made(**dict.fromkeys(new, result(1, 1, 1)))
    new = made(**{name: result(*[seconds] * 3) for name, seconds in new.items()})
    (change,) = compare.changes(old, new)
    assert change.ratio == pytest.approx(ratio)
    status, text = compared(old, new)
    assert status == (ratio > 1.15)
    rows = {line[35:63].strip(): line.split()[-1] for line in text.splitlines() if line[35:63].strip()}
    assert rows["(its time)"] == f"{change.indications[0].ratio:.2f}" and rows["least, the verdict"] == f"{ratio:.2f}"
    if "numpy" in new["workloads"]["dcgan"]:
        by_hand, pytorch = change.indications[1:]
        assert rows["NumPy by hand"] == f"{by_hand.ratio:.2f}" and rows["PyTorch"] == f"{pytorch.ratio:.2f}"


def test_compare_takes_ratios_in_the_same_round():
    old = made(minigan=result(1, 1, 1), numpy=result(1, 1, 1))
    new = made(minigan=result(1, 2, 9), numpy=result(1, 1, 9))
    (change,) = compare.changes(old, new)
    assert [(i.reference, i.ratio) for i in change.indications] == [(None, 2), ("numpy", 1)]


def test_compare_uses_the_floor_only_if_it_is_the_same():
    old = made(minigan=result(2), floor=result(1, flops=100))
    same = made(minigan=result(4), floor=result(2, flops=100))
    fewer = made(minigan=result(1), floor=result(0.25, flops=50))
    (change,) = compare.changes(old, same)
    assert [(i.reference, i.ratio) for i in change.indications] == [(None, 2), ("floor", 1)]
    (change,) = compare.changes(old, fewer)
    assert [(i.reference, i.ratio) for i in change.indications] == [(None, 0.5)]


def test_compare_holds_tf32_against_tf32():
    results = {"minigan": result(2), "minigan tf32": result(1), "torch tf32": result(1), "torch": result(1)}
    both, one = ({**made(), "workloads": {"toy": values}} for values in (results, {**results, "torch": result(9)}))
    plain, tf32 = compare.changes(both, one)
    assert [i.reference for i in tf32.indications] == [None, "torch tf32"] and tf32.ratio == 1
    assert [i.reference for i in plain.indications] == [None, "torch"] and plain.name != tf32.name


def test_compare_names_a_workload_that_minigan_lost(compared):
    old = made(minigan=result(1), floor=result(1, flops=1), numpy=result(1))
    old["workloads"]["toy"] = {"minigan": result(1)}
    died = json.loads(json.dumps(old))
    del died["workloads"]["dcgan"]["minigan"]
    died["failures"] = ["minigan on dcgan ended with status 1"]
    status, text = compared(old, died)
    assert status == 1 and "LOST: minigan on dcgan" in text and "nothing is slower" not in text
    assert "FAILED in the new report: minigan on dcgan ended with status 1" in text
    assert compared(old, died, "--partial")[0] == 1, "that is about whole workloads"
    all_died = json.loads(json.dumps(old))
    all_died["workloads"] = {"dcgan": {}, "toy": {}}
    status, text = compared(old, all_died)
    assert status == 1 and "LOST: minigan on dcgan" in text and "LOST: minigan on toy" in text


def test_compare_names_a_workload_that_is_not_there(compared):
    old, new = made(minigan=result(1)), made(minigan=result(1))
    old["workloads"]["toy"] = {"minigan": result(1)}
    status, text = compared(old, new)
    assert status == 1 and "LOST: toy, the whole workload" in text
    status, text = compared(old, new, "--partial")
    assert status == 0 and "only in the old report: toy" in text
    assert compared(new, old)[0] == 0, "more than before is no loss"
    assert compared({**old, "workloads": {"toy": old["workloads"]["toy"]}}, new, "--partial")[0] == 1, "none in common"


def test_compare_names_lost_candidates(compared):
    old = made(minigan=result(1), floor=result(1, flops=1), torch_contiguous=result(1))
    status, text = compared(old, made(minigan=result(1), floor=result(1, flops=1)))
    assert status == 0 and "only in the old report: PyTorch, contiguous on dcgan" in text
    status, text = compared(old, made(minigan=result(1), torch_contiguous=result(1)))
    assert status == 1 and "LOST: matrix products alone on dcgan" in text


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"threads": 2}, "threads: 1 and 2"),
        ({"device": "cuda"}, "device: cpu and cuda"),
        ({"quick": True, "sizes": {"dcgan": {"batch": 8}}}, "quick: False and True"),
        ({"sizes": {"dcgan": {"batch": 128}}}, "size of dcgan: batch 64, width 64, count 1 and batch 128"),
    ],
)
def test_compare_refuses_other_conditions(condition, message, compared):
    values = made(minigan=result(1))
    assert compare.differences(values, values | condition) == [message]
    status, text = compared(values, values | condition)
    assert status == 2 and f"different conditions: {message}\n" in text and "new/old" not in text


def test_compare_warns_of_what_a_report_does_not_tell(compared):
    values, untold = made(minigan=result(1)), made(minigan=result(1))
    del untold["quick"], untold["sizes"]
    status, text = compared(untold, values)
    assert status == 0 and "old.json does not tell: quick, sizes" in text and "new.json does not" not in text


def test_compare_warns_of_other_versions(compared):
    old, new = (made(minigan=result(t), torch=result(1), numpy=result(1)) for t in (1, 1.5))
    old["versions"] |= {"minigan": "0.1", "torch": "2.12", "jax": "0.9"}
    new["versions"] |= {"minigan": "0.2", "torch": "2.13", "numpy": "3"}
    status, text = compared(old, new)
    assert status == 1 and "SLOWER" in text, "it goes on"
    assert "warning: other versions: numpy 2 and 3; torch 2.12 and 2.13; jax 0.9 and none\n" in text
    assert "PyTorch" not in text, "another PyTorch is no reference"
    assert "warning" not in compared(old, old)[1]


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
