"""MNIST from the package and from IDX files, good and broken; and the script that makes the package's subset.

The IDX files are made here. Where MINIGAN_DATA names a folder with the real ones, those are read too.
"""

import gzip
import hashlib
import io
import os
import socket
import struct
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan.data.embed as embedding
from minigan.data import DataError, Images, MissingDataError, mnist
from minigan.data.download import SHA256
from minigan.data.idx import NAMES, find, parse_images, read_bytes
from minigan.data.mnist import EMBEDDED

needs_full_mnist = pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA names no folder")


def idx(array, magic=None):
    """The bytes of an IDX file of unsigned bytes, written from the format's description."""
    magic = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def small_data(n=12, seed=0):
    """``n`` random images and labels, uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), ((np.arange(n) + seed) % 10).astype(np.uint8)


def small_files(n=12, seed=0):
    """The four IDX files of a data set with ``n`` training and ``n // 2`` test images: {name: bytes}."""
    files = {}
    for split, count in (("train", n), ("test", n // 2)):
        images, labels = small_data(count, seed)
        files[NAMES[split, "images"][0]], files[NAMES[split, "labels"][0]] = idx(images), idx(labels)
    return files


def write(folder, files, compressed=False):
    for name, content in files.items():
        (folder / (name + ".gz" * compressed)).write_bytes(gzip.compress(content) if compressed else content)
    return folder


# ------------------------------------------------------------------------------------------ the package's own


@pytest.fixture(scope="module")
def embedded():
    return {split: mnist(split) for split in ("train", "test")}


@pytest.mark.parametrize("split, n", [("train", 10_000), ("test", 2_000)])
def test_embedded_shape_dtype_and_range(embedded, split, n):
    data = embedded[split]
    assert isinstance(data, Images)
    assert (data.images.shape, data.images.dtype) == ((n, 28, 28, 1), np.float32)
    assert (data.labels.shape, data.labels.dtype) == ((n,), np.int64)
    assert (data.images.min(), data.images.max()) == (-1, 1)
    assert set(data.labels) == set(range(10))


@pytest.mark.parametrize(
    "split, images, labels",  # SHA-256 of the first 10,000 and 2,000 of the original files
    [
        (
            "train",
            "2f7182bf021ffc5c1f62db987487f14d899b5c639f421a80f3095affc09a7db2",
            "2f345bad07338ec537641465e169cc4b7288a44244f251211c7f842641e7d927",
        ),
        (
            "test",
            "170ff6838184f9ec6aaa1bbb5932ed59b7463585418d2da081525165ef21edae",
            "949a3782a9c308bf8ca08ff720810fe1de358fe09887727264c684c785d1ec53",
        ),
    ],
    ids=["train", "test"],
)
def test_embedded_is_mnist_byte_for_byte(embedded, split, images, labels):
    data = embedded[split]
    pixels = np.rint((data.images.astype(np.float64) + 1) * 127.5).astype(np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == images
    assert hashlib.sha256(data.labels.astype(np.uint8).tobytes()).hexdigest() == labels


def test_embedded_archive_is_small_and_free_of_pickle():
    assert EMBEDDED.stat().st_size < 3_000_000
    with np.load(EMBEDDED, allow_pickle=False) as archive:
        assert {name: array.dtype for name, array in archive.items()} == dict.fromkeys(
            ["train_images", "train_labels", "test_images", "test_labels"], np.uint8
        )


def test_notice_names_what_the_licence_asks_for():
    notice = (EMBEDDED.parent / "NOTICE.md").read_text(encoding="utf-8")
    for part in ("Yann LeCun", "Corinna Cortes", "NIST", "by-sa/3.0", "changed", EMBEDDED.name):
        assert part in notice


def test_no_source_but_download_touches_the_network(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    mnist("test")
    mnist("test", write(tmp_path, small_files()))


def test_importing_the_package_imports_nothing_optional():
    code = "import sys, minigan.data; print({'pooch', 'requests', 'tqdm', 'scipy', 'gzip'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("content", [b"", b"not a zip", "truncated", "spoilt"], ids=["empty", "text", "cut", "flipped"])
def test_broken_embedded_archive(monkeypatch, tmp_path, content):
    whole = embedding.archive({"test_images": small_data(3)[0], "test_labels": small_data(3)[1]})
    middle = len(whole) // 2
    content = {
        "truncated": whole[:middle],
        "spoilt": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    }.get(content, content)
    path = tmp_path / "mnist_subset.npz"
    path.write_bytes(content)
    monkeypatch.setattr(sys.modules["minigan.data.mnist"], "EMBEDDED", path)
    with pytest.raises(DataError, match=r"mnist_subset\.npz: corrupt .* Install minigan again"):
        mnist("test")


def test_missing_embedded_archive(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["minigan.data.mnist"], "EMBEDDED", tmp_path / "gone.npz")
    with pytest.raises(FileNotFoundError, match="gone.npz: missing"):
        mnist()


# -------------------------------------------------------------------------------------------- a folder, sound


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("spelling", [0, 1], ids=["-idx3", ".idx3"])
@pytest.mark.parametrize("as_type", [str, os.fspath, lambda path: path], ids=["str", "fspath", "Path"])
def test_folder(tmp_path, compressed, spelling, as_type):
    names = dict(NAMES.values())
    files = {(name, names[name])[spelling]: content for name, content in small_files().items()}
    data = mnist("train", as_type(write(tmp_path, files, compressed)))
    images, labels = small_data()
    expected = images.astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(data.images[..., 0], expected, atol=1e-7)
    assert data.labels.tolist() == labels.tolist()
    assert (data.images.dtype, data.labels.dtype) == (np.float32, np.int64)
    assert len(mnist("test", tmp_path).images) == 6


def test_the_result_may_be_written_to(tmp_path):
    data = mnist("test", write(tmp_path, small_files()))
    data.images[0] = 0
    data.labels[0] = 3


def test_compression_is_told_from_the_content_not_the_name(tmp_path):
    files = small_files()
    write(tmp_path, {name: gzip.compress(content) for name, content in files.items()})
    assert len(mnist("train", tmp_path).images) == 12


def test_full_reads_the_folder_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGAN_DATA", str(write(tmp_path, small_files())))
    assert len(mnist("train", "full").images) == 12
    assert len(mnist("train").images) == 10_000  # the variable does not change the default
    monkeypatch.delenv("MINIGAN_DATA")
    with pytest.raises(MissingDataError, match="MINIGAN_DATA is not set"):
        mnist("train", "full")


@needs_full_mnist
def test_real_mnist(embedded):
    folder = os.environ["MINIGAN_DATA"]
    for split, n in (("train", 60_000), ("test", 10_000)):
        for kind in ("images", "labels"):
            content = read_bytes(find(folder, split, kind))
            assert hashlib.sha256(content).hexdigest() == SHA256[NAMES[split, kind][0]]
        full = mnist(split, "full")
        assert full.images.shape == (n, 28, 28, 1)
        part = embedded[split]
        assert np.array_equal(part.images, full.images[: len(part.images)])
        assert np.array_equal(part.labels, full.labels[: len(part.labels)])


# ------------------------------------------------------------------------------------------- a folder, broken

IMAGES, LABELS = (NAMES["train", kind][0] for kind in ("images", "labels"))
SOUND = small_files()

BROKEN = {
    "label file as images": (
        IMAGES,
        SOUND[LABELS],
        r"magic number 2049, expected 2051 \(images\): this is a label file",
    ),
    "image file as labels": (
        LABELS,
        SOUND[IMAGES],
        r"magic number 2051, expected 2049 \(labels\): this is an image file",
    ),
    "wrong magic": (IMAGES, idx(small_data()[0], magic=0xD03), "magic number 3331, expected 2051"),
    "little-endian": (
        LABELS,
        struct.pack("<II", 2049, 12) + bytes(12),
        "magic number 17301504, expected 2049",
    ),
    "HTML page": (IMAGES, b"<html>Not found</html>", "no such IDX file"),
    "empty": (IMAGES, b"", "truncated, 0 bytes, the header alone has 16"),
    "half a header": (LABELS, SOUND[LABELS][:6], "truncated, 6 bytes, the header alone has 8"),
    "one byte short": (
        IMAGES,
        SOUND[IMAGES][:-1],
        "truncated, 9407 bytes of images where the header says 9408",
    ),
    "one byte long": (
        IMAGES,
        SOUND[IMAGES] + b"\0",
        "too long, 9409 bytes of images where the header says 9408",
    ),
    "labels short": (LABELS, SOUND[LABELS][:-2], "truncated, 10 bytes of labels where the header says 12"),
    "32x32": (IMAGES, idx(np.zeros((12, 32, 32))), "images of 32x32 pixels, expected 28x28"),
    "label 10": (LABELS, idx(np.array([0] * 11 + [10])), "label 10 at index 11, expected 0 to 9"),
    "one label fewer": (LABELS, idx(np.arange(11) % 10), f"11 labels for the 12 images of {IMAGES}"),
    "no images": (IMAGES, idx(np.zeros((0, 28, 28))), "holds no images"),
    "gzip cut": (IMAGES, gzip.compress(SOUND[IMAGES])[:-20], "truncated gzip file"),
    "gzip spoilt": (LABELS, gzip.compress(SOUND[LABELS])[:-8] + bytes(8), "corrupt gzip file"),
    "gzip header only": (IMAGES, b"\x1f\x8b", "truncated gzip file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_named_with_reason_and_remedy(tmp_path, case):
    name, content, reason = BROKEN[case]
    write(tmp_path, SOUND | {name: content})
    with pytest.raises(DataError, match=reason) as caught:
        mnist("train", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}: ")
    assert message.endswith(".") and message.count(". ") >= 1  # a remedy follows the reason
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_missing_file(tmp_path, name):
    write(tmp_path, {other: content for other, content in SOUND.items() if other != name})
    (tmp_path / name).mkdir()  # some archives unpack to a folder of the file's name
    for kind in (DataError, FileNotFoundError, MissingDataError, ValueError):
        with pytest.raises(kind, match=f"{name}: missing"):
            mnist("train", tmp_path)


def test_folder_that_is_none(tmp_path):
    with pytest.raises(MissingDataError, match="no such folder"):
        mnist("train", tmp_path / "nowhere")
    with pytest.raises(MissingDataError, match='embeded: no such folder, nor one of the sources "embedded"'):
        mnist("train", "embeded")
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is not a folder"):
        mnist("train", str(file))


@pytest.mark.parametrize(
    "call, name",
    [
        (partial(mnist, "valid"), "split"),
        (partial(mnist, "train", None), "source"),
        (partial(mnist, "train", 3), "source"),
        (partial(mnist, "train", cache="folder"), "cache, mirrors, sha256"),
        (partial(mnist, "train", "download", mirrors="https://example.org"), "mirrors"),
        (partial(mnist, "train", "download", mirrors=[]), "mirrors"),
        (partial(mnist, "train", "download", sha256={}), "sha256"),
    ],
)
def test_bad_argument_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        call()


@given(st.integers(0, len(SOUND[IMAGES]) - 1))
def test_no_truncated_file_is_ever_read(cut):
    with pytest.raises(DataError):
        parse_images(SOUND[IMAGES][:cut], "file")


@given(st.data())
def test_no_flipped_bit_in_a_gzip_file_goes_unseen(tmp_path_factory, data):
    content = SOUND[LABELS]
    packed = bytearray(gzip.compress(content, mtime=0))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("flipped") / LABELS
    path.write_bytes(packed)
    try:
        found = read_bytes(path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")
    else:  # a bit of the header's time stamp or the like, or the file does not say any more that it is gzip
        assert found in (content, packed)


# ------------------------------------------------------------------------------------------ making the subset


def test_embed_is_deterministic_and_keeps_the_first(tmp_path):
    counts = {"train": 5, "test": 3}
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    outs = []
    for folder, compressed in ((plain, False), (packed, True)):
        folder.mkdir()
        write(folder, small_files(), compressed)
        outs.append(tmp_path / f"{folder.name}.npz")
        assert embedding.embed(folder, outs[-1], counts) == outs[-1].stat().st_size
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with np.load(outs[0], allow_pickle=False) as archive:
        for split, n in counts.items():
            images, labels = small_data({"train": 12, "test": 6}[split])
            assert np.array_equal(archive[f"{split}_images"], images[:n])
            assert np.array_equal(archive[f"{split}_labels"], labels[:n])
    with zipfile.ZipFile(outs[0]) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.create_system for entry in archive.infolist()} == {3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "packed.npz", "plain", "plain.npz"]


def test_embed_refuses_too_small_a_data_set(tmp_path):
    out = tmp_path / "out.npz"
    with pytest.raises(DataError, match="12 train images, expected at least 10000"):
        embedding.main([str(write(tmp_path, small_files())), "--out", str(out)])
    assert not out.exists()


def test_embedded_archive_has_the_form_that_embed_gives_it():
    with (
        zipfile.ZipFile(EMBEDDED) as archive,
        zipfile.ZipFile(io.BytesIO(embedding.archive({"a": np.zeros(1)}))) as like,
    ):
        assert {e.date_time for e in archive.infolist()} == {like.infolist()[0].date_time}
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_DEFLATED}


@needs_full_mnist
def test_embed_makes_the_package_s_file_again(tmp_path):
    out = tmp_path / "again.npz"
    embedding.main([os.environ["MINIGAN_DATA"], "--out", str(out)])
    with np.load(out) as made, np.load(EMBEDDED) as shipped:  # arrays: another zlib may pack them otherwise
        assert list(made) == list(shipped)
        assert all(np.array_equal(made[name], shipped[name]) for name in shipped)
