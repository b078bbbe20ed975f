"""verify and verify_all: right networks pass, one planted mistake is named, and nothing of the network changes."""

import re
from contextlib import contextmanager
from copy import copy

import numpy as np
import pytest

import minigan as mg
from minigan import models, nn
from minigan.autodiff.primitive import Rule, primitive, registry
from minigan.data import Batches
from minigan.games import GAN
from minigan.inspect.double import in_double
from minigan.inspect.inputs import example_inputs
from minigan.nn.init import he, initialize
from minigan.objectives import gradient_penalty, r1
from minigan.ops.elementwise import stop
from minigan.optim import Adam
from tests.strict_array import StrictArray

RNG = np.random.default_rng(0)
IMAGES, OTHERS = RNG.standard_normal((2, 4, 28, 28, 1)).astype(np.float32)
LATENTS = RNG.standard_normal((4, 6)).astype(np.float32)
EPSILON = RNG.random(4).astype(np.float32)
OBJECTIVE = mg.objectives.get("non_saturating")


@pytest.fixture(autouse=True)
def temporary():
    """Primitives made here leave the registry when their test ends, and changed rules are put back."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@contextmanager
def planted(name, argument, rule):
    """The rule of an op for one of its arguments (and all others that it serves) is ``rule``: a function or a Rule;
    None: there is none.
    """
    op = registry[name]
    rules = list(op.rules)
    old = next(r for r in rules if argument in r.names)
    op.rules[:] = [r for r in rules if r is not old]
    op.plans.clear()
    try:
        if isinstance(rule, Rule):
            op.rules.append(rule)
        elif rule is not None:
            op.vjp(*old.names)(rule)
        yield
    finally:
        op.rules[:] = rules
        op.plans.clear()


def right(name, argument):
    return next(r.fn for r in registry[name].rules if argument in r.names)


def discriminator(**how):
    return models.dcgan_discriminator(4, **how)


def generator():
    return models.dcgan_generator(6, 4)


def state(*modules):
    """Everything of networks that must stay: identities, bits, dtypes, counts, modes, hooks, attributes."""
    found = []
    for module in modules:
        for name, m in module.named_modules():
            own = {k: v for k, v in m.__dict__.items() if k not in ("_buffers", "_parameters", "_children", "hooks")}
            found.append((name, m, m.training, list(m.hooks), sorted(own), [id(v) for _, v in sorted(own.items())]))
            found += [(k, id(a), a.tobytes(), a.dtype) for k, a in m._buffers.items()]
            found += [(k, id(v)) for group in (m._parameters, m._children) for k, v in group.items()]
            for p in m._parameters.values():
                found += [(p.name, id(p.data), p.data.tobytes(), p.dtype, p.version, id(p.grad), p.node, p.node.dtype)]
                found += [
                    p.data.base is None or id(p.data.base),
                    list(p.node.hooks or ()),
                    id(m.__dict__[p_name(m, p)]),
                ]
    return found


def p_name(module, parameter):
    return next(k for k, p in module._parameters.items() if p is parameter)


def trained(*modules):
    """After a step of an optimiser: the weights are views of its flat buffer, and .grad is there."""
    for module in modules:
        optimiser = Adam(module.parameters(), lr=1e-3)
        out = module(LATENTS if module.path == "G" else IMAGES)
        mg.mean(out**2).backward()
        optimiser.step()
    return modules


# ---- verify: right losses pass -----------------------------------------------------------------------------


def d_step(D, G):
    with mg.no_grad():
        fake = G(LATENTS)
    return OBJECTIVE.discriminator_loss(D(IMAGES), D(fake))


def g_step(D, G):
    with D.frozen():
        return OBJECTIVE.generator_loss(D(G(LATENTS)))


def wgan_gp(D, G):
    with mg.no_grad():
        fake = G(LATENTS)
    return mg.mean(D(fake)) - mg.mean(D(IMAGES)) + 10.0 * gradient_penalty(D, IMAGES, fake, EPSILON)


LOSSES = {
    "D step": (d_step, {}, "D.conv2.weight"),
    "D step, batch norm's scale": (d_step, {}, "D.batchnorm1.gamma"),
    "G step, D frozen": (g_step, {}, "G.convtranspose1.weight"),
    "WGAN-GP": (wgan_gp, {"batch_norm": False}, "D.conv2.weight"),
    "R1": (lambda D, G: r1(D, IMAGES), {"batch_norm": False}, "D.conv1.weight"),
}


def find(name, *modules):
    return next(p for m in modules for p in m.parameters() if p.name == name)


@pytest.mark.parametrize("loss, how, name", LOSSES.values(), ids=LOSSES)
def test_the_losses_of_gans_pass_and_leave_no_trace(loss, how, name):
    D, G = trained(discriminator(**how), generator())
    before = state(D, G)
    result = mg.verify(lambda: loss(D, G), find(name, D, G), n=6)
    assert state(D, G) == before
    assert result.name == name and len(result.checks) == 7 and result.holds() and float(result) <= 1e-5
    assert result.loss == pytest.approx(loss(D, G).item(), rel=1e-5)
    assert 0 < result.single < 1e-4  # float32 differs, but not by much


def test_each_entry_is_measured_where_it_says():
    """A quadratic form has its gradient written down: each row must show the entry's own number."""
    w = mg.tensor(np.arange(6.0).reshape(2, 3) - 2, requires_grad=True, dtype=np.float32, name="w")
    a = np.float32([[1, -2, 3], [4, 5, -6]])
    result = mg.verify(lambda: mg.sum(a * w * w), w, n=6)
    assert result.loss == float((a * w.data**2).sum())
    rows = {c.where: c for c in result.checks[1:]}
    assert len(rows) == 6
    for (i, j), value in np.ndenumerate(2 * a * w.data):
        assert rows[f"[{i}, {j}]"].analytic == value == pytest.approx(rows[f"[{i}, {j}]"].numerical, rel=1e-7)
    assert [c.where for c in result.checks[1:4]] == ["[1, 2]", "[1, 1]", "[1, 0]"]  # the largest gradients first


