"""The data dictionary, ``docs/data_dictionary.md``: what ``coinbeam contracts dictionary --write`` renders."""

from coinbeam.contracts.model import Column, Contract, load_all
from coinbeam.settings import ROOT

DICTIONARY = ROOT / "docs" / "data_dictionary.md"

_HEADER = """# Data dictionary

Generated from the contracts under `sql/` by `coinbeam contracts dictionary --write`; a test holds it to them.
Do not edit by hand.

**`quote_currency` belongs in every filter** on a table that has it: rows of several currencies lie side by side, and a
sum over two of them means nothing. A partitioned table wants a filter on its partition with a constant. Queries to
begin with: [questions.md](questions.md).
"""


def render() -> str:
    """The whole dictionary as Markdown."""
    return "\n".join([_HEADER, *(_table(contract) for contract in load_all().values())])


def _table(contract: Contract) -> str:
    facts = [f"Key: {', '.join(f'`{name}`' for name in contract.primary_key)}."]
    if contract.partition_column:
        facts.append(f"Partitioned by `{contract.partition_column}`; every query must name it.")
    if contract.clustering:
        facts.append(f"Clustered by {', '.join(f'`{name}`' for name in contract.clustering)}.")
    if contract.freshness_hours:
        limit = contract.freshness_limit_hours
        facts.append(
            f"Stale after {contract.freshness_hours:g} hours" + (f", an error after {limit:g}." if limit else ".")
        )
    facts.append(f"Owner: {contract.owner}. Contract version {contract.version}.")
    rows = "\n".join(_row(column) for column in contract.columns)
    rules = "".join(f"- `{rule.name}` ({rule.severity}, {rule.stage}): {rule.description}\n" for rule in contract.rules)
    return (
        f"## {contract.dataset}.{contract.name}\n\n{contract.description}\n\n{' '.join(facts)}\n\n"
        f"| Column | Type | Null | Unit | Meaning | API field |\n|---|---|---|---|---|---|\n{rows}\n"
        + (f"\nRules:\n\n{rules}" if rules else "")
    )


def _row(column: Column) -> str:
    bounds = [
        f"at least {column.minimum:g}" if column.minimum is not None else "",
        f"above {column.exclusive_minimum:g}" if column.exclusive_minimum is not None else "",
        f"at most {column.maximum:g}" if column.maximum is not None else "",
        f"one of {', '.join(column.accepted)}" if column.accepted else "",
        f"refers to `{column.references}`" if column.references else "",
    ]
    meaning = "; ".join([column.description, *filter(None, bounds)]).replace("|", "\\|")
    source = f"`{column.source}`" if column.source else ""
    return (
        f"| `{column.name}` | {column.type} | {'no' if column.required else 'yes'} | {column.unit} | {meaning} | "
        f"{source} |"
    )
