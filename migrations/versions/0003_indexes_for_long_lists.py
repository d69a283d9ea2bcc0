"""indexes for long lists

Filtered lists come out of an index in their order; the purge looks at deleted experiments only; which activations an
experiment has is read from the index.

Revision: 0003
After: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REPLACED = (
    ("experiments", ("owner", "state", "created_at"), ("owner", "state", "created_at", "id")),
    ("experiments", ("owner", "dataset", "created_at"), ("owner", "dataset", "created_at", "id")),
    ("experiments", ("state",), ("state", "id")),
    ("jobs", ("experiment_id", "id"), ("experiment_id", "activation", "activation_kind")),
)
DELETED = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    for table, old, new in REPLACED:
        op.create_index(_name(table, new), table, list(new))
        op.drop_index(_name(table, old), table)
    op.drop_index(op.f("ix_experiments_deleted_at"), "experiments")
    op.create_index(
        op.f("ix_experiments_deleted_at"), "experiments", ["deleted_at"], sqlite_where=DELETED, postgresql_where=DELETED
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_experiments_deleted_at"), "experiments")
    op.create_index(op.f("ix_experiments_deleted_at"), "experiments", ["deleted_at"])
    for table, old, new in REPLACED:
        op.create_index(_name(table, old), table, list(old))
        op.drop_index(_name(table, new), table)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return op.f("_".join(["ix", table, *columns]))
