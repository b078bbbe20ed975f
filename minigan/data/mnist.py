"""MNIST: 28x28 grey images of handwritten digits (LeCun, Cortes, Burges 1998), ready for a GAN.

Three kinds of source for the same data:

    "embedded"   10,000 training and 2,000 test images that ship with minigan (licence: NOTICE.md here)
    a folder     IDX files of your own: all 60,000 + 10,000 images, or another data set like Fashion-MNIST
    "download"   fetched from a public mirror, verified, and kept in a cache folder

Pixels are scaled from 0 … 255 to [-1, 1], the range of the tanh that ends most generators:

    x = byte / 127.5 - 1
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minigan.data.idx import DataError, MissingDataError, read_split

EMBEDDED = Path(__file__).with_name("mnist_subset.npz")
FOLDER_VARIABLE = "MINIGAN_DATA"
SPLITS = ("train", "test")


class Images(NamedTuple):
    """Labelled images.

    images: float32 (n, 28, 28, 1), channels last, -1 is background, 1 is ink
    labels: int64 (n,), the digits 0 … 9
    """

    images: np.ndarray
    labels: np.ndarray


def mnist(split="train", source="embedded", *, cache=None, mirrors=None, sha256=None):
    """MNIST as ``Images(images, labels)``: float32 (n, 28, 28, 1) in [-1, 1] and int64 (n,).

    split
        "train" or "test".
    source
        * "embedded" (default): the first 10,000 training or 2,000 test images, from the installed package.
        * A path (str or Path): every image, from a folder of IDX files. They have their usual names, such as
          ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, and may be compressed (``.gz``).
        * "full": the same, from the folder that the environment variable ``MINIGAN_DATA`` names.
        * "download": every image, from the network if the cache folder does not have them yet; needs
          ``pip install minigan[data]``. No other source ever touches the network.
    cache, mirrors, sha256
        For "download" only: the folder to keep the files in (default: ``pooch.os_cache("minigan")/mnist``);
        the base addresses to try in turn; the expected sums, {file name: SHA-256 of the uncompressed file}.
        Defaults of the last two: ``minigan.data.download.MIRRORS`` and ``SHA256``.

    Raises ``DataError`` (a ``ValueError``) if a file cannot be used, naming the file, the reason and what to
    do: missing (then also a ``FileNotFoundError``), truncated, corrupt, of another kind, no mirror reached.
    ``ImportError`` if "download" lacks its packages; ``ValueError`` for a bad argument.

    The images are in the files' order: shuffle them with ``Batches``.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    if source != "download" and not (cache is mirrors is sha256 is None):
        raise ValueError(f'cache, mirrors, sha256: expected only with source="download", got source={source!r}')
    if source == "embedded":
        return _to_images(*_read_embedded(split))
    if source == "download":
        from minigan.data.download import download_split

        folder = download_split(split, cache, mirrors, sha256)
    elif source == "full":
        folder = _folder_from_environment()
    elif isinstance(source, (str, os.PathLike)):
        folder = _folder_from_path(source)
    else:
        raise ValueError(f'source: expected "embedded", "full", "download" or the path of a folder, got {source!r}')
    return _to_images(*read_split(folder, split))


def _read_embedded(split):
    """uint8 images (n, 28, 28) and labels (n,) out of the package's own archive."""
    import zipfile
    import zlib

    if not EMBEDDED.is_file():
        raise MissingDataError(f"{EMBEDDED}: missing from the installation. Install minigan again.")
    try:
        with np.load(EMBEDDED, allow_pickle=False) as archive:
            return archive[f"{split}_images"], archive[f"{split}_labels"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise DataError(f"{EMBEDDED}: corrupt ({error}). Install minigan again.") from error


def _folder_from_environment():
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise MissingDataError(
            f'source="full": the environment variable {FOLDER_VARIABLE} is not set. Set it to a folder of '
            'IDX files, pass the folder as the source, or use source="download" or source="embedded".'
        )
    return Path(folder).expanduser()


def _folder_from_path(source):
    folder = Path(source).expanduser()
    # A bare word that is no folder is more likely a slip of the pen than a path.
    if isinstance(source, str) and not folder.exists():
        raise MissingDataError(
            f'{source}: no such folder, nor one of the sources "embedded", "full" and "download". Check the spelling.'
        )
    return folder


def _to_images(images, labels):
    """Scale to [-1, 1], exact at both ends, and add the channel axis."""
    scaled = np.divide(images, np.float32(127.5), dtype=np.float32)
    scaled -= 1
    return Images(scaled[..., None], labels.astype(np.int64))
