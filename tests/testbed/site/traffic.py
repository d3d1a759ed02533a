"""`python -m testbed.site.traffic serve|send`: counts the packets that are lost between two pods.

The sender sends numbered datagrams at a steady rate, and the same numbers through one TCP connection; the server
answers both. A datagram is lost if it was not answered within a second.
"""

import argparse
import asyncio
import contextlib
import json
import struct
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

PORT = 7000
LOST_AFTER = 1.0
GAP = 0.1
REPORT_EVERY = 0.2
_NUMBER = struct.Struct("!Q")


@dataclass
class Report:
    """What was sent and lost so far, datagrams of the last second left out.

    `elapsed` are the seconds since the start. `gaps` are the times without an answer of at least `GAP` seconds, with
    the time at which each ended. `stream_sent` and `stream_received` are numbers that went through the TCP connection
    and came back; `stream_broken` is why it ended, empty if it has not.
    """

    elapsed: float = 0.0
    sent: int = 0
    lost: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    stream_sent: int = 0
    stream_received: int = 0
    stream_broken: str = ""


@dataclass
class Sender(asyncio.DatagramProtocol):
    """Sends to one server and counts the answers."""

    report: Report = field(default_factory=Report)
    _pending: dict[int, float] = field(default_factory=dict)
    _answered_at: float = 0.0

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 # of the protocol
        """Count an answer."""
        if self._pending.pop(_NUMBER.unpack(data)[0], None) is not None:
            self.report.sent += 1
            self._answered()

    def error_received(self, exc: Exception) -> None:
        """An ICMP error is a lost datagram, which is counted when it is due."""

    async def send(self, host: str, rate: float) -> None:
        """Send datagrams until cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, PORT))
        self._answered_at = start = loop.time()
        number = 0
        while True:
            due_at = start + number / rate
            # The rate stays the same after a delay of this process.
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            now = loop.time()
            if now - due_at > GAP:
                # Answers have arrived that this process has had no time to read.
                self._pending = {sent: sent_at + now - due_at for sent, sent_at in self._pending.items()}
            self._count_lost(now)
            self.report.elapsed = now - start
            self._pending[number] = now
            transport.sendto(_NUMBER.pack(number))
            number += 1

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
        """Send numbers through a connection until it breaks or this is cancelled."""

        async def receive() -> None:
            while True:
                number = _NUMBER.unpack(await reader.readexactly(_NUMBER.size))[0]
                if number != self.report.stream_received:
                    raise ConnectionError(f"received {number} instead of {self.report.stream_received}")
                self.report.stream_received += 1

        receiver = asyncio.create_task(receive())
        try:
            while not receiver.done():
                writer.write(_NUMBER.pack(self.report.stream_sent))
                await writer.drain()
                self.report.stream_sent += 1
                await asyncio.sleep(1 / rate)
            await receiver
        except (OSError, asyncio.IncompleteReadError) as error:
            self.report.stream_broken = repr(error)
        finally:
            receiver.cancel()

    def _count_lost(self, now: float) -> None:
        due = [number for number, sent_at in self._pending.items() if now - sent_at > LOST_AFTER]
        for number in due:
            del self._pending[number]
        self.report.sent += len(due)
        self.report.lost += len(due)

    def _answered(self) -> None:
        now = asyncio.get_running_loop().time()
        if 0 < self._answered_at < now - GAP:
            self.report.gaps.append((time.time(), round(now - self._answered_at, 3)))
        self._answered_at = now


async def send(host: str, rate: float, file: Path) -> None:
    """Send until cancelled, and write the report to a file again and again.

    A sender that was started again does not send: what the first one has lost would be forgotten.
    """
    if file.exists():  # noqa: ASYNC240 # nothing runs yet
        raise SystemExit(f"{file} exists")
    sender, (reader, writer) = Sender(), await _connect(host)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.send(host, rate))
        tasks.create_task(sender.stream(reader, writer, rate))
        while True:
            unfinished = file.with_suffix(".new")
            unfinished.write_text(json.dumps(asdict(sender.report)))
            unfinished.replace(file)
            await asyncio.sleep(REPORT_EVERY)


async def _connect(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server, which may still be starting."""
    while True:
        try:
            return await asyncio.open_connection(host, PORT)
        except OSError:
            await asyncio.sleep(REPORT_EVERY)


class Echo(asyncio.DatagramProtocol):
    """Answers every datagram."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport for the answers."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        self._transport.sendto(data, addr)


async def serve() -> None:
    """Answer datagrams and connections until cancelled."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(1 << 12):
                writer.write(data)
                await writer.drain()

    await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("0.0.0.0", PORT))  # noqa: S104 # a pod
    async with await asyncio.start_server(echo, port=PORT) as server:
        await server.serve_forever()


def main() -> None:
    """Serve or send until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m testbed.site.traffic", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    sending = commands.add_parser("send")
    sending.add_argument("host")
    sending.add_argument("file", type=Path)
    sending.add_argument("--rate", type=float, default=50.0, help="datagrams per second")
    arguments = parser.parse_args()
    if arguments.command == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(send(arguments.host, arguments.rate, arguments.file))


if __name__ == "__main__":
    main()
