"""The command line of `iaas-reconciler`. Here: what can be said, and that it is well said; not what is done."""

import argparse
from pathlib import Path

HELP = """\
The control plane: keeps what shall exist, decides, and brings decisions to the agents. Ending it
stops no machine: the agents keep running what they run.

example:
  iaas-reconciler --listen 127.0.0.1:7700 --state /var/lib/iaas/reconciler
  iaasctl apply -f cluster.yaml --wait
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="iaas-reconciler",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_listening(parser)
    _add_files(parser)
    _add_watching(parser)
    return parser.parse_args()


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", type=_address, default="127.0.0.1:7700", metavar="ADDR:PORT", help="%(default)s"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default="/var/lib/iaas/reconciler", metavar="DIR", help="%(default)s"
    )
    parser.add_argument(
        "--images",
        type=Path,
        default="/images",
        metavar="DIR",
        help="where image bytes are kept (%(default)s); it may be exported by NFS",
    )
    parser.add_argument(
        "--image-source",
        type=_directory,
        action="append",
        default=[],
        metavar="DIR",
        help="a directory of this host that the `file` of an Image may be in; may be repeated",
    )
    parser.add_argument(
        "--agent-token-file",
        type=Path,
        default="/var/lib/iaas/agent.token",
        metavar="FILE",
        help="the secret shared with the agents, made if there is none (%(default)s)",
    )


def _add_watching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="DIR",
        help="keep what the manifests in this directory say in force, of the last commit where it is"
        " in a git work tree; repeatable",
    )


def _directory(text: str) -> Path:
    """With its absolute path; it must be there now, but may be empty."""
    if not (path := Path(text).absolute()).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path


def _address(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDR:PORT")
    if address not in ("127.0.0.1", "localhost", "[::1]"):
        raise argparse.ArgumentTypeError("only loopback addresses until TLS is set up")
    return address.strip("[]"), int(port)
