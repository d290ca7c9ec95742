"""Whether SQL bounds the partition of every partitioned table that it reads or changes, as ``require_partition_filter``
asks.

BigQuery refuses a statement that does not; the emulator runs it. The rule here is a little stricter than BigQuery's:
the bound stands beside the reference, in the WHERE of its SELECT or the ON of its inner join, and not in a query around
it.
"""

import logging
from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp

_COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


def statements(sql: str) -> list[exp.Expr]:
    """The statements of a script, each understood by sqlglot as BigQuery.

    Raises:
        sqlglot.errors.ParseError: one is not BigQuery's SQL.
    """
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it tells what it does not know, which others judge
    parsed = sqlglot.parse(sql, dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    return [statement for statement in parsed if statement is not None]


def unbounded(sql: str, partitioned: Mapping[str, str]) -> list[str]:
    """The references to partitioned tables whose partition nothing bounds, each with the text around it.

    Args:
        sql: a statement or a script. What a view shows is left to whoever reads it; see `hidden_partitions`.
        partitioned: partition column by table.
    """
    return [
        f"{table.name} in: {(table.parent_select or table.parent or table).sql('bigquery')[:300]}"
        for statement in statements(sql)
        for table in unbounded_tables(statement, partitioned)
    ]


def unbounded_tables(statement: exp.Expr, partitioned: Mapping[str, str]) -> list[exp.Table]:
    """The same for a parsed statement."""
    if isinstance(statement, exp.Create) and statement.kind == "VIEW":
        return []
    return [table for table in references(statement, partitioned) if not _is_bounded(table, partitioned[table.name])]


def bounds(statement: exp.Expr, partitioned: Mapping[str, str]) -> Iterator[exp.Expr]:
    """The conditions of a statement that bound a partition."""
    for table in references(statement, partitioned):
        for condition in _conditions(table):
            simple = condition.find_all(exp.Between, exp.In, *_COMPARISONS)
            yield from (one for one in simple if _bounds(one, partitioned[table.name], table))


def references(statement: exp.Expr, partitioned: Mapping[str, str]) -> Iterator[exp.Table]:
    """The places where a statement reads a partitioned table, or changes rows that it has; rows that are inserted need
    no filter.
    """
    for table in statement.find_all(exp.Table):
        target = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
        is_made = (
            isinstance(target, exp.Insert | exp.Create | exp.Alter | exp.Drop)
            and table.find_ancestor(exp.Select) is None
        )
        if table.name in partitioned and not is_made:
            yield table


def hidden_partitions(view: str, shown: str | None, partitioned: Mapping[str, str]) -> list[str]:
    """The partitioned tables of a view that its readers cannot bound, because it does not show their partition.

    Args:
        view: its ``CREATE VIEW``.
        shown: the column by which readers filter, or None.
        partitioned: partition column by table.
    """
    [statement] = statements(view)
    columns = [column.name for column in statement.this.expressions]
    return [
        table.name
        for table in references(statement.expression, partitioned)
        if not _is_bounded(table, partitioned[table.name])
        and not (shown and shown == _shown_as(table, partitioned[table.name], columns))
    ]


def _shown_as(table: exp.Table, column: str, names: list[str]) -> str | None:
    """Under which name of the view a column of one of its tables is shown."""
    select = table.parent_select
    selected = [one.unalias() for one in select.selects] if isinstance(select, exp.Select) else []
    found = [
        names[i]
        for i, one in enumerate(selected)
        if isinstance(one, exp.Column) and one.name == column and _is_of(one, table)
    ]
    return found[0] if found else None


def _is_bounded(table: exp.Table, column: str) -> bool:
    return any(_bounds(condition, column, table) for condition in _conditions(table))


def _conditions(table: exp.Table) -> list[exp.Expr]:
    """What holds for every row that a reference contributes."""
    owner = table.parent
    if isinstance(owner, exp.Merge):
        return [owner.args["on"]] if table.arg_key == "this" else []
    if isinstance(owner, exp.Update | exp.Delete):
        return _where(owner)
    select = table.parent_select
    if not isinstance(select, exp.Select):
        return []
    joins = [join for join in select.args.get("joins") or [] if join.args.get("on")]
    inner = [join.args["on"] for join in joins if not join.side]
    own = [join.args["on"] for join in joins if join.this is table and join.side == "LEFT"]
    return [*_where(select), *inner, *own]


def _where(owner: exp.Expr) -> list[exp.Expr]:
    where = owner.args.get("where")
    return [where.this] if where else []


def _bounds(condition: exp.Expr, column: str, table: exp.Table) -> bool:
    """Whether a condition compares the column of the reference with something that is known before the first row is
    read.
    """
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return any(_bounds(side, column, table) for side in (condition.left, condition.right))
    if isinstance(condition, exp.Or):
        return all(_bounds(side, column, table) for side in (condition.left, condition.right))
    if isinstance(condition, exp.Between):
        return (
            _is_it(condition.this, column, table)
            and _is_known(condition.args["low"])
            and _is_known(condition.args["high"])
        )
    if isinstance(condition, exp.In):
        return (
            _is_it(condition.this, column, table)
            and bool(condition.expressions)
            and all(map(_is_known, condition.expressions))
        )
    if isinstance(condition, _COMPARISONS):
        sides = (condition.left, condition.right), (condition.right, condition.left)
        return any(_is_it(one, column, table) and _is_known(other) for one, other in sides)
    return False


def _is_it(expression: exp.Expr, column: str, table: exp.Table) -> bool:
    return isinstance(expression, exp.Column) and expression.name == column and _is_of(expression, table)


def _is_of(column: exp.Column, table: exp.Table) -> bool:
    """Whether a column is one of this reference; without a qualifier only where there is no other table."""
    if column.table:
        return column.table == table.alias_or_name
    owner = table.parent_select or table.parent
    return isinstance(owner, exp.Select | exp.Update | exp.Delete) and not any(
        owner.args.get(others) for others in _OTHERS[type(owner)]
    )


_OTHERS: dict[type[exp.Expr], tuple[str, ...]] = {
    exp.Select: ("joins",),
    exp.Update: ("from_", "from"),
    exp.Delete: ("using",),
}
"""Where a statement names tables beside its first one."""


def _is_known(expression: exp.Expr) -> bool:
    """A literal, a parameter, the present day, or a calculation with nothing else: what prunes partitions."""
    return expression.find(exp.Column, exp.Query) is None
