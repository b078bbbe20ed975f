"""Layers, their first and second derivatives, optimisers and a gradient penalty beside PyTorch's, in float64.

PyTorch is no dependency: without it these tests are skipped. Its functions are called on arrays laid out as
ours are (images n h w c, weights kh kw in out), with the axes moved inside: so its gradients come back in our
layout too.
"""

import numpy as np
import pytest

import minigan as mg
from minigan import nn, optim

torch = pytest.importorskip("torch")
F = torch.nn.functional
torch.set_num_threads(1)


def first(x):
    """n h w c → n c h w."""
    return torch.movedim(x, -1, 1)


def last(x):
    """n c h w → n h w c."""
    return torch.movedim(x, 1, -1)


def weight(w):
    """kh kw in out → out in kh kw (for a transposed convolution: kh kw out in → in out kh kw)."""
    return w.permute(3, 2, 0, 1)


def numbers(shape, seed=0):
    """Values on ±[0.1, 1]: none at a kink."""
    rng = np.random.default_rng([seed, *shape])
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 1.0, shape)


def same(ours, theirs, rtol=1e-9):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        b = np.zeros(a.shape) if b is None else b.detach().numpy()
        np.testing.assert_allclose(a.numpy(), b, rtol=rtol, atol=1e-11, err_msg=f"number {i}")


def compare(ours, theirs, *arrays):
    """Value, gradients of L = Σ u·y², and gradients of Σ ⟨v, those gradients⟩, with respect to all arrays."""
    mine = [mg.tensor(a, requires_grad=True) for a in arrays]
    yours = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*mine), theirs(*yours)
    same([y], [t])
    u, vs = numbers(y.shape, 5), [numbers(a.shape, 6) for a in arrays]
    g = mg.grad(mg.sum(y**2 * u), mine, create_graph=True)
    h = torch.autograd.grad((t**2 * torch.tensor(u)).sum(), yours, create_graph=True)
    same(g, h)
    second = sum(mg.sum(a * v) for a, v in zip(g, vs))
    theirs_second = sum((a * torch.tensor(v)).sum() for a, v in zip(h, vs))
    same(mg.grad(second, mine), torch.autograd.grad(theirs_second, yours, allow_unused=True))


def leaky_block(x, w, b):
    return F.leaky_relu(x @ w + b, 0.2)


def torch_conv(stride, padding):
    return lambda x, w, b=None: last(F.conv2d(first(x), weight(w), b, stride, padding))


def torch_conv_transpose(stride, padding, extra):
    return lambda x, w, b=None: last(F.conv_transpose2d(first(x), weight(w), b, stride, padding, extra))


def torch_layer_norm(x, gamma, beta):
    return F.layer_norm(x, gamma.shape, gamma, beta)


# name: (our layer, shape of x, the same of PyTorch: x and the layer's parameters in order → y)
LAYERS = {
    "dense": (lambda: nn.Dense(4, 3), (5, 4), lambda x, w, b: F.linear(x, w.T, b)),
    "dense on sequences": (lambda: nn.Dense(3, 2), (2, 4, 3), lambda x, w, b: F.linear(x, w.T, b)),
    "conv 4×4/2": (lambda: nn.Conv(2, 3, 4, stride=2, padding=1), (2, 6, 6, 2), torch_conv(2, 1)),
    "conv, odd geometry": (
        lambda: nn.Conv(2, 3, (3, 2), stride=(2, 3), padding=(2, 1)),
        (2, 6, 5, 2),
        torch_conv((2, 3), (2, 1)),
    ),
    "conv, rows left over": (lambda: nn.Conv(1, 2, 3, stride=3, bias=False), (2, 5, 7, 1), torch_conv(3, 0)),
    "conv 1×1": (lambda: nn.Conv(3, 2, 1), (2, 3, 4, 3), torch_conv(1, 0)),
    "conv_transpose 4×4/2": (
        lambda: nn.ConvTranspose(3, 2, 4, stride=2, padding=1, bias=False),
        (2, 3, 3, 3),
        torch_conv_transpose(2, 1, 0),
    ),
    "conv_transpose, output_padding": (
        lambda: nn.ConvTranspose(3, 2, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
        (2, 3, 2, 3),
        torch_conv_transpose((2, 3), (1, 0), (1, 2)),
    ),
    "batch_norm": (
        lambda: nn.BatchNorm(3),
        (6, 3),
        lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True),
    ),
    "batch_norm on images": (
        lambda: nn.BatchNorm(2),
        (2, 3, 2, 2),
        lambda x, g, b: last(F.batch_norm(first(x), None, None, g, b, training=True)),
    ),
    "batch_norm in eval": (
        lambda: nn.BatchNorm(2).eval(),
        (2, 3, 2, 2),
        lambda x, g, b: last(F.batch_norm(first(x), torch.zeros(2).double(), torch.ones(2).double(), g, b)),
    ),
    "layer_norm": (lambda: nn.LayerNorm(4), (3, 4), torch_layer_norm),
    "layer_norm on images": (lambda: nn.LayerNorm((2, 3, 2)), (2, 2, 3, 2), torch_layer_norm),
    "instance_norm": (
        lambda: nn.InstanceNorm(2),
        (2, 3, 2, 2),
        lambda x, g, b: last(F.instance_norm(first(x), weight=g, bias=b)),
    ),
    "relu": (nn.ReLU, (3, 4), F.relu),
    "leaky_relu": (lambda: nn.LeakyReLU(0.2), (3, 4), lambda x: F.leaky_relu(x, 0.2)),
    "tanh": (nn.Tanh, (3, 4), torch.tanh),
    "sigmoid": (nn.Sigmoid, (3, 4), torch.sigmoid),
    "dense and leaky_relu": (lambda: nn.Sequential(nn.Dense(4, 3), nn.LeakyReLU(0.2)), (5, 4), leaky_block),
}


