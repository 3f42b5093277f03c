"""Variables: what `${NAME}` stands for in ocibuild.toml.

    [vars]
    version = "1.2.0"                                      a string, that --set version=… replaces
    image = "ghcr.io/me/hello:${version}"                  made of others
    revision = { default = "none", env = "GIT_COMMIT" }    the environment's too, because the file says so
    token-name = {}                                        must be given with --set

What was said goes over the environment, and that over the default. What is said is text, and not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from ocibuild.errors import UsageError
from ocibuild.pack.configlines import Place, meant

_VARIABLE = re.compile(r"\$\$|\$\{([^{}]*)\}")


class Variables:
    """The file's variables, with what was `said` on the command line. Raises UsageError (`config-variable-unknown`)."""

    def __init__(
        self, declared: Mapping[str, Any], said: Mapping[str, str], environ: Mapping[str, str], place: Place
    ) -> None:
        self._declared = declared
        self._place = place
        self._values: dict[str, str] = {}
        self._open: list[str] = []
        for name, value in said.items():
            if name not in declared:
                raise UsageError(
                    f"--set {name}: {place.path} has no such variable",
                    code="config-variable-unknown",
                    hint=meant(name, tuple(declared)) or "variables stand in [vars]",
                )
            self._values[name] = value
        for name, table in declared.items():
            if name not in self._values and isinstance(table, dict) and table.get("env") in environ:
                self._values[name] = environ[table["env"]]

    def fill(self, text: str, at: tuple[str, ...], own: Mapping[str, str] | None = None) -> str:
        """`text` of the key `at` with variables filled in; `own` are the target's, which go first.

        Raises UsageError (`config-variable-unknown`, `config-variable-unset`, `config-invalid`).
        """
        if "$" not in text:
            return text

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "$"  # $$
            return own[name] if own and name in own else self._value(name, at)

        return _VARIABLE.sub(value, text)

    def _value(self, name: str, at: tuple[str, ...]) -> str:
        if name in self._values:
            return self._values[name]
        if name not in self._declared:
            self._unknown(name, at)
        if name in self._open:
            self._place.fail(f"leads back to itself, by way of {' and '.join(self._open)}", ("vars", name))
        declared = self._declared[name]
        text: str | None = declared.get("default") if isinstance(declared, dict) else declared
        if text is None:
            told = f": {declared['description']}" if "description" in declared else ""
            raise UsageError(
                self._place.told(f"has no value{told}", ("vars", name)),
                code="config-variable-unset",
                hint=f"say it: --set {name}=VALUE",
            )
        self._open.append(name)
        self._values[name] = self.fill(text, ("vars", name))
        self._open.pop()
        return self._values[name]

    def _unknown(self, name: str, at: tuple[str, ...]) -> NoReturn:
        hint: str | None
        if name.startswith("matrix.") or name in ("path", "stem", "name"):
            key = "matrix" if "." in name else "each"
            hint = f"the target itself needs {key}: it is not inherited"
        else:
            hint = meant(name, tuple(self._declared))
        raise UsageError(
            self._place.told(f"${{{name}}} is not in [vars]", at),
            code="config-variable-unknown",
            hint=hint or f"add {name} to [vars], or write $${{{name}}} for the text itself",
        )
