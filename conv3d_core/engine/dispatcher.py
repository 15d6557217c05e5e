"""From a checked request to work in the schedule: what is remembered, what others wait for already, what is new."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache

from conv3d_core.engine.blocks import Stored
from conv3d_core.engine.jobs import Job, Step, Work
from conv3d_core.engine.memory import Need, Part, gradient_grain, grain_for, need_of
from conv3d_core.engine.operands import Floats, Given, as_float32, digest_of
from conv3d_core.engine.recycler import Recycler
from conv3d_core.engine.requests import Source, Target, Weights, box_steps, gradient_steps, source_of
from conv3d_core.engine.slabs import Cut
from conv3d_core.engine.supervisor import EngineInfo, Supervisor
from conv3d_core.engine.tiles import Box, Span, box_sizes, gradient_cost
from conv3d_core.shapes import FLOAT32_BYTES
from conv3d_core.spec import ConvSpec, Triple

WHOLE: Cut = (None, None, None)
NOTHING: Box = ((0, -1), (0, -1), (0, -1))


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer with its numbers: weight (O, KD, KH, KW, I), bias (O,) or None, and what it computes in."""

    spec: ConvSpec
    weight: Floats
    bias: Floats | None
    dtype: str = "float32"


class Gradient(NamedTuple):
    """How one output voxel answers to the input.

    Attributes:
        values: (d, h, w, C) float32, over the part of its window that lies in the input.
        window: first and last input index of that part per axis, inclusive; (0, -1) where all of it is padding.
    """

    values: Floats
    window: Box


class Known(NamedTuple):
    """A result that is remembered, and how long it took to compute it."""

    output: Floats
    took_ms: float


class Plan(NamedTuple):
    """Parts of a layer's output that are wanted, where each comes from, and what that needs."""

    spec: ConvSpec
    wanted: tuple[Cut, ...]
    items: int
    sources: tuple[Source, ...]
    need: Need
    urgent: bool

    @property
    def words(self) -> str:
        """What it is, for people."""
        whole = f"{self.spec.to_mlx()} on {self.sources[0].array.shape}"
        return whole if not self.urgent else f"{len(self.wanted)} part{'s' * (len(self.wanted) > 1)} of {whole}"


class GradientPlan(NamedTuple):
    """The gradient of a box of a layer's outputs: over which part of its input, and what that needs."""

    spec: ConvSpec
    box: Box
    window: Box
    need: Need

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"gradient of {self.spec.to_mlx()}"


