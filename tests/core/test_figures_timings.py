"""A measurement as rows and bars, by value."""

from __future__ import annotations

from conv3d_core.figures.timings import timings_figure, timings_info

FOUND = [
    ("nn.Conv3d at once", "CPU", 800.0, 1.0, ""),
    ("whole volume in tiles", "CPU", 50.0, 16.0, ""),
    ("one plane", "CPU", 1.6, 9.0, ""),
    ("nn.Conv3d at once", "GPU", None, None, "memory: too much"),
    ("whole volume in tiles", "GPU", 4.0, 200.0, ""),
]


def test_each_row_is_held_against_the_first_of_its_device() -> None:
    rows = timings_info(FOUND)
    assert [row.against for row in rows] == [1.0, 16.0, 500.0, None, None]
    assert [row.time for row in rows] == ["800 ms", "50 ms", "1.6 ms", "not run", "4.0 ms"]
    assert rows[3].note == "memory: too much"


def test_bars_hold_what_ran_and_name_the_device_where_there_are_several() -> None:
    (bar,) = timings_figure(timings_info(FOUND)).data
    assert list(bar.x) == [800.0, 50.0, 1.6, 4.0]
    assert list(bar.y) == [
        "nn.Conv3d at once (CPU)",
        "whole volume in tiles (CPU)",
        "one plane (CPU)",
        "whole volume in tiles (GPU)",
    ]
    figure = timings_figure(timings_info(FOUND[:3]))
    assert list(figure.data[0].y) == ["nn.Conv3d at once", "whole volume in tiles", "one plane"]
    assert figure.layout.xaxis.type == "log"
    assert figure.data[0].marker.color[0] != figure.data[0].marker.color[1]
