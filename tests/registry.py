"""A real registry on a loopback port, which dockerd takes without TLS, and images in it."""

import fcntl
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
from docker.errors import APIError

from manifests.kinds.image import ImageFormat
from manifests.scalars import Sha256
from manifests.wire import ImageRef
from tests import docker_images

NOBODY = "nobody:$2y$05$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n"
START = 20.0


def program() -> Path:
    """Debian's registry, unpacked and not installed, which would make a service of it."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iaas-tests"
    folder.mkdir(parents=True, exist_ok=True)
    found = folder / "docker-registry" / "usr" / "bin" / "docker-registry"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _unpack("docker-registry", folder / "docker-registry")
    return found


def _unpack(package: str, folder: Path) -> None:
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    with tempfile.TemporaryDirectory() as work:
        # The list of packages may be missing, or older than what the mirror still has.
        if subprocess.run(download, cwd=work, check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "-qq", "update"], check=True, timeout=240)
            subprocess.run(download, cwd=work, check=True, timeout=240)
        (file,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", file, folder], check=True, timeout=60)


class Registry:
    """`users`: only for those who log in, which nobody can."""

    def __init__(self, root: Path, *, users: bool = False) -> None:
        self._root = root
        self._root.mkdir(exist_ok=True)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._engine = docker.from_env()
        self.close_to_all(users)

    def close_to_all(self, closed: bool) -> None:
        """From its next start on."""
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self._root / "data")}},
            "http": {"addr": self.host},
        }
        if closed:
            users = self._root / "users"
            users.write_text(NOBODY)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
        (self._root / "config.yml").write_text(json.dumps(config))  # which is YAML

    def start(self) -> None:
        with (self._root / "log").open("a") as log:
            self._process = subprocess.Popen(
                [program(), "serve", str(self._root / "config.yml")],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START
        while not self._answers():
            assert time.monotonic() < deadline, (self._root / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START)
            self._process = None

    def close(self) -> None:
        self.stop()
        self._engine.close()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.host}/", timeout=5).close()
        except OSError as error:
            return isinstance(error, urllib.error.HTTPError)
        return True

    def push(self, name: str, tag: str = "1", **config: Any) -> ImageRef:
        """An image of busybox that nobody else has, now under this name and tag; not in dockerd."""
        where = f"{self.host}/{name}"
        path = self._root / f"{uuid4()}.tar"
        config["Labels"] = {"test": path.name} | config.get("Labels", {})
        docker_images.busybox(path, tags=[f"{where}:{tag}"], **config)
        with path.open("rb") as file:
            self._engine.images.load(file)
        digest = ""
        for line in self._engine.api.push(where, tag, stream=True, decode=True):
            assert "error" not in line, line
            digest = line.get("aux", {}).get("Digest", digest)
        self.forget(f"{where}:{tag}")
        sha256 = Sha256.from_json(digest.removeprefix("sha256:"))
        return ImageRef(sha256=sha256, format=ImageFormat.REGISTRY, size=0, repository=where)

    def forget(self, name: str) -> None:
        """Out of dockerd."""
        with suppress(APIError):
            self._engine.api.remove_image(name)
