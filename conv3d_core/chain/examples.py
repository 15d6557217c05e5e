"""Networks to begin with: texts as people paste them, each with the mistake that its name says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Example(NamedTuple):
    """A text that states its input, what it is an example of, and the code of the finding that it must get, if any."""

    purpose: str
    finding: str
    text: str


EXAMPLES: Mapping[str, Example] = MappingProxyType(
    {
        "Kernel too wide": Example(
            "A layer that raises, and MLX's message does not speak of dilation.",
            "kernel-too-large",
            """\
import mlx.core as mx
import mlx.nn as nn

model = nn.Sequential(
    nn.Conv3d(1, 8, kernel_size=3, stride=2),
    nn.ReLU(),
    nn.Conv3d(8, 16, kernel_size=3, dilation=4),  # fails
)
y = model(mx.zeros((1, 16, 64, 64, 1)))
""",
        ),
        "Channels first": Example(
            "PyTorch's order of axes given to MLX.",
            "channels-first",
            """\
conv = nn.Conv3d(1, 8, kernel_size=3, padding=1)
y = conv(mx.zeros((1, 1, 32, 32, 32)))
""",
        ),
        "Memory garbage": Example(
            "A layer that cannot be computed, and MLX says nothing.",
            "stride-hole",
            """\
conv = nn.Conv3d(1, 1, kernel_size=3, stride=2)
y = conv(mx.zeros((1, 2, 2, 2, 1)))
""",
        ),
        "Off by one": Example(
            "An odd size that does not come back through a decoder.",
            "unet-off-by-one",
            """\
import mlx.core as mx
import mlx.nn as nn

class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv3d(1, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose3d(16, 8, 2, stride=2)

    def __call__(self, x):
        return self.up(nn.relu(self.down(x)))

y = UNet()(mx.zeros((1, 15, 32, 32, 1)))
""",
        ),
        "Linear's size": Example(
            "PyTorch, and a number that was guessed.",
            "linear-size",
            """\
import torch
import torch.nn as nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv3d(1, width, 3)
        self.pool = nn.MaxPool3d(2)
        self.conv2 = nn.Conv3d(width, 2 * width, 3)
        self.fc = nn.Linear(16 * 5 * 5 * 5, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(x.flatten(1))

y = Net()(torch.zeros(1, 1, 32, 32, 32))
""",
        ),
        "A stem that works": Example(
            "The first layers of a video network.",
            "",
            """\
import torch
from torch import nn

stem = nn.Sequential(
    nn.Conv3d(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
    nn.BatchNorm3d(64),
    nn.ReLU(inplace=True),
    nn.MaxPool3d(3, stride=2, padding=1),
)
y = stem(torch.zeros(1, 3, 16, 112, 112))
""",
        ),
    }
)
