"""What a session remembers: the only reader and writer of `st.session_state` and `st.query_params`.

Widgets are bound to the URL (``bind="query-params"``), so the address bar is the link that restores the state.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

import streamlit as st

from conv3d_core import Conv3dError, SpecError, VolumeError
from conv3d_core.chain.layer import Framework
from conv3d_core.edits import MAX_IN_LINK, Edits, fit, from_text, to_text
from conv3d_core.engine import Job
from conv3d_core.engine.measure import Timing
from conv3d_core.spec import Shape
from conv3d_core.volumes import Part, Volume
from conv3d_core.volumes.entry import WHOLE
from conv3d_core.volumes.formats.raw import RawLayout
from conv3d_core.volumes.isolated import InFolder, Listed, Outcome, Upload
from conv3d_core.volumes.limits import shown
from conv3d_core.weights import Conv3dWeights

_IDENTITY = "_identity"
_JOB = "_job"
_MEASUREMENT = "_measurement"
_STOPPED = "_stopped"
_UPLOAD = "_upload"
_GIVEN = "_given"
_READING = "_reading"
_IN_UPLOADER = "_in_uploader"
_PATH = "_path"
_VOLUME = "_volume"
_REQUESTED = "_requested"
_PAGE = "_page"
_SET = "_set"
_SHOWN = "_shown"
_DEFAULT = "_default_"
_EDITS = "_edits"
_EDITS_ASKED = "_edits_asked"
_EDIT_ERROR = "_edit_error"
_CHANGES = "_changes"
_REFUSED = "_refused"
_WEIGHTS = "_weights"
_WEIGHTS_ERROR = "_weights_error"
_WEIGHTS_AWAY = "_weights_away"
_WEIGHTS_ASKED = "_weights_asked"
# No widget's: the address has them all the same, and the next page too. Of a file of weights: its name, a digest, the
# layer, its layout.
_EDIT, _OF_FILE = "edit", ("wf", "wd", "wl", "wr")
# What of a digest is in a link: enough to tell other numbers.
_DIGEST_DIGITS = 12
# How many steps back there are, and of how many sources of weights the edits are kept.
_MAX_STEPS = 64

# What pages are about: those about the same have the same in their address.
Subject = Literal["layer", "chain"]


def begin() -> None:
    """Remember, on a session's first run, what its link asked for; call before any widget."""
    if _REQUESTED not in st.session_state:
        requested = {key: st.query_params.get_all(key) for key in st.query_params}
        st.session_state[_REQUESTED] = requested
        st.session_state[_EDITS_ASKED] = (requested.get(_EDIT, []), requested.get("weights"))
        st.session_state[_WEIGHTS_ASKED] = {
            key: texts[-1] for key, texts in requested.items() if key in _OF_FILE and texts
        }
        endless = [key for key, texts in requested.items() if any(_is_endless(text) for text in texts)]
        if endless:
            # Streamlit makes a float of it and then fails to make that an integer: start again without.
            for key in endless:
                del st.query_params[key]
            st.rerun()


def not_taken() -> list[str]:
    """What the link asked for and the widgets did not take, in words; said once, at the end of the first run."""
    requested: dict[str, list[str]] = st.session_state[_REQUESTED]
    st.session_state[_REQUESTED] = {}
    problems = []
    for key, texts in requested.items():
        # Only what a widget of this page took part in; our own notes begin with an underscore.
        if key not in st.session_state or key.startswith("_"):
            continue
        taken = _as_query(st.session_state[key])
        if [_plain(text) for text in texts] != taken:
            asked, shown = ",".join(texts), ",".join(taken) or "none"
            problems.append(f"link: {key}={asked} cannot be restored here; showing {shown} instead.")
    return problems


def take_along(page: str, subject: Subject = "layer") -> None:
    """Let what is set on one page be set on the next one with the same subject. Call before any widget.

    Streamlit does it by itself, but for what a link has set and nobody has touched since. What a link from another
    page asks for takes the place of all that was set.
    """
    came, st.session_state[_PAGE] = st.session_state.get(_PAGE, page), page
    if came == page:
        return
    before = _set(subject)
    if st.query_params:
        _keep_for_undo({key: before[key] for key in before if key in st.query_params})
        for key in before:
            st.session_state.pop(key, None)
        return
    for key, value in before.items():
        st.session_state[key] = value
        st.query_params[key] = _as_query(value)


