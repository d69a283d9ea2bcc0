"""owners and API keys

What was there belongs to `local`, the owner of a service without keys.

Revision: 0002
After: 0001
"""

import sqlalchemy as sa
from alembic import op

from shared.store.types import Id, Timestamp

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.Column("revoked_at", Timestamp(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_prefix"), "api_keys", ["prefix"], unique=True)
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )

    # Never a batch that copies the table: dropping the old one would delete, by cascade, every job and run.
    op.add_column("experiments", sa.Column("owner", sa.String(length=100), nullable=False, server_default="local"))
    op.drop_index(op.f("ix_experiments_created_at_id"), "experiments")
    op.drop_index(op.f("ix_experiments_dataset_created_at"), "experiments")
    op.drop_index(op.f("ix_experiments_state_created_at"), "experiments")
    op.create_index(op.f("ix_experiments_owner_created_at_id"), "experiments", ["owner", "created_at", "id"])
    op.create_index(op.f("ix_experiments_owner_dataset_created_at"), "experiments", ["owner", "dataset", "created_at"])
    op.create_index(op.f("ix_experiments_owner_state_created_at"), "experiments", ["owner", "state", "created_at"])
    op.create_index(op.f("ix_experiments_state"), "experiments", ["state"])

    op.drop_index(op.f("ix_jobs_state_id"), "jobs")
    op.create_index(op.f("ix_jobs_state_device_id"), "jobs", ["state", "device", "id"])
    op.create_index(op.f("ix_jobs_state_claimed_at"), "jobs", ["state", "claimed_at"])

    # A copy does no harm here: nothing refers to this table.
    with op.batch_alter_table("idempotency_keys") as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(length=100), nullable=False, server_default="local"))
        batch_op.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        batch_op.create_primary_key(op.f("pk_idempotency_keys"), ["owner", "key"])


def downgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as batch_op:
        batch_op.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        batch_op.create_primary_key(op.f("pk_idempotency_keys"), ["key"])
        batch_op.drop_column("owner")

    op.drop_index(op.f("ix_jobs_state_claimed_at"), "jobs")
    op.drop_index(op.f("ix_jobs_state_device_id"), "jobs")
    op.create_index(op.f("ix_jobs_state_id"), "jobs", ["state", "id"])

    for columns in (["state"], ["owner", "state", "created_at"], ["owner", "dataset", "created_at"],
                    ["owner", "created_at", "id"]):  # fmt: skip
        op.drop_index(op.f("ix_experiments_" + "_".join(columns)), "experiments")
    for columns in (["state", "created_at"], ["dataset", "created_at"], ["created_at", "id"]):
        op.create_index(op.f("ix_experiments_" + "_".join(columns)), "experiments", columns)
    op.drop_column("experiments", "owner")

    op.drop_table("counters")
    op.drop_table("api_keys")
