"""events

What happens to experiments, for those who listen to `GET /experiments/{id}/events`.

Revision: 0004
After: 0003
"""

import sqlalchemy as sa
from alembic import op

from shared.store.types import Id, Timestamp

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OF_EXPERIMENTS = sa.text("job_id IS NULL")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment_id", Id(), nullable=False),
        sa.Column("job_id", Id(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_experiment_id_id"), "events", ["experiment_id", "id"])
    op.create_index(
        op.f("ix_events_created_at"), "events", ["created_at"],
        sqlite_where=OF_EXPERIMENTS, postgresql_where=OF_EXPERIMENTS,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("events")
