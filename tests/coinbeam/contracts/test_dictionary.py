"""The data dictionary is what the contracts say, in the repository too."""

import pytest

from coinbeam.contracts import Contract, load_all
from coinbeam.contracts.dictionary import DICTIONARY, render

CONTRACTS = list(load_all().values())


def test_the_dictionary_of_the_repository_is_that_of_the_contracts() -> None:
    assert DICTIONARY.read_text(encoding="utf-8") == render(), "run `coinbeam contracts dictionary --write`"


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_every_column_and_rule_is_explained(contract: Contract) -> None:
    text = render()
    section = text[text.index(f"## {contract.dataset}.{contract.name}\n") :].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [column.name for column in contract.columns]
    for column, row in zip(contract.columns, rows, strict=True):
        cells = [cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")]
        assert cells[1] == column.type
        assert cells[2] == ("no" if column.required else "yes")
        assert cells[3] == column.unit
        assert cells[4].startswith(column.description[:20])
        assert len(cells) == 6, "no description breaks the table"
    for rule in contract.rules:
        assert f"- `{rule.name}` ({rule.severity}, {rule.stage}): {rule.description}" in section
