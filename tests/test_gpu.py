"""minigan on a GPU against minigan on the CPU: primitives, ops to second order, training steps.

    pytest -m gpu tests/test_gpu.py        on a machine with a GPU; elsewhere these tests are skipped, and
    say why

Every test that can also runs on device "strict": `HostCupy`, CuPy's backend on a strict stand-in for its
arrays. So the tests themselves, and all of minigan's own code on the way to CuPy, are exercised on every
machine.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import backend
from minigan.backend.cupy_ import CupyBackend
from minigan.backend.random import stream
from minigan.models.dcgan import dcgan_discriminator, dcgan_generator
from tests import host_kernels
from tests.opinfo import RECORDS
from tests.strategies import LAYOUTS, examples, seeds
from tests.strict_array import no_sync
from tests.test_backend import CASES, DOORS, check_override, fetch, large_arguments, overrides, put
from tests.test_strict_device import CASES as CHOICES
from tests.test_strict_device import check_choice

needs_compiler = pytest.mark.skipif(host_kernels.COMPILER is None, reason="g++ is not installed")
both = pytest.mark.parametrize(
    "device",
    [pytest.param("strict", marks=needs_compiler), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
    scope="module",
)
gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True, scope="module")
PRIMITIVES = [name for name in overrides(CupyBackend) if name not in DOORS] + ["gemm"]


@pytest.fixture(scope="module")
def device(request):
    """A device name that works; its backend counts ``syncs``."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "strict":
            host_kernels.install(patch)
        else:
            try:
                backend.get(request.param)
            except backend.DeviceNotAvailable as missing:
                pytest.skip(f"GPU: not run. {missing}")
        yield request.param


def on(device, a, dtype):
    """A NumPy array as a Tensor on the device."""
    return mg.tensor(backend.get(device).asarray(np.asarray(a, dtype)))


def host(t):
    return None if t is None else np.asarray(t.numpy())


def assert_close(actual, expected, rtol):
    """Equal up to ``rtol`` times the largest number expected (or 1)."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert_allclose(actual, expected, rtol=0, atol=rtol * max(1.0, np.abs(expected).max(initial=0.0)))


# ---- the primitives ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PRIMITIVES)
@examples(0.3)
@given(data=st.data())
def test_a_primitive_is_its_reference(device, name, dtype, data):
    arguments, written = data.draw(CASES[name])
    check_override(backend.get(device), name, arguments, written, dtype, data.draw(st.sampled_from(LAYOUTS)))


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_primitive_is_its_reference_on_large_arrays(device, name, dtype):
    check_override(backend.get(device), name, *large_arguments()[name], dtype, "C")


@both
@pytest.mark.parametrize("name", [name for name in PRIMITIVES if name != "scatter_add"])  # atomic additions
def test_every_run_gives_the_same_bits(device, name):
    library, (arguments, written) = backend.get(device), large_arguments()[name]
    runs = []
    for _ in range(3):
        args = [put(a, library, "float32") for a in arguments]
        result = fetch(getattr(library, name)(*args), library)
        runs.append(result if isinstance(result, tuple) else (result, *[fetch(args[i], library) for i in written]))
    for again in runs[1:]:
        for a, b in zip(again, runs[0], strict=True):
            assert a is b is None or a.tobytes() == b.tobytes()


# ---- the ops, from their records ---------------------------------------------------------------------------


def placed(parameter, device):
    """A parameter of an op with the arrays in it (masks, integer indices) on the device."""
    if isinstance(parameter, tuple):
        return tuple(placed(part, device) for part in parameter)
    if isinstance(parameter, (np.ndarray, np.bool_)):
        return backend.get(device).asarray(np.asarray(parameter))
    return parameter


def derivatives(info, arrays, params, device, dtype, seed, second):
    """On the host: y, the gradients of ⟨c, y⟩ by raw and recorded pass, and those of ⟨d, recorded gradients⟩."""

    def noise(shape):
        rng = np.random.default_rng([seed, *shape])
        return on(device, rng.integers(-16, 17, shape) / 16, dtype)

    inputs = [on(device, a, dtype) for a in arrays]
    for t in inputs:
        t.requires_grad = True
    y = info.fn(*inputs, **{name: placed(p, device) for name, p in params.items()})
    results = [y, *mg.grad(y, inputs, noise(y.shape), retain_graph=True)]
    if second:
        first = mg.grad(y, inputs, noise(y.shape), create_graph=True)
        results += first
        moving = [g for g in first if g.requires_grad]
        if moving:
            results += mg.grad(moving, inputs, [noise(g.shape) for g in moving])
    assert {backend.device_of(t.data) for t in results} == {device}
    return [host(t) for t in results]


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("info", RECORDS, ids=str)
@examples(0.3)
@given(data=st.data(), seed=seeds)
def test_an_op_and_its_derivatives_are_the_cpus(device, info, dtype, data, seed):
    arrays, params = data.draw(info.samples)
    second = info.orders >= 2 and dtype == "float64"
    expected = derivatives(info, arrays, params, "cpu", dtype, seed, second)
    found = derivatives(info, arrays, params, device, dtype, seed, second)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, 1e-9 if dtype == "float64" else max(1e-4, 10 * info.steep))


@both
def test_operands_on_two_devices_are_refused_by_name(device):
    there, here = on(device, np.ones(3), "float32"), mg.tensor(np.ones(3, "float32"), name="here")
    for fn in (mg.add, mg.multiply, mg.maximum):
        with pytest.raises(mg.DeviceError, match="different devices"):
            fn(there, here)


# ---- training ----------------------------------------------------------------------------------------------


def train(device, dtype, steps, penalty=0.0):
    """A few steps of a small DCGAN: [loss of D, loss of G] per step, and the networks' state, all on the host."""
    library = backend.get(device)
    G = dcgan_generator(latent_dim=8, channels=4, seed=1).to(device, dtype)
    D = dcgan_discriminator(channels=4, seed=2).to(device, dtype)
    adam_g = mg.optim.Adam(G.parameters(), lr=1e-3, beta1=0.5)
    adam_d = mg.optim.Adam(D.parameters(), lr=1e-3, beta1=0.5)
    real = on(device, np.tanh(stream(0, "real").standard_normal((8, 28, 28, 1))), dtype)
    latents = [on(device, stream(0, "latent", s).standard_normal((8, 8)), dtype) for s in range(steps)]
    losses, syncs = [], getattr(library, "syncs", 0)

    def move(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    with no_sync():  # the stand-in raises at any wait of the host, a GPU's backend counts what passes its door
        for z in latents:
            with mg.no_grad():
                fake = G(z)
            loss = mg.mean(mg.softplus(-D(real))) + mg.mean(mg.softplus(D(fake)))
            if penalty:
                x = mg.tensor(0.5 * (real + fake), requires_grad=True)
                (g,) = mg.grad(mg.sum(D(x)), x, create_graph=True)
                loss = loss + penalty * mg.mean((mg.norm(g, axis=(1, 2, 3)) - 1.0) ** 2)
            move(adam_d, loss)
            with D.frozen():
                move(adam_g, mg.mean(mg.softplus(-D(G(z)))))
    assert getattr(library, "syncs", 0) == syncs, "a training step copied from the device"
    assert {t.device for t in losses} == {device}
    return [t.item() for t in losses], {**G.state_dict(), **{f"D.{k}": v for k, v in D.state_dict().items()}}


@both
@pytest.mark.parametrize("penalty", [0.0, 10.0], ids=["plain", "gradient penalty"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-7), ("float32", 1e-3)])
def test_training_steps_are_the_cpus_and_wait_for_nothing(device, dtype, rtol, penalty):
    steps = 2
    losses, state = train(device, dtype, steps, penalty)
    expected_losses, expected = train("cpu", dtype, steps, penalty)
    assert_allclose(losses, expected_losses, rtol=rtol)
    assert state.keys() == expected.keys()
    for name, a in expected.items():
        assert state[name].dtype == a.dtype
        # Adam's first steps are the gradients' signs: where one is nearly 0, float32 may take either
        atol = 1e-5 if dtype == "float64" else 2.1e-3 * steps
        assert_allclose(state[name], a, rtol=rtol, atol=atol, err_msg=name)


