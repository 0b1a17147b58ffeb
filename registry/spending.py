"""What endpoints have spent, for the budgets that their agents keep."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from faas.models import Spent

from .blocks import run_of
from .database import Transaction
from .node_hours import node_seconds
from .prepared import among
from .schema import blocks

_HOUR_S = 3_600.0
_DAY_S = 86_400.0


def spent(transaction: Transaction, endpoint_ids: Collection[str]) -> dict[str, Spent]:
    """Node-hours of each of these endpoints: settled, and reserved by live blocks; today (UTC) and in total."""
    now = transaction.now
    midnight = now - now % _DAY_S
    here = among(blocks.c.endpoint_id, list(endpoint_ids))
    answer = {endpoint_id: Spent() for endpoint_id in endpoint_ids}
    earlier = transaction.execute(
        sa.select(blocks.c.endpoint_id, sa.func.sum(blocks.c.nodes * (blocks.c.ended_at - blocks.c.started_at)))
        .where(here, blocks.c.ended_at <= midnight, blocks.c.started_at.is_not(None))
        .group_by(blocks.c.endpoint_id)
    )
    for endpoint_id, node_s in earlier.all():
        answer[endpoint_id].total_node_hours = node_s / _HOUR_S
    current = sa.select(blocks).where(here, sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at > midnight))
    for row in transaction.execute(current).all():
        run = run_of(row)
        day, whole = node_seconds(run, midnight, now), node_seconds(run, 0.0, now)
        so_far = answer[run.endpoint_id]
        so_far.day_node_hours += (day.settled_s + day.reserved_s) / _HOUR_S
        so_far.total_node_hours += (whole.settled_s + whole.reserved_s) / _HOUR_S
        so_far.reserved_node_hours += whole.reserved_s / _HOUR_S
    return answer