@pytest.mark.parametrize("lr", [2e-4, 0.01])
def test_spectral_norm_in_training(lr):
    """The weights have just moved, so a step of the power iteration would be part of every difference."""
    D = nn.spectral_norm(discriminator())
    optimiser = Adam(D.parameters(), lr=lr)
    for _ in range(3):
        optimiser.zero_grad()
        mg.mean(D(IMAGES) ** 2).backward()
        optimiser.step()
    before = state(D)
    assert float(mg.verify(lambda: mg.mean(D(IMAGES) ** 2), D.conv1.layer.weight, n=4)) < 1e-6
    assert state(D) == before and D.conv1.training


def test_dropout_draws_the_same_mask_at_every_evaluation():
    net = nn.Sequential(nn.Dense(6, 8), nn.Dropout(0.5), nn.Tanh(), nn.Dense(8, 1), name="N")
    net(LATENTS)
    before = state(net)
    assert net.dropout1.calls == 1
    mg.verify(lambda: mg.mean(net(LATENTS) ** 2), net.dense1.weight)
    assert net.dropout1.calls == 1 and state(net) == before


@pytest.mark.parametrize("player, name", [("D", "D.dense1.weight"), ("G", "G.dense2.bias")])
def test_the_losses_of_a_game(player, name):
    G, D = models.mlp(2, 8, 2, batch_norm=True, seed=1), models.mlp(2, 8, 1, seed=2)
    data = Batches(RNG.standard_normal((40, 2)).astype(np.float32), 10, 0)
    game = GAN(G, D, data, 2, "wasserstein", ["gradient_penalty"], instance_noise=0.1)
    before, batch = state(G, D), game.batch(3, player)
    mg.verify(lambda: game.loss(player, batch), find(name, D, G), n=4)
    assert state(G, D) == before


def test_entries_and_sizes():
    w = mg.tensor(2.0, requires_grad=True, name="w")
    result = mg.verify(lambda: w**3, w)
    assert [c.where for c in result.checks] == ["all, along a direction", "[]"]
    assert result.checks[1].analytic == 12.0
    assert len(mg.verify(lambda: w**3, w, n=0).checks) == 1
    v = mg.tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    result = mg.verify(lambda: mg.sum(mg.exp(v)), v, n=100)
    assert sorted(c.where for c in result.checks[1:]) == ["[0]", "[1]", "[2]"]
    assert result.single == 0 and v.dtype == np.float64 and result.name == "the tensor"
    half = mg.verify(lambda: mg.sum(mg.exp(v)), v, n=1)
    assert [c.where for c in half.checks[1:]] == ["[2]"]
    with pytest.raises(ValueError, match="n: expected an integer >= 0, got -1"):
        mg.verify(lambda: w**3, w, n=-1)


def test_a_network_in_float64():
    net = models.mlp(2, 4, 1, seed=0).to(dtype="float64")
    x = RNG.standard_normal((5, 2))
    before = state(net)
    result = mg.verify(lambda: mg.mean(mg.tanh(net(x))), net.dense1.weight)
    assert result.single == 0 and state(net) == before


@pytest.mark.parametrize("spectral", [False, True])
def test_modes_are_left_alone_where_the_loss_sets_them_for_a_moment(spectral):
    D = models.dcgan_discriminator(2)
    D = nn.spectral_norm(D) if spectral else D
    before = state(D)

    def loss(fail=False):
        with D.evaluating():
            value = mg.mean(D(IMAGES) ** 2)
            if fail:
                raise KeyError("mine")
        return value + mg.mean(D(OTHERS))

    mg.verify(loss, D.dense1.layer.weight if spectral else D.dense1.weight, n=2)
    assert state(D) == before and all(m.training for _, m in D.named_modules())
    with pytest.raises(KeyError):
        mg.verify(lambda: loss(True), D.dense1.layer.weight if spectral else D.dense1.weight, n=2)
    assert state(D) == before and all(m.training for _, m in D.named_modules())


def test_a_result_shows_itself():
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    result = mg.verify(lambda: mg.sum(mg.exp(w)), w, n=2)
    text = str(result).splitlines()
    assert text[0] == "the gradient of the loss (10.1073379) by w, in float64"
    assert text[1].split() == ["entry", "analytic", "by", "differences", "apart", "noise"]
    assert [line.split()[0] for line in text[2:5]] == ["all,", "[1]", "[0]"]
    assert all(line.rstrip().endswith("ok") for line in text[2:5])
    assert text[5].startswith("in the network's own precision it differs from this by ")
    html = result._repr_html_()
    assert html.count("<tr") == 4 and "the gradient of the loss by w" in html and "7.3890561" in html


# ---- verify: mistakes and misuse ---------------------------------------------------------------------------


def test_a_rule_off_by_a_thousandth_is_shown():
    D, G = discriminator(), generator()
    before, loss = state(D, G), lambda: d_step(D, G)
    with planted("conv", "w", scaled("conv", "w")):
        with pytest.raises(mg.GradientError) as error:
            mg.verify(loss, D.conv2.weight, n=4)
        with pytest.raises(mg.GradientError, match="all, along a direction .* WRONG"):
            mg.verify(loss, D.conv2.weight, n=0)
    text = str(error.value)
    assert text.startswith("verify: the gradient is wrong\nthe gradient of the loss (")
    assert "by D.conv2.weight, in float64" in text and text.count("WRONG") == 5 and "verify_all(network)" in text
    row = re.search(r"all, along a direction +(\S+) +(\S+)", text)
    assert float(row[1]) / float(row[2]) == pytest.approx(1.001, rel=1e-6)
    assert state(D, G) == before


