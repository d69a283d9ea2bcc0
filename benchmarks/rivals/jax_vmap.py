"""JAX: all networks of an activation as one compiled program, vmap over networks and scan over an epoch's batches.

The axis of networks is split over as many CPU devices as there are cores: one device runs these small products on a
single core, whatever the number of networks. Shape letters: K networks, N rows, S steps, B batch, F features.
"""

import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import gcd
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array, lax
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from benchmarks.rivals.cells import Cell, Outcome, Rows, adam_of
from shared.catalog.activations import Activation
from shared.catalog.architectures import Mlp
from shared.spec import ExperimentSpec

BATCH_NORM_MOMENTUM = 0.1
BATCH_NORM_EPSILON = 1e-5

# JAX has to be told before it touches its first device. Without being told it has one, as most programs use it.
NUM_DEVICES = os.environ.get("ACTROBUST_BENCH_JAX_DEVICES")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
jax.config.update("jax_num_cpu_devices", int(NUM_DEVICES) if NUM_DEVICES else CORES)

Function = Callable[[Array, Any], Array]
FUNCTIONS: dict[str, Callable[[Any], Function]] = {
    "relu": lambda _: lambda x, _: jax.nn.relu(x),
    "leaky_relu": lambda entry: lambda x, _: jax.nn.leaky_relu(x, entry.negative_slope),
    "prelu": lambda _: lambda x, slope: jnp.where(x >= 0, x, slope * x),
    "elu": lambda entry: lambda x, _: jax.nn.elu(x, entry.alpha),
    "sigmoid": lambda _: lambda x, _: jax.nn.sigmoid(x),
    "tanh": lambda _: lambda x, _: jnp.tanh(x),
    "softsign": lambda _: lambda x, _: jax.nn.soft_sign(x),
}


class State(NamedTuple):
    """A network in training: what is learned, the statistics of batch norm, the optimiser's moments, its random key."""

    params: Any
    running: Any
    moments: Any
    key: Any


class Network:
    """Functions of one network; `vmap` makes them functions of many."""

    def __init__(self, spec: ExperimentSpec, activation: Activation) -> None:
        assert isinstance(spec.architecture, Mlp)
        assert spec.training.loss == "mse"
        assert spec.training.schedule.kind == "constant"
        adam = adam_of(spec)
        self.widths = [*spec.dataset.input_shape, *spec.architecture.hidden, 1]
        self.batch_size = spec.training.batch_size
        self.function = FUNCTIONS[activation.kind](activation)
        self.slope = getattr(activation, "init", None)
        self.optimizer = optax.chain(
            optax.add_decayed_weights(adam.weight_decay), optax.adam(adam.lr, b1=adam.betas[0], b2=adam.betas[1])
        )

    def start(self, seed: int) -> tuple[Any, Any]:
        """Weights as torch's linear layers start and fresh statistics."""
        generator = np.random.default_rng(seed)
        params: list[dict[str, Any]] = []
        running: list[dict[str, Any]] = []
        for num_in, num_out in pairwise(self.widths):
            shapes = {"weight": (num_in, num_out), "bias": (num_out,)}
            params.append({name: _uniform(generator, num_in**-0.5, shape) for name, shape in shapes.items()})
        for layer, num_out in zip(params[:-1], self.widths[1:-1], strict=True):
            layer.update(scale=np.ones(num_out, np.float32), shift=np.zeros(num_out, np.float32))
            layer.update({} if self.slope is None else {"slope": np.float32(self.slope)})
            running.append({"mean": np.zeros(num_out, np.float32), "var": np.ones(num_out, np.float32)})
        return params, running

    def epoch(self, state: State, train: tuple[Array, Array], val: tuple[Array, Array]) -> tuple[State, Array]:
        """Train on all rows in a fresh order; the new state and its validation loss."""
        key, for_order = jax.random.split(state.key)
        order_N = jax.random.permutation(for_order, len(train[1]))
        num_steps = len(order_N) // self.batch_size
        full, rest = jnp.split(order_N, [num_steps * self.batch_size])
        batches = jax.tree.map(lambda rows: rows[full].reshape(num_steps, self.batch_size, *rows.shape[1:]), train)
        state, _ = lax.scan(self._step, state._replace(key=key), batches)
        if len(rest) > 0:
            state, _ = self._step(state, jax.tree.map(lambda rows: rows[rest], train))
        outputs_N = self._evaluate(state.params, state.running, val[0])
        return state, jnp.mean((outputs_N - val[1]) ** 2)

    def _step(self, state: State, batch: tuple[Array, Array]) -> tuple[State, None]:
        gradients, running = jax.grad(self._loss, has_aux=True)(state.params, state.running, batch)
        updates, moments = self.optimizer.update(gradients, state.moments, state.params)
        return State(optax.apply_updates(state.params, updates), running, moments, state.key), None

    def _loss(self, params: Any, running: Any, batch: tuple[Array, Array]) -> tuple[Array, Any]:
        x_BF, targets_B = batch
        updated = []
        for layer, statistics in zip(params[:-1], running, strict=True):
            x_BF = x_BF @ layer["weight"] + layer["bias"]
            mean, var = x_BF.mean(axis=0), x_BF.var(axis=0)
            updated.append(_moved(statistics, mean, var * (len(x_BF) / (len(x_BF) - 1))))
            x_BF = self._activate(layer, x_BF, mean, var)
        outputs_B = (x_BF @ params[-1]["weight"] + params[-1]["bias"])[:, 0]
        return jnp.mean((outputs_B - targets_B) ** 2), updated

    def _evaluate(self, params: Any, running: Any, x_BF: Array) -> Array:
        for layer, statistics in zip(params[:-1], running, strict=True):
            x_BF = x_BF @ layer["weight"] + layer["bias"]
            x_BF = self._activate(layer, x_BF, statistics["mean"], statistics["var"])
        outputs_B: Array = (x_BF @ params[-1]["weight"] + params[-1]["bias"])[:, 0]
        return outputs_B

    def _activate(self, layer: Any, x_BF: Array, mean: Array, var: Array) -> Array:
        normal_BF = (x_BF - mean) * (lax.rsqrt(var + BATCH_NORM_EPSILON) * layer["scale"]) + layer["shift"]
        return self.function(normal_BF, layer.get("slope"))


