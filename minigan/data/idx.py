"""Reading the IDX format, which holds MNIST and the data sets modelled on it (Fashion-MNIST, KMNIST, …).

    offset  images                         labels
    0       magic 2051 = 0x00000803        magic 2049 = 0x00000801    the header is big-endian, 32-bit
    4       number of images n             number of labels n
    8       rows                           n bytes: the labels 0 … 9
    12      columns
    16      n·rows·columns bytes, row by row; 0 is background

The third byte of the magic number says "unsigned byte", the fourth how many dimensions follow. Source: LeCun,
Cortes, Burges, "The MNIST database of handwritten digits". Everything the header promises is checked, because
a truncated or misnamed file would otherwise train a GAN on noise without a word.
"""

import math
import struct
from pathlib import Path

import numpy as np

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049
SIDE = 28  # pixels, both ways

# What the same two files are called, here and there; each may be compressed, with ".gz" added.
NAMES = {
    ("train", "images"): ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    ("train", "labels"): ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    ("test", "images"): ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    ("test", "labels"): ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}


class DataError(ValueError):
    """A file of data cannot be used. The message names the file, the reason, and what to do."""


class MissingDataError(DataError, FileNotFoundError):
    """A file of data is not there. Both a ``DataError`` and a ``FileNotFoundError``."""


def read_split(folder, split):
    """The images and labels of ``split`` ("train" or "test") from a folder of IDX files, compressed or not.

    Returns ``(images, labels)``: uint8 (n, 28, 28) and uint8 (n,).

    Raises ``MissingDataError`` if the folder or a file is not there; ``DataError`` if a file is truncated,
    too long, corrupt, of the wrong kind or shape, if a label is not 0 … 9, or if there is not one label per
    image.
    """
    image_file, label_file = find(folder, split, "images"), find(folder, split, "labels")
    images = parse_images(read_bytes(image_file), image_file)
    labels = parse_labels(read_bytes(label_file), label_file)
    if len(images) != len(labels):
        raise DataError(
            f"{label_file}: {len(labels)} labels for the {len(images)} images of {image_file.name}. "
            "Take both files from the same place."
        )
    return images, labels


def find(folder, split, kind):
    """The path of one file of the data set in ``folder``; ``kind`` is "images" or "labels"."""
    folder, names = Path(folder), NAMES[split, kind]
    if not folder.is_dir():
        remedy = f"Name the folder that holds {names[0]} (or {names[0]}.gz)."
        if folder.exists():
            raise DataError(f"{folder}: is not a folder. {remedy}")
        raise MissingDataError(f"{folder}: no such folder. {remedy}")
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise MissingDataError(
        f"{folder / names[0]}: missing, also as {names[0]}.gz and {names[1]}[.gz]. "
        'Put the file there, or use source="download" or source="embedded".'
    )


def read_bytes(path):
    """The content of a file, decompressed if its first bytes (names are not to be trusted) say it is gzip."""
    import gzip
    import zlib

    try:
        content = Path(path).read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except EOFError:
        raise DataError(f"{path}: truncated gzip file. Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: corrupt gzip file ({error}). Copy or download it again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Check the file and its permissions.") from error


def parse_images(content, path):
    """The images in the bytes of an IDX file: uint8 (n, 28, 28), read-only. ``path`` is for the messages."""
    images = _parse(content, path, IMAGE_MAGIC, "images", dimensions=3)
    if images.shape[1:] != (SIDE, SIDE):
        size = "x".join(map(str, images.shape[1:]))
        raise DataError(f"{path}: images of {size} pixels, expected {SIDE}x{SIDE}. Use a data set in MNIST's format.")
    return images


def parse_labels(content, path):
    """The labels in the bytes of an IDX file: uint8 (n,), read-only. ``path`` is for the messages."""
    labels = _parse(content, path, LABEL_MAGIC, "labels", dimensions=1)
    if labels.max() > 9:
        where = int(labels.argmax())
        raise DataError(f"{path}: label {labels[where]} at index {where}, expected 0 to 9. Take an unspoilt copy.")
    return labels


def _parse(content, path, magic, kind, dimensions):
    """The array in an IDX file of unsigned bytes, after holding its header against its length."""
    header = 4 + 4 * dimensions
    found = int.from_bytes(content[:4], "big")
    if len(content) >= 4 and found != magic:
        known = {IMAGE_MAGIC: "an image file", LABEL_MAGIC: "a label file"}
        this = known.get(found, "no such IDX file")
        raise DataError(
            f"{path}: magic number {found}, expected {magic} ({kind}): this is {this}. "
            "Check that the files were not swapped or renamed."
        )
    if len(content) < header:
        raise DataError(f"{path}: truncated, {len(content)} bytes, the header alone has {header}. Get it again.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected, got = math.prod(shape), len(content) - header
    if got != expected:
        reason = "truncated" if got < expected else "too long"
        raise DataError(f"{path}: {reason}, {got} bytes of {kind} where the header says {expected}. Get it again.")
    if shape[0] == 0:
        raise DataError(f"{path}: holds no {kind}. Use a file with at least one example.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