@pytest.mark.parametrize("make, shape, theirs", LAYERS.values(), ids=LAYERS)
def test_layers_and_two_derivatives(make, shape, theirs):
    layer = make().to(dtype="float64")
    owners = [(m, name) for _, m in layer.named_modules() for name in m._parameters]

    def ours(x, *parameters):
        for (module, name), p in zip(owners, parameters, strict=True):
            object.__setattr__(module, name, p)
        return layer(x)

    compare(ours, theirs, numbers(shape), *(numbers(p.shape, i) for i, p in enumerate(layer.parameters())))


IDS = np.array([[2, 0, 2], [1, 2, 2]])

FUNCTIONS = {  # name: (ours, theirs, shapes)
    "softplus loss": (
        lambda real, fake: mg.mean(mg.softplus(-real)) + mg.mean(mg.softplus(fake)),
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        [(5, 1), (4, 1)],
    ),
    "softplus loss as cross entropy": (
        lambda real: mg.mean(mg.softplus(-real)),
        lambda real: F.binary_cross_entropy_with_logits(real, torch.ones_like(real)),
        [(5, 1)],
    ),
    "max_pool": (lambda x: mg.max_pool(x, 2), lambda x: last(F.max_pool2d(first(x), 2)), [(2, 4, 5, 2)]),
    "max_pool, overlapping": (
        lambda x: mg.max_pool(x, (3, 2), (2, 1), (1, 0)),
        lambda x: last(F.max_pool2d(first(x), (3, 2), (2, 1), (1, 0))),
        [(2, 5, 4, 2)],
    ),
    "average_pool": (
        lambda x: mg.average_pool(x, 2),
        lambda x: last(F.avg_pool2d(first(x), 2)),
        [(2, 4, 5, 2)],
    ),
    "average_pool, overlapping": (
        lambda x: mg.average_pool(x, (3, 2), (2, 1), (1, 0)),
        lambda x: last(F.avg_pool2d(first(x), (3, 2), (2, 1), (1, 0))),
        [(2, 5, 4, 2)],
    ),
    "upsample_nearest": (
        lambda x: mg.upsample_nearest(x, (2, 3)),
        lambda x: last(F.interpolate(first(x), scale_factor=(2, 3), mode="nearest")),
        [(2, 3, 2, 2)],
    ),
    "embedding": (lambda w: mg.take(w, IDS, axis=0), lambda w: F.embedding(torch.tensor(IDS), w), [(4, 3)]),
    "log_softmax": (lambda x: mg.log_softmax(x, axis=1), lambda x: F.log_softmax(x, dim=1), [(3, 4)]),
    "norm": (lambda x: mg.norm(x, axis=1), lambda x: torch.linalg.vector_norm(x, dim=1), [(3, 4)]),
    "matmul of batches": (lambda x, y: x @ y, lambda x, y: x @ y, [(2, 1, 3, 4), (5, 4, 2)]),
}


