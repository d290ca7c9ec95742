"""Instants that no hypothesis needs to find twice; what both paths make of any text is compared in
``test_page_against_specification``.
"""

from coinbeam.contracts.instants import parse_column


def test_half_of_a_surrogate_pair_is_no_instant_and_costs_only_itself() -> None:
    instants, faults = parse_column(["2026-01-02T00:00:00.000Z", "\ud800", None])
    assert faults == [1]
    assert instants.is_valid().to_pylist() == [True, False, False]
