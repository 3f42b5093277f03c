"""How to pull and run what is here, in the words of the tools that people have. What runs where was tried: docs/engines.md."""

from __future__ import annotations

from typing import Literal

from ocibuild.record import record

Sort = Literal["native", "mixed", "wasm-image", "wasm-layer", "artifact", "other"]


@record
class Command:
    """What a tool is called with; one line each."""

    tool: str
    lines: tuple[str, ...]


@record
class Place:
    """Where an image is, as references begin: `localhost:5000`; `plain` where it speaks http."""

    address: str
    name: str
    suffix: str
    plain: bool

    @property
    def reference(self) -> str:
        """`localhost:5000/hello:1`."""
        return f"{self.address}/{self.name}{self.suffix}"

    @property
    def is_loopback(self) -> bool:
        """True where tools that know about it speak http unasked."""
        host = self.address.rpartition(":")[0] if not self.address.endswith("]") else self.address
        return (host or self.address) in ("localhost", "[::1]") or host.startswith("127.")


def commands(place: Place, sort: Sort, *, platforms: tuple[str, ...] = (), serves: bool = False) -> tuple[Command, ...]:
    """The commands for an image of a sort, `mixed` being an index of native and Wasm images; `platforms` are those of an index, `serves` is True for an HTTP component."""
    match sort:
        case "native":
            return (_ocibuild(place), *_engines(place))
        case "mixed":
            docker = _wasm_engines(place, _platform(platforms))[0]
            as_wasm = Command("docker, Wasm", docker.lines[1:])
            return (_ocibuild(place), *_engines(place), _wasmtime(place, serves), as_wasm)
        case "wasm-image":
            wasm = _platform(platforms)
            return (_ocibuild(place), _wasmtime(place, serves), *_wasm_engines(place, wasm))
        case "wasm-layer":
            return (_ocibuild(place), _wasmtime(place, serves), _containerd(place, _platform(platforms)))
        case "artifact":
            return (_ocibuild(place), _wasmtime(place, serves), _wkg(place), _oras(place))
        case _:
            return (Command("ocibuild", (f"ocibuild pull{_plain(place)} {place.reference}",)), _oras(place))


def _platform(platforms: tuple[str, ...]) -> str:
    return next((platform for platform in platforms if "/wasm" in platform), "wasi/wasm")


def _plain(place: Place) -> str:
    return " --plain-http" if place.plain and not place.is_loopback else ""


def _ocibuild(place: Place) -> Command:
    plain = _plain(place)
    return Command("ocibuild", (f"ocibuild pull{plain} {place.reference}", f"ocibuild run{plain} {place.reference}"))


def _wasmtime(place: Place, serves: bool) -> Command:
    file = f"{place.name.rpartition('/')[2]}.wasm"
    verb = "serve" if serves else "run"
    return Command(
        "wasmtime", (f"ocibuild extract{_plain(place)} {place.reference} -o {file}", f"wasmtime {verb} {file}")
    )


def _podman(place: Place) -> str:
    # podman takes no loopback registry for one without TLS.
    return " --tls-verify=false" if place.plain else ""


def _ctr(place: Place) -> str:
    return " --plain-http" if place.plain else ""


def _engines(place: Place) -> tuple[Command, ...]:
    what, short = place.reference, place.name.rpartition("/")[2]
    return (
        Command("docker", (f"docker pull {what}", f"docker run --rm {what}")),
        Command("podman", (f"podman pull{_podman(place)} {what}", f"podman run --rm {what}")),
        Command("containerd", (f"ctr image pull{_ctr(place)} {what}", f"ctr run --rm {what} {short}")),
    )


def _wasm_engines(place: Place, wasm: str) -> tuple[Command, ...]:
    what = place.reference
    shim = "--runtime io.containerd.wasmtime.v1"
    handler = "--annotation run.oci.handler=wasm"
    return (
        Command(
            "docker",
            (
                f"docker pull --platform {wasm} {what}",
                f"docker run --rm {shim} --network host --platform {wasm} {what}",
            ),
        ),
        Command(
            "podman",
            (
                f"podman pull{_podman(place)} --platform {wasm} {what}",
                f"podman run --rm --platform {wasm} {handler} {what}",
            ),
        ),
        _containerd(place, wasm),
    )


def _containerd(place: Place, wasm: str) -> Command:
    what, short = place.reference, place.name.rpartition("/")[2]
    return Command(
        "containerd",
        (
            f"ctr image pull{_ctr(place)} --platform {wasm} {what}",
            f"ctr run --rm --runtime io.containerd.wasmtime.v1 --platform {wasm} {what} {short}",
        ),
    )


def _wkg(place: Place) -> Command:
    insecure = f" --insecure {place.address}" if place.plain else ""
    file = f"{place.name.rpartition('/')[2]}.wasm"
    return Command("wkg", (f"wkg oci pull{insecure} {place.reference} -o {file}",))


def _oras(place: Place) -> Command:
    return Command("oras", (f"oras pull{' --plain-http' if place.plain else ''} {place.reference}",))
