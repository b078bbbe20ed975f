"""Make the subset of MNIST that ships with minigan, ``mnist_subset.npz``, from a folder of the IDX files:

    python -m minigan.data.embed FOLDER [--out FILE]

It holds the first 10,000 training and the first 2,000 test images with their labels: ``train_images`` uint8
(10000, 28, 28), ``train_labels`` uint8 (10000,), ``test_images``, ``test_labels``. First, not drawn: nobody
needs to trust a seed, and the proportions of the digits differ from those of the whole by about a percentage
point at most.

``np.load`` reads the archive without pickle. The same files give the same bytes: order, times, permissions
and compression level are fixed here (another zlib may compress otherwise; the arrays are the same for any).
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from minigan.data.idx import DataError, read_split
from minigan.data.mnist import EMBEDDED

COUNTS = {"train": 10_000, "test": 2_000}


def embed(folder, out=EMBEDDED, counts=None):
    """Write the subset of the files in ``folder`` to ``out``, aside and renamed; returns its size in bytes.

    ``counts``: {split: number of images}, 10,000 and 2,000 by default. Raises ``DataError`` as ``read_split``
    does, and if a split has fewer images than asked for.
    """
    arrays = {}
    for split, count in (counts or COUNTS).items():
        images, labels = read_split(folder, split)
        if len(images) < count:
            raise DataError(
                f"{folder}: {len(images)} {split} images, expected at least {count}. Use the full data set."
            )
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[:count], labels[:count]
    content = archive(arrays)
    out = Path(out)
    aside = out.with_name(f".{out.name}.part")
    try:
        aside.write_bytes(content)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return len(content)


def archive(arrays):
    """The bytes of an ``.npz`` of ``{name: array}``: ``np.savez_compressed`` without what could vary."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = 0o644 << 16
            npy = io.BytesIO()
            np.lib.format.write_array(npy, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            file.writestr(entry, npy.getvalue(), compresslevel=9)
    return buffer.getvalue()


def main(arguments=None):
    """The command line: embed the files of a folder."""
    parser = argparse.ArgumentParser(prog="python -m minigan.data.embed", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder with the four IDX files of MNIST, compressed or not")
    parser.add_argument("--out", default=EMBEDDED, help="file to write (default: the package's own)")
    options = parser.parse_args(arguments)
    size = embed(options.folder, options.out)
    print(f"{options.out}: {size:,} bytes")


if __name__ == "__main__":
    main()
