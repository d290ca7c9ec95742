"""Filters of subscriptions by attributes. Source: https://cloud.google.com/pubsub/docs/subscription-message-filter."""

import re
from collections.abc import Callable, Mapping

Attributes = Mapping[str, str]
Filter = Callable[[Attributes], bool]

LONGEST = 256
"""Bytes of a filter."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][A-Za-z0-9_.-]*)|(?P<sign>!=|[=:(),-]))""", re.VERBOSE
)

_ESCAPE = re.compile(r"\\(?:x(?P<hex>[0-9A-Fa-f]{2})|u(?P<unicode>[0-9A-Fa-f]{4})|(?P<octal>[0-7]{3})|(?P<plain>.))")


class FilterError(ValueError):
    """A filter is not as the documentation has it."""


def parse(text: str) -> Filter:
    """The filter of a text; an empty one lets everything pass.

    Raises:
        FilterError: the text is no filter.
    """
    if not text.strip():
        return lambda _: True
    if len(text.encode()) > LONGEST:
        raise FilterError(f"a filter has at most {LONGEST} bytes")
    parser = _Parser(_tokens(text))
    found = parser.expression()
    parser.end()
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = list[tuple[str, str]](), 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise FilterError(f"unexpected {text[position:].strip()[:20]!r}")
        kind = found.lastgroup or ""
        tokens.append((kind, found[kind]))
        position = found.end()
    return tokens


class _Parser:
    """Recursive descent: an expression joins terms by AND or by OR, never by both without parentheses."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._position = tokens, 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._position] if self._position < len(self._tokens) else ("", "")

    def _take(self, *wanted: str, kind: str = "sign") -> str:
        """The next token, which must be of a kind, and one of those wanted."""
        found, text = self._peek()
        if found != kind or (wanted and text not in wanted):
            raise FilterError(f"expected {' or '.join(wanted) or f'a {kind}'}, found {text or 'the end'!r}")
        self._position += 1
        return text

    def end(self) -> None:
        """Refuse what is left over."""
        if self._peek()[0]:
            raise FilterError(f"unexpected {self._peek()[1]!r}")

    def expression(self) -> Filter:
        """Terms that are joined."""
        terms, operators = [self._term()], set[str]()
        while self._peek()[1] in {"AND", "OR"}:
            operators.add(self._take(kind="word"))
            terms.append(self._term())
        if len(operators) > 1:
            raise FilterError("AND and OR side by side need parentheses")
        if len(terms) == 1:
            return terms[0]
        join = any if operators == {"OR"} else all
        return lambda attributes: join(term(attributes) for term in terms)

    def _term(self) -> Filter:
        if self._peek() in {("word", "NOT"), ("sign", "-")}:
            self._position += 1
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if self._peek()[1] == "(":
            self._take("(")
            inner = self.expression()
            self._take(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        word = self._take(kind="word")
        if word == "hasPrefix":
            self._take("(")
            name = self._key(self._take(kind="word"))
            self._take(",")
            prefix = self._string()
            self._take(")")
            return lambda attributes: attributes.get(name, "").startswith(prefix) and name in attributes
        if word == "attributes" and self._peek()[1] == ":":
            self._take(":")
            key = self._string() if self._peek()[0] == "string" else self._take(kind="word")
            return lambda attributes: key in attributes
        name, sign = self._key(word), self._take("=", "!=")
        value = self._string()
        if sign == "=":
            return lambda attributes: attributes.get(name) == value
        return lambda attributes: attributes.get(name) != value

    def _key(self, word: str) -> str:
        """The name after ``attributes.``, which may be quoted."""
        prefix, dot, name = word.partition(".")
        if prefix != "attributes" or not dot:
            raise FilterError(f"{word!r} is no attribute; write attributes.NAME")
        if "." in name:
            raise FilterError(f'{word!r} has a dot in its name; write attributes."{name}"')
        return name or self._string()

    def _string(self) -> str:
        text = self._take(kind="string")
        return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    code, plain = found["hex"] or found["unicode"], found["plain"]
    if code or found["octal"]:
        return chr(int(code, 16) if code else int(found["octal"], 8))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(plain, plain)
