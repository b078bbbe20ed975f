"""Optimisers against their equations, one parameter at a time, and the promises of the flat buffer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import backend, nn
from minigan.backend.reference import Backend
from minigan.optim import EMA, SGD, Adam, RMSProp
from tests.strict_array import no_sync

SHAPES = (3, 2), (), (4,), (2, 1, 2)


def parameters(dtype="float64", seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    made = enumerate(rng.standard_normal(s) for s in shapes)
    return [mg.tensor(w, requires_grad=True, dtype=dtype, name=f"w{i}") for i, w in made]


def gradients(step, shapes=SHAPES, dtype="float64"):
    rng = np.random.default_rng([17, step])
    return [mg.tensor((10.0 ** rng.integers(-3, 2)) * rng.standard_normal(s), dtype=dtype) for s in shapes]


def step(optimizer, grads):
    for p, g in zip(optimizer.params, grads):
        p.grad = g
    optimizer.step()


# ---- the rules as their papers state them: one array, one step (w, g, state, t) → w ------------------------


def naive_sgd(lr, momentum=0.0):
    def rule(w, g, state, t):
        state["b"] = momentum * state.get("b", 0) + g
        return w - lr * state["b"]

    return rule


def naive_rmsprop(lr, alpha=0.99, eps=1e-8):
    def rule(w, g, state, t):
        state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
        return w - lr * g / (np.sqrt(state["v"]) + eps)

    return rule


def naive_adam(lr, beta1=0.9, beta2=0.999, eps=1e-8):
    def rule(w, g, state, t):
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
        state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
        return w - lr * (state["m"] / (1 - beta1**t)) / (np.sqrt(state["v"] / (1 - beta2**t)) + eps)

    return rule


RULES = {  # name: (optimiser, naive rule)
    "SGD": (lambda p: SGD(p, lr=0.1), naive_sgd(0.1)),
    "SGD, momentum": (lambda p: SGD(p, lr=0.02, momentum=0.9), naive_sgd(0.02, 0.9)),
    "SGD, negative momentum": (lambda p: SGD(p, lr=0.1, momentum=-0.3), naive_sgd(0.1, -0.3)),
    "RMSProp": (lambda p: RMSProp(p), naive_rmsprop(1e-3)),
    "RMSProp, settings": (lambda p: RMSProp(p, lr=0.1, alpha=0.5, eps=0.1), naive_rmsprop(0.1, 0.5, 0.1)),
    "Adam": (lambda p: Adam(p), naive_adam(1e-3)),
    "Adam, for GANs": (lambda p: Adam(p, lr=2e-4, beta1=0.5), naive_adam(2e-4, 0.5)),
    "Adam, no momentum": (lambda p: Adam(p, lr=0.1, beta1=0.0, beta2=0.9), naive_adam(0.1, 0.0, 0.9)),
    "Adam, large eps": (lambda p: Adam(p, lr=0.1, eps=0.5), naive_adam(0.1, eps=0.5)),
}
rules = pytest.mark.parametrize("make, rule", RULES.values(), ids=RULES)
makers = pytest.mark.parametrize("make", [make for make, _ in RULES.values()], ids=RULES)


@rules
def test_a_hundred_steps_follow_the_equations(make, rule):
    params = parameters()
    naive, states, optimizer = [p.numpy() for p in params], [{} for _ in params], make(params)
    for t in range(1, 101):
        grads = gradients(t)
        step(optimizer, grads)
        naive = [rule(w, g.numpy(), state, t) for w, g, state in zip(naive, grads, states)]
    for p, w in zip(params, naive):
        np.testing.assert_allclose(p.numpy(), w, rtol=1e-12, atol=1e-12)
    assert optimizer.steps == 100


@rules
def test_float32_stays_float32(make, rule):
    params = parameters("float32")
    naive, states, optimizer = [p.numpy().astype(float) for p in params], [{} for _ in params], make(params)
    for t in range(1, 11):
        grads = gradients(t, dtype="float32")
        step(optimizer, grads)
        naive = [rule(w, g.numpy().astype(float), state, t) for w, g, state in zip(naive, grads, states)]
    for p, w in zip(params, naive):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.numpy(), w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_adams_first_step_has_length_lr_whatever_the_gradient(beta1, size):
    w = mg.tensor(np.zeros(4), requires_grad=True)
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    step(Adam([w], lr=0.01, beta1=beta1), [mg.tensor(size * signs)])
    np.testing.assert_allclose(w.numpy(), -0.01 * signs, rtol=1.1e-8 / size + 1e-12)


def test_a_constant_gradient_moves_adam_by_lr_at_every_step():
    """m̂ = g and v̂ = g² at every t: that is what the correction is for."""
    w = mg.tensor(np.zeros(1), requires_grad=True)
    optimizer = Adam([w], lr=0.01)
    for t in range(1, 51):
        step(optimizer, [mg.tensor(np.full(1, 3.0))])
        np.testing.assert_allclose(w.numpy(), -0.01 * t, rtol=1e-8)


@makers
def test_descends_a_quadratic_to_its_minimum(make):
    target = np.array([1.0, -2.0, 0.5])
    w = mg.tensor(np.zeros(3), requires_grad=True)
    optimizer = make([w])
    optimizer.lr = 0.02
    for i in range(1500):
        optimizer.lr = 0.02 / (1 + i / 100)
        optimizer.zero_grad()
        (0.5 * mg.sum((w - target) ** 2 * np.array([1.0, 2.0, 4.0]))).backward()
        optimizer.step()
    np.testing.assert_allclose(w.numpy(), target, atol=2e-2)


# ---- the compiled or blocked update of a backend -----------------------------------------------------------


@pytest.mark.parametrize("dtype, rtol", [("float32", 2e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("sizes", [(1,), (1000,), (4096,), (16_383, 2), (65_536, 1), (100_003,)], ids=str)
def test_adam_of_the_backend_is_the_reference_one(sizes, dtype, rtol):
    rng = np.random.default_rng(0)
    shapes = [(n,) for n in sizes]
    params = parameters(dtype, shapes=shapes)
    w, m, v = (np.concatenate([p.numpy() for p in params]), *np.zeros((2, sum(sizes)), dtype))
    optimizer = Adam(params, lr=1e-2, beta1=0.5)
    for t in range(1, 4):
        g = rng.standard_normal(sum(sizes)).astype(dtype)
        step(optimizer, [mg.tensor(part) for part in np.split(g, np.cumsum(sizes)[:-1])])
        root = (1 - 0.999**t) ** 0.5
        Backend.adam(backend.get("cpu"), w, g, m, v, 1e-2 * root / (1 - 0.5**t), 0.5, 0.999, 1e-8 * root)
        for mine, theirs in [(optimizer.flat.data, w), (optimizer.state["m"], m), (optimizer.state["v"], v)]:
            assert mine.dtype == dtype
            np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


def test_adam_on_a_piece_of_the_buffer_leaves_its_neighbours_alone():
    params = parameters("float32", shapes=[(5,), (70_001,), (5,)])
    before = [p.numpy() for p in params]
    step(Adam(params), [None, mg.tensor(np.ones(70_001, np.float32)), None])
    assert [np.array_equal(p.numpy(), b) for p, b in zip(params, before)] == [True, False, True]


# ---- parameters without a gradient -------------------------------------------------------------------------


@rules
@given(pattern=st.lists(st.lists(st.booleans(), min_size=4, max_size=4).filter(any), min_size=1, max_size=6))
def test_parameters_without_gradient_stay_put_with_their_moments(make, rule, pattern):
    params = parameters()
    naive, states, optimizer = [p.numpy() for p in params], [{} for _ in params], make(params)
    for t, present in enumerate(pattern, 1):
        grads = [g if here else None for g, here in zip(gradients(t), present)]
        step(optimizer, grads)
        for i, g in enumerate(grads):
            if g is not None:
                naive[i] = rule(naive[i], g.numpy(), states[i], t)
    for p, w, state, piece in zip(params, naive, states, optimizer.flat.slices):
        np.testing.assert_allclose(p.numpy(), w, rtol=1e-12, atol=1e-12)
        for name, array in optimizer.state.items():
            expected = state.get({"momentum_buffer": "b"}.get(name, name), np.zeros(p.shape))
            np.testing.assert_allclose(array[piece], np.ravel(expected), rtol=1e-12, atol=1e-14)


def test_zero_grad_forgets_and_steps_do_not():
    params = parameters()
    optimizer = SGD(params)
    step(optimizer, gradients(0))
    assert all(p.grad is not None for p in params)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_the_gradient_is_not_changed():
    params, grads = parameters(), gradients(0)
    kept = [g.numpy() for g in grads]
    optimizer = SGD(params, momentum=0.9)
    for _ in range(3):
        step(optimizer, grads)
    assert all(np.array_equal(g.numpy(), k) for g, k in zip(grads, kept))


# ---- one flat buffer ---------------------------------------------------------------------------------------


def assert_views(optimizer):
    flat = optimizer.flat.data
    assert flat.ndim == 1 and flat.size == sum(p.size for p in optimizer.params)
    for p, piece in zip(optimizer.params, optimizer.flat.slices):
        assert np.shares_memory(p.data, flat) or p.size == 0
        assert np.array_equal(p.data.ravel(), flat[piece])


@makers
def test_parameters_are_views_of_one_buffer(make):
    params = parameters()
    before = [(p.numpy(), p.shape, p.name) for p in params]
    optimizer = make(params)
    assert_views(optimizer)
    assert [(p.shape, p.name) for p in params] == [(shape, name) for _, shape, name in before]
    assert all(np.array_equal(p.numpy(), w) for p, (w, *_) in zip(params, before))
    step(optimizer, gradients(0))
    assert_views(optimizer)
    assert not any(np.array_equal(p.numpy(), w) for p, (w, *_) in zip(params, before))


def test_still_views_after_the_module_loads_a_state():
    net, other = nn.Dense(3, 2), nn.Dense(3, 2)
    optimizer = SGD(net.parameters(), lr=1.0)
    net.load_state_dict(other.state_dict())
    assert_views(optimizer)
    step(optimizer, [mg.tensor(np.ones((3, 2), np.float32)), mg.tensor(np.ones(2, np.float32))])
    assert np.array_equal(net.weight.numpy(), other.weight.numpy() - 1)


def test_values_that_the_user_puts_in_place_are_taken_over():
    params = parameters()
    optimizer = SGD(params, lr=1.0)
    mine = np.full((3, 2), 5.0)
    params[0].data = mine
    step(optimizer, gradients(0))
    assert_views(optimizer)
    assert np.array_equal(params[0].numpy(), mine - gradients(0)[0].numpy())
    assert np.all(mine == 5)  # and the user's own array is left alone


def test_two_optimisers_may_take_turns_on_the_same_parameters():
    params, alone = parameters(), parameters()
    first, second = SGD(params, lr=0.5), SGD(params, lr=0.25)
    for t in range(6):
        optimizer = (first, second)[t % 2]
        step(optimizer, gradients(t))
        assert_views(optimizer)
        for p, g in zip(alone, gradients(t)):
            p.assign(p.numpy() - optimizer.lr * g.numpy())
        assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(params, alone))


def test_a_new_optimiser_does_not_outdate_earlier_graphs():
    w = mg.tensor(np.array([3.0]), requires_grad=True)
    loss = mg.sum(w**2)
    SGD([w])
    loss.backward()
    assert w.grad.item() == 6


# ---- state -------------------------------------------------------------------------------------------------


@makers
def test_resumes_bit_for_bit(make, tmp_path):
    whole, first = parameters("float32"), parameters("float32")
    a, b = make(whole), make(first)
    for t in range(20):
        step(a, gradients(t, dtype="float32"))
    for t in range(10):
        step(b, gradients(t, dtype="float32"))
    np.savez(tmp_path / "o.npz", **b.state_dict())
    second = [mg.tensor(p.numpy(), requires_grad=True) for p in first]
    c = make(second)
    with np.load(tmp_path / "o.npz", allow_pickle=False) as state:
        c.load_state_dict(dict(state))
    for t in range(10, 20):
        step(c, gradients(t, dtype="float32"))
    assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(whole, second))
    assert a.steps == c.steps == 20
    assert all(np.array_equal(v, c.state_dict()[k]) for k, v in a.state_dict().items())


def test_state_dict_is_a_copy_and_loads_strictly():
    optimizer = Adam(parameters())
    step(optimizer, gradients(0))
    state = optimizer.state_dict()
    assert set(state) == {"m", "v", "steps"}
    before = {k: v.copy() for k, v in state.items()}
    state["m"][...] = 7
    assert all(np.array_equal(v, before[k]) for k, v in optimizer.state_dict().items())
    for wrong in ({"v": None}, {"m": state["m"][:2]}, {"extra": np.zeros(3)}):
        bad = {k: v for k, v in (state | wrong).items() if v is not None}
        with pytest.raises(mg.ShapeError, match="does not fit Adam"):
            optimizer.load_state_dict(bad)
        assert all(np.array_equal(v, before[k]) for k, v in optimizer.state_dict().items())
    with pytest.raises(mg.ShapeError, match="does not fit SGD"):
        SGD(parameters()).load_state_dict(state)


@makers
def test_steps_on_a_device_never_wait_for_it(make):
    def run(device):
        net = nn.Sequential(nn.Dense(3, 4), nn.LeakyReLU(), nn.Dense(4, 1))
        net = nn.init.initialize(net, nn.init.he).to(device)
        x = mg.tensor(np.ones((2, 3), np.float32), device=device)
        optimizer, ema = make(net.parameters()), EMA(net.parameters())
        for _ in range(3):
            with no_sync():
                optimizer.zero_grad()
                mg.mean(mg.softplus(net(x))).backward()
                optimizer.step()
                ema.update()
            optimizer.load_state_dict(optimizer.state_dict())
            ema.load_state_dict(ema.state_dict())
        return [*net.state_dict().values(), ema.state_dict()["mean"], *optimizer.state_dict().values()]

    for ours, host in zip(run("strict"), run("cpu"), strict=True):
        np.testing.assert_allclose(ours, host, rtol=1e-5, atol=1e-6)


# ---- stale weights -----------------------------------------------------------------------------------------


@makers
def test_the_classic_gan_mistake_is_named(make):
    D = nn.Sequential(nn.Dense(2, 4), nn.LeakyReLU(), nn.Dense(4, 1), name="D")
    G = nn.Dense(3, 2).named("G")
    d_optimizer = make(D.parameters())
    real, fake = mg.tensor(np.ones((5, 2), np.float32)), G(mg.tensor(np.ones((5, 3), np.float32)))
    d_loss = mg.mean(mg.softplus(D(fake.detach())) + mg.softplus(-D(real)))
    g_loss = mg.mean(mg.softplus(-D(fake)))
    d_loss.backward()
    d_optimizer.step()  # too early: g_loss was computed with the weights of before
    with pytest.raises(mg.StaleError) as caught:
        g_loss.backward()
    text = str(caught.value)
    assert "'D.dense2.weight' was changed in place between linear in D.dense2 and the backward" in text
    assert "d_optimizer.step()  # too early" in text and "Fix:" in text and "test_optim.py" in text
    g_loss = mg.mean(mg.softplus(-D(fake)))  # computed again after the step: right
    g_loss.backward()
    assert G.weight.grad is not None


def test_a_frozen_discriminator_goes_stale_too():
    D, G = nn.Dense(2, 1).named("D"), nn.Dense(3, 2).named("G")
    optimizer = SGD(D.parameters())
    with D.frozen():
        g_loss = mg.mean(D(G(mg.tensor(np.ones((5, 3), np.float32)))))
    mg.mean(D(mg.tensor(np.ones((5, 2), np.float32)))).backward()
    optimizer.step()
    with pytest.raises(mg.StaleError, match="changed in place between linear in D and the backward"):
        g_loss.backward()


def test_weights_that_no_gradient_needs_may_change():
    w, b = mg.tensor([2.0], requires_grad=True), mg.tensor([1.0], requires_grad=True)
    optimizer = SGD([w, b])
    loss = mg.sum(w + b)  # an addition keeps nothing
    w.grad = b.grad = mg.tensor([1.0])
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    assert w.grad.item() == b.grad.item() == 1


# ---- mistakes ----------------------------------------------------------------------------------------------


def leaf(dtype="float32", name="w"):
    return mg.tensor([1.0, 2.0], requires_grad=True, dtype=dtype, name=name)


BAD = {  # name: (what is done, the error, what its message says)
    "none": (lambda cls: cls([], lr=0.1), ValueError, "got no parameters"),
    "a constant": (lambda cls: cls([mg.tensor([1.0])], lr=0.1), ValueError, "leaf Tensors that require grad"),
    "a result": (lambda cls: cls([leaf() * 2], lr=0.1), ValueError, "leaf Tensors that require grad"),
    "an array": (lambda cls: cls([np.ones(2)], lr=0.1), ValueError, "leaf Tensors that require grad"),
    "names and Tensors": (
        lambda cls: cls(nn.Dense(1, 1).named_parameters(), lr=0.1),
        ValueError,
        "leaf Tensors",
    ),
    "repeated": (lambda cls: cls(2 * [leaf()], lr=0.1), ValueError, "listed twice"),
    "lr 0": (lambda cls: cls([leaf()], lr=0), ValueError, "lr must be positive, got 0"),
    "lr -1": (lambda cls: cls([leaf()], lr=-1.0), ValueError, "lr must be positive, got -1.0"),
    "lr nan": (lambda cls: cls([leaf()], lr=float("nan")), ValueError, "lr must be positive, got nan"),
    "two dtypes": (
        lambda cls: cls([leaf(), leaf("float64", "v")], lr=0.1),
        mg.DTypeError,
        "'w' float32, 'v' float64",
    ),
    "no gradients": (lambda cls: cls([leaf()], lr=0.1).step(), ValueError, r"call loss.backward\(\) first"),
}


@pytest.mark.parametrize("cls", [SGD, RMSProp, Adam], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("act, error, text", BAD.values(), ids=BAD)
def test_mistakes_are_named(act, error, text, cls):
    with pytest.raises(error, match=text):
        act(cls)


@pytest.mark.parametrize(
    "make", [lambda p: Adam(p, beta1=1.0), lambda p: Adam(p, beta2=-0.1), lambda p: RMSProp(p, alpha=1.0)]
)
def test_decay_rates_lie_below_one(make):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        make([leaf()])


def test_a_module_that_changed_its_dtype_needs_a_new_optimiser():
    net = nn.Dense(2, 1).named("D")
    optimizer = SGD(net.parameters())
    net.to(dtype="float64")
    mg.sum(net(mg.tensor(np.ones((1, 2))))).backward()
    with pytest.raises(
        mg.DeviceError, match="'D.weight' was moved .*float64.* after SGD was made.*then make the optim"
    ):
        optimizer.step()


def test_values_of_another_shape_are_refused():
    w = leaf()
    optimizer = SGD([w])
    w.data = np.ones(1, np.float32)
    w.grad = mg.tensor([1.0, 1.0])
    with pytest.raises(mg.ShapeError, match=r"'w' have shape \(1,\), the parameter \(2,\)"):
        optimizer.step()


# ---- the moving average ------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_ema_follows_its_formula_with_a_warm_up(decay):
    params = parameters()
    mean, ema = [p.numpy() for p in params], EMA(params, decay)
    for t in range(1, 30):
        for p, g in zip(params, gradients(t)):
            p.assign(p.numpy() + g.numpy())
        ema.update()
        d = min(decay, (1 + t) / (10 + t))
        mean = [d * m + (1 - d) * p.numpy() for m, p in zip(mean, params)]
    with ema.applied():
        for p, m in zip(params, mean):
            np.testing.assert_allclose(p.numpy(), m, rtol=1e-12, atol=1e-12)


def test_ema_starts_at_the_weights_and_does_not_follow_them_by_itself():
    params = parameters()
    start, ema = [p.numpy() for p in params], EMA(params)
    step(SGD(params), gradients(0))
    with ema.applied():
        assert all(np.array_equal(p.numpy(), w) for p, w in zip(params, start))


@pytest.mark.parametrize("error", [None, KeyError])
def test_applied_gives_the_weights_back(error):
    params = parameters()
    optimizer, ema = SGD(params), EMA(params)
    step(optimizer, gradients(0))
    ema.update()
    before = [(p.data, p.version) for p in params]
    try:
        with ema.applied():
            assert not any(p.data is data for p, (data, _) in zip(params, before))
            if error:
                raise error
    except KeyError:
        pass
    assert all(p.data is data and p.version == version for p, (data, version) in zip(params, before))
    step(optimizer, gradients(1))
    assert_views(optimizer)


def test_a_graph_on_averaged_weights_goes_stale_with_the_average_and_not_with_the_weights():
    w = mg.tensor([2.0], requires_grad=True, name="w")
    ema = EMA([w])
    with ema.applied():
        right, wrong = mg.sum(w**2), mg.sum(w**2)
    w.assign([5.0])
    right.backward()
    assert w.grad.item() == 4  # 2·2: of the average
    ema.update()
    with pytest.raises(mg.StaleError, match="'w' was changed in place"):
        wrong.backward()
    with ema.applied():
        wrong = mg.sum(w**2)
    ema.update()  # once more, while the weights rest
    with pytest.raises(mg.StaleError, match="ema.update"):
        wrong.backward()


def test_applying_an_average_does_not_outdate_a_graph_on_the_weights():
    w = mg.tensor([2.0], requires_grad=True)
    ema, loss = EMA([w]), mg.sum(w**2)
    with ema.applied():
        pass
    ema.update()
    loss.backward()
    assert w.grad.item() == 4


def test_ema_state_round_trip():
    params = parameters("float32")
    whole = EMA(params, 0.9)
    for t in range(5):
        step(SGD(params), gradients(t, dtype="float32"))
        whole.update()
    resumed = EMA(params, 0.9)
    state = whole.state_dict()
    resumed.load_state_dict(state)
    state["mean"][...] = 7  # a copy
    for ema in (whole, resumed):
        ema.update()
    assert np.array_equal(whole.flat.data, resumed.flat.data) and whole.steps == resumed.steps == 6
    with pytest.raises(mg.ShapeError, match="this average has 2 numbers, the network 15"):
        whole.load_state_dict({"mean": np.zeros(2), "steps": 0})


@pytest.mark.parametrize("make, text", [(lambda: EMA([]), "no parameters"), (lambda: EMA([leaf()], 1.0), "decay")])
def test_ema_refuses_bad_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_no_optimiser_moves_the_averaged_weights():
    net = mg.nn.Dense(2, 1)
    sgd, ema = SGD(net.parameters(), lr=0.1), EMA(net.parameters())
    mg.sum(net(np.ones((1, 2), "float32"))).backward()
    own = net.weight.numpy()
    with pytest.raises(ValueError, match="EMA.applied"), ema.applied():
        sgd.step()
    assert np.array_equal(net.weight.numpy(), own)


def test_an_average_of_moved_weights_is_refused():
    net = mg.nn.Dense(2, 1)
    ema = EMA(net.parameters())
    net.to(dtype="float64")
    for use in (ema.update, lambda: ema.applied().__enter__()):
        with pytest.raises(mg.DeviceError, match="after EMA was made"):
            use()


def test_loading_an_average_is_noticed_by_graphs_that_used_it():
    net = mg.nn.Dense(2, 1)
    ema = EMA(net.parameters())
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    with ema.applied():
        y = mg.sum(mg.square(net(x)))
    ema.load_state_dict({"mean": np.zeros(3), "steps": np.array(1)})
    with pytest.raises(mg.StaleError):
        mg.grad(y, x)


def test_a_misshapen_gradient_is_refused_before_anything_moves():
    w, v = (mg.tensor([1.0, 2.0], requires_grad=True, name=n) for n in "wv")
    sgd = SGD([w, v], lr=0.1)
    w.grad, v.grad = mg.tensor([1.0, 1.0]), mg.tensor([1.0])
    with pytest.raises(mg.ShapeError, match="gradient of 'v' has shape"):
        sgd.step()
    assert w.numpy().tolist() == [1, 2] and sgd.steps == 0


def test_a_state_that_cannot_be_read_changes_nothing():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    adam, ema = Adam([w]), EMA([w])
    with pytest.raises(ValueError):
        adam.load_state_dict({"m": np.ones(2), "v": np.ones(2), "steps": np.array(np.nan)})
    with pytest.raises(ValueError):
        ema.load_state_dict({"mean": np.zeros(2), "steps": np.array(np.nan)})
    assert adam.state["m"].tolist() == [0, 0] and ema.state_dict()["mean"].tolist() == [1, 2]
