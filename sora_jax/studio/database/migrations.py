"""Migrations: steps from the tables of one version to those of the next.

A step adds tables, columns and indexes. Added columns may be NULL, so rows of the older version
stay valid. The first process of a newer program that opens the database runs the steps, in one
transaction.
"""

import dataclasses

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from sora_jax.studio.database import tables


@dataclasses.dataclass(frozen=True)
class Step:
    """The tables and columns that a version adds to the version before."""

    tables: tuple[sa.Table, ...] = ()
    columns: tuple[sa.Column, ...] = ()


_characters = tables.characters.c
STEPS = {  # version -> step from the version before
    2: Step(
        (tables.challenges, tables.appearances, tables.notices, tables.sessions),
        (
            _characters.handle,
            _characters.skeleton,
            _characters.fingerprint,
            _characters.identity,
            _characters.restrictions,
            _characters.reason,
            tables.clips.c.payload,
            tables.clips.c.signatures,
        ),
    )
}


def migrate(connection: sa.Connection, found: int) -> None:
    """Brings the tables of a database from version `found` to `tables.SCHEMA`.

    The caller must hold a lock on the database (`Store.exclusive`).
    """
    for version in range(found + 1, tables.SCHEMA + 1):
        step = STEPS[version]
        for column in step.columns:
            _add(connection, column)
        for table in step.tables:
            table.create(connection, checkfirst=True)


def _add(connection: sa.Connection, column: sa.Column) -> None:
    table = column.table
    assert isinstance(table, sa.Table)
    text = CreateColumn(column).compile(dialect=connection.dialect)
    connection.execute(sa.DDL(f"ALTER TABLE {table.name} ADD COLUMN {text}"))
    for index in table.indexes:
        if [one.name for one in index.columns] == [column.name]:
            index.create(connection)