@pytest.mark.parametrize("ours, theirs, shapes", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_and_two_derivatives(ours, theirs, shapes):
    compare(ours, theirs, *(numbers(shape, i) for i, shape in enumerate(shapes)))


def test_running_statistics():
    ours, theirs = nn.BatchNorm(3).to(dtype="float64"), torch.nn.BatchNorm2d(3, dtype=torch.float64)
    for step in range(4):
        x = 1 + 2 * numbers((2, 4, 3, 3), step)
        same([ours(mg.tensor(x))], [last(theirs(first(torch.tensor(x))))])
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-9)
    x = numbers((2, 4, 3, 3), 9)
    same([ours.eval()(mg.tensor(x))], [last(theirs.eval()(first(torch.tensor(x))))])


# ---- optimisers --------------------------------------------------------------------------------------------

OPTIMISERS = {
    "SGD": (lambda p: optim.SGD(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ),
    "RMSProp": (
        lambda p: optim.RMSProp(p, lr=0.01, alpha=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9),
    ),
    "Adam": (lambda p: optim.Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "Adam, for GANs": (
        lambda p: optim.Adam(p, lr=0.01, beta1=0.5, eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.999), eps=1e-3),
    ),
}


@pytest.mark.parametrize("ours, theirs", OPTIMISERS.values(), ids=OPTIMISERS)
def test_twenty_steps_of_training(ours, theirs):
    net = nn.Sequential(nn.Dense(3, 5), nn.Tanh(), nn.Dense(5, 1)).to(dtype="float64")
    weights = [torch.tensor(p.numpy(), requires_grad=True) for p in net.parameters()]
    mine, yours = ours(net.parameters()), theirs(weights)
    x, target = numbers((16, 3)), numbers((16, 1))
    for _ in range(20):
        mine.zero_grad(), yours.zero_grad()
        mg.mean((net(mg.tensor(x)) - target) ** 2).backward()
        w1, b1, w2, b2 = weights
        ((torch.tanh(torch.tensor(x) @ w1 + b1) @ w2 + b2 - torch.tensor(target)) ** 2).mean().backward()
        mine.step(), yours.step()
        same(net.parameters(), weights)


# ---- WGAN-GP -----------------------------------------------------------------------------------------------


def test_gradient_penalty_and_its_weight_gradients():
    critic = nn.Sequential(
        nn.Conv(1, 3, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv(3, 4, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Dense(16, 5),
        nn.LeakyReLU(0.2),
        nn.Dense(5, 1),
    ).to(dtype="float64")
    weights = [torch.tensor(p.numpy(), requires_grad=True) for p in critic.parameters()]
    real, fake, epsilon = numbers((4, 8, 8, 1), 1), numbers((4, 8, 8, 1), 2), numbers((4, 1, 1, 1), 3) ** 2
    between = epsilon * real + (1 - epsilon) * fake

    x = mg.tensor(between, requires_grad=True)
    (g,) = mg.grad(mg.sum(critic(x)), x, create_graph=True)
    loss = mg.mean((mg.norm(mg.reshape(g, 4, -1), axis=1) - 1.0) ** 2) * 10.0
    loss = loss + mg.mean(critic(mg.tensor(fake))) - mg.mean(critic(mg.tensor(real)))
    loss.backward()

    def theirs(x):
        w1, b1, w2, b2, w3, b3, w4, b4 = weights
        h = F.leaky_relu(torch_conv(2, 1)(x, w1, b1), 0.2)
        h = F.leaky_relu(torch_conv(2, 1)(h, w2, b2), 0.2).reshape(4, -1)
        return F.leaky_relu(h @ w3 + b3, 0.2) @ w4 + b4

    t = torch.tensor(between, requires_grad=True)
    (h,) = torch.autograd.grad(theirs(t).sum(), t, create_graph=True)
    same([g], [h])
    theirs_loss = 10 * ((h.reshape(4, -1).norm(dim=1) - 1) ** 2).mean()
    theirs_loss = theirs_loss + theirs(torch.tensor(fake)).mean() - theirs(torch.tensor(real)).mean()
    theirs_loss.backward()
    same([loss], [theirs_loss])
    same([p.grad for p in critic.parameters()], [w.grad for w in weights])
