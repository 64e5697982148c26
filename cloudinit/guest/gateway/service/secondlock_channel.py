"""A WebSocket from a browser to Jupyter, and what a browser that slept may not have of it.

What is sent to a laptop that sleeps is lost until somebody notices; Jupyter took it for sent, and
keeps only what comes later. RFC 6455 has no acknowledgement, but frames keep their order and the
answer to a ping repeats what the ping said (5.5.3): once it is here, the browser has all that was
sent before. What it may not have is kept here, and is the first that the same page is told when it
is back. Its own queue goes on behind it.
"""

import asyncio
import hashlib
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType, web

PING = 30.0  # seconds between pings where nothing is said
ANSWERED = 60.0  # seconds for the answer to one: it waits behind a large picture on a slow line
ENDS = 10.0  # seconds for Jupyter to agree to an end
MOST = 16 << 20  # bytes not known to have arrived; then Jupyter is to keep what comes
MOST_KEPT = 2 << 20  # bytes of a person's in /run, compressed
MOST_FILES = 32  # pages of theirs
GONE = (ClientError, ConnectionError, OSError, RuntimeError)  # what sending to nobody raises

Frame: TypeAlias = tuple[WSMsgType, bytes]
_HEAD = struct.Struct("!BI")


class Kept:
    """What browsers may not have, by page and kernel, in a folder that outlives a gate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def put(self, key: str, frames: Iterable[Frame]) -> None:
        """Keep these in the place of what was kept; the oldest of too many go.

        Raises OSError.
        """
        self.forget(key)
        content = zlib.compress(b"".join(_HEAD.pack(k, len(data)) + data for k, data in frames), 1)
        if len(content) > MOST_KEPT:
            return
        others = sorted(self._folder.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        size = len(content) + sum(each.stat().st_size for each in others)
        while others and (size > MOST_KEPT or len(others) >= MOST_FILES):
            size -= others[0].stat().st_size
            others.pop(0).unlink()
        self._place(key).write_bytes(content)

    def of(self, key: str) -> list[Frame]:
        """What was kept; none where there is nothing, or a kill cut it off."""
        try:
            return [*_frames(zlib.decompress(self._place(key).read_bytes()))]
        except (OSError, zlib.error):
            return []

    def forget(self, key: str) -> None:
        """It has arrived."""
        self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode()).hexdigest()


def _frames(content: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(content):
        kind, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield WSMsgType(kind), content[at : at + size]
        at += size


class Channel:
    """One WebSocket, and what of it the browser may not have."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._sent = 0  # how many of these
        self._asked: int | None = None  # for how many a ping asks that has no answer yet
        self._old = 0  # how many of these are of before
        self._forget: Callable[[], None] = lambda: None
        self._pings, self._pinged = 0, time.monotonic()
        self._more, self._stop, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._jupyter_ended = self._left = False

    async def end(self) -> None:
        """End it for another, which waits here until what is left is known."""
        self._stop.set()
        await self._over.wait()

    def over(self) -> None:
        """Nothing comes of it any more."""
        self._over.set()

    def starts_with(self, frames: Iterable[Frame], forget: Callable[[], None]) -> None:
        """What was left before; once the browser has it, `forget` is called."""
        for frame in frames:
            self._add(*frame)
        self._old, self._forget = len(self._frames), forget

    async def lead(
        self, browser: web.WebSocketResponse, jupyter: ClientWebSocketResponse
    ) -> list[Frame]:
        """Lead it until an end is gone; what is left then."""
        hears = asyncio.create_task(self._hear(jupyter))
        others: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._tell(browser)),
            asyncio.create_task(self._listen(browser, jupyter)),
            asyncio.create_task(self._look(browser)),
            asyncio.create_task(self._stop.wait()),
        }
        await asyncio.wait({hears, *others}, return_when=asyncio.FIRST_COMPLETED)
        if hears.done():  # its last words
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(others)
        await self._hear_out(jupyter, hears)
        return [] if self._left else [*self._frames]

    async def decline(self, jupyter: ClientWebSocketResponse) -> list[Frame]:
        """No browser came of it; what Jupyter took for said meanwhile is left."""
        await self._hear_out(jupyter, asyncio.create_task(self._hear(jupyter)))
        return [*self._frames]

    async def _hear_out(self, jupyter: ClientWebSocketResponse, hears: asyncio.Task[None]) -> None:
        """What is on its way; from here on Jupyter keeps what comes."""
        if not hears.done():
            await _take_leave(jupyter)
            await asyncio.wait({hears}, timeout=ENDS)
        await _cancel({hears})

    def _add(self, kind: WSMsgType, data: bytes) -> None:
        self._frames.append((kind, data))
        self._size += len(data)
        self._more.set()

    async def _hear(self, jupyter: ClientWebSocketResponse) -> None:
        leaving = False
        try:
            async for one in jupyter:
                if one.type == WSMsgType.TEXT:
                    self._add(one.type, one.data.encode())
                elif one.type == WSMsgType.BINARY:
                    self._add(one.type, one.data)
                # It would not wait for a slow browser, but hold for it what is lost with this.
                if self._size > MOST and not leaving:
                    leaving = True
                    await _take_leave(jupyter)
        finally:
            self._jupyter_ended = True
            self._more.set()

    async def _tell(self, browser: web.WebSocketResponse) -> None:
        while self._frames or not self._jupyter_ended:
            if self._sent == len(self._frames):
                self._more.clear()
                await self._more.wait()
                continue
            kind, data = self._frames[self._sent]
            await browser.send_frame(data, kind)
            self._sent += 1  # now: no ping may speak for what it overtakes
            if self._asked is None:
                await self._ask(browser)

    async def _ask(self, browser: web.WebSocketResponse) -> None:
        self._asked = self._sent
        self._pings += 1
        self._pinged = time.monotonic()
        await browser.ping(str(self._pings).encode())

    async def _listen(
        self, browser: web.WebSocketResponse, jupyter: ClientWebSocketResponse
    ) -> None:
        while True:
            one = await browser.receive()
            if one.type == WSMsgType.TEXT:
                await jupyter.send_str(one.data)
            elif one.type == WSMsgType.BINARY:
                await jupyter.send_bytes(one.data)
            elif one.type == WSMsgType.PING:
                await browser.pong(one.data)
            elif one.type == WSMsgType.PONG:
                await self._answered(browser, one.data)
            else:
                # A page that closes it has done with it; whoever just goes may come back.
                self._left = one.type == WSMsgType.CLOSE
                return

    async def _answered(self, browser: web.WebSocketResponse, said: bytes) -> None:
        """The browser has what was sent before that ping."""
        if self._asked is None or said != str(self._pings).encode():
            return
        for _ in range(self._asked):
            self._size -= len(self._frames.popleft()[1])
        if 0 < self._old <= self._asked:
            self._forget()
        self._old -= self._asked
        self._sent -= self._asked
        self._asked, self._pinged = None, time.monotonic()
        self._more.set()
        if self._sent:
            await self._ask(browser)

    async def _look(self, browser: web.WebSocketResponse) -> None:
        """Return where the browser has not answered for too long."""
        while True:
            await asyncio.sleep(1)
            silent = time.monotonic() - self._pinged
            if self._asked is not None and silent > ANSWERED:
                return
            if self._asked is None and silent > PING:
                await self._ask(browser)


async def _take_leave(jupyter: ClientWebSocketResponse) -> None:
    """As a page that is closed; what it still says is heard (RFC 6455, 5.5.1)."""
    with suppress(*GONE):
        await jupyter.send_frame(struct.pack("!H", 1000), WSMsgType.CLOSE)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