@both
@pytest.mark.parametrize("case", CHOICES, ids=str)
def test_every_objective_regularizer_and_solver_is_the_cpus(device, case):
    check_choice(device, case)


@both
def test_a_run_repeated_gives_the_same_bits(device):
    (first, state), (second, again) = train(device, "float32", 2), train(device, "float32", 2)
    assert first == second
    for name, a in state.items():
        assert_array_equal(again[name], a, err_msg=name)


@both
def test_a_module_goes_there_and_back(device):
    net = dcgan_generator(latent_dim=3, channels=2)
    before = net.state_dict()
    net.to(device)
    assert {p.device for p in net.parameters()} == {device}
    after, back = net.state_dict(), net.to("cpu").state_dict()
    for name, a in before.items():
        assert_array_equal(after[name], a)
        assert_array_equal(back[name], a)


# ---- the device itself -------------------------------------------------------------------------------------


@both
def test_the_doors(device):
    library, a = backend.get(device), np.arange(6.0).reshape(2, 3)
    there = library.asarray(a, "float32")
    a[:] = 0  # what is on the device is a copy
    assert backend.of(there) is library and backend.device_of(there) == device and there.dtype == "float32"
    syncs = library.syncs
    back = library.to_host(there)
    assert library.syncs == syncs + 1 and type(back) is np.ndarray
    assert_array_equal(back, np.arange(6.0).reshape(2, 3))
    assert library.to_host(library.asarray([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    library.synchronize()


@gpu
def test_float32_products_are_float32_unless_tf32_is_allowed(device):
    library, rng = backend.get(device), np.random.default_rng(0)
    a, b = rng.standard_normal((512, 2048)), rng.standard_normal((2048, 256))
    exact = a.astype("float32").astype(float) @ b.astype("float32").astype(float)

    def error(ta, tb):
        there = [library.asarray(m.T if t else m, "float32") for m, t in ((a, ta), (b, tb))]
        there = [library.xp.ascontiguousarray(m) for m in there]
        found = library.to_host(library.gemm(*there, ta, tb))
        return np.abs(found - exact).max() / np.abs(exact).max()

    before = library.tf32
    try:
        library.allow_tf32(False)
        assert not library.tf32
        for flags in ((False, False), (True, False), (False, True), (True, True)):
            assert error(*flags) < 1e-5
        try:
            library.allow_tf32(True)
        except RuntimeError:
            return  # a GPU before compute capability 8.0
        assert library.tf32 and 1e-5 < error(False, False) < 1e-2
    finally:
        library.allow_tf32(before)


@gpu
def test_a_gpu_has_its_own_name_and_number(device):
    import cupy

    library = backend.get("cuda")
    assert backend.get(f"cuda:{cupy.cuda.runtime.getDevice()}") is library and type(library) is CupyBackend
    assert mg.tensor([1.0], device="cuda").device == "cuda"
    beyond = cupy.cuda.runtime.getDeviceCount()
    with pytest.raises(backend.DeviceNotAvailable, match=f"no GPU number {beyond}"):
        backend.get(f"cuda:{beyond}")