def test_one_wrong_entry_is_found_by_the_direction_that_looks_at_all():
    w = mg.tensor(RNG.standard_normal((20, 20)).astype(np.float32), requires_grad=True, name="w")
    signs = np.ones((20, 20))
    signs[3, 7] = 0.99
    odd = primitive_of(lambda x: x**2, lambda g, x: 2.0 * g * signs.astype(x.dtype) * x)
    for seed in range(3):
        with pytest.raises(mg.GradientError, match=r"all, along a direction .* WRONG"):
            mg.verify(lambda: mg.sum(odd(w)), w, n=2, seed=seed)


def test_a_gradient_that_is_not_a_number():
    w = mg.tensor([1.0, 2.0], requires_grad=True, name="w")
    odd = primitive_of(lambda x: x**2, lambda g, x: g * x * float("nan"))
    with pytest.raises(mg.GradientError, match="nan"):
        mg.verify(lambda: mg.sum(odd(w)), w)


def test_a_weight_that_the_graph_does_not_lead_to():
    D, G = discriminator(), generator()
    before = state(D)
    with pytest.raises(
        mg.GradientError, match="D.conv1.weight is used, but the graph does not lead to it: it was frozen"
    ):
        mg.verify(lambda: g_step(D, G), D.conv1.weight, n=2)
    with pytest.raises(ValueError, match="verify: the loss does not depend on G.dense1.weight"):
        mg.verify(lambda: mg.mean(D(IMAGES) ** 2), G.dense1.weight, n=2)
    assert state(D) == before


def test_a_gradient_that_is_zero_is_no_missing_one():
    w = mg.tensor([-1.0, -2.0], requires_grad=True, name="w")
    assert float(mg.verify(lambda: mg.sum(mg.relu(w)), w)) == 0


