"""The full screen without a terminal: a finger on its keys and an eye on its text, in front of the lab's daemon.

Called by the tests of the interface. The toolkit's own pilot presses the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from appliance.requests import Requests
from appliance.tui.app import LeveeApp
from appliance.tui.box import Box
from appliance.tui.look import Look
from netlab.session import Lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

SIZE = (80, 25)
EVERY_S = 0.1
PATIENCE_S = 30.0


class Screen:
    """An interface with a finger on its keys and an eye on its text."""

    def __init__(self, app: LeveeApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    async def sees(self, *words: str, without: str = "") -> None:
        limit = asyncio.get_running_loop().time() + PATIENCE_S
        while not all(word in self.text for word in words) or (without and without in self.text):
            assert asyncio.get_running_loop().time() < limit, f"{words} is not on the screen:\n{self.text}"
            await self.pilot.pause(EVERY_S)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def choose_service(self, name: str) -> None:
        """The list of services, with this one chosen."""
        await self.press("2")
        await self.sees(f"{name} ")
        while self.app._body.key != name:
            await self.press("down")

    async def write(self, text: str) -> None:
        """In place of what the field holds."""
        await self.press("end", *["backspace"] * 40)
        await self.press(*("space" if one == " " else one for one in text))


@asynccontextmanager
async def interface(lab: Lab, requests: Requests | None = None) -> AsyncIterator[Screen]:
    app = LeveeApp(Box(lab.names.socket, requests), Look(16, letters=False, slow=True), EVERY_S)
    async with app.run_test(size=SIZE) as pilot:
        shown = Screen(app, pilot)
        await shown.sees("bridge" if lab.mode == "bridge" else lab.mode, lab.status()["engine"])
        yield shown


def run(lab: Lab, story: Callable[[Screen], Awaitable[None]], requests: Requests | None = None) -> None:
    """requests: of a box that is not this machine."""

    async def told() -> None:
        async with interface(lab, requests) as shown:
            await story(shown)

    asyncio.run(told())
