"""Table contracts (ODCS v3) and what is derived from them: one file says what a table is, nothing else repeats it."""

from coinbeam.contracts.model import Column, Contract, Rule, Severity, Stage, load_all, load_contract

__all__ = ["Column", "Contract", "Rule", "Severity", "Stage", "load_all", "load_contract"]