def test_losses_that_are_no_functions_of_the_weights():
    net, calls = models.mlp(2, 4, 1, seed=0), []
    x, w = RNG.standard_normal((5, 2)).astype(np.float32), net.dense1.weight

    def random():
        calls.append(0)
        return mg.mean(net(x)) * (1.0 + len(calls) % 2)  # two values in turn

    with pytest.raises(
        ValueError, match=r"at the same weights loss_fn gave (\S+) and then (?!\1:)\S+: draw its random"
    ):
        mg.verify(random, w)
    with (
        pytest.raises(ValueError, match="verify: the loss is nan; compute it inside mg.anomaly"),
        np.errstate(all="ignore"),
    ):
        mg.verify(lambda: mg.mean(mg.log(net(x) - 100.0)), w)
    with pytest.raises(mg.ShapeError, match="a gradient starts from a scalar"):
        mg.verify(lambda: net(x), w)
    with pytest.raises(ValueError, match="loss_fn must return a scalar Tensor, got float"):
        mg.verify(lambda: mg.mean(net(x)).item(), w)
    with pytest.raises(TypeError, match="loss_fn must be a function that computes the loss, got Tensor"):
        mg.verify(mg.mean(net(x)), w)
    with pytest.raises(ValueError, match="requires no gradient"):
        mg.verify(lambda: mg.mean(mg.tensor(x)), w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_computed_outside(dtype):
    net = models.mlp(2, 4, 1, name="N", seed=0).to(dtype=dtype)
    hidden = net.dense1(RNG.standard_normal((5, 2)).astype(dtype))
    for w in (net.dense1.weight, net.dense2.weight):
        with pytest.raises(ValueError, match="loss_fn uses what linear in N.dense1 has computed before") as error:
            mg.verify(lambda: mg.mean(net.dense2(hidden) ** 2), w)
    assert "hidden = net.dense1(" in str(error.value)
    mg.mean(hidden).backward()  # the graph is still there
    cut = hidden.detach()
    mg.verify(lambda: mg.mean(net.dense2(cut) ** 2), net.dense2.weight)


def test_what_is_no_leaf():
    net = models.mlp(2, 4, 1, name="N", seed=0)
    x = mg.tensor(RNG.standard_normal((5, 2)).astype(np.float32))
    loss = lambda: mg.mean(net(x))
    for thing, what in (
        (net, r"got a Sequential: verify_all\(module\)"),
        (net.dense1(x), "got what linear in N.dense1 has computed"),
        (x, r"got a Tensor of shape \(5, 2\) without requires_grad"),
        (net.dense1.weight.data, "got ndarray: give the Tensor"),
        ("N.dense1.weight", "got str: give the Tensor"),
    ):
        with pytest.raises(ValueError, match=f"expected a leaf that requires a gradient.*{what}"):
            mg.verify(loss, thing)


@pytest.mark.parametrize("when", range(1, 7))
def test_an_exception_in_the_loss_leaves_no_trace(when):
    D, G = trained(discriminator(), generator())
    before, calls = state(D, G), []

    def loss():
        calls.append(0)
        value = d_step(D, G)
        if len(calls) == when:
            raise KeyError("mine")
        return value

    with pytest.raises(KeyError, match="mine"):
        mg.verify(loss, D.conv2.weight, n=2)
    assert len(calls) == when and state(D, G) == before
    mg.mean(D(IMAGES)).backward()


def test_an_exception_in_the_middle_of_a_layer_leaves_no_trace():
    class Bad(nn.Module):
        def forward(self, x):
            self.seen = 1
            raise KeyError("mine")

    net = nn.Sequential(nn.Dense(2, 2), nn.BatchNorm(2), Bad(), name="N")
    before = state(net)
    x = RNG.standard_normal((5, 2)).astype(np.float32)
    for check in (lambda: mg.verify(lambda: mg.mean(net(x)), net.dense1.weight), lambda: mg.verify_all(net, x)):
        with pytest.raises(KeyError, match="mine"):
            check()
        assert state(net) == before and not hasattr(net.bad1, "seen")


def test_a_backward_inside_the_loss_leaves_no_gradient():
    net = models.mlp(2, 4, 1, seed=0)
    x = RNG.standard_normal((5, 2)).astype(np.float32)
    mg.mean(net(x)).backward()
    before = state(net)

    def loss():
        mg.mean(net(x)).backward()
        return mg.mean(net(x) ** 2)

    mg.verify(loss, net.dense1.weight, n=2)
    assert state(net) == before


def test_a_graph_made_before_is_differentiable_after():
    D, G = discriminator(), generator()
    loss, twin = d_step(D, G), d_step(D, G)
    mg.verify(lambda: d_step(D, G), D.conv2.weight, n=2)
    mg.verify_all(nn.Sequential(nn.Dense(2, 2)))
    (a,), (b,) = mg.grad(loss, D.conv2.weight), mg.grad(twin, D.conv2.weight)
    assert a.dtype == np.float32 and a.data.tobytes() == b.data.tobytes()


def test_inside_in_double_everything_is_float64_and_afterwards_nothing_is():
    D = discriminator()
    before = state(D)
    with in_double():
        assert D(IMAGES).dtype == np.float64
        assert (mg.tensor(1.0) + 1.0).dtype == np.float64 and mg.exp(np.float32([1])).dtype == np.float64
        assert mg.take(IMAGES, np.array([0, 1])).shape[0] == 2  # indices are none of its business
    assert state(D) == before and D(IMAGES).dtype == np.float32


def test_on_a_device_that_converts_nothing():
    mlp = models.mlp(2, 4, 1, seed=0)
    x = mg.tensor(RNG.standard_normal((5, 2)).astype(np.float32))
    own = mg.verify(lambda: mg.mean(mg.tanh(mlp(x))), mlp.dense1.weight)
    mlp.to("strict")
    y = x.to("strict")
    result = mg.verify(lambda: mg.mean(mg.tanh(mlp(y))), mlp.dense1.weight)
    assert type(mlp.dense1.weight.data) is StrictArray and mlp.dense1.weight.dtype == np.float32
    assert [c.analytic for c in result.checks] == pytest.approx([c.analytic for c in own.checks], rel=1e-12)
    with pytest.raises(ValueError, match="verify_all: it works on the CPU, got arrays on strict"):
        mg.verify_all(mlp)


# ---- verify_all: one planted mistake is named --------------------------------------------------------------


def primitive_of(forward, rule, name="planted", aux=False):
    forward.__name__ = name
    made = primitive(forward, aux=aux)
    made.vjp("x")(rule)
    return made


def scaled(op, argument):
    """The right rule, but for a factor of 1.001 of the one gradient."""
    rule = copy(next(r for r in registry[op].rules if argument in r.names))
    right = rule.fn

    def off(*given, **params):
        found = right(*given, **params)
        if len(rule.names) == 1:
            return 1.001 * found
        factors = [1.001 if name == argument else 1.0 for name in rule.names]
        return tuple(None if g is None else f * g for f, g in zip(factors, found, strict=True))

    rule.fn = off
    return rule


def one_sign(g, out):
    """tanh, wrong in one element of thousands."""
    signs = np.ones(out.shape, out.dtype)
    signs.reshape(-1)[7] = -1
    return g * (1.0 - out * out) * signs


def right_twice(g, out):
    """The square of tanh with its value and slope, but no curvature."""
    return g * (1.0 - (2.0 * out * stop(out) - stop(out) * stop(out)))


def frozen_variance(g, x, gamma, aux, x_shape, *, eps):
    """Chainer's and DeZero's batch norm: recorded, mean and 1/σ of the forward pass are constants."""
    if aux is not None:
        return RIGHT_BATCH_NORM(g, x, gamma, aux, x_shape, eps=eps)
    g, rows = mg.reshape(g, -1, x_shape[-1]), mg.reshape(x, -1, x_shape[-1])
    mean, inv = stop(rows).mean(0), 1.0 / np.sqrt(stop(rows).var(0) + eps)
    normal = (rows - mean) * inv
    g_gamma, g_beta = mg.sum(g * normal, 0), mg.sum(g, 0)
    g_x = (gamma * inv) * (g - (g_beta + normal * g_gamma) / rows.shape[0])
    return mg.reshape(g_x, x_shape), g_gamma, g_beta


def no_statistics(g, x, gamma, aux, x_shape, *, eps):
    """A batch norm whose backward pass knows only the scale."""
    _, g_gamma, g_beta = RIGHT_BATCH_NORM(g, x, gamma, aux, x_shape, eps=eps)
    inv = 1.0 / np.sqrt(stop(x).reshape(-1, x_shape[-1]).var(0) + eps)
    return g * (gamma * inv), g_gamma, g_beta


def wrong_aux(g, x, gamma, aux, x_shape, *, eps):
    """The raw pass gets a standard deviation that is off; the recorded one computes its own."""
    aux = aux and (aux[0], aux[1] * 1.001)
    return RIGHT_BATCH_NORM(g, x, gamma, aux, x_shape, eps=eps)


def swapped_sides(g, w, x_shape, *, stride, padding):
    flipped = mg.transpose(w, 1, 0, 2, 3)
    return registry["conv_transpose"](g, flipped, stride=stride, padding=padding, size=x_shape[1:3])


def swapped(g, x, gamma, aux, x_shape, *, eps):
    """The gradients of scale and shift, one for the other: their shapes are the same."""
    g_x, g_gamma, g_beta = RIGHT_BATCH_NORM(g, x, gamma, aux, x_shape, eps=eps)
    return g_x, g_beta, g_gamma


RIGHT_BATCH_NORM = right("batch_norm", "x")
ONCE, TWICE, THRICE = "", " once differentiated again", " twice differentiated again"
D, G = "D", "G"

PLANTED = {  # network, op and argument, rule; where it must be found: layer, derivative (and another op, argument)
    "leaky_relu off by 0.001": (D, "leaky_relu", "x", scaled, "D.leakyrelu1", ONCE),
    "conv's weights off by 0.001": (D, "conv", "w", scaled, "D.conv1", ONCE),
    "conv's input off by 0.001": (D, "conv", "x", scaled, "D.conv1", ONCE),
    "linear's weights off by 0.001": (D, "linear", "w", scaled, "D.dense1", ONCE),
    "batch norm's gamma off by 0.001": (D, "batch_norm", "gamma", scaled, "D.batchnorm1", ONCE),
    "matmul's weights off by 0.001": (G, "matmul", "y", scaled, "G.dense1", ONCE),
    "relu off by 0.001": (G, "relu", "x", scaled, "G.relu1", ONCE),
    "reshape off by 0.001": (G, "reshape", "x", scaled, "G.reshape1", ONCE),
    "conv_transpose's weights off by 0.001": (G, "conv_transpose", "w", scaled, "G.convtranspose1", ONCE),
    "the gate of leaky_relu's derivative": (D, "gate", "g", scaled, "D.leakyrelu2", ONCE),
    "conv's second derivative by the input": (D, "conv_transpose", "x", scaled, "D.conv2", ONCE),
    "conv's second derivative by the weights": (D, "conv_weight_gradient", "g", scaled, "D.conv2", ONCE),
    "the root in batch norm's derivative": (D, "sqrt", "x", scaled, "D.batchnorm1", ONCE),
    "the quotient in batch norm's derivative": (D, "divide", "y", scaled, "D.batchnorm1", ONCE),
    "the variance in batch norm's derivative": (D, "var", "x", scaled, "D.batchnorm1", ONCE),
    "a sum over the batch": (D, "sum_to", "x", scaled, "D.conv1", ONCE),
    "a wrong sign in one element": (G, "tanh", "x", one_sign, "G.tanh1", ONCE),
    "right once, wrong twice": (G, "tanh", "x", lambda g, out: g * (1.0 - stop(out) ** 2), "G.tanh1", TWICE),
    "right twice, wrong thrice": (G, "tanh", "x", right_twice, "G.tanh1", THRICE),
    "a frozen variance": (D, "batch_norm", "x", frozen_variance, "D.batchnorm1", TWICE),
    "statistics ignored": (D, "batch_norm", "x", no_statistics, "D.batchnorm1", ONCE),
    "a mistake in the aux": (D, "batch_norm", "x", wrong_aux, "D.batchnorm1", ONCE),
    "an un-broadcast over a wrong axis": (D, "conv", "b", lambda g, b_shape: mg.sum(g, (1, 2, 3)), "D.conv1", ONCE),
    "swapped kernel sides": (D, "conv", "x", swapped_sides, "D.conv1", ONCE),
    "a cotangent ignored": (G, "tanh", "x", lambda g, out: 1.0 - out * out, "G.tanh1", ONCE),
    "gradients swapped": (D, "batch_norm", "gamma", swapped, "D.batchnorm1", ONCE),
    "a sign": (D, "subtract", "y", lambda g: g, "D.batchnorm1", ONCE),
    "a gradient that is not a number": (
        D,
        "leaky_relu",
        "x",
        lambda g, x, *, slope: g * float("nan"),
        "D.leakyrelu1",
        ONCE,
    ),
}


def blamed(net, *inputs, **how):
    """What verify_all finds wrong: (its lines, the first three words' facts); nothing of the network changes."""
    before = state(net)
    with pytest.raises(mg.GradientError) as error:
        mg.verify_all(net, *inputs, **how)
    assert state(net) == before
    return str(error.value).splitlines()


@pytest.mark.parametrize("which, op, argument, rule, layer, order", PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_named(which, op, argument, rule, layer, order):
    net = discriminator() if which == D else generator()
    made = scaled(op, argument) if rule is scaled else rule
    with planted(op, argument, made):
        lines = blamed(net)
    first = f"verify_all: the VJP of {op} for {argument!r} is wrong{order}"
    assert lines[0] == first if order == ONCE else lines[0].startswith(f"{first} (right in the derivative before")
    assert f"derivative {[ONCE, TWICE, THRICE].index(order) + 1} by argument" in lines[2]
    assert lines[3] == f"  in {layer}"
    code = getattr(made, "fn", made).__code__
    assert lines[-1] == f"  the rule: {code.co_filename}:{code.co_firstlineno}"
    formula = lines[1].strip()
    assert formula and formula in registry[op].__doc__


def test_a_missing_unbroadcast_is_named():
    with planted("linear", "b", lambda g, x, w, needs: (mg.matmul(g, w.T), mg.matmul(mg.transpose(x), g), g)):
        lines = blamed(discriminator())
    assert lines[0] == "the VJP of linear for 'b' returned shape (4, 1), expected (1,)"
    assert "  in D.dense1" in lines


def test_a_missing_rule_is_named():
    with planted("conv", "b", None):
        lines = blamed(discriminator())
    assert lines[0] == "conv has no VJP for 'b', which requires a gradient" and "  in D.conv1" in lines


class Turn(nn.Module):
    """Cubes, turned about their diagonal."""

    def forward(self, x):
        return mg.transpose(mg.reshape(x, 4, 4, 4), 1, 2, 0)


def test_a_permutation_instead_of_its_inverse_is_named():
    net = nn.Sequential(nn.Dense(16, 16), Turn(), nn.Tanh(), name="N")
    assert float(mg.verify_all(net)) < 1e-6
    with planted("transpose", "x", lambda g, *, axes: mg.transpose(g, *axes)):
        lines = blamed(net)
    assert lines[0] == "verify_all: the VJP of transpose for 'x' is wrong" and "  in N.turn1" in lines


def test_an_op_of_ones_own_is_named_with_its_layer_and_line():
    cube = primitive_of(lambda x: x**3, lambda g, x: 3.003 * g * x * x, "cube")

    class Cube(nn.Module):
        def forward(self, x):
            return cube(x) + x

    net = initialize(nn.Sequential(nn.Conv(1, 2, 4, 2, 1), Cube(), nn.Flatten(), nn.Dense(392, 1), name="D"), he, 0)
    lines = blamed(net, IMAGES)
    assert lines[0] == "verify_all: the VJP of cube for 'x' is wrong" and "  in D.cube1" in lines
    assert any(line.endswith("in forward") and line.startswith(f"  {__file__}:") for line in lines)
    assert "      return cube(x) + x" in lines and f"{' ' * 13}^^^^^^^" in lines


class Cut(nn.Module):
    """Divides by a deviation that is wrongly a constant; ``how`` it is cut loose."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        deviation = mg.sqrt(mg.var(x, axis=0) + 0.1)
        return x / {"detach": deviation.detach(), "data": deviation.data, "numpy": deviation.numpy()}[self.how]


@pytest.mark.parametrize("how", ["detach", "data", "numpy"])
def test_a_value_cut_loose_in_a_layer_is_that_layers_mistake(how):
    net = initialize(nn.Sequential(nn.Dense(3, 4), Cut(how), nn.Tanh(), nn.Dense(4, 1), name="N"), he, 0)
    lines = blamed(net)
    assert lines[0] == "verify_all: the gradient of N.cut1 (Cut) is wrong, though each op in it is right"
    assert "derivative 1 by argument 0 ('its input')" in lines[1] and "detach(), .data or .numpy()" in lines[2]


def test_a_weight_cut_loose_is_its_layers_mistake():
    class Frozen(nn.Dense):
        def forward(self, x):
            return self.apply(x, self.weight.detach())

    net = initialize(nn.Sequential(nn.Dense(3, 4), Frozen(4, 2), name="N"), he, 0)
    lines = blamed(net)
    assert lines[0].startswith("verify_all: the gradient of N.frozen1 (Frozen) is wrong")
    assert "('its parameters')" in lines[1]


def test_a_mistake_at_the_highest_order_is_found_only_if_asked_for():
    with planted("tanh", "x", right_twice):
        assert float(mg.verify_all(nn.Sequential(nn.Dense(2, 2), nn.Tanh()), order=2)) < 1e-6
        assert "twice differentiated again" in blamed(nn.Sequential(nn.Dense(2, 2), nn.Tanh(), name="N"), order=3)[0]


# ---- verify_all: right networks pass -----------------------------------------------------------------------

Sequential = nn.Sequential
MODELS = {
    "dcgan_discriminator": lambda: models.dcgan_discriminator(2),
    "dcgan critic": lambda: models.dcgan_discriminator(2, batch_norm=False),
    "dcgan_generator": lambda: models.dcgan_generator(3, 2),
    "deep dcgan": lambda: models.dcgan_generator(3, 1, depth=3, kernel_size=5),
    "mlp": lambda: models.mlp(2, 4, 4, 1, seed=0),
    "mlp with batch norm": lambda: models.mlp(2, 4, 4, 1, batch_norm=True, seed=0),
    "dcgan_autoencoder": lambda: models.autoencoder.dcgan_autoencoder(1, 2),
    "EBGAN": lambda: initialize(models.autoencoder.Reconstruction(models.mlp_autoencoder(3, 4), 2), he, 0),
    "BEGAN": lambda: initialize(models.autoencoder.Reconstruction(models.mlp_autoencoder(3, 4), 1), he, 0),
    "digit_classifier": lambda: models.digit_classifier(1, 3, 2),
    "spectral norm": lambda: nn.spectral_norm(models.dcgan_discriminator(2, batch_norm=False)),
    "dead units": lambda: initialize(Sequential(nn.Dense(2, 3), Dead(), nn.ReLU(), nn.Dense(3, 1)), he, 0),
}


class Dead(nn.Module):
    """All a ReLU gets is exactly 0, its kink."""

    def forward(self, x):
        return mg.relu(x - mg.relu(x)) * 2.0 + mg.abs(x[:, None] - x[None]).sum(0)


def in_modes(table, moody):
    """(name, training) of all in training, and in evaluation of those that then compute something else."""
    return [(name, True) for name in table] + [(name, False) for name in moody]


@pytest.mark.parametrize(
    "name, training",
    in_modes(MODELS, ["dcgan_discriminator", "dcgan_generator", "mlp with batch norm", "spectral norm"]),
)
def test_right_models_pass_with_guessed_inputs(name, training):
    net = MODELS[name]().train(training)
    before = state(net)
    result = mg.verify_all(net)
    assert state(net) == before
    assert float(result) <= 1e-6 and "guessed inputs (4, " in repr(result)
    wholes = {c.scope for c in result.checks if c.what is None}
    assert (net.path or type(net).__name__) in wholes  # the network itself, and each layer that does something
    called = {m.path for _, m in net.named_modules() if m._parameters and not m.path.endswith(".layer")}
    assert called <= wholes


LAYERS = {
    "Dense": (lambda: nn.Dense(3, 2), (4, 3)),
    "Conv": (lambda: nn.Conv(2, 3, 3, 2, 1), (2, 5, 5, 2)),
    "ConvTranspose": (lambda: nn.ConvTranspose(2, 3, 4, 2, 1, 1), (2, 3, 3, 2)),
    "BatchNorm": (lambda: nn.BatchNorm(3), (5, 3)),
    "LayerNorm": (lambda: nn.LayerNorm(3), (4, 3)),
    "InstanceNorm": (lambda: nn.InstanceNorm(2), (2, 3, 3, 2)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.1), (4, 3)),
    "ReLU": (lambda: nn.ReLU(), (4, 3)),
    "Tanh": (lambda: nn.Tanh(), (4, 3)),
    "Sigmoid": (lambda: nn.Sigmoid(), (4, 3)),
    "MaxPool": (lambda: nn.MaxPool(2), (2, 4, 4, 1)),
    "Flatten": (lambda: nn.Flatten(), (2, 2, 2, 1)),
    "Reshape": (lambda: nn.Reshape(3, 1), (2, 3)),
    "Dropout": (lambda: nn.Dropout(0.5), (4, 3)),
    "Embedding": (lambda: nn.Embedding(5, 3), None),
    "Pack": (lambda: nn.Pack(2), (4, 3)),
    "MinibatchDiscrimination": (lambda: nn.MinibatchDiscrimination(3, 2, 2), (4, 3)),
    "MinibatchStdDev": (lambda: nn.MinibatchStdDev(2), (4, 3)),
    "VirtualBatchNorm": (lambda: nn.VirtualBatchNorm(3, 2), (4, 3)),
    "WithReference": (
        lambda: nn.WithReference(nn.Sequential(nn.VirtualBatchNorm(2, 2)), IMAGES[:2, 0, 0:2, 0]),
        (3, 2),
    ),
    "SpectralNorm": (lambda: nn.SpectralNorm(nn.Dense(3, 2)), (4, 3)),
    "Sequential": (lambda: nn.Sequential(nn.Tanh(), nn.Sequential(nn.Tanh())), (2, 2)),
}


def test_every_layer_has_its_record():
    made = {
        name for name in nn.__all__ if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    assert made - {"Module"} == set(LAYERS)


@pytest.mark.parametrize("name, training", in_modes(LAYERS, ["BatchNorm", "Dropout", "SpectralNorm", "WithReference"]))
def test_right_layers_pass(name, training):
    """Alone, and between others."""
    make, shape = LAYERS[name]
    layer = make().train(training)
    x = np.array([0, 4, 4, 1]) if shape is None else RNG.standard_normal(shape).astype(np.float32)
    before = state(layer)
    result = mg.verify_all(layer, x)
    assert state(layer) == before
    assert float(result) <= 1e-6 and f"on inputs {x.shape}" in repr(result)
    if shape is not None and training:
        first = nn.Dense(shape[1], shape[1]) if len(shape) == 2 else nn.Conv(shape[-1], shape[-1], 1)
        net = nn.Sequential(first, layer, nn.Tanh(), name="N")
        before = state(net)
        assert float(mg.verify_all(net, x)) <= 1e-6 and state(net) == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trained_network_with_inputs_of_any_kind(dtype):
    (D,) = trained(discriminator())
    if dtype == "float64":
        D.to(dtype=dtype)
    before = state(D)
    x = IMAGES[:2].astype(dtype)
    errors = [
        float(mg.verify_all(D, a, order=1)) for a in (x, mg.tensor(x), mg.tensor(x, requires_grad=True), x.tolist())
    ]
    assert len(set(errors)) == 1 and state(D) == before


def test_several_inputs_options_outputs_and_constants():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.dense = nn.Embedding(3, 2), nn.Dense(2, 2)

        def forward(self, x, ids, *, scale):
            return self.dense(x) * self.table(ids) * scale, mg.exp(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = Both()

        def forward(self, x, ids):
            return self.both(x, ids, scale=mg.sum(x) + 2.0)[0]

    net = initialize(Outer().named("N"), he, 0)
    x, ids = RNG.standard_normal((3, 2)).astype(np.float32), np.array([0, 2, 2])
    assert float(mg.verify_all(net, x, ids)) <= 1e-6
    assert "N on inputs (3, 2) and (3,)" in repr(mg.verify_all(net, x, ids, order=1))
    with net.frozen():
        checks = mg.verify_all(net, x, ids).checks
    assert all("w" not in c.arguments for c in checks if c.what == "linear" and c.depth == 0)
    assert [p.requires_grad for p in net.parameters()] == [True] * 3
    whole = [c.arguments for c in checks if c.scope == "N.both" and c.what is None]
    assert whole == [("input 0", "its parameters")]


def test_inputs_are_guessed_from_the_first_layer():
    shapes = {
        (4, 3): nn.Sequential(nn.Dense(3, 1)),
        (4, 28, 28, 2): nn.Sequential(nn.Conv(2, 1, 4)),
        (4, 32, 32, 1): nn.Sequential(nn.Conv(1, 1, 4, 2, 1), nn.Flatten(), nn.Dense(256, 1)),
        (4, 3, 3, 1): nn.Sequential(nn.Conv(1, 1, 1), nn.Flatten(), nn.Dense(9, 1)),
        (4, 28, 28, 3): nn.Sequential(nn.ConvTranspose(3, 1, 1)),
        (4,): nn.Sequential(nn.Embedding(2, 3)),
        (4, 8, 8, 3): nn.Sequential(nn.MaxPool(2)),
    }
    for shape, net in shapes.items():
        with in_double():
            (x,) = example_inputs(net)
        assert x.shape == shape
        assert (x.dtype.kind == "i") == (len(shape) == 1)
    with in_double():
        (a,), (b,), (c,) = (example_inputs(shapes[4, 3], seed) for seed in (0, 0, 1))
    assert (a == b).all() and (a != c).all()
    dropout, modes = nn.Sequential(nn.Dense(3, 1), nn.Dropout()), []
    dropout.dropout1.hook(lambda module, inputs, output: modes.append((module.training, output.requires_grad)))
    with in_double():
        example_inputs(dropout)
    assert dropout.training and dropout.dropout1.training and dropout.dropout1.calls == 0
    assert modes == [(False, False)]  # tried in evaluation, and nothing recorded


def test_inputs_that_cannot_be_guessed():
    net = nn.Sequential(nn.Pack(3), nn.Dense(6, 1), name="N")
    before = state(net)
    with pytest.raises(
        ValueError, match=r"N: no example input of a usual shape fits it; pass one: verify_all\(N, images\)"
    ):
        mg.verify_all(net)
    assert state(net) == before
    assert float(mg.verify_all(net, RNG.standard_normal((6, 2)))) <= 1e-6


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="verify_all: expected a Module, got function"):
        mg.verify_all(lambda x: x)
    with pytest.raises(ValueError, match="order: expected an integer >= 1, got 0"):
        mg.verify_all(nn.Sequential(nn.Dense(2, 1)), order=0)


def test_hooks_and_memory():
    """A hook on a module stays, and is called; each evaluation starts from the same counters."""
    net, seen = nn.Sequential(nn.Dense(2, 2), nn.Dropout(0.5), name="N"), set()
    take_away = net.dropout1.hook(lambda module, inputs, output: seen.add(int(module.calls)))
    mg.verify_all(net, RNG.standard_normal((3, 2)))
    assert seen == {1} and net.dropout1.calls == 0
    take_away()
    assert net.dropout1.hooks == []


def test_the_result_shows_what_was_checked():
    net = initialize(nn.Sequential(nn.Dense(2, 3), nn.Tanh(), nn.Dense(3, 1), name="N"), he, 0)
    result = mg.verify_all(net)
    ops = [c for c in result.checks if c.what]
    layers = [c.scope for c in result.checks if c.what is None]
    assert {(c.scope, c.what, c.depth) for c in ops} >= {
        ("N.dense1", "linear", 0),
        ("N.tanh1", "tanh", 0),
        ("N.dense1", "matmul", 1),
        ("N.tanh1", "multiply", 1),
    }
    assert {c.depth for c in ops} == {0, 1, 2} and all(c.orders == 3 - c.depth for c in ops)
    assert sorted(layers) == ["N", "N.dense1", "N.dense2", "N.tanh1"] and layers[-1] == "N"
    assert float(result) == max(c.error for c in result.checks) > 0
    assert all(0 <= c.error <= 1e-6 for c in result.checks)
    title, head, *rows = str(result).splitlines()
    assert (
        title
        == repr(result)
        == (
            f"N on guessed inputs (4, 2): {len(ops)} ops and 4 layers are right, "
            f"the largest relative error is {float(result):.1e}"
        )
    )
    assert head.split() == "layer its ops error as a whole ops of its derivatives".split()
    assert [row.split()[0] for row in rows] == ["N.dense1", "N.tanh1", "N.dense2", "N"]
    assert rows[1].split()[1] == "tanh" and "multiply" in rows[1]
    assert result._repr_html_().count("<tr") == 5
    assert {c.what for c in mg.verify_all(net, order=1).checks if c.what} == {"linear", "tanh"}


class Reversed(nn.Module):
    """y = x with the gradient −ȳ, as in domain-adversarial training: meant, and no derivative of y."""

    def forward(self, x):
        """Any shape."""
        return 2.0 * x.detach() - x


def test_a_layer_that_is_meant_to_be_wrong_can_be_left_out():
    net = initialize(nn.Sequential(nn.Dense(2, 3), Reversed(), nn.Dense(3, 1), name="N"), he, 0)
    with pytest.raises(mg.GradientError, match=r"the gradient of N\.reversed1 .*is wrong[^!]*skip=\['N\.reversed1'\]"):
        mg.verify_all(net)
    for skip in ("N.reversed1", ["N.reversed1"]):
        scopes = {c.scope for c in mg.verify_all(net, skip=skip).checks}
        assert scopes == {"N.dense1", "N.dense2"}  # N as a whole holds it
    with pytest.raises(ValueError, match=r"skip: no layer is called 'reversed1'; there are N, N\.dense1"):
        mg.verify_all(net, skip="reversed1")


@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("apart", [0.0, 1e-4, 1.0])
def test_a_small_difference_of_large_numbers(offset, apart):
    """A critic's loss, mean D(fake) − mean D(real): what its terms are rounded by is not small beside it."""
    D = models.mlp(2, 16, 16, 1, name="D", seed=0)
    D.dense3.bias.assign([offset])
    real = RNG.standard_normal((64, 2)).astype(np.float32)
    fake = (real + apart * RNG.standard_normal((64, 2))).astype(np.float32)
    for p in D.parameters():
        result = mg.verify(lambda: mg.mean(D(fake)) - mg.mean(D(real)), p, n=4)
        assert result.single < 1  # and not 1e9 where the gradient is 0 but for rounding


def test_a_recorded_rule_that_is_not_the_raw_one():
    """Of what only the recorded pass computes, differences of the raw one tell nothing."""
    right = registry["batch_norm"].rules[0].fn

    def wrong(g, x, gamma, aux, x_shape, *, eps):
        g_x, *others = right(g, x, gamma, aux, x_shape, eps=eps)
        return [1.5 * g_x if aux is None else g_x, *others]

    with planted("batch_norm", "x", wrong), pytest.raises(mg.GradientError) as error:
        mg.verify_all(models.dcgan_discriminator(2))
    assert "the VJP of batch_norm for 'x' gives something else when it is recorded" in str(error.value)
    assert "in D.batchnorm1" in str(error.value)


def test_where_there_is_no_derivative_nothing_is_blamed():
    class Root(nn.Module):
        def forward(self, x):
            """√|x| of any shape."""
            return mg.sqrt(mg.abs(x))

    with pytest.raises(ValueError, match="no derivative to compare with"):
        mg.verify_all(Root(), np.zeros((4, 3)))
    mg.verify_all(Root(), np.ones((4, 3)))