def _uniform(generator: np.random.Generator, bound: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def _moved(statistics: Any, mean: Array, var: Array) -> dict[str, Array]:
    """Running statistics, moved towards a batch's as torch does it."""
    old, new = 1 - BATCH_NORM_MOMENTUM, BATCH_NORM_MOMENTUM
    return {"mean": old * statistics["mean"] + new * mean, "var": old * statistics["var"] + new * var}


def train(spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome:
    """Train every cell on its rows, activation by activation; each is compiled anew, which is reported."""
    places: dict[str, list[int]] = {}
    for place, cell in enumerate(cells):
        places.setdefault(cell.activation.name, []).append(place)
    val_losses: list[list[float]] = [[] for _ in cells]
    compile_s = 0.0
    for same in places.values():
        outcome = _train_together(spec, [cells[place] for place in same], [rows[place] for place in same])
        compile_s += outcome.compile_s
        for place, losses in zip(same, outcome.val_losses, strict=True):
            val_losses[place] = losses
    return Outcome(val_losses, compile_s)


def _train_together(spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome:
    split = _split_over_devices(len(cells))
    network = Network(spec, cells[0].activation)
    train_rows, val_rows = jax.device_put(_stacked(rows), split)
    state = jax.device_put(_start(network, [cell.seed for cell in cells]), split)
    began = time.perf_counter()
    # The old state's memory is taken for the new one.
    epoch = jax.jit(jax.vmap(network.epoch), donate_argnums=0).lower(state, train_rows, val_rows).compile()
    compile_s = time.perf_counter() - began
    losses_EK = []
    for _ in range(spec.training.epochs):
        state, losses_K = epoch(state, train_rows, val_rows)
        losses_EK.append(losses_K)
    return Outcome(np.stack(losses_EK, axis=1).tolist(), compile_s)


def _start(network: Network, seeds: Sequence[int]) -> State:
    """States in NumPy, stacked: each small operation outside of a program would be compiled by itself."""
    started = [network.start(seed) for seed in seeds]
    params, running = jax.tree.map(lambda *leaves: np.stack(leaves), *started)
    moments_of_one = jax.eval_shape(network.optimizer.init, started[0][0])
    moments = jax.tree.map(lambda leaf: np.zeros((len(seeds), *leaf.shape), leaf.dtype), moments_of_one)
    return State(params, running, moments, np.array([[0, seed] for seed in seeds], dtype=np.uint32))


def _stacked(rows: Sequence[Rows]) -> Any:
    train = (np.stack([each.train_inputs for each in rows]), np.stack([each.train_targets for each in rows]))
    return train, (np.stack([each.val_inputs for each in rows]), np.stack([each.val_targets for each in rows]))


def _split_over_devices(num_networks: int) -> NamedSharding:
    """The axis of networks over as many devices as divide it evenly."""
    num_devices = gcd(num_networks, len(jax.devices()))
    mesh = jax.make_mesh((num_devices,), ("networks",), devices=jax.devices()[:num_devices])
    return NamedSharding(mesh, PartitionSpec("networks"))
