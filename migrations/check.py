"""`python -m migrations.check`: do the migrations build exactly the tables of `shared/store/tables.py`?"""

import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shared.store.db import Database, upgrade
from shared.store.tables import Base


def differences(database_url: str) -> list[object]:
    """What the models have and a freshly migrated database lacks, or the other way round."""
    upgrade(database_url)
    database = Database(database_url)
    with database.read() as session:
        found: list[object] = list(compare_metadata(MigrationContext.configure(session.connection()), Base.metadata))
    database.close()
    return found


def main() -> int:
    """Compare on a new SQLite database; exit code 1 and a list where they differ."""
    with tempfile.TemporaryDirectory() as folder:
        found = differences(f"sqlite:///{Path(folder) / 'check.db'}")
    for difference in found:
        sys.stderr.write(f"migrations and models differ: {difference}\n")
    sys.stdout.write("" if found else "migrations are in step with the models\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
