"""Look inside a GAN: every gradient of it printed, followed, drawn, checked, and caught where it breaks.

A DCGAN is trained on MNIST for some rounds, then taken apart with the tools of minigan.inspect. Look at, in the run's
folder: inside.png, the gradient on its way through the generator, and through one with a dead layer;
gradient_flow.png, what every layer was given while it trained, and how far it moved; tape.txt, a row for each op of
G's step; graph.svg, a critic with its gradient penalty, where what belongs to a second derivative has a colour of its
own (open it in a browser and click on the layers). And in what is printed at the three mistakes planted here: a dead
layer, which the tape names; a wrong derivative, which verify_all finds; an infinity, traced to its line.

    python examples/15_look_inside.py          half a minute on 2 cores
"""

import sys

from _options import chosen_steps, options

import minigan as mg
from minigan import nn
from minigan.experiment import Experiment
from minigan.games import NonFiniteError, Run, RunError
from minigan.models import dcgan_discriminator, dcgan_generator
from minigan.report import figure, save


@mg.primitive
def swish(x):
    """y = x·s with s = sigmoid x.    x̄ = ȳ·(s + y·(1 − s))"""
    return x * mg.sigmoid(x)


@swish.vjp("x")
def _(g, x, out):
    s = mg.sigmoid(x)
    return g * (s + out * s)  # the mistake: 1 − s is meant


class Swish(nn.Module):
    def forward(self, x):
        return swish(x)


def penalty(D, x):
    """A gradient penalty as one writes it at first: √Σg² has no derivative where g is 0."""
    x = mg.tensor(x, requires_grad=True)
    (g,) = mg.grad(mg.sum(D(x)), x, create_graph=True)
    length = mg.sqrt(mg.sum(g**2, axis=(1, 2, 3)))
    return mg.mean((length - 1) ** 2)


def the_way_back(game, G, batch):
    """The tape of G's loss, and the gradient's norm after each op on the way to the first weights."""
    with mg.tape() as t, game.D.frozen():
        game.objective.generator_loss(game.D(G(batch.z)), None).backward()
    return t, t.path("G.dense1.weight").hops


def draw(ways, path):
    """The norms along the way: one line a generator."""
    made, axis = figure(size=(11, 5))
    for label, hops in ways.items():
        axis.plot([hop.leaves for hop in hops], "o-", label=label)
    names = [f"{hop.entry.scope or 'loss'}: {hop.entry.op}" for hop in hops]
    axis.set_xticks(range(len(names)), names, rotation=55, ha="right", fontsize=8)
    axis.set_yscale("symlog", linthresh=1e-3, linscale=0.3)  # with a place for 0
    axis.set(title="From the loss back to G's first weights", ylabel="norm of what leaves the op", ylim=(-3e-4, 60))
    axis.legend()
    save(made, path)


def show_mistake(fn):
    """Print what minigan has to say about what ``fn`` does."""
    try:
        fn()
    except mg.MiniganError as error:
        print(error, end="\n\n")


def main():
    args = options(__doc__, steps=300, quick=20).parse_args()
    steps = chosen_steps(args)
    config = {"example": "15_look_inside", "steps": steps, "seed": args.seed, "device": args.device}
    config |= {"networks": {"name": "dcgan", "channels": 32}, "batch_size": 32}
    experiment = Experiment(config | {"gradient_flow": {"every": max(1, steps // 30)}})
    run = Run.create(experiment.config, args.out, "look-inside")
    experiment.train(run)
    game, batch = experiment.game, experiment.game.batch(steps)
    with mg.profile() as p:
        experiment.solver.step(game, steps)
    print(f"one more round\n{p}\n")

    t, as_it_is = the_way_back(game, game.G, batch)
    (run.path / "tape.txt").write_text(str(t), encoding="utf-8")
    print(t.path("G.dense1.weight"), end="\n\n")
    dying = dcgan_generator(channels=32).to(args.device)
    dying.batchnorm2.beta.assign([-100.0] * 32)
    broken, dead = the_way_back(game, dying, batch)
    print("\n".join(["with a dead layer:", *broken.findings()]), end="\n\n")
    draw({"as it is": as_it_is, "with a dead layer": dead}, run.path / "inside.png")

    print(mg.verify(lambda: game.loss("D", batch), game.D.conv2.weight, n=4), end="\n\n")
    dying.relu1 = Swish()
    show_mistake(lambda: mg.verify_all(dying))

    C, x = dcgan_discriminator(32, batch_norm=False).to(args.device), batch.real.data
    with mg.tape() as t:
        (mg.mean(C(x)) + penalty(C, x)).backward()
    t.draw(run.path / "graph.svg")
    C.dense1.weight.assign(0 * C.dense1.weight.data)  # C is constant then, and its gradient 0
    with mg.anomaly():
        show_mistake(lambda: penalty(C, x).backward())
    print(f"pictures: {run.path / 'inside.png'}, {run.path / 'gradient_flow.png'}, {run.path / 'graph.svg'}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