def remember(subject: Subject = "layer") -> None:
    """Remember what is set, for the next page with this subject. Call behind all widgets."""
    _set(subject).clear()
    _set(subject).update({key: st.session_state[key] for key in st.query_params if key in st.session_state})


def _set(subject: Subject) -> dict[str, Any]:
    found: dict[str, Any] = st.session_state.setdefault(_SET, {}).setdefault(subject, {})
    return found


def settle(key: str, default: Any, low: int | None = None, high: int | None = None) -> None:
    """Call before a bound widget whose default or bounds move.

    Untouched, it follows its default; touched, it stays, moved to the nearest value inside the bounds.
    """
    before = st.session_state.get(f"{_DEFAULT}{key}", default)
    st.session_state[f"{_DEFAULT}{key}"] = default
    if key not in st.session_state:
        return
    value = default if st.session_state[key] == before else st.session_state[key]
    if low is not None and high is not None:
        value = tuple(_clip(v, low, high) for v in value) if isinstance(value, tuple) else _clip(value, low, high)
    if st.session_state[key] != value:
        st.session_state[key] = value


def settled(key: str) -> Any:
    """The default that `settle` was last given; None before."""
    return st.session_state.get(f"{_DEFAULT}{key}")


def choose(key: str, options: list[Any], default: Any) -> None:
    """Call before a bound choice whose options change: a choice that is gone falls back to the default."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = default


def forget(settled: tuple[str, ...], **defaults: Any) -> None:
    """Call before widgets whose choice no longer applies: they go back to their defaults.

    Args:
        settled: keys of those whose default moves, see `settle`.
        defaults: the others, with their default.
    """
    last = {key: st.session_state[f"{_DEFAULT}{key}"] for key in settled if f"{_DEFAULT}{key}" in st.session_state}
    for key, default in (last | defaults).items():
        if key in st.session_state:
            st.session_state[key] = default


def setter(**values: Any) -> Callable[[], None]:
    """A callback that sets widgets by key."""

    def assign() -> None:
        for key, value in values.items():
            put(key, value)

    return assign


def changer(**values: Any) -> Callable[[], None]:
    """A callback as `setter` gives, whose change can be taken back."""

    def change() -> None:
        _keep_for_undo({key: st.session_state[key] for key in values if key in st.session_state})
        _move(values)

    return change


def _keep_for_undo(before: dict[str, Any]) -> None:
    changes: list[dict[str, Any]] = st.session_state.setdefault(_CHANGES, [])
    if before:
        changes.append(before)
        del changes[:-_MAX_STEPS]


def has_changed() -> bool:
    """Whether there is such a change."""
    return bool(st.session_state.get(_CHANGES))


def take_back() -> None:
    """Take the last such change back. Call in a callback."""
    _move(st.session_state[_CHANGES].pop())


def _move(values: dict[str, Any]) -> None:
    """As if they had been typed, also where they stood at a default that now moves."""
    for key, value in values.items():
        put(key, value)
        st.session_state.pop(f"{_DEFAULT}{key}", None)


@contextmanager
def refusals() -> Iterator[None]:
    """In a callback: what cannot be done is kept, and told by `refused` in the run that follows."""
    try:
        yield
    except Conv3dError as error:
        st.session_state[_REFUSED] = error


def refused() -> Conv3dError | None:
    """What the callback before this run could not do; asked for once."""
    found: Conv3dError | None = st.session_state.pop(_REFUSED, None)
    return found


def triggered(key: str, name: str) -> Any:
    """What an element of our own has just sent; call in the callback that it caused."""
    return st.session_state[key][name]


def spreader(key: str, toggle: str, keys: list[str]) -> Callable[[], None]:
    """A callback for the toggle between one widget and several: whichever comes on screen starts from the other."""

    def spread() -> None:
        if st.session_state[toggle]:
            for other in keys:
                put(other, st.session_state[key])
        else:
            put(key, st.session_state[keys[0]])

    return spread


def put(key: str, value: Any) -> None:
    """Set a widget before it is drawn."""
    if key not in st.session_state:
        # Streamlit writes a value into the address only where the widget has been drawn before.
        st.query_params[key] = _as_query(value)
    st.session_state[key] = value


def show(key: str, value: Any, anew: bool = False) -> None:
    """Let a widget that is not in the address show a value; call before it is drawn.

    Args:
        key: of the widget.
        value: one of its options.
        anew: tell the browser in any case, which knows options by their words and must hear of it where those change.
    """
    if anew or st.session_state.get(key) != value:
        st.session_state[key] = value


def value(key: str) -> Any:
    """What a widget shows."""
    return st.session_state[key]


def value_or(key: str, default: Any) -> Any:
    """What a widget shows, or will show where it was not drawn yet."""
    return st.session_state.get(key, default)


class Given(NamedTuple):
    """What was handed in: a name for exactly that, what it is called, and where its bytes are."""

    token: tuple[str, ...]
    label: str
    source: Upload | InFolder


class Mine(NamedTuple):
    """The last volume that was handed in and could be read."""

    label: str
    volume: Volume


class Asked(NamedTuple):
    """What of it is to be read; see `conv3d_core.volumes.isolated.read`."""

    member: str | None
    part: Part
    raw: RawLayout | None


class Reading:
    """How the reading of what was handed in stands, and what of it is wanted.

    Attributes:
        given: what was handed in.
        entries: the arrays in it, as far as is known.
        first_choice: the one that is taken unless another is chosen; empty where none can be.
        asked: what was read last.
        part: what is wanted of the array of that name.
        raw: the layout that it is to be read in, where it has no header.
        error: why the last reading failed.
        cancelled: whether it was given up.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        self.entries: tuple[Listed, ...] = ()
        self.first_choice = ""
        self.asked: Asked | None = None
        self.part = ("", WHOLE)
        self.raw: RawLayout | None = None
        self.error: VolumeError | None = None
        self.cancelled = False

    def key(self, name: str) -> str:
        """Of a widget that belongs to what was handed in, and to nothing else."""
        return f"{name} {hash(self.given.token)}"

    def part_of(self, name: str) -> Part:
        """What is wanted of the array of that name: all of it, unless a part was asked for."""
        return self.part[1] if self.part[0] == name else WHOLE

    def keep(self, asked: Asked, outcome: Outcome) -> None:
        """What came of it."""
        self.asked, self.error = asked, outcome.error
        self.entries = outcome.entries or self.entries
        if asked.member is None and outcome.chosen:
            self.first_choice = outcome.chosen

    def want(self, **fields: Any) -> None:
        """Read it in another way: another ``part``, or as ``raw`` numbers."""
        for name, wanted in fields.items():
            setattr(self, name, wanted)
        self.cancelled = False

    def cancel(self) -> None:
        """Give it up; the process ends as the script does."""
        self.cancelled = True

    def go_on(self) -> None:
        """Read it after all."""
        self.cancelled = False


