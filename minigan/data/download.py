"""Fetching MNIST from public mirrors: only when asked for, verified, and nothing half-done left behind.

A file is downloaded under another name, decompressed and held against its SHA-256, and only then renamed to
its own name, which is atomic. So a file with the right name is a right file, whatever was interrupted. The
sums are those of the *uncompressed* content: mirrors may compress the same data anew.

Needs pooch (with requests) and tqdm, imported only for a download: ``pip install minigan[data]``.
"""

import hashlib
import sys
import uuid
from pathlib import Path

from minigan.data.idx import NAMES, DataError, read_bytes

# Tried in turn; each has the four files as <name>.gz.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# Of the uncompressed IDX files.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

TIMEOUT = 30  # seconds without an answer, or without a further byte, before the next mirror is tried


def download_split(split, cache=None, mirrors=None, sha256=None):
    """Make sure that both files of ``split`` are in the folder ``cache``; returns that folder as a ``Path``.

    A file that is there already is verified, and not fetched again. ``cache`` None:
    ``pooch.os_cache("minigan")/mnist``. ``mirrors`` (base addresses) and ``sha256`` ({file name: hex digest})
    default to ``MIRRORS`` and ``SHA256``.

    Raises ``ValueError`` for a bad argument; ``ImportError`` without pooch or tqdm; ``DataError`` if no
    mirror gives a file with the right sum (each mirror with its reason), or if the cache holds a wrong one.
    """
    mirrors, sha256 = MIRRORS if mirrors is None else mirrors, SHA256 if sha256 is None else sha256
    names = [NAMES[split, kind][0] for kind in ("images", "labels")]
    if isinstance(mirrors, str) or not mirrors:
        raise ValueError(f"mirrors: expected a sequence of one or more base addresses, got {mirrors!r}")
    if missing := [name for name in names if name not in sha256]:
        raise ValueError(f"sha256: expected a sum for each of {names}, got none for {missing}")
    pooch = _import_pooch()
    folder = Path(pooch.os_cache("minigan")) / "mnist" if cache is None else Path(cache).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        _ensure(folder / f"{name}.gz", mirrors, sha256[name], pooch)
    return folder


def _ensure(path, mirrors, sha256, pooch):
    """Verify ``path``, or fetch it from the first mirror that has the right content."""
    if path.exists():
        try:
            return _verify(path, sha256)
        except DataError as error:
            # It may be somebody's own file, so it is not for us to overwrite.
            raise DataError(f"{error} Delete {path}, or choose another cache folder.") from error
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{path.name}"
        try:
            return _fetch(url, path, sha256, pooch)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, DataError is a ValueError
            failures.append(f"\n  {url}: {error}")
    raise DataError(
        f"{path}: no mirror gave a usable file:{''.join(failures)}\n"
        'Check the network, or pass a folder with the files as the source, or use source="embedded".'
    )


def _fetch(url, path, sha256, pooch):
    """Download ``url`` beside ``path``, verify, rename; whatever happens, no file beside it remains."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    fetch = pooch.HTTPDownloader(progressbar=True, chunk_size=2**14, timeout=TIMEOUT)
    print(f"downloading {url}", file=sys.stderr)
    try:
        fetch(url, str(part), None)
        _verify(part, sha256)
        part.replace(path)
    finally:  # also on Ctrl-C
        part.unlink(missing_ok=True)


def _verify(path, sha256):
    found = hashlib.sha256(read_bytes(path)).hexdigest()
    if found != sha256:
        raise DataError(f"{path.name}: SHA-256 of the uncompressed content is {found}, expected {sha256}.")


def _import_pooch():
    try:
        import pooch
        import requests  # noqa: F401  (pooch imports it late; better to say so now)
        import tqdm  # noqa: F401  (pooch's progress bar)
    except ImportError as error:
        raise ImportError(f"downloading needs {error.name}: pip install minigan[data]", name=error.name) from error
    return pooch
