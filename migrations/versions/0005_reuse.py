"""reuse

What each run is a function of, and from which one it was taken over. Runs from before have no cell: they are never
taken over.

Revision: 0005
After: 0004
"""

import sqlalchemy as sa
from alembic import op

from shared.store.types import Id

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

HAS_SUCCEEDED = sa.text("state = 'succeeded'")


def upgrade() -> None:
    op.add_column("runs", sa.Column("cell", sa.String(length=64), nullable=True))
    op.add_column("runs", sa.Column("reused_from", Id(), nullable=True))
    op.create_index(
        op.f("ix_runs_cell_id"), "runs", ["cell", "id"],
        sqlite_where=HAS_SUCCEEDED, postgresql_where=HAS_SUCCEEDED,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index(op.f("ix_runs_cell_id"), "runs")
    op.drop_column("runs", "reused_from")
    op.drop_column("runs", "cell")
