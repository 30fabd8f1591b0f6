"""What --wait does after a change was accepted: follow it, show the end, say what went wrong."""

from collections.abc import Callable, Sequence

from iaasctl.client import Client
from iaasctl.errors import Failure, on_interrupt
from iaasctl.kinds import KINDS
from iaasctl.output import Group, as_text
from iaasctl.progress import Progress
from iaasctl.settle import Target, World
from iaasctl.terminal import out
from iaasctl.views import by_name
from iaasctl.waiting import conclusion, wait


def follow(
    client: Client,
    targets: Sequence[Target],
    timeout: float,
    progress: Progress,
    done: str,
    show: Callable[[str], None] = out,
) -> None:
    """Returns when all is as wanted, raises what is not. `done` says what was accepted before,
    `show` prints the table at the end."""
    try:
        with on_interrupt(
            f"{done}; the cluster goes on converging", "iaasctl get all --watch follows it"
        ):
            waited = wait(client, targets, timeout, progress)
    except Failure as error:
        if done not in error.why:
            error.why = f"{error.why}\n{done}; only the waiting ended".lstrip("\n")
        raise
    finally:
        progress.close()
    if text := as_text(_groups(targets, waited.world), "table"):
        show(text)
    if failure := conclusion(waited.statuses, timeout):
        raise failure


def _groups(targets: Sequence[Target], world: World) -> list[Group]:
    wanted = {(target.kind, target.name) for target in targets if not target.gone}
    groups: list[Group] = []
    for kind in KINDS:
        items = [
            item
            for item in world.get(kind.plural, ())
            if (kind.name, str(item.get("name"))) in wanted
        ]
        groups.append((kind.plural, by_name(items)))
    return groups
