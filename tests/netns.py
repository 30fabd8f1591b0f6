"""Hosts for network tests: named network namespaces, and threads that enter them."""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=30).stdout


class Host:
    """A network namespace. What `do` runs sees its network only, its child processes as well."""

    def __init__(self) -> None:
        self.name = f"iaas-{uuid4().hex[:8]}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    @classmethod
    def of_process(cls, pid: int) -> "Host":
        """The namespace that a process is in already, named until `remove`."""
        found = cls.__new__(cls)
        found.name = f"iaas-{uuid4().hex[:8]}"
        run("ip", "netns", "attach", found.name, str(pid))
        return found

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.name, *arguments)

    def run(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.name, *command)

    def do(self, function: Callable[..., T], *arguments: Any) -> T:
        result: list[T] = []
        error: list[BaseException] = []

        def enter() -> None:
            try:
                with Path("/run/netns", self.name).open() as space:
                    if LIBC.setns(space.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                result.append(function(*arguments))
            except BaseException as failed:
                error.append(failed)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if error:
            raise error[0]
        return result[0]

    def sysctl(self, name: str, value: str = "") -> str:
        """Set `net.ipv4...` there, or read it. A bare Debian has no sysctl program."""
        path = Path("/proc/sys", *name.split("."))
        if value:
            self.do(path.write_text, value)
        return self.do(path.read_text).strip()

    def open_socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        made = self.do(socket.socket, socket.AF_INET, kind)
        made.settimeout(5)
        return made

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        made = self.open_socket()
        made.settimeout(timeout)
        try:
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        made.settimeout(5)
        return made

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)


def link(left: Host, left_name: str, right: Host, right_name: str) -> None:
    run(
        *("ip", "link", "add", left_name, "netns", left.name, "type", "veth"),
        *("peer", "name", right_name, "netns", right.name),
    )
    left.ip("link", "set", left_name, "up")
    right.ip("link", "set", right_name, "up")


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        made = []
        for _ in range(number):
            made.append(Host())
            stack.callback(made[-1].remove)
        yield made


@contextmanager
def echo(host: Host, port: int, says: str) -> Iterator[None]:
    """A server on tcp and udp that answers each line or datagram with `says` and the sender."""
    with ExitStack() as stack:
        for kind, serve in ((socket.SOCK_STREAM, _accept), (socket.SOCK_DGRAM, _receive)):
            server = stack.enter_context(host.open_socket(kind))
            server.settimeout(None)
            server.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                server.listen(512)
            stack.callback(_shut, server)
            threading.Thread(target=serve, args=(server, says), daemon=True).start()
        yield


def _shut(server: socket.socket) -> None:
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, says: str) -> None:
    with suppress(OSError):
        while True:
            client, (sender, _) = server.accept()
            text = f"{says} {sender}".encode()
            threading.Thread(target=_answer, args=(client, text), daemon=True).start()


def _answer(client: socket.socket, text: bytes) -> None:
    with client, suppress(OSError):
        while client.recv(1024):
            client.sendall(text)


def _receive(server: socket.socket, says: str) -> None:
    with suppress(OSError):
        while True:
            _, sender = server.recvfrom(1024)
            if sender is None:  # shut down
                return
            server.sendto(f"{says} {sender[0]}".encode(), sender)
