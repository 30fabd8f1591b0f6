"""The command line of `iaas-reconciler`. Here: what can be said, and that it is well said; not what is done."""

import argparse
import re
from ipaddress import ip_address
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
    options = parser.parse_args()
    _check_listening(parser, options)
    return options


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        type=_address,
        default="127.0.0.1:7700",
        metavar="ADDR:PORT",
        help="%(default)s; beyond loopback only with TLS",
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="certificate in PEM, with its chain: serve https, by TLS 1.2 or later",
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key in PEM")
    parser.add_argument(
        "--health-listen",
        type=_address,
        default="127.0.0.1:7699",
        metavar="ADDR:PORT",
        help="where GET /health answers however busy the API is, by plain HTTP and to"
        " everybody: ok or failed, no more (%(default)s)",
    )


def _check_listening(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key belong together: give both or none")
    host, port = options.listen
    if options.tls_cert is None and not _is_loopback(host):
        parser.error(
            f"argument --listen: {host} is not a loopback address, and tokens would cross the network"
            " unencrypted: give --tls-cert and --tls-key, or listen on 127.0.0.1 and let users come"
            f" by a tunnel: ssh -L {port}:127.0.0.1:{port} HOST"
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
        help="a directory of this host that the `file` of an Image may be in, unless hidden; may be repeated",
    )
    parser.add_argument(
        "--trust-url-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a host that the `url` of an Image may name though it is not of the public internet;"
        " may be repeated",
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
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text)
    if not found or int(found[2]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDR:PORT")
    return found[1].strip("[]"), int(found[2])


def _is_loopback(host: str) -> bool:
    """Of names, only localhost: where others lead can change."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
