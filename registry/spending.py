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
    earlier = transaction.execute(
        sa.select(blocks.c.endpoint_id, sa.func.sum(blocks.c.nodes * (blocks.c.ended_at - blocks.c.started_at)))
        .where(here, blocks.c.ended_at <= midnight, blocks.c.started_at.is_not(None))
        .group_by(blocks.c.endpoint_id)
    )
    total_s: dict[str, float] = {row[0]: float(row[1]) for row in earlier}
    day_s: dict[str, float] = {}
    current = sa.select(blocks).where(here, sa.or_(blocks.c.ended_at.is_(None), blocks.c.ended_at > midnight))
    for row in transaction.execute(current).all():
        for so_far, since in ((day_s, midnight), (total_s, 0.0)):
            cost = node_seconds(run_of(row), since, now)
            so_far[row.endpoint_id] = so_far.get(row.endpoint_id, 0.0) + cost.settled_s + cost.reserved_s
    return {
        endpoint_id: Spent(
            day_node_hours=day_s.get(endpoint_id, 0.0) / _HOUR_S,
            total_node_hours=total_s.get(endpoint_id, 0.0) / _HOUR_S,
        )
        for endpoint_id in endpoint_ids
    }
