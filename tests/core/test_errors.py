"""Errors as values: one base class, one form of message, and fields that survive the way between processes."""

import copy
import pickle

import pytest

from conv3d_core import Conv3dError, EngineError, ShapeError, SpecError, VolumeError
from conv3d_core.errors import shown

KINDS = [SpecError, ShapeError, VolumeError, EngineError]


@pytest.mark.parametrize("kind", KINDS)
def test_message_and_fields(kind: type[Conv3dError]) -> None:
    error = kind("depth", "5 is too large", "use 3", field="kernel_size", axis="D", value=5)
    assert str(error) == "depth: 5 is too large; use 3."
    assert (error.field, error.axis, error.value) == ("kernel_size", "D", 5)
    assert isinstance(error, Conv3dError)
    assert isinstance(error, ValueError)


def test_the_field_is_what_the_message_begins_with_unless_given() -> None:
    error = SpecError("stride", "0 is below 1", "use an integer >= 1")
    assert (error.field, error.axis, error.value) == ("stride", None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("carry", [lambda error: pickle.loads(pickle.dumps(error)), copy.deepcopy])
def test_an_error_survives_the_way_from_another_process(kind, carry) -> None:  # type: ignore[no-untyped-def]
    error = carry(kind("depth", "5 is too large", "use 3", field="kernel_size", axis="D", value=(5, 1)))
    assert type(error) is kind
    assert str(error) == "depth: 5 is too large; use 3."
    assert (error.field, error.axis, error.value) == ("kernel_size", "D", (5, 1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("same", "'same'"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        ("two\nlines", "'two\\nlines'"),
        (10**5000, "an integer of 16,610 bits"),
        ((1, 10**5000), "a huge tuple"),
    ],
    ids=["number", "text", "long", "lines", "huge", "huge within"],
)
def test_a_value_in_a_message_is_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 60
