"""The decision: from a snapshot to the plan that brings the cluster closer to what is desired.

Five passes, each over what the ones before left. A machine is never moved: it is retired, confirmed
gone, and placed anew with a higher epoch. What is unknown (a silent node, an engine that does not
answer) confirms nothing and loses nothing.
"""

from reconciler.core.model import Snapshot, newest
from reconciler.core.passes.draft import Draft
from reconciler.core.passes.forget import forget
from reconciler.core.passes.place import place
from reconciler.core.passes.release import release
from reconciler.core.passes.retire import retire
from reconciler.core.passes.update import update
from reconciler.core.plan import Plan
from reconciler.core.scheduling.room import rooms


def reconcile(snapshot: Snapshot) -> Plan:
    """What to do now. Pure, deterministic, empty when nothing needs doing."""
    draft = Draft(
        snapshot,
        held=snapshot.placements,
        machines={item.uid: item for item in snapshot.of_kind("Machine")},
    )
    release(draft)
    # What was released no longer takes room.
    draft.placed = newest(draft.held)
    draft.rooms = rooms(snapshot, draft.held)
    draft.future = dict(draft.rooms)
    for step in (retire, update, place, forget):
        step(draft)
    return Plan(tuple(draft.operations), tuple(draft.waits))
