"""SQL templates (Jinja): the one place where SQL files become SQL. A name without a value is an error."""

from functools import lru_cache
from pathlib import Path

import jinja2

_SQL_MACROS = jinja2.FileSystemLoader(Path(__file__).resolve().parent.parent / "sql")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, loader=_SQL_MACROS
    )


def render(template: Path, **values: object) -> str:
    """A template with its values.

    Args:
        template: the file; it may import macros by their path below ``sql/``.
        values: by name, inserted as they are.

    Raises:
        jinja2.TemplateError: the template is wrong, or uses a name without a value.
    """
    return _environment().from_string(template.read_text(encoding="utf-8")).render(**values).strip()


def expression(macro: str, *values: object) -> str:
    """What a macro of ``sql/macros.sql`` makes of its values, for statements that are made in Python.

    Raises:
        jinja2.TemplateError: the macro is wrong.
        AttributeError: there is no such macro.
    """
    made: str = getattr(_environment().get_template("macros.sql").module, macro)(*values)
    return made.strip()
