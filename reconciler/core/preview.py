"""What a submission would do, by the same `reconcile` that will do it."""

from dataclasses import dataclass

from reconciler.core.check import brake
from reconciler.core.desired import Merge, apply_changes
from reconciler.core.explain import PlanLine, plan_lines
from reconciler.core.model import Snapshot
from reconciler.core.plan import Plan
from reconciler.core.reconcile import reconcile


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`lines` is the plan, `changed` counts objects. `brake`: why a dry run would need approval."""

    revision: int
    lines: tuple[PlanLine, ...]
    changed: int
    brake: str = ""


def preview(snapshot: Snapshot, merge: Merge) -> Outcome:
    after = apply_changes(snapshot, merge.changes)
    plan = reconcile(after)
    # What would be stopped anyway is not this submission's doing; seldom worth finding out.
    without = reconcile(snapshot) if brake(snapshot, Plan(), plan) or _stopping(plan) else Plan()
    lines = plan_lines(after, merge.changes, plan, without)
    held = brake(snapshot, without, plan)
    return Outcome(
        revision=snapshot.revision,
        lines=lines,
        changed=len(merge.changes),
        brake=merge.strange or held,
    )


def _stopping(plan: Plan) -> bool:
    return any(wait.stops for wait in plan.waits)
