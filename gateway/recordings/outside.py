"""The first and the last events of a recording, or all of it, that others write than its writer.

They belong to a change elsewhere, such as the end of a job, and are written in its transaction.
"""

import sqlalchemy as sa

from gateway.recordings import rows
from gateway.recordings.writer import DONE, cut
from gateway.tables import recordings as table

LAST = (
    sa.select(table.c.part, table.c.seq, table.c.count, table.c.end, table.c.expires_at)
    .where(rows.OF_ID)
    .order_by(table.c.part.desc())
    .limit(1)
)


def begin(connection, id, data, expires_at):
    """Write the first part of a recording: whole events."""
    rows.insert(connection, [row(id, 0, 0, data, data.count(b"\n\n"), expires_at)])


def whole(connection, id, head, data, expires_at):
    """Write an answer with its head: all of a recording."""
    pieces = list(cut([(data, 1)]))
    found = [
        row(id, part, 0, *piece, expires_at, over=part == len(pieces) - 1)
        for part, piece in enumerate(pieces)
    ]
    rows.insert(connection, [row(id, rows.HEAD, 0, head, 0, expires_at), *found])


def end(connection, id, last):
    """End a recording if there is one, and it goes on; `last(seq)` gives the event that does it.

    A writer that does not know yet that it has lost its job may write at the same moment: the row
    that comes first counts, and the end stands behind it.
    """
    while (found := connection.execute(LAST, {"of_id": id}).first()) and found.end is None:
        part, seq = found.part + 1, found.seq + found.count
        pieces = list(cut([(last(seq), 1)]))
        if not mine(connection, row(id, part, seq, *pieces[0], found.expires_at, len(pieces) == 1)):
            continue
        for number, piece in enumerate(pieces[1:], 1):
            over = number == len(pieces) - 1
            found_row = row(id, part + number, seq, *piece, found.expires_at, over)
            rows.insert(connection, [found_row])
        return


def mine(connection, found):
    """Insert a row, and tell whether its place was free."""
    inserted = rows.INSERT[connection.dialect.name].returning(table.c.part)
    return connection.scalar(inserted, found) is not None


def row(id, part, seq, data, count, expires_at, over=False):
    return {
        "id": id,
        "part": part,
        "seq": seq,
        "count": count,
        "end": DONE if over else None,
        "expires_at": expires_at,
        "data": data,
    }