def arrived(ids: Sequence[str]) -> tuple[str, ...]:
    """Of the files in the uploader those that have come since the last run; remembers them."""
    before: tuple[str, ...] = st.session_state.get(_IN_UPLOADER, ())
    st.session_state[_IN_UPLOADER] = tuple(ids)
    return tuple(file for file in ids if file not in before)


def is_new_path(path: str | None) -> bool:
    """Whether another file of the server's folder was chosen since the last run; remembers it."""
    new = st.session_state.get(_PATH) != path
    st.session_state[_PATH] = path
    return bool(new)


def give(given: Given | None) -> None:
    """Keep what was handed in last, or forget it."""
    before = st.session_state.get(_GIVEN)
    if given is None or before is None or before.token != given.token:
        st.session_state[_GIVEN] = given
        st.session_state[_READING] = None


def given() -> Given | None:
    """What was handed in last."""
    found: Given | None = st.session_state.get(_GIVEN)
    return found


def reading(given: Given) -> Reading:
    """How its reading stands."""
    found: Reading | None = st.session_state.get(_READING)
    if found is None or found.given.token != given.token:
        found = st.session_state[_READING] = Reading(given)
    return found


def upload() -> Mine | None:
    """The last volume that was handed in and could be read."""
    found: Mine | None = st.session_state.get(_UPLOAD)
    return found


def keep_upload(mine: Mine) -> None:
    """Keep it, in the place of the one before."""
    st.session_state[_UPLOAD] = mine


