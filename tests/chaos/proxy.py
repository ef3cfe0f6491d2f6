"""A TCP proxy that breaks in the ways networks do, between a worker and its server.

It cannot withhold TCP's acknowledgements, so a black hole here is what a hung proxy or pooler looks like: keepalives
and tcp_user_timeout never notice it, and only a time-out of the worker's own does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, get_args

__all__ = ["MODES", "Mode", "Proxy"]

Mode = Literal["pass", "latency", "black_hole", "deaf", "mute", "hush", "half_open", "reset", "refuse"]
"""pass        forward
latency     delay every chunk by 100 ± 80 ms, each way
black_hole  drop everything, both ways; sockets stay open, new ones are accepted and hang
deaf        what the worker says is dropped, what the server says arrives
mute        what the server says is dropped: was my commit done?
hush        RST every connection; on new ones the server greets, and then says nothing more
half_open   the server's side of every connection is closed, the worker's stays open and silent; new ones pass
reset       RST every connection, and new ones
refuse      RST every connection, and listen no more
"""
MODES: tuple[Mode, ...] = get_args(Mode)
_READY = b"Z\x00\x00\x00\x05I"
"""The end of the server's greeting: ReadyForQuery, idle."""
PATIENCE = 15.0
"""Seconds in which a port is to become free again that some client took while nobody listened there."""
_SILENT = {"black_hole": (True, True), "deaf": (True, False), "mute": (False, True)}


class _Line:
    """One connection: the worker's side and the server's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.near_reader, self.near = reader, writer
        self.far: asyncio.StreamWriter | None = None
        self.halved = False
        self.hushed = self.muted = False

    def reset(self) -> None:
        for writer in (self.near, self.far):
            if writer is not None:
                end = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class Proxy:
    """Listens on a free port of 127.0.0.1, in a thread of its own, for as long as the `with` block lasts."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode: Mode = "pass"
        self._cue = b""
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self.port = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def swallow_answer(self, cue: bytes) -> None:
        """The next connection on which these bytes are said to the server gets no answer to them, nor any more."""
        self._cue = cue

    def point_at(self, host: str, port: int) -> None:
        """From now on there is another server behind it; who was connected is cut off."""
        self._target = (host, port)
        self.set("reset")
        self.set("pass")

    def set(self, mode: Mode) -> None:
        """Behave like this from now on, towards connections that exist and those that come."""
        asyncio.run_coroutine_threadsafe(self._change(mode), self._loop).result(20)

    @property
    def lines(self) -> int:
        """Connections that the worker's side believes in."""
        return len(self._lines)

    # ------------------------------------------------------------------------------------ on the loop

    async def _listen(self) -> None:
        end = self._loop.time() + PATIENCE
        while self._server is None:
            try:
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True)
            except OSError:
                if self._loop.time() > end:
                    raise
                await asyncio.sleep(0.1)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _change(self, mode: Mode) -> None:
        self._mode = mode
        if mode in ("reset", "refuse", "hush"):
            for line in list(self._lines):
                line.reset()
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            await self._listen()
        if mode == "half_open":
            for line in list(self._lines):
                line.halved = True
                if line.far is not None:
                    line.far.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.reset()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(reader, writer)
        if self._mode == "reset":
            return line.reset()
        self._lines.add(line)
        try:
            while self._mode in ("black_hole", "deaf"):
                await asyncio.sleep(0.02)
            far_reader, line.far = await asyncio.open_connection(*self._target)
            up = asyncio.create_task(self._pump(line, reader, line.far, upwards=True))
            down = asyncio.create_task(self._pump(line, far_reader, writer, upwards=False))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if line.halved:
                await up  # until the worker itself gives the connection up
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            line.reset()
        except asyncio.CancelledError:
            pass  # the proxy is being closed
        finally:
            self._lines.discard(line)
            for end in (writer, line.far):
                if end is not None:
                    end.close()

    async def _pump(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                drops_up, drops_down = _SILENT.get(self._mode, (False, False))
                if line.halved or line.hushed or (drops_up if upwards else drops_down or line.muted):
                    continue
                if upwards and self._cue and self._cue in data:
                    # What the worker says is passed on: the end of its transaction may come in a chunk of its own.
                    self._cue, line.muted = b"", True
                if self._mode == "latency":
                    await asyncio.sleep(random.uniform(0.02, 0.18))
                writer.write(data)
                await writer.drain()
                line.hushed = line.hushed or (self._mode == "hush" and not upwards and _READY in data)
