"""Says why a task runs where it does: what is known of its candidates, and what the model predicts of them."""

from __future__ import annotations

from faas.models import Candidate, Explanation
from registry.explaining import Grounds, Place
from router.foresight import Foresight


def explain(grounds: Grounds, foresight: Foresight | None, policy: str) -> Explanation:
    """Candidates, predictions, the choice, and in hindsight the regret.

    Args:
        grounds: of the task.
        foresight: predicts; None where the policy predicts nothing.
        policy: its name.
    """
    task = grounds.task
    last = task.attempts[-1] if task.attempts else None
    chosen = last.endpoint_id if last is not None else ""
    candidates = [_candidate(place, task.function_id, chosen, foresight) for place in grounds.places]
    predicted = [each for each in candidates if each.run_s is not None and (not each.reason or each.chosen)]
    best = min(predicted, key=lambda each: each.run_s or 0.0, default=None)
    explanation = Explanation(
        task_id=task.task_id,
        state=task.state,
        policy=policy,
        target=task.target,
        bound_to=grounds.bound_to,
        candidates=candidates,
        best=best.endpoint if best is not None else "",
    )
    if last is not None:
        explanation.endpoint = last.endpoint
        explanation.leased_at = last.leased_at
        explanation.waited_s = max(0.0, last.leased_at - task.submitted_at)
        explanation.run_s = last.run_s
        if last.run_s is not None and best is not None and best.run_s is not None:
            explanation.regret_s = last.run_s - best.run_s
    return explanation


def _candidate(place: Place, function_id: str, chosen: str, foresight: Foresight | None) -> Candidate:
    site = place.site
    candidate = Candidate(
        endpoint_id=site.endpoint_id,
        endpoint=site.name,
        online=place.online,
        workers=site.workers if place.online else 0,
        reason=place.reason,
        chosen=site.endpoint_id == chosen,
    )
    if foresight is not None:
        known = foresight.predict(function_id, site.endpoint_id, place.shape)
        candidate.run_s, candidate.wait_s, shut = known.run_s, known.wait_s, known.quarantined
        if shut and not place.reason:
            candidate.reason = "this function fails there and not elsewhere: only a probe may run"
    return candidate