def is_new_volume(name: str) -> bool:
    """Whether another volume was chosen since the last run; remembers it. The first one is not another."""
    before = st.session_state.get(_VOLUME, name)
    st.session_state[_VOLUME] = name
    return bool(before != name)


def is_new_result(key: object) -> bool:
    """Whether this result differs from the one that is on screen; remembers it."""
    new = st.session_state.get(_SHOWN) != key
    st.session_state[_SHOWN] = key
    return bool(new)


def identity() -> str:
    """A name for this session that no other has."""
    name: str = st.session_state.setdefault(_IDENTITY, uuid.uuid4().hex)
    return name


def keep_job(key: object, job: Job) -> None:
    """Keep the whole output that was asked for, on its way or there: it may be too large for the engine to remember."""
    st.session_state[_JOB] = (key, job)


def job(key: object) -> Job | None:
    """What was kept for this run; of another run nothing is."""
    kept_key, kept = st.session_state.get(_JOB, (None, None))
    if kept_key != key:
        st.session_state.pop(_JOB, None)
        return None
    found: Job | None = kept
    return found


def stop(key: object, reason: str) -> None:
    """Remember that the whole output of this run was given up, and why: it is not begun again by itself."""
    st.session_state[_STOPPED] = (key, reason)


def stopped(key: object) -> str:
    """Why the whole output of this run was given up; empty where it was not."""
    stopped_key, reason = st.session_state.get(_STOPPED, (None, ""))
    return reason if stopped_key == key else ""


def go_on() -> None:
    """Forget what was given up."""
    st.session_state.pop(_STOPPED, None)


def edits(source: Hashable, shape: Shape, as_linked: bool = True) -> Edits:
    """What was changed by hand in these weights, if anything: by the link at first, else in this session.

    Args:
        source: a name for the weights as they come.
        shape: of them (O, KD, KH, KW, I).
        as_linked: whether these can be the weights that the link was made with; until they are, its edits wait.
    """
    kept: dict[Hashable, list[Edits]] = st.session_state.setdefault(_EDITS, {})
    if source not in kept:
        kept[source] = [_edits_of_link(shape) if as_linked else ()]
        if len(kept) > _MAX_STEPS:
            del kept[next(iter(kept))]
    found = kept[source][-1]
    if not as_linked and not found and st.session_state[_EDITS_ASKED][0]:
        return found
    _put_in_link(_EDIT, to_text(found) if len(found) <= MAX_IN_LINK else "")
    return found


def edit(source: Hashable, change: Callable[[Edits], Edits]) -> None:
    """Change these weights by hand; what cannot be done is said instead, once. Call in a callback.

    Args:
        source: as in `edits`.
        change: the edits so far -> the edits after it.
    """
    kept: list[Edits] = st.session_state[_EDITS][source]
    try:
        after = change(kept[-1])
    except SpecError as error:
        st.session_state[_EDIT_ERROR] = error
        return
    if after != kept[-1]:
        kept.append(after)
        del kept[:-_MAX_STEPS]


def can_undo(source: Hashable) -> bool:
    """Whether there is a step to take back."""
    return len(st.session_state[_EDITS][source]) > 1


def undo(source: Hashable) -> None:
    """Take the last change back. Call in a callback."""
    del st.session_state[_EDITS][source][-1:]


def edit_error() -> SpecError | None:
    """Why the last change could not be done; asked for once."""
    found: SpecError | None = st.session_state.pop(_EDIT_ERROR, None)
    return found


def _edits_of_link(shape: Shape) -> Edits:
    """What the link changes, if it was made for weights like these; asked for once."""
    texts, weights = st.session_state[_EDITS_ASKED]
    st.session_state[_EDITS_ASKED] = ([], None)
    if not texts or weights != (st.query_params.get_all("weights") or None):
        return ()
    try:
        found = from_text(texts[-1])
    except SpecError:
        return ()
    if not fit(found, shape):
        return ()
    # Taken, in whatever order and notation they stood there.
    st.session_state[_REQUESTED].pop(_EDIT, None)
    return found


class Weights(NamedTuple):
    """The last file of weights that was handed in and could be read, and what is chosen of it.

    Attributes:
        name: of the file.
        form: its format.
        layers: by names that can be shown, each another one.
        layer: which is chosen.
        layout: in which it is read.
    """

    name: str
    form: Literal["npz", "safetensors"]
    layers: Mapping[str, Conv3dWeights]
    layer: str
    layout: Framework


