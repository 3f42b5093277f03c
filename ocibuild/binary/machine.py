"""Which OCI platform a machine code is: ELF's e_machine, class, byte order and flags against Go's architecture words.

gABI chapter 4 and the processors' supplements for the codes; OCI image-index.md for the words, which are Go's GOARCH.
"""

from __future__ import annotations

from ocibuild.binary.gobuild import GoBuild
from ocibuild.record import record
from ocibuild.spec.platform import Platform

# (e_machine, bits, byte order) -> GOARCH. A pair that is not here is a machine no runtime pulls images for:
# x32 and arm64's ILP32 are x86-64 and AArch64 with 32 bits, and neither has a word of its own.
_ARCHITECTURES = {
    (3, 32, "little"): "386",
    (6, 32, "little"): "386",
    (62, 64, "little"): "amd64",
    (40, 32, "little"): "arm",
    (183, 64, "little"): "arm64",
    (243, 64, "little"): "riscv64",
    (21, 64, "little"): "ppc64le",
    (21, 64, "big"): "ppc64",
    (22, 64, "big"): "s390x",
    (258, 64, "little"): "loong64",
    (8, 64, "little"): "mips64le",
    (8, 64, "big"): "mips64",
    (8, 32, "little"): "mipsle",
    (8, 32, "big"): "mips",
}

MACHINES = {
    2: "sparc", 3: "386", 4: "m68k", 6: "486", 8: "mips", 15: "parisc", 18: "sparc32plus", 20: "ppc", 21: "ppc64",
    22: "s390", 40: "arm", 42: "superh", 43: "sparcv9", 50: "ia64", 62: "x86-64", 83: "avr", 93: "arc", 94: "xtensa",
    183: "aarch64",
    190: "cuda", 224: "amdgpu", 243: "riscv", 247: "bpf", 252: "csky", 258: "loongarch", 0x9026: "alpha",
}  # fmt: skip

OS_ABIS = {
    0: "sysv", 1: "hpux", 2: "netbsd", 3: "linux", 6: "solaris", 7: "aix", 8: "irix", 9: "freebsd", 10: "tru64",
    11: "modesto", 12: "openbsd", 13: "openvms", 64: "arm", 97: "arm", 200: "wasmtime", 255: "standalone",
}  # fmt: skip

_OS_OF_ABI = {"sysv": "linux", "linux": "linux", "arm": "linux", "freebsd": "freebsd"}
_OS_OF_NOTE = {"NetBSD": "netbsd", "OpenBSD": "openbsd", "DragonFly": "dragonfly", "FreeBSD": "freebsd"}

_EF_ARM_HARD_FLOAT = 0x400
_EF_MIPS_N32 = 0x20
_TAG_CPU_ARCH = 6

# Tag_CPU_arch of the ARM ABI's addenda -> variant. Below v5 there is no word: such code runs on every v5.
_ARM_VARIANTS = {
    1: "v5", 2: "v5", 3: "v5", 4: "v5", 5: "v5", 6: "v6", 7: "v6", 8: "v6", 9: "v6", 10: "v7",
    14: "v8", 15: "v8", 22: "v8",
}  # fmt: skip


@record
class Target:
    """What of a header decides the platform: e_machine, bits, byte order (`little`, `big`) and e_flags."""

    machine: int
    bits: int
    byte_order: str
    flags: int

    @property
    def name(self) -> str:
        """The machine in words, for messages: `x86-64, 32 bits`."""
        return f"{MACHINES.get(self.machine, f'machine {self.machine}')}, {self.bits} bits, {self.byte_order}-endian"

    @property
    def architecture(self) -> str | None:
        """Go's word for it, or None where there is none."""
        if self.machine == 8 and self.bits == 32 and self.flags & _EF_MIPS_N32:
            return None
        return _ARCHITECTURES.get((self.machine, self.bits, self.byte_order))


def operating_system(osabi: str, notes: frozenset[str], go: GoBuild | None) -> str:
    """The OS a program calls: what Go records, else what a BSD's note says, else what the header's OS ABI says.

    Linux programs leave the OS ABI at System V's as a rule, so this is what System V means here. An OS ABI that is
    nobody's OCI platform comes back by its name; the caller refuses it.
    """
    recorded = go.setting("GOOS") if go else None
    if recorded:
        return recorded
    for owner, name in _OS_OF_NOTE.items():
        if owner in notes:
            return name
    return _OS_OF_ABI.get(osabi, osabi)


def arm_variant(flags: int, attributes: bytes, go: GoBuild | None) -> str:
    """`v5` to `v8`: what Go records (GOARM), else the ARM build attributes, else v7 with hardware floats, v5 without.

    Hard-float is an ABI that Debian's and everyone's armhf ports pair with v7; without any sign the oldest is claimed,
    because every newer machine runs it and looks for it.
    """
    recorded = (go.setting("GOARM") or "") if go else ""
    if recorded[:1] in ("5", "6", "7"):
        return f"v{recorded[0]}"
    variant = _ARM_VARIANTS.get(_cpu_arch(attributes))
    if variant:
        return variant
    return "v7" if flags & _EF_ARM_HARD_FLOAT else "v5"


def platform_of(target: Target, os: str, attributes: bytes, go: GoBuild | None) -> Platform | None:
    """The OCI platform, or None for a machine without one.

    amd64 and arm64 have no variant, whatever level the program was built for: containers/image and most registries'
    clients match `linux/amd64/v3` for nobody who asks for linux/amd64.
    """
    architecture = target.architecture
    if architecture is None:
        return None
    variant = arm_variant(target.flags, attributes, go) if architecture == "arm" else ""
    return Platform(os, architecture, variant)


def _cpu_arch(attributes: bytes) -> int:
    # "A", then vendors' parts (length, name, ...); in "aeabi", tagged parts; tag 1 describes the whole file.
    try:
        if attributes[:1] != b"A":
            return 0
        at = 1
        while at + 4 <= len(attributes):
            length = int.from_bytes(attributes[at : at + 4], "little")
            if length < 5:
                return 0
            part = attributes[at + 4 : at + length]
            vendor, _, body = part.partition(b"\0")
            if vendor == b"aeabi":
                return _file_attribute(body)
            at += length
    except IndexError:
        pass
    return 0


def _file_attribute(body: bytes) -> int:
    tag, at = _uleb(body, 0)
    end = min(len(body), int.from_bytes(body[at : at + 4], "little"))
    at += 4
    while tag == 1 and at < end:
        tag_of_value, at = _uleb(body, at)
        if tag_of_value in (4, 5) or (tag_of_value > 32 and tag_of_value % 2):
            at = body.index(b"\0", at) + 1 if b"\0" in body[at:] else end
        else:
            value, at = _uleb(body, at)
            if tag_of_value == _TAG_CPU_ARCH:
                return value
            if tag_of_value == 32:
                at = body.index(b"\0", at) + 1 if b"\0" in body[at:] else end
    return 0


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            return value, at