class Dispatcher:
    """Makes work of requests for the worker of a supervisor, and remembers so many bytes of what comes of it."""

    def __init__(self, supervisor: Supervisor, cache_bytes: int) -> None:
        self._supervisor = supervisor
        self._recycler = Recycler()
        self._cache: LRUCache[Hashable, Known] = LRUCache(cache_bytes, lambda known: known.output.nbytes)
        self._cache_lock = threading.Lock()

    def plan_whole(self, spec: ConvSpec, given: Given, dtype: str) -> Plan:
        """The whole output of every batch item."""
        return self._plan(spec, given, (WHOLE,), len(given.array), dtype, urgent=False)

    def plan_parts(self, spec: ConvSpec, given: Given, wanted: Sequence[Cut], dtype: str) -> Plan:
        """Parts of the output of batch item 0, which somebody waits for."""
        return self._plan(spec, given, tuple(wanted), 1, dtype, urgent=True)

    def submit(self, plan: Plan, layer: Layer, given: Given, session: Hashable) -> Job:
        """A job whose result is a list: for each part that is wanted (N, d, h, w, O)."""
        info, schedule = self._supervisor.feed(), self._supervisor.schedule
        key = _key(layer, given, info)
        remembered = [self._remembered(key, part) for part in plan.wanted]
        known = [each for each in remembered if each is not None]
        if len(known) == len(plan.wanted):
            schedule.supersede(session, plan.urgent)
            return Job(schedule, None, [each.output for each in known], max(each.took_ms for each in known))
        job = schedule.join((key, plan.wanted), session) if key else None
        return job or schedule.submit(self._work(plan, layer, given.digest, key), session)

    def plan_gradient(self, spec: ConvSpec, input_sizes: Triple, box: Box) -> GradientPlan:
        """The gradient of a box of outputs, each times a factor, with respect to an input of (D, H, W)."""
        if not _count(box):
            return GradientPlan(spec, box, NOTHING, Need())
        reached = [axis.window(*span) for axis, span in zip(spec.axes, box, strict=True)]
        d, h, w = (_inside(span, size) for span, size in zip(reached, input_sizes, strict=True))
        part, grain = Part(spec, box_sizes(box)), gradient_grain(self._supervisor.device)
        # What is found, and the factors: those are as many as the outputs.
        values = (_count((d, h, w)) * spec.in_channels + _count(box) * spec.out_channels) * FLOAT32_BYTES
        need = need_of(values, [part], grain, self._supervisor.lanes, gradient_cost)
        return GradientPlan(spec, box, (d, h, w), need)

    def gradient(self, plan: GradientPlan, layer: Layer, factors: Floats | None = None) -> Gradient:
        """What was planned, with the factors (d, h, w, O) of the outputs, or None for ones."""
        values = np.zeros((*box_sizes(plan.window), plan.spec.in_channels), np.float32)
        if values.size:
            store = self._supervisor.store
            weight, by = self._put_weight(layer), None if factors is None else store.put(factors)
            stored = (weight,) if by is None else (weight, by)
            steps = gradient_steps(plan.spec, plan.box, plan.need.tilings[0].sizes, weight, by, values, plan.window)
            nbytes = plan.need.total
            work = Work(plan.words, steps, _count(plan.box), lambda _: None, urgent=True, nbytes=nbytes, stored=stored)
            if work.has_step:
                self._await(work)
            else:  # each tile lies in the padding, on one side of the input or the other
                for each in stored:
                    store.unpin(each)
        return Gradient(values, plan.window)

    def raw_times_ms(self, layer: Layer, given: Given, need: Need, repeats: int) -> list[float]:
        """Times of MLX's own layer on the whole input."""
        x, weight = self._supervisor.store.put(as_float32(given.array)), self._put_weight(layer)
        arguments = {
            "spec": layer.spec,
            "x": x.reference,
            "weight": weight.reference,
            "bias": _bytes(layer.bias),
            "repeats": repeats,
        }
        times: list[float] = self.call("raw_times", arguments, need, f"timing {layer.spec.to_mlx()}", (x, weight))
        return times

    def call(
        self, operation: str, arguments: dict[str, Any], need: Need, words: str, stored: tuple[Stored, ...] = ()
    ) -> Any:
        """The answer to a single question to the worker, as soon as it is there."""
        answers: list[Any] = []
        step = Step(operation, arguments, 0, 1, answers.append)

        def finish(_: Work) -> Any:
            return answers[0]

        return self._await(Work(words, iter([step]), 1, finish, urgent=True, nbytes=need.total, stored=stored))

    def _await(self, work: Work) -> Any:
        self._supervisor.feed()
        return self._supervisor.schedule.submit(work).result()

    def _plan(
        self, spec: ConvSpec, given: Given, wanted: tuple[Cut, ...], items: int, dtype: str, urgent: bool
    ) -> Plan:
        array = given.array if given.digest else given.array[:items]
        sources = tuple(source_of(spec, array, part, whole=given.digest is not None) for part in wanted)
        # Sources of a named input share it; the others each send a slab.
        inputs = {id(source.array): source.array.size * FLOAT32_BYTES for source in sources}
        parts = [Part(source.spec, box_sizes(source.box), items) for source in sources]
        grain = grain_for(self._supervisor.device, dtype)
        need = need_of(sum(inputs.values()), parts, grain, self._supervisor.lanes)
        return Plan(spec, wanted, items, sources, need, urgent)

    def _work(self, plan: Plan, layer: Layer, digest: str | None, key: Hashable) -> Work:
        channels = layer.spec.out_channels
        outputs = [self._recycler.empty((plan.items, *box_sizes(source.box), channels)) for source in plan.sources]
        stored = self._put_inputs(plan.sources, digest)
        weights = Weights(self._put_weight(layer), _bytes(layer.bias), layer.dtype)
        targets = [
            Target(source.spec, x, source.box, tiling, output)
            for source, x, tiling, output in zip(plan.sources, stored, plan.need.tilings, outputs, strict=True)
        ]

        def finish(work: Work) -> list[Floats]:
            if key:
                for part, output in zip(plan.wanted, outputs, strict=True):
                    self._remember((key, part), Known(output, work.elapsed_ms))
            return outputs

        return Work(
            plan.words,
            box_steps(targets, weights),
            sum(_count(target.box) * plan.items for target in targets),
            finish,
            urgent=plan.urgent,
            nbytes=plan.need.total,
            stored=(*stored, weights.stored),
            key=(key, plan.wanted) if key else None,
        )

    def _put_weight(self, layer: Layer) -> Stored:
        return self._supervisor.store.put(layer.weight, f"weight {digest_of(layer.weight)}")

    def _put_inputs(self, sources: Sequence[Source], digest: str | None) -> list[Stored]:
        put = self._supervisor.store.put
        if digest:
            return [put(as_float32(source.array), f"input {digest}") for source in sources]
        return [put(as_float32(source.array)) for source in sources]

    def _remember(self, key: Hashable, known: Known) -> None:
        known.output.setflags(write=False)
        with self._cache_lock:
            if known.output.nbytes <= self._cache.maxsize:
                self._cache[key] = known

    def _remembered(self, key: Hashable, part: Cut) -> Known | None:
        """A part of an output that is known, also as a part of the whole."""
        if not key:
            return None
        with self._cache_lock:
            whole = self._cache.get((key, WHOLE))
            if whole is None or part == WHOLE:
                return self._cache.get((key, part))
        d, h, w = (slice(None) if span is None else slice(span[0], span[1] + 1) for span in part)
        return Known(whole.output[:1, d, h, w], whole.took_ms)


def _key(layer: Layer, given: Given, info: EngineInfo) -> Hashable:
    """What an output depends on; None where the input has no name."""
    if given.digest is None:
        return None
    return given.digest, layer.spec, digest_of(layer.weight), _bytes(layer.bias), layer.dtype, info.backend


def _inside(span: Span, size: int) -> Span:
    """The part of a span that lies on an axis of that size.

    >>> _inside((-2, 3), 9), _inside((-2, -1), 9)
    ((0, 3), (0, -1))
    """
    first, last = max(span[0], 0), min(span[1], size - 1)
    return (first, last) if first <= last else (0, -1)


def _count(box: Box) -> int:
    return math.prod(box_sizes(box))


def _bytes(bias: Floats | None) -> bytes | None:
    return None if bias is None else bias.tobytes()