def keep_weights(outcome: Weights | Conv3dError | None) -> None:
    """Keep what was read, or why it could not be; None is for a file taken away, the last one that was handed in.

    A browser takes the old one away before it hands the next in; if that cannot be read, the old one is back.
    """
    if isinstance(outcome, Weights):
        st.session_state[_WEIGHTS] = outcome
    st.session_state[_WEIGHTS_AWAY] = outcome is None and not st.session_state.get(_WEIGHTS_ERROR)
    st.session_state[_WEIGHTS_ERROR] = outcome if isinstance(outcome, Conv3dError) else None


def weights_file() -> Weights | None:
    """The last file of weights that was handed in and could be read, unless it was taken away."""
    if st.session_state.get(_WEIGHTS_AWAY):
        return None
    found: Weights | None = st.session_state.get(_WEIGHTS)
    return found


def weights_error() -> Conv3dError | None:
    """Why the last one could not be read."""
    found: Conv3dError | None = st.session_state.get(_WEIGHTS_ERROR)
    return found


def weights_of_link() -> WeightsOfLink:
    """Which weights the link was made with, until others are chosen."""
    asked: dict[str, str] = st.session_state[_WEIGHTS_ASKED]
    return WeightsOfLink(*(asked.get(key, "") for key in _OF_FILE))


def forget_weights_of_link() -> None:
    """Others were chosen."""
    st.session_state[_WEIGHTS_ASKED] = {}


def name_weights(weights: Weights | None) -> None:
    """Put into the link which weights it is made with; None for no file's."""
    texts = ("", "", "", "")
    if weights:
        digest = weights.layers[weights.layer].digest[:_DIGEST_DIGITS]
        texts = (shown(weights.name), digest, weights.layer, weights.layout)
    for key, text in zip(_OF_FILE, texts, strict=True):
        _put_in_link(key, text)


class WeightsOfLink(NamedTuple):
    """What a link says of weights out of a file: its name, a digest, the layer and its layout."""

    file: str
    digest: str
    layer: str
    layout: str


class Measurement:
    """Rows that were measured for a run, the steps that are left, None where none is under way, and why it failed."""

    def __init__(self, key: object, steps: Iterator[Timing] | None = None) -> None:
        self.key = key
        self.rows: list[Timing] = []
        self.steps = steps
        self.error: Conv3dError | None = None


def measurement(key: object) -> Measurement:
    """What was measured for this run; of another run nothing is kept."""
    found: Measurement | None = st.session_state.get(_MEASUREMENT)
    if found is None or found.key != key:
        found = st.session_state[_MEASUREMENT] = Measurement(key)
    return found


def begin_measurement(key: object, steps: Iterator[Timing]) -> None:
    """Measure, from the first step on."""
    st.session_state[_MEASUREMENT] = Measurement(key, steps)


def end_measurement(error: Conv3dError | None = None) -> None:
    """No further step; what was measured stays, and so does the reason."""
    st.session_state[_MEASUREMENT].steps = None
    st.session_state[_MEASUREMENT].error = error


def link() -> str:
    """The address that restores this state."""
    query = [(key, text) for key in st.query_params for text in st.query_params.get_all(key)]
    base = (st.context.url or "").split("?")[0]
    return f"{base}?{urlencode(query)}" if query else base


def _put_in_link(key: str, text: str) -> None:
    """Text into the address under a key that no widget has; empty text takes it out."""
    st.session_state[key] = text
    if text and st.query_params.get(key) != text:
        st.query_params[key] = text
    elif not text and key in st.query_params:
        del st.query_params[key]


def _clip(number: int, low: int, high: int) -> int:
    return min(max(number, low), high)


def _as_query(value: object) -> list[str]:
    """A widget's value as the address bar has it."""
    if isinstance(value, bool):
        return [str(value).lower()]
    return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]


def _is_endless(text: str) -> bool:
    """Whether a text reads as infinity or NaN, also in disguise, such as 1e999."""
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def _plain(text: str) -> str:
    """An integer as the address bar has it, so that k=03 is k=3; other text as it is."""
    try:
        return str(int(text))
    except ValueError:
        return text
