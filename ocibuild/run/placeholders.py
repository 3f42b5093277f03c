"""`ocibuild://PATH` in the text of YAML and JSON: found as whole scalars, and replaced where they stand.

Everything else stays byte for byte, comments and anchors and line ends too: the text is never written anew, only the
scalars' own characters are. YAML 1.1 as PyYAML and Kubernetes read it; https://yaml.org/spec/1.1/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ocibuild.errors import InputError

SCHEME = "ocibuild://"
_BOM = "\ufeff"
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LARGEST = 32 * 1024 * 1024


@dataclass(frozen=True)
class Placeholder:
    """A scalar that names a path: `line` counts from 1; `start` and `end` are its characters in the text."""

    path: str
    line: int
    start: int
    end: int
    written: str


@dataclass(frozen=True)
class Document:
    """A file's text and what stands in it. `passed` are lines that have the scheme within a longer text; `begins` is
    how it starts: `start` with `---`, `directive` with `%`, or `bare`.
    """

    name: str
    text: str
    placeholders: tuple[Placeholder, ...] = ()
    passed: tuple[int, ...] = ()
    begins: str = "bare"

    def filled(self, reference: Callable[[Placeholder], str]) -> str:
        """The text with a reference in place of each, written in the same style."""
        pieces, position = [], 0
        for each in self.placeholders:
            pieces += [self.text[position : each.start], _styled(each, reference(each))]
            position = each.end
        return "".join([*pieces, self.text[position:]])


def read(name: str, data: bytes) -> Document:
    """Look through a file. Raises InputError (`yaml-invalid`) with the line."""
    if len(data) > _LARGEST:
        raise InputError(f"{name} is larger than {_LARGEST >> 20} MiB", code="yaml-invalid", hint="split it")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: it is not UTF-8", code="yaml-invalid", hint="save it as UTF-8") from error
    scalars, begins = _of_json(text), "bare"
    if scalars is None:
        scalars, begins = _of_yaml(name, text)
    found, passed = [], []
    for value, line, start, end in scalars:
        path = value.strip("\n")
        if start >= 0 and path.startswith(SCHEME) and "\n" not in path:
            found.append(Placeholder(path.removeprefix(SCHEME), line, start, end, text[start:end]))
        elif SCHEME in value:
            passed.append(line)
    return Document(name, text, tuple(found), tuple(passed), begins)


def joined(documents: Sequence[Document], texts: Sequence[str]) -> str:
    """Several files as one stream: `---` between them where the next does not begin with one."""
    out = ""
    for document, text in zip(documents, texts, strict=True):
        if out:
            text = text.removeprefix(_BOM)
            out += "" if out.endswith("\n") else "\n"
            out += {"start": "", "directive": "...\n", "bare": "---\n"}[document.begins]
        out += text
    return out


_Scalars = list[tuple[str, int, int, int]]
"""Value, line from 1, start and end of each scalar that may be meant; a start of -1 where it does not stand there as it is."""


def _of_json(text: str) -> _Scalars | None:
    """None where it is no JSON. YAML's own reader refuses tabs, which JSON may have."""
    if text.lstrip(_BOM + " \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        json.loads(text.removeprefix(_BOM))
    except (ValueError, RecursionError):
        return None
    return [
        (json.loads(match[0], strict=False), text.count("\n", 0, match.start()) + 1, match.start(), match.end())
        for match in _STRINGS.finditer(text)
        if _may_name(match[0])
    ]


def _may_name(text: str) -> bool:
    """False where there is surely no placeholder: neither its word nor an escape that could hide it."""
    return "ocibuild" in text or "\\" in text


def _of_yaml(name: str, text: str) -> tuple[_Scalars, str]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    skipped = len(text) - len(text.removeprefix(_BOM))
    try:
        for _ in yaml.compose_all(text[skipped:], Loader=loader):
            pass
        scanned = yaml.scan(text[skipped:], Loader=loader)
        # A file that names nothing is not taken apart further than its beginning.
        tokens = list(scanned if _may_name(text) else islice(scanned, 2))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        why = error.problem or error.context or "it cannot be read"
        hint = "Helm charts and other templates are to be rendered first" if "{{" in text else None
        raise InputError(f"{name}{line}: this is no YAML: {why}", code="yaml-invalid", hint=hint) from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: this is no YAML: {str(error).splitlines()[0]}", code="yaml-invalid") from error
    except RecursionError as error:
        raise InputError(f"{name}: this is nested too deeply", code="yaml-invalid") from error
    return list(_scalars(tokens, skipped, text)), _beginning(tokens)


def _scalars(tokens: Sequence[Any], skipped: int, text: str) -> Iterator[tuple[str, int, int, int]]:
    import yaml

    for token in tokens:
        if isinstance(token, yaml.ScalarToken) and SCHEME in token.value:
            start, end = token.start_mark.index + skipped, token.end_mark.index + skipped
            if token.style in ("|", ">"):
                # Only the path within the block, where it stands there as it is.
                inner = token.value.strip("\n")
                start = text.find(inner, start, end)
                end = start + len(inner)
            yield token.value, token.start_mark.line + 1, start, end


def _beginning(tokens: Sequence[Any]) -> str:
    import yaml

    for token in tokens:
        if isinstance(token, yaml.DirectiveToken):
            return "directive"
        if not isinstance(token, yaml.StreamStartToken):
            return "start" if isinstance(token, yaml.DocumentStartToken) else "bare"
    return "bare"


def _styled(placeholder: Placeholder, reference: str) -> str:
    """A reference holds nothing that any style would have to escape."""
    quote = placeholder.written[:1]
    return f"{quote}{reference}{quote}" if quote in ("'", '"') else reference
