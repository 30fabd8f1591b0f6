"""Published ports of VMs: address translation by a table of our own in the kernel.

One map (protocol and port of the node -> address and port of a VM) serves connections from other
hosts, from the node by any of its addresses, 127.0.0.1 included, and from VMs. It is replaced in one
transaction; a connection whose mapping is gone is dropped from that moment on (`to_guests`,
`from_guests`), and then forgotten, so that its client is reset. The table outlives the agent.

Outside our table there are two things. One rule in iptables' FORWARD, ahead of libvirt's that rejects
what comes in to its bridge and of Docker's policy DROP: no rule of another table can overrule those.
And route_localnet of the bridge, without which the kernel sends nothing on from 127.0.0.1; `martians`
closes what it would open (VMs reaching services that listen on the node's 127.0.0.1).

Not served: a VM that calls itself by the node's address where br_netfilter is on, as Docker has it.

libvirt 10.4 and later reject in a table of their own, which no accepting rule can precede: set
firewall_backend = "iptables" in /etc/libvirt/network.conf there.
"""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from hyper.core.model import Publication, Target
from hyper.ports import PublishError
from hyper.ports.conntrack import Flow, end_flows
from hyper.ports.listeners import listened_on
from manifests.scalars import Port, Protocol

TIMEOUT = 10
CHECK_SECONDS = 30.0
"""How often an unchanged publication is compared with the kernel: somebody may flush its rules."""
TABLES = "iaas_"
"""What every agent's table is called, before its ident."""
MAP = "targets1"
"""The number changes with the layout: what an older agent left is then made anew."""
PACKAGES = {"nft": "nftables", "iptables": "iptables", "iptables-restore": "iptables"}

Table = dict[Port, Target]


