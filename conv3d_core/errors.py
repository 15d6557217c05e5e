"""What can go wrong, said so that a person can act on it.

Every message reads ``<field or axis>: <what is wrong, with the value>; <what would work>.``
"""

from __future__ import annotations


class Conv3dError(ValueError):
    """A wrong input, explained.

    Args:
        where: what the message starts with: a parameter ("kernel_size") or an axis ("depth").
        problem: what is wrong, with the value that was given.
        remedy: what would work.
        field: the control that the message belongs to; ``where`` if not given.
        axis: "D", "H" or "W" where one axis is to blame.
        value: the value that was given.

    >>> str(SpecError("stride", "0 is below 1", "use an integer >= 1"))
    'stride: 0 is below 1; use an integer >= 1.'
    """

    def __init__(
        self,
        where: str,
        problem: str,
        remedy: str,
        *,
        field: str | None = None,
        axis: str | None = None,
        value: object = None,
    ) -> None:
        super().__init__(where, problem, remedy)
        self.field = field or where
        self.axis = axis
        self.value = value

    def __str__(self) -> str:
        where, problem, remedy = self.args
        return f"{where}: {problem}; {remedy}."


def shown(value: object) -> str:
    """A value for a message: its repr on one line, cut to 60 characters.

    >>> shown("same"), shown(10**5000)
    ("'same'", 'an integer of 16,610 bits')
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        text = (
            f"an integer of {value.bit_length():,} bits" if isinstance(value, int) else f"a huge {type(value).__name__}"
        )
    return text if len(text) <= 60 else text[:57] + "..."


class SpecError(Conv3dError):
    """The layer cannot be made: a parameter is not what ``nn.Conv3d`` takes."""


class ShapeError(Conv3dError):
    """The layer is fine, and this input does not fit it."""


class VolumeError(Conv3dError):
    """A volume cannot be read, or is not what it says it is."""


class WeightsError(Conv3dError):
    """A file of weights cannot be read, or has not what a chain needs."""


class EngineError(Conv3dError):
    """The layer and the input fit, and the machine could not compute the result."""
