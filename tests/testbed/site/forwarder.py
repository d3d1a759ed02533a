"""`python -m testbed.site.forwarder`: forwards connections from the network of a site to this computer's API server."""

import argparse
import asyncio
import contextlib
import ctypes
import os
import socket

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def listen(pid: int, address: str, port: int) -> socket.socket:
    """Return a socket that listens in the network namespace of a process."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(other)
        # A socket stays in the namespace in which it was created.
        return socket.create_server((address, port), backlog=512)
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


async def forward(listener: socket.socket, port: int) -> None:
    """Forward every connection to a port of this computer until cancelled."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(back):
                async with asyncio.TaskGroup() as tasks:
                    copies = [tasks.create_task(_copy(reader, back)), tasks.create_task(_copy(there, writer))]
                    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                    for copy in copies:
                        copy.cancel()

    async with await asyncio.start_server(handle, sock=listener) as server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    """Run until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m testbed.site.forwarder", description=__doc__)
    parser.add_argument("--network-of", type=int, required=True, metavar="PID")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True, help="of the API server, in the site and on this computer")
    arguments = parser.parse_args()
    listener = listen(arguments.network_of, arguments.address, arguments.port)
    asyncio.run(forward(listener, arguments.port))


if __name__ == "__main__":
    main()
