"""All of minigan on the strict stand-in for a GPU: the same numbers as on the CPU, and no waiting for the device.

The stand-in refuses what CuPy refuses, and runs the reference primitives (`tests/strict_array.py`). What passes here
uses nothing but CuPy's names, mixes no host array with the device's, and leaves every value on the device.
"""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import minigan as mg
from minigan import backend, nn, objectives
from minigan.backend.random import stream
from minigan.data import Batches
from minigan.games import GAN, Alternating, Averaging, Log, Run, play, solvers
from minigan.models import Reconstruction, dcgan_discriminator, dcgan_generator, mlp, mlp_autoencoder
from minigan.nn.init import dcgan, initialize
from minigan.optim import EMA, SGD, Adam, RMSProp
from minigan.report import SampleGrid
from tests.opinfo import RECORDS
from tests.strategies import examples, grid, seeds
from tests.strict_array import StrictArray, counts, no_sync


def there(a, device="strict"):
    return mg.tensor(np.asarray(a), device=device, dtype=np.asarray(a).dtype)


def assert_close(actual, expected, rtol):
    """Equal up to ``rtol`` times the largest number expected (or 1)."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert_allclose(actual, expected, rtol=0, atol=rtol * max(1.0, np.max(np.abs(expected), initial=0.0)))


# ---- the ops ---------------------------------------------------------------------------------------------------------


def placed(parameter, device):
    """A parameter of an op, the arrays in it moved to the device."""
    if isinstance(parameter, tuple):
        return tuple(placed(part, device) for part in parameter)
    return there(parameter, device).data if isinstance(parameter, (np.ndarray, np.bool_)) else parameter


def has_mask(index):
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(p, (np.ndarray, np.bool_, list)) and np.asarray(p).dtype == bool for p in parts)


def all_passes(info, arrays, params, device, seed):
    """y; ⟨c, y⟩ differentiated raw and recorded; the gradients of ⟨d, the recorded ones⟩."""

    def noise(shape):
        return there(np.asarray(grid(np.random.default_rng([seed, *shape]), shape, "nonzero")), device)

    inputs = [there(a, device) for a in arrays]
    for t in inputs:
        t.requires_grad = True
    y = info.fn(*inputs, **params)
    raw = mg.grad(y, inputs, noise(y.shape), retain_graph=True)
    recorded = mg.grad(y, inputs, noise(y.shape), create_graph=True)
    moving = [g for g in recorded if g.requires_grad]
    second = mg.grad(moving, inputs, [noise(g.shape) for g in moving]) if moving and info.orders > 1 else ()
    return [y, *raw, *recorded, *second]


@pytest.mark.parametrize("info", RECORDS, ids=str)
@examples(0.3)
@given(data=st.data(), seed=seeds)
def test_an_op_and_its_derivatives_are_the_cpus_and_wait_for_nothing(info, data, seed):
    arrays, params = data.draw(info.samples)
    expected = all_passes(info, arrays, params, "cpu", seed)
    on_device = {name: placed(p, "strict") for name, p in params.items()}
    # how many elements a mask selects is a value: that alone has to be waited for
    with contextlib.nullcontext() if has_mask(params.get("index")) else no_sync():
        found = all_passes(info, arrays, on_device, "strict", seed)
    assert {type(t.data) for t in found} == {StrictArray}
    for a, b in zip(found, expected, strict=True):
        assert_close(a.numpy(), b.numpy(), 1e-9)


@pytest.mark.parametrize("info", RECORDS, ids=str)
@examples(0.2)
@given(data=st.data())
def test_float32_stays_float32_on_the_device(info, data):
    arrays, params = data.draw(info.samples)
    inputs = [there(np.asarray(a, np.float32)) for a in arrays]
    for t in inputs:
        t.requires_grad = True
    y = info.fn(*inputs, **{name: placed(p, "strict") for name, p in params.items()})
    gradients = mg.grad(mg.sum(y), inputs, create_graph=True)
    assert {t.dtype for t in (y, *gradients)} == {np.dtype("float32")}


@pytest.mark.parametrize("where", ["host", "device", "tensor"])
@pytest.mark.parametrize("key", [[2, 0, 2], [-1], [[0, 1], [2, 0]], [True, False, True]], ids=str)
def test_indices_may_be_on_either_side(key, where):
    x, key = np.random.default_rng(0).standard_normal((3, 4)), np.array(key)
    t = there(x)
    t.requires_grad = True
    index = {"host": key, "device": there(key).data, "tensor": there(key)}[where]
    y = t[index, 1:]
    (g,) = mg.grad(mg.sum(y**2), t)
    expected = np.zeros_like(x)
    np.add.at(expected, (key, slice(1, None)), 2 * x[key, 1:])
    assert_array_equal(y.numpy(), x[key, 1:])
    assert_allclose(g.numpy(), expected, rtol=1e-12)


# ---- modules, optimisers, averages -----------------------------------------------------------------------------------


def everything():
    """One of each layer that computes, on images (n, 4, 4, 2)."""
    net = nn.Sequential(
        nn.Conv(2, 4, 3, padding=1),
        nn.BatchNorm(4),
        nn.LeakyReLU(),
        nn.ConvTranspose(4, 4, 2, stride=2),
        nn.InstanceNorm(4),
        nn.Dropout(0.25),
        nn.ReLU(),
        nn.Flatten(),
        nn.LayerNorm(256),
        nn.Dense(256, 6),
        nn.Tanh(),
        nn.Reshape(2, 3),
        nn.Sigmoid(),
        name="net",
    )
    return initialize(net, nn.init.he, seed=0)


def test_a_module_and_its_state_there_and_back():
    net, other = everything(), everything().to("strict")
    state = net.state_dict()
    assert {type(p.data) for p in other.parameters()} == {StrictArray}
    assert {backend.device_of(a) for _, a in other.named_buffers()} == {"strict", "cpu"}  # dropout counts on the host
    for name, a in other.state_dict().items():
        assert type(a) is np.ndarray
        assert_array_equal(a, state[name], strict=True)
    changed = {name: a + np.ones_like(a) for name, a in state.items()}
    other.load_state_dict(changed)
    assert {type(p.data) for p in other.parameters()} == {StrictArray}
    for name, a in other.to("cpu").state_dict().items():
        assert_array_equal(a, changed[name], strict=True)
    assert {type(p.data) for p in other.parameters()} == {np.ndarray}


@pytest.mark.parametrize("training", [True, False])
def test_layers_compute_what_they_do_on_the_cpu(training):
    x, results = np.random.default_rng(0).standard_normal((3, 4, 4, 2)).astype("float32"), []
    for device in ("cpu", "strict"):
        net = everything().to(device).train(training)
        z = mg.tensor(x, device=device, requires_grad=True)
        with no_sync():
            y = net(z)
            gradients = mg.grad(mg.sum(y**2), [z, *net.parameters()])
        results.append([y.numpy(), *[g.numpy() for g in gradients], *net.state_dict().values()])
    for a, b in zip(*results, strict=True):
        assert_close(a, b, 1e-5)


def test_embeddings_take_ids_on_the_device():
    table, ids = nn.Embedding(5, 3), np.array([[1, 4], [1, 0]])
    expected = table(ids).numpy()
    (g,) = mg.grad(mg.sum(table(ids) ** 2), table.weight)
    table.to("strict")
    with no_sync():
        y = table(there(ids))
        (found,) = mg.grad(mg.sum(y**2), table.weight)
    assert_array_equal(y.numpy(), expected)
    assert_allclose(found.numpy(), g.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1),
        lambda p: SGD(p, lr=0.1, momentum=0.5),
        lambda p: RMSProp(p, lr=0.1),
        lambda p: Adam(p, lr=0.1),
    ],
    ids=["sgd", "momentum", "rmsprop", "adam"],
)
def test_optimisers_and_averages(make):
    def five_steps(device, state=None):
        net = mlp(2, 3, 1)
        initialize(net, dcgan, seed=1).to(device)
        optimizer, ema = make(net.parameters()), EMA(net.parameters(), decay=0.5)
        if state:
            for part, values in zip((net, optimizer, ema), state):
                part.load_state_dict(values)
        with no_sync():
            for k in range(5):
                x = there(np.float32([[k, 1], [1, -k]]), device)
                optimizer.zero_grad()
                mg.mean((net(x) - 1.0) ** 2).backward()
                optimizer.step()
                ema.update()
        with ema.applied():
            averaged = net.state_dict()
        return [net.state_dict(), optimizer.state_dict(), ema.state_dict(), averaged]

    first, on_cpu = five_steps("strict"), five_steps("cpu")
    second = five_steps("strict", first[:3]), five_steps("cpu", first[:3])  # states made there load in both places
    for found, expected in ((first, on_cpu), second):
        for a, b in zip(found, expected, strict=True):
            assert list(a) == list(b)
            for name in b:
                assert type(a[name]) is np.ndarray
                assert_close(a[name], b[name], 2e-4)


# ---- training --------------------------------------------------------------------------------------------------------


def dcgan_game(device, objective):
    G, D = dcgan_generator(5, 2, seed=1).to(device), dcgan_discriminator(2, seed=2).to(device)
    images = np.tanh(stream(0, "images").standard_normal((12, 28, 28, 1), dtype="float32"))
    return GAN(G, D, Batches(images, 4, 0), 5, objective)


def mlp_game(device, objective):
    G = nn.Sequential(nn.Dense(3, 8, bias=False), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.2), nn.Dense(8, 2))
    networks = [initialize(net, nn.init.glorot, seed).to(device) for seed, net in enumerate((G, mlp(2, 8, 8, 1)))]
    points = stream(0, "points").standard_normal((40, 2), dtype="float32")
    return GAN(*networks, Batches(points, 8, 0), 3, objective)


GAMES = {"dcgan": dcgan_game, "mlp": mlp_game}


def parts_of(game):
    optimizers = {name: Adam(params, lr=1e-3, beta1=0.5) for name, params in game.players.items()}
    ema = EMA(game.G.parameters(), decay=0.9)
    return optimizers, {"G": game.G, "D": game.D, "Adam.D": optimizers["D"], "Adam.G": optimizers["G"], "ema": ema}


@pytest.mark.parametrize("objective", ["minimax", "non_saturating"])
@pytest.mark.parametrize("kind", GAMES)
def test_training_steps_are_the_cpus_and_wait_for_nothing(kind, objective):
    results = {}
    for device in ("cpu", "strict"):
        game = GAMES[kind](device, objective)
        optimizers, parts = parts_of(game)
        solver, numbers, before = Alternating(optimizers, {"D": 2}), [], counts.syncs
        with no_sync():
            for step in range(3):
                losses = solver.step(game, step)
                parts["ema"].update()
                numbers += [*[loss.data for loss in losses.values()], *game.readings().values()]
        assert counts.syncs == before and {backend.device_of(a) for a in numbers} == {device}
        states = {f"{p}/{k}": a for p, part in parts.items() for k, a in part.state_dict().items()}
        results[device] = [float(backend.of(a).to_host(a)) for a in numbers], states
    (found, states), (expected, cpu_states) = results["strict"], results["cpu"]
    assert_allclose(found, expected, rtol=1e-4)
    assert states.keys() == cpu_states.keys()
    for name, a in cpu_states.items():
        # Adam's first steps are the gradients' signs: where one is nearly 0, float32 may take either
        few = 2 * 2 * 3 * 1e-3 if name[0] in "GDe" else 1e-3
        assert_allclose(states[name], a, rtol=1e-3, atol=few, err_msg=name)
        assert np.mean(np.abs(states[name] - a)) <= 1e-4 * max(1.0, np.abs(a).max()), name


def test_a_whole_run_on_the_device(tmp_path):
    """Log, checkpoint, pictures, resume; and the run goes on, bit for bit."""

    def train(run, steps, resume):
        game = dcgan_game("strict", "non_saturating")
        optimizers, parts = parts_of(game)
        start = run.load(parts) if resume else 0
        z = game.latent(4, name="samples")
        assert {type(t.data) for t in (z, *game.batch(0, "D")[:2])} == {StrictArray}
        before = counts.syncs
        grids = SampleGrid(run, z, every=2, ema=parts["ema"])
        trajectory = play(game, Alternating(optimizers), steps, [Averaging(parts["ema"]), Log(run), grids], start)
        run.save(steps, parts)
        return game, trajectory, counts.syncs - before

    straight, broken = (Run.create({}, tmp_path / name) for name in ("straight", "broken"))
    game, trajectory, _ = train(straight, 4, False)
    train(broken, 2, False)
    train(broken, 4, True)
    assert straight.records() == broken.records()
    assert [r["loss/D"] for r in straight.records()] == trajectory["loss/D"]
    assert all(type(v) is float for v in trajectory["D(real)"])
    assert (tmp_path / "broken" / "samples" / "000004.png").exists()
    a, b = (dict(np.load(run.path / "checkpoint.npz")) for run in (straight, broken))
    assert a.keys() == b.keys()
    for name in a:
        assert_array_equal(a[name], b[name], strict=True)
    images = game.sample(np.zeros((2, 5)))
    assert type(images) is np.ndarray and images.shape == (2, 28, 28, 1)
    on_cpu = dcgan_game("cpu", "minimax")  # what was trained there works here
    assert broken.load({**parts_of(on_cpu)[1]}) == 4
    assert_allclose(on_cpu.sample(np.zeros((2, 5))), images, rtol=1e-4, atol=1e-5)


def R(name, **settings):
    return name, settings


# ---- every objective, regulariser and solver -------------------------------------------------------------------------

REGULARIZERS = [R(name) for name in ("gradient_penalty", "lipschitz_penalty", "r1", "r2", "dragan", "orthogonal")]
REGULARIZERS += [R("weight_clipping", limit=0.05), R("historical_averaging")]
REGULARIZERS += [R("feature_matching", layer="mlp.dense2"), R("pulling_away", layer="mlp.dense1")]
SOLVERS = {
    name: {}
    for name in ("alternating", "simultaneous", "extragradient", "past_extragradient", "optimistic", "consensus")
} | {"sga": {}, "unrolled": {"steps": 2}}
CASES = [(name, (), "alternating", 0.0) for name in objectives.names()]
CASES += [("hinge", (r,), "alternating", 0.0) for r in REGULARIZERS]
CASES += [("relativistic", (R("r1"), R("r2")), name, 0.1) for name in SOLVERS]


def critic_for(objective, regularizers):
    """With every kind of layer that the choice allows."""
    if objective in ("began", "ebgan"):
        return Reconstruction(mlp_autoencoder(2, 8), 1)
    if regularizers:
        return nn.Sequential(mlp=mlp(2, 8, 8, 1))
    return nn.Sequential(nn.Pack(1), mlp=mlp(2, 8, 8, 1), out=nn.MinibatchStdDev(4), last=nn.Dense(2, 1))


def three_rounds(device, objective, regularizers, solver, noise):
    """Losses and readings of three rounds, still on the device; then the state goes to the host and back."""
    critic = critic_for(objective, regularizers)
    networks = [initialize(net, nn.init.glorot, 1) for net in (mlp(3, 8, 2), critic)]
    if objective == "relativistic" and not noise:
        nn.spectral_norm(critic)
    networks = [net.to(device) for net in networks]
    points = stream(0, "points").standard_normal((40, 2), dtype="float32")
    parts = [objectives.regularizer(name, **settings) for name, settings in regularizers]
    game = GAN(*networks, Batches(points, 8, 0), 3, objective, parts, instance_noise=noise)
    optimizers = {name: SGD(params, lr=0.02, momentum=0.5) for name, params in game.players.items()}
    play_on, numbers = solvers.get(solver, optimizers, **SOLVERS[solver]), []
    with no_sync(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for step in range(3):
            losses = play_on.step(game, step)
            numbers += [*[loss.data for loss in losses.values()], *game.readings().values()]
    game.load_state_dict(game.state_dict())
    play_on.load_state_dict(play_on.state_dict())
    play_on.step(game, 3)
    return numbers


def check_choice(device, case):
    found, expected = three_rounds(device, *case), three_rounds("cpu", *case)
    assert {backend.device_of(a) for a in found} == {device.partition(":")[0]}
    found, expected = ([float(backend.of(a).to_host(a)) for a in numbers] for numbers in (found, expected))
    assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_choice_plays_as_on_the_cpu_and_waits_for_nothing(case):
    check_choice("strict", case)