class Nftables:
    """`ident`: of the agent, 1 to 8 of a-z and 0-9. `bridge`: the one the VMs are on."""

    def __init__(
        self, ident: str, bridge: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not re.fullmatch("[a-z0-9]{1,8}", ident) or not re.fullmatch("[a-z0-9]{1,15}", bridge):
            raise ValueError(f"{ident!r} or {bridge!r} is no id of a publisher or name of a bridge")
        self._table = f"{TABLES}{ident}"
        self._ident = ident
        self._bridge = bridge
        self._clock = clock
        self._lock = threading.Lock()
        self._applied: Table | None = None
        """What is in the kernel; None: unknown."""
        self._check_at = 0.0

    def publish(self, wanted: Publication) -> Mapping[Port, str]:
        """Looks into the kernel at first and then every CHECK_SECONDS; changes what differs."""
        _checked(wanted)
        with self._lock:
            refused = self._refused([port for port in wanted if port not in (self._applied or {})])
            table = _checked({port: to for port, to in wanted.items() if port not in refused})
            self._allow_localhost()
            if self._applied is not None and self._clock() < self._check_at:
                present: Table | None = self._applied
            else:
                self._applied = None
                present = self._present()
                self._precede_libvirt()
                self._check_at = self._clock() + CHECK_SECONDS
            if present != table:
                self._applied = None
                self._apply(present, table)
            self._applied = table
            return refused

    def _refused(self, ports: list[Port]) -> dict[Port, str]:
        """Those that a program listens on, or another agent of this host publishes: of two
        translations the kernel would take the first, and say nothing."""
        others = self._published_by_others() if ports else {}
        refused = {}
        for port in ports:
            if listened_on(port.protocol, port.node):
                who = "in use by another program"
            elif table := others.get((port.protocol, port.node)):
                who = f"published by another agent ({table})"
            else:
                continue
            refused[port] = f"port {port.node}/{port.protocol} of this node is {who}"
        return refused

    def _published_by_others(self) -> dict[tuple[Protocol, int], str]:
        """The table of each."""
        items = json.loads(_run("nft", "-j", "list", "maps", "ip").stdout)["nftables"]
        return {
            (port.protocol, port.node): item["map"]["table"]
            for item in items
            if "map" in item and item["map"]["table"] != self._table
            if item["map"]["table"].startswith(TABLES)
            for port in _parse([item])[0]
        }

    def _present(self) -> Table | None:
        """What the kernel has published; None where our table is not there, or not as we made it."""
        done = _run("nft", "-j", "list", "table", "ip", self._table, fails=True)
        if done.returncode:
            return None
        items = json.loads(done.stdout)["nftables"]
        wanted = sum(line.startswith("add rule ") for line in layout(self._table, self._bridge))
        table, flows = _parse(items)
        whole = sum("rule" in item for item in items) == wanted
        return table if whole and flows == set(table.items()) else None

    def _apply(self, present: Table | None, table: Table) -> None:
        """One transaction of what differs: nothing is ever half published."""
        lines = layout(self._table, self._bridge) if present is None else []
        before, after = set((present or {}).items()), set(table.items())
        lines += self._elements("delete", before - after)
        lines += self._elements("add", after - before)
        _run("nft", "-f", "-", text="\n".join(lines) + "\n")
        self._end(before - after)

    def _elements(self, verb: str, pairs: set[tuple[Port, Target]]) -> list[str]:
        if not pairs:
            return []
        ends = [
            (f"{port.protocol.value} . {port.node}", f"{to.ip} . {to.port}") for port, to in pairs
        ]
        targets = ", ".join(f"{outer} : {inner}" for outer, inner in ends)
        flows = ", ".join(f"{outer} . {inner}" for outer, inner in ends)
        return [
            f"{verb} element ip {self._table} {MAP} {{ {targets} }}",
            f"{verb} element ip {self._table} flows {{ {flows} }}",
        ]

    def _end(self, gone: set[tuple[Port, Target]]) -> None:
        """The table drops the packets of these already; this spares their clients the wait."""
        flows = {Flow(port.protocol.value, port.node, to.ip, to.port) for port, to in gone}
        if flows:
            with suppress(OSError):
                end_flows(flows.__contains__)

    def _precede_libvirt(self) -> None:
        """Have our rule once, ahead of libvirt's, which rejects: its place may change when the
        rules of libvirt or Docker are made anew."""
        listed = _run("iptables", "-w", "5", "-S", "FORWARD").stdout.splitlines()
        rules = [line for line in listed if line.startswith("-A ")]
        ours = [index for index, line in enumerate(rules) if self._is_ours(line)]
        rejecting = [index for index, line in enumerate(rules) if line.endswith("LIBVIRT_FWI")]
        if len(ours) != 1 or ours[0] > min(rejecting, default=len(rules)):
            self._change_forward(len(ours), "-I FORWARD 1")

    def _is_ours(self, line: str) -> bool:
        return re.search(f'--comment "?iaas {self._ident}"? ', line) is not None

    def _change_forward(self, present: int, then: str = "") -> None:
        rule = (
            f"-o {self._bridge} -m conntrack --ctstate DNAT"
            f' -m comment --comment "iaas {self._ident}" -j ACCEPT'
        )
        lines = [f"-D FORWARD {rule}"] * present + ([f"{then} {rule}"] if then else [])
        text = "\n".join(["*filter", *lines, "COMMIT", ""])
        _run("iptables-restore", "-w", "5", "--noflush", text=text)

    def _allow_localhost(self, value: str = "1") -> None:
        """Of the bridge only. It is not there before the first VM, and new after a reboot."""
        setting = Path(f"/proc/sys/net/ipv4/conf/{self._bridge}/route_localnet")
        try:
            if setting.read_text().strip() != value:
                setting.write_text(value)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PublishError(f"cannot set {setting}: {error.strerror}") from None

    def close(self) -> None:
        with self._lock:
            gone = self._present()
            name = (
                f"table ip {self._table}"  # adding what is there is no error, deleting nothing is
            )
            _run("nft", "-f", "-", text=f"add {name}\ndelete {name}\n")
            self._end(set((gone or {}).items()))
            listed = _run("iptables", "-w", "5", "-S", "FORWARD").stdout.splitlines()
            if present := sum(map(self._is_ours, listed)):
                self._change_forward(present)
            self._allow_localhost("0")
            self._applied = None


def layout(table: str, bridge: str) -> list[str]:
    """The commands that make our table anew, empty. Priorities: right ahead of other translation."""
    to, of = f"add chain ip {table}", f"add rule ip {table}"
    translate = f"fib daddr type local dnat ip to meta l4proto . th dport map @{MAP}"
    flow = "meta l4proto . ct original proto-dst"
    return [
        f"add table ip {table}",
        f"delete table ip {table}",
        f"add table ip {table}",
        f"add map ip {table} {MAP} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}",
        f"add set ip {table} flows"
        " { type inet_proto . inet_service . ipv4_addr . inet_service; }",
        f"{to} martians {{ type filter hook prerouting priority -300; }}",
        f"{to} from_guests {{ type filter hook prerouting priority -150; }}",
        f"{to} prerouting {{ type nat hook prerouting priority -101; }}",
        f"{to} output {{ type nat hook output priority -101; }}",
        f"{to} to_guests {{ type filter hook postrouting priority -150; }}",
        f"{to} postrouting {{ type nat hook postrouting priority 99; }}",
        f'{of} martians iifname "{bridge}" ip daddr 127.0.0.0/8 drop',
        f"{of} prerouting {translate}",
        f"{of} output {translate}",
        # a VM answers to the node what came from 127.0.0.1, or from a VM beside it
        f'{of} postrouting oifname "{bridge}" ct status dnat ip saddr 127.0.0.0/8 masquerade',
        f'{of} postrouting iifname "{bridge}" oifname "{bridge}" ct status dnat masquerade',
        *(
            f'{of} {chain} {way} "{bridge}" ct direction {direction} ct status dnat'
            f" meta l4proto {protocol.value} {flow} . ip {end}addr . th {end}port != @flows drop"
            for chain, way, direction, end in (
                ("from_guests", "iifname", "reply", "s"),
                ("to_guests", "oifname", "original", "d"),
            )
            for protocol in Protocol
        ),
    ]


def _checked(wanted: Publication) -> Table:
    """What goes into nft's text is numbers and addresses, whatever came in."""
    table = {}
    for port, to in wanted.items():
        try:
            address = str(IPv4Address(to.ip))
        except ValueError:
            raise PublishError(f"port {port.node}: {to.ip!r} is not an address") from None
        numbers = (port.node, port.machine, to.port)
        if not all(type(number) is int and 0 < number < 65536 for number in numbers):
            raise PublishError(f"port {port.node}: ports go from 1 to 65535")
        # the port inside is the target's: what is published is known by the rest
        table[Port(port.node, to.port, Protocol(port.protocol))] = Target(address, to.port)
    return table


def _parse(items: list[Any]) -> tuple[Table, set[tuple[Port, Target]]]:
    """Our map, and our set, which holds the same when all is well."""
    table, flows = {}, set()
    for item in items:
        for key, value in item.get("map", {}).get("elem", ()):
            protocol, node = key["concat"]
            ip, machine = value["concat"]
            table[Port(node, machine, Protocol(protocol))] = Target(ip, machine)
        for element in item.get("set", {}).get("elem", ()):
            protocol, node, ip, machine = element["concat"]
            flows.add((Port(node, machine, Protocol(protocol)), Target(ip, machine)))
    return table, flows


def _run(
    *command: str, text: str | None = None, fails: bool = False
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            input=text or "",
            check=not fails,
            text=True,
            capture_output=True,
            timeout=TIMEOUT,
        )
    except FileNotFoundError:
        package = PACKAGES[command[0]]
        raise PublishError(
            f"{command[0]} is missing on the node: apt-get install {package}"
        ) from None
    except subprocess.TimeoutExpired:
        raise PublishError(f"{command[0]} took more than {TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())[:300]
        raise PublishError(f"{command[0]} refused: {reason}") from None
