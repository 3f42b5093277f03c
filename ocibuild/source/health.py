"""HEALTHCHECK: Docker's own addition to the image config. Times are Go's: `5s`, `1m30s`; nanoseconds in the config."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ocibuild.source.dockerfile import Instruction, invalid

_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_TIMES = {
    "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval",
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """`test` is `NONE`, or `CMD` and words, or `CMD-SHELL` and one text; `times` in nanoseconds, by Docker's names."""

    test: tuple[str, ...]
    times: tuple[tuple[str, int], ...] = ()
    retries: int = 0

    def to_json(self) -> dict[str, Any]:
        """The `Healthcheck` member, zeros left out."""
        numbers = {name: value for name, value in (*self.times, ("Retries", self.retries)) if value}
        return {"Test": list(self.test), **numbers}

    def __str__(self) -> str:
        times = dict(self.times)
        said = " ".join(f"{name}:{_duration(times.get(name, 0))}" for name in _TIMES.values())
        return f"{{Test:[{' '.join(self.test)}] {said} Retries:{self.retries}}}"


def read(instruction: Instruction, command: Callable[[Instruction], tuple[str, ...]]) -> Check:
    """What the instruction says. Raises InputError (`dockerfile-invalid`)."""
    kind, _, rest = instruction.rest.partition(" ")
    inner = replace(instruction, rest=rest.strip())
    if kind.upper() == "NONE" and not inner.rest and not instruction.flags:
        return Check(("NONE",))
    if kind.upper() != "CMD" or not inner.rest:
        raise invalid(
            instruction.at, f"HEALTHCHECK {instruction.rest} is neither CMD nor NONE", "write CMD and a command"
        )
    array = inner.array()
    if array is None:
        command(inner)  # says it where there is no shell
    test = ("CMD", *array) if array is not None else ("CMD-SHELL", inner.rest)
    times = tuple(
        (name, _nanoseconds(instruction, flag, value))
        for flag, name in _TIMES.items()
        if (value := instruction.flag(flag)) is not None
    )
    retries = instruction.flag("retries") or "0"
    if not (retries.isascii() and retries.isdigit()):
        raise invalid(instruction.at, f"--retries={retries} is no number", "write --retries=3")
    return Check(test, times, int(retries))


def _nanoseconds(instruction: Instruction, flag: str, text: str) -> int:
    parts = _PART.findall(text)
    total = sum(round(float(number) * _UNITS[unit]) for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or (total < _UNITS["ms"] and total != 0):
        raise invalid(instruction.at, f"--{flag}={text} is no time of 1ms or more", "write 30s, 500ms or 1m30s")
    return total


def _duration(nanoseconds: int) -> str:
    """As Go prints it: `1h0m0s`, `1m30s`, `1.5s`, `500ms`, `0s`."""
    if nanoseconds < _UNITS["s"]:
        return f"{_decimal(nanoseconds, _UNITS['ms'])}ms" if nanoseconds else "0s"
    minutes, rest = divmod(nanoseconds, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{front}{_decimal(rest, _UNITS['s'])}s"


def _decimal(number: int, unit: int) -> str:
    return f"{number / unit:.9f}".rstrip("0").rstrip(".")
