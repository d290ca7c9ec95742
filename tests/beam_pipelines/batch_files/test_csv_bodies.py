"""Numbers of a file, whatever country wrote them: read as they were meant, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.batch_files.csv_bodies import number_reader

POINT, COMMA = str.maketrans(",.", ",."), str.maketrans(",.", ".,")


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        pytest.param(["61168.5", "61.168", "1e-12", ".5", "-3"], [61168.5, 61.168, 1e-12, 0.5, -3.0], id="plain"),
        pytest.param(["61168,5", "61.168", "1.500,0", "7"], [61168.5, 61168.0, 1500.0, 7.0], id="decimal commas"),
        pytest.param(["61,168.5", "61,168", "0.5", "1,234,567"], [61168.5, 61168.0, 0.5, 1234567.0], id="thousands"),
        pytest.param(["61,168", "62,397"], ["61,168", "62,397"], id="nothing says which"),
        pytest.param(["61,5", "61.5", "61,168", "1.25"], ["61,5", 61.5, "61,168", 1.25], id="both, so neither comma"),
        pytest.param(["0,123", "61,168"], [0.123, 61.168], id="no group begins with a nought"),
        pytest.param(["12,5", "12.345", "1.2.3"], [12.5, 12345.0, "1.2.3"], id="a number of no country"),
        pytest.param(
            ["", "N/A", "$5", "1 000", "nan", "inf", "٣"],
            [None, "N/A", "$5", "1 000", "nan", "inf", "٣"],
            id="no numbers",
        ),
    ],
)
def test_a_number_is_read_as_its_file_writes_it(cells: list[str], numbers: list[float | str | None]) -> None:
    assert list(map(number_reader(cells), cells)) == numbers


@given(
    numbers=st.lists(st.decimals(0, 10**9, places=3), min_size=1).filter(
        lambda found: any(n % 1 and n < 1 for n in found)
    ),
    form=st.sampled_from([(POINT, ""), (POINT, ","), (COMMA, ""), (COMMA, ",")]),
)
def test_a_file_of_one_country_is_read_to_the_last_digit(numbers: list, form: tuple) -> None:
    table, group = form
    cells = [f"{number:{group}.3f}".translate(table) for number in numbers]
    assert list(map(number_reader(cells), cells)) == [float(number) for number in numbers]
