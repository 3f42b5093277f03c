"""Fingerprints and the ledger: what is known of earlier bakes, and how little is believed of it."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ocibuild.bake import fingerprint, ledger, watching
from ocibuild.bake.fingerprint import Digests, Hint
from ocibuild.bake.ledger import Known, Taken
from ocibuild.content import codec
from ocibuild.content.blob import Bytes, File
from ocibuild.content.flow import Cancel
from ocibuild.content.tar import Entry
from ocibuild.errors import Cancelled, InputError
from ocibuild.image.plan import Existing, Files, FixedConfig, ImagePlan, IndexPlan, Raw
from ocibuild.source.base import Part
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

ROOT = Descriptor.of("application/vnd.oci.image.manifest.v1+json", b"{}")
CONFIG = FixedConfig("application/x", b"{}")


def plan(content: File | Bytes, **said: object) -> ImagePlan:
    layer = Files((Entry("a", "file", 0o755, content),))
    return replace(ImagePlan("image", (layer,), CONFIG), **said)  # type: ignore[arg-type]


def of(made: ImagePlan | IndexPlan) -> str:
    return fingerprint.of(made, Digests())


# --- fingerprints


def test_the_content_counts_and_its_place_and_time_do_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"abc")
    two.write_bytes(b"abc")
    os.utime(two, ns=(1, 1))
    prints = {
        of(plan(File(str(one), 3))),
        of(plan(File(str(two), 3, mtime_ns=1))),
        of(plan(Bytes(b"abc"))),
    }
    assert len(prints) == 1
    two.write_bytes(b"abd")
    assert of(plan(File(str(two), 3))) not in prints


def test_every_decision_counts() -> None:
    layer = Files((Entry("a", "file", 0o755, Bytes(b"abc")),))
    made = ImagePlan("image", (layer,), CONFIG)
    others = [
        made,
        replace(made, annotations=(("a", "b"),)),
        replace(made, annotations=(("ab", ""),)),
        replace(made, entry_annotations=(("a", "b"),)),
        replace(made, config=FixedConfig("application/x", b"{} ")),
        replace(made, layers=(replace(layer, compression="zstd:2"),)),
        replace(made, layers=(replace(layer, mtime=1),)),
        replace(made, layers=(replace(layer, entries=(Entry("a", "file", 0o644, Bytes(b"abc")),)),)),
        replace(made, layers=(Raw(Bytes(b"abc"), "application/wasm"),)),
        replace(made, subject=ROOT),
        IndexPlan((made,)),
        IndexPlan((made, made)),
    ]
    assert len({of(one) for one in others}) == len(others)


def test_another_version_or_compressor_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(plan(Bytes(b"abc")))
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "__version__", "99")
        version = of(plan(Bytes(b"abc")))
    kind = type(codec.parse("gzip:1"))
    monkeypatch.setattr(kind, "identity", property(lambda self: "another compressor"))
    assert len({before, version, of(plan(Bytes(b"abc")))}) == 3


def test_a_layer_of_another_image_counts_by_its_digest_and_what_is_in_one_by_its_bytes() -> None:
    def existing(data: bytes) -> Existing:
        return Existing(Bytes(b"never read"), Descriptor.of("application/x", data), Digest.of(data))

    def part(data: bytes) -> Files:
        return Files((Entry("a", "file", 0o755, Part(_Opens(data), 0, len(data))),))

    layers = (existing(b"1"), existing(b"2"), part(b"abc"), part(b"abd"))
    prints = {of(ImagePlan("image", (layer,), CONFIG)) for layer in layers}
    assert len(prints) == len(layers)
    assert of(ImagePlan("image", (part(b"abc"),), CONFIG)) == of(plan(Bytes(b"abc")))


class _Opens:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self, number: int, offset: int) -> io.BytesIO:
        return io.BytesIO(self.data[offset:])


def test_what_has_no_fingerprint_is_no_silent_match() -> None:
    with pytest.raises(TypeError):
        fingerprint.of(plan(Bytes(b"a"), annotations=object()), Digests())


# --- digests and hints


def big(tmp_path: Path, byte: bytes = b"a") -> File:
    path = tmp_path / "big"
    path.write_bytes(byte * 1024 * 1024)
    return File(str(path), 1024 * 1024)


def test_a_file_is_read_once(tmp_path: Path) -> None:
    file, digests = big(tmp_path), Digests()
    assert digests.of(file) == digests.of(file)
    assert digests.read == 1


def test_a_hint_spares_reading_where_it_is_beyond_doubt(tmp_path: Path) -> None:
    file, first = big(tmp_path), Digests()
    first.of(file)
    (hint,) = first.learned
    later = hint.ctime_ns + 10**10
    second = Digests([hint], later)
    assert second.of(file) == hint.digest
    assert second.read == 0
    assert second.learned == (hint,)


def test_a_hint_kept_right_after_the_file_changed_is_not_believed(tmp_path: Path) -> None:
    file, first = big(tmp_path), Digests()
    first.of(file)
    (hint,) = first.learned
    doubtful = Digests([hint], hint.ctime_ns + 10**9)
    doubtful.of(file)
    assert doubtful.read == 1


def test_a_file_with_its_old_size_and_time_but_other_bytes_is_seen(tmp_path: Path) -> None:
    file, first = big(tmp_path), Digests()
    before = first.of(file)
    (hint,) = first.learned
    status = os.stat(file.path)
    with open(file.path, "r+b") as stream:
        stream.write(b"b")
    os.utime(file.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = Digests([hint], hint.ctime_ns + 10**10)
    assert second.of(file) != before


def test_small_files_leave_no_hint_and_missing_ones_say_so(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"a")
    digests = Digests()
    digests.of(File(str(tmp_path / "small"), 1))
    assert digests.learned == ()
    with pytest.raises(InputError):
        digests.of(File(str(tmp_path / "none"), 1))


# --- the ledger


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = ledger.path_of(tmp_path, tmp_path / "ocibuild.toml")
    (tmp_path / "f").touch()
    hint = Hint(str(tmp_path / "f"), 1, 2, 3, 4, "00")
    gone = Hint(str(tmp_path / "gone"), 1, 2, 3, 4, "00")
    assert ledger.write(path, {"a": Known("one", ROOT)}, [hint, gone]) is None
    found = ledger.read(path)
    assert found.targets == {"a": (Known("one", ROOT),)}
    assert found.hints == (hint,)
    assert found.kept_ns == path.stat().st_mtime_ns
    assert path.stat().st_mode & 0o077 == 0


def test_what_a_build_target_began_with_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    taken = (Taken("docker://alpine", "linux/amd64", False, "sha256:1"), Taken("oci:x", "", True, "sha256:2"))
    ledger.write(path, {"a": Known("one", ROOT, "key", taken)}, [])
    assert ledger.read(path).targets == {"a": (Known("one", ROOT, "key", taken),)}


def test_the_last_few_images_of_a_target_are_kept_the_latest_first(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "l.json"
    for name in ("1", "2", "3", "4", "5", "4"):
        ledger.write(path, {"a": Known(name, ROOT)}, ())
    assert [known.fingerprint for known in ledger.read(path).targets["a"]] == ["4", "5", "3", "2"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'{"form": 0}', b'{"form": 2}', b'{"form": 2, "targets": [], "hints": []}',
        b'{"form": 1, "targets": {}, "hints": []}',
        b'{"form": 2, "targets": {"a": [["x", {"digest": "sha256:zz"}, "", []]]}, "hints": []}',
        b'{"form": 2, "targets": {"a": [["x"]]}, "hints": []}', b'{"form": 2, "targets": {}, "hints": [["p", "1", 2, 3, 4, "d"]]}',
        b'{"form": 2, "targets": {"a": [["x", {"mediaType": "a/b", "size": 1, "digest": "sha256:%s"}, "", [1]]]}, "hints": []}'
        % (b"0" * 64),
        b'{"form": 2, "targets": {}, "hints": [[1]]}', b"\xff\xfe\x00", b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_ledger_is_none_and_is_written_anew(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_bytes(data)
    assert ledger.read(path).targets == {}
    assert ledger.write(path, {"a": Known("one", ROOT)}, ()) is None
    assert set(ledger.read(path).targets) == {"a"}


def test_a_ledger_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = ledger.write(tmp_path / "file" / "l.json", {"a": Known("one", ROOT)}, ())
    assert told is not None
    assert ledger.read(tmp_path / "file" / "l.json").targets == {}


def keep(path: Path, name: str) -> None:
    for number in range(10):
        ledger.write(path, {f"{name}-{number}": Known("one", ROOT)}, ())


def test_bakes_that_run_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=keep, args=(path, str(n))) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(json.loads(path.read_bytes())["targets"]) == 30


# --- watching


def test_a_change_is_seen_once_it_rests(tmp_path: Path) -> None:
    file = tmp_path / "src" / "a"
    file.parent.mkdir()
    file.write_text("1")
    before = watching.look([str(tmp_path / "src"), str(tmp_path / "later")])
    assert not watching.wait(lambda: [str(tmp_path / "src"), str(tmp_path / "later")], before, Cancel(), seconds=0.2)
    threading.Timer(0.1, lambda: (tmp_path / "later").write_text("x")).start()
    assert watching.wait(lambda: [str(tmp_path / "src"), str(tmp_path / "later")], before, Cancel(), seconds=20)
    file.write_text("22")
    assert watching.wait(lambda: [str(tmp_path / "src")], before, Cancel(), seconds=20)


def test_what_tools_write_while_they_build_is_not_watched(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    before = watching.look([str(tmp_path)])
    (tmp_path / "target" / "a").write_text("x")
    assert watching.look([str(tmp_path)]) == before


def test_watching_ends_when_it_is_called_off(tmp_path: Path) -> None:
    cancel = Cancel()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(Cancelled):
        watching.wait(lambda: [str(tmp_path)], watching.look([str(tmp_path)]), cancel, seconds=20)
