"""The screens: each as it was looked at, in the characters and colours that its terminal has."""

from __future__ import annotations

import re

import pytest

from screens.pictures import CONSOLE, PICTURES, VGA, Picture, draw, path

EACH = [(picture, size) for picture in PICTURES for size in picture.sizes]
COLOUR = re.compile(r"#[0-9a-f]{6}")
FRAME = {"#292929", "#ff5f57", "#febc2e", "#28c840", "#c5c8c6"}  # the drawing's own window around the screen


@pytest.mark.parametrize(("picture", "size"), EACH, ids=[f"{one.name}-{size[0]}" for one, size in EACH])
def test_a_screen_is_as_it_was_looked_at(picture: Picture, size: tuple[int, int]) -> None:
    """And on the console it has no glyph and no colour that a console has not."""
    drawn, rows = draw(picture, size)
    assert drawn == path(picture, size).read_text(), f"{picture.name} looks different: make pictures, and look at it"
    assert len(rows) == size[1]
    assert {len(row) for row in rows} == {size[0]}
    if size == CONSOLE:
        "".join(rows).encode("cp437")
        palette = {f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in VGA.ansi_colors._colors}
        assert set(COLOUR.findall(drawn)) <= palette | FRAME
