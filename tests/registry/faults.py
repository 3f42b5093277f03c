"""The fault catalogue: what networks, registries and the people before them do, and what must become of it.

Every entry is met by at least one test marked `@pytest.mark.fault(number)`; `scripts/faults` runs those and writes
docs/faults.md. Collected from the issue trackers and the code of other clients, whose users met them.
"""

from __future__ import annotations

from collections.abc import Mapping

_HEAD = """# The fault catalogue

What networks, registries and the people before them do, and what becomes of it: every entry is injected by the tests
named beside it. Written by `scripts/faults`, which ran them all.

| | fault | what becomes of it | tests | result |
|---|---|---|---|---|
"""


def table(results: Mapping[int, Mapping[str, set[str]]]) -> str:
    """The page of docs, from the outcomes of each entry's tests by their names."""
    rows = []
    for number, (fault, becomes) in FAULTS.items():
        tests = results.get(number, {})
        outcome = "passed" if tests and set().union(*tests.values()) == {"passed"} else "FAILED"
        names = ", ".join(f"`{name.rpartition('::')[2]}`" for name in sorted(tests))
        rows.append(f"| {number} | {fault} | {becomes} | {names} | {outcome} |")
    return _HEAD + "\n".join(rows) + "\n"


FAULTS = {
    1: ("A host name nobody knows", "fails at once, without another try, and names the host"),
    2: ("Name resolution fails for the moment", "is tried again, four times in all"),
    3: ("The connection is refused", "two more quick tries; host and port are named"),
    4: ("Nothing answers the connection", "ends after 10 s an address, 30 s in all"),
    5: ("IPv6 is a black hole, IPv4 works", "costs a fraction of a second"),
    6: ("An IPv6 literal as host", "works"),
    7: (
        "TLS: expired, another host's, unknown authority, silent",
        "no second try; says which, and where trust is read from",
    ),
    8: ("http where https was expected, or the reverse", "says so, and which option to use"),
    9: ("A kept connection was closed meanwhile", "is made anew, unnoticed"),
    10: ("A reset in the middle of an upload", "goes on from what the registry has"),
    11: ("An answer before the body's end", "is the one that counts"),
    12: ("The answer to an upload is lost", "the registry is asked before anything is sent again"),
    13: ("Headers that trickle", "have a deadline as a whole"),
    14: ("A body that trickles", "is given up, and read on over another connection"),
    15: ("A peer that stops reading", "has a bound for every block"),
    16: ("A proxy that refuses", "is named as the proxy's refusal, without its password"),
    17: ("A proxy is set and the registry is local, or excepted", "is reached directly"),
    18: ("Too many headers, or too long", "is an error of the protocol"),
    19: ("A blob without Content-Length", "is read to the descriptor's size"),
    20: ("A Content-Length that lies", "short: read on; long: refused, no byte more is written"),
    21: ("Two lengths, or malformed chunks", "is an error, and the connection is dropped"),
    22: ("Every answer closes the connection", "works"),
    23: ("Closing twice, while reading, after cancelling", "is harmless"),
    24: ("A redirect to another host", "carries no credentials; the content is verified all the same"),
    25: ("A redirect to another port", "carries no credentials"),
    26: ("A step down from https to http", "is refused"),
    27: ("Redirects without end", "end after ten"),
    28: ("A redirect into the private network, or to a file", "is refused"),
    29: ("A signed address has lapsed", "the registry is asked for another, once"),
    30: ("An address signed for GET refuses HEAD", "a GET of one byte tells whether it is there"),
    31: ("An upload without a Location", "is told; at a chunk the address stays"),
    32: ("A relative Location", "is resolved by RFC 3986"),
    33: ("A Location with a signed query", "is kept to the byte"),
    34: ("A Location on another host", "gets the bytes over https and no credentials; over http it is refused"),
    35: ("A login lapses in the middle of an upload", "is renewed, and the whole body sent"),
    36: ("Never content with any login", "ends after two; the scopes are named"),
    37: ("The token service fails or refuses", "tried again or told, with the credential's source and not its value"),
    38: ("A realm that should not be told a secret", "is refused before a byte is sent"),
    39: ("A realm on another public host", "is allowed; credentials go there alone"),
    40: ("Challenges in every form, or none", "are read as RFC 9110 says"),
    41: ("Token answers of every kind", "are bounded, and sane"),
    42: ("Clocks that differ", "do not matter"),
    43: ("Credential helpers that fail, hang, flood", "end within bounds, and are named"),
    44: ("Config files that cannot be read", "are told and passed over"),
    45: ("Passwords with any character", "arrive exactly"),
    46: ("Anything printed, logged or raised", "holds no secret"),
    47: ("A chunk of which less was taken", "goes on after what was taken"),
    48: ("A Range that is absent, malformed, impossible", "absent: believed; else asked about, then begun anew once"),
    49: ("A Range that does not move", "is asked about once; then the digest tells"),
    50: ("416 at a chunk", "the registry is asked where it is"),
    51: ("An upload that was forgotten", "is begun anew"),
    52: ("The end of an upload whose answer is lost", "a blob that is there is success"),
    53: ("The registry finds another digest", "the content is hashed again: sent once more, or told to have changed"),
    54: ("Other kinds of yes", "are taken"),
    55: ("Stored, and not to be seen", "is waited for, then sent again"),
    56: ("A minimum length of chunks", "is obeyed, refused where absurd, passed over where no number"),
    57: ("413", "turns to chunks, and to smaller ones down to 1 MiB"),
    58: ("A mount is answered in any way", "costs one request at the most"),
    59: ("The content changes, shrinks, or cannot be read", "is told; the upload is taken back"),
    60: ("Sizes at every edge", "are sent in the right ranges"),
    61: ("A blob of other bytes", "is read once more, then refused"),
    62: ("A blob that breaks off", "is read on; without progress five times at the most"),
    63: ("A range is ignored", "what is known already is skipped"),
    64: ("A wrong range", "the whole is asked for"),
    65: ("A coding nobody asked for", "is undone, unless it is the blob's own"),
    66: ("A manifest without end", "is read to 4 MiB and no further"),
    67: ("A web page instead of an answer", "is told with its title"),
    68: ("Manifests that contradict themselves", "are refused; deep ones cost no stack"),
    69: ("Graphs too deep or too wide", "are bounded"),
    70: ("Descriptors that cannot be", "are refused"),
    71: ("A layer that unpacks without end", "is bounded"),
    72: ("Archives that reach outside", "are refused"),
    73: ("The registry's digest header lies, or is missing", "is an error; is computed"),
    74: ("A tag moves while it is read", "all that follows goes by the first digest"),
    75: ("A child is missing", "is named"),
    76: ("The disk is full while pulling", "is told; nothing half-written stays"),
    77: ("Retry-After in every form", "is obeyed by all threads, up to two minutes"),
    78: ("Bursts of 5xx", "are waited out, longer each time, five times at the most"),
    79: ("A maintenance page", "is told with its title"),
    80: ("Few requests are left", "is noted under --debug"),
    81: ("Warning headers", "are told once, without control characters"),
    82: ("Two processes push one tag", "both succeed; the tag is one of the two, whole"),
    83: ("Two threads push one blob", "it is sent once"),
    84: ("Two processes attach to one subject", "both are listed in the end"),
    85: ("Ctrl-C in the middle of an upload", "ends within a second, takes the upload back, leaves no tag"),
    86: ("SIGTERM, SIGHUP, a closed stdout", "end cleanly"),
    87: ("One blob fails for good", "the others are called off; its cause is the one told; no manifest is pushed"),
    88: ("A storm of 429s", "does not come back as the next storm"),
    89: ("A fork after use", "shares no connection"),
    90: ("Two logins write the config file at once", "no entry is lost, mode 0600"),
    91: ("A tag that must not change", "is told with what it is; the same digest is success"),
    92: ("Deletion is switched off", "is told as that"),
    93: ("A repository that must be created first", "is told as that"),
    94: ("Lists without end, across hosts, of nothing", "are bounded"),
    95: ("Escapes in a registry's texts", "do not reach the terminal"),
    96: ("A registry's clock", "does not reach a digest"),
}
