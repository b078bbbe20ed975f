"""Downloading MNIST, from a server on this machine that behaves well or badly."""

import gzip
import hashlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import minigan.data.download as module
from minigan.data import DataError, mnist
from tests.test_data_mnist import small_data, small_files

pooch = pytest.importorskip("pooch")
pytest.importorskip("tqdm")

FILES = small_files()
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
NAMES = [f"{name}.gz" for name in FILES]


class Mirror(BaseHTTPRequestHandler):
    """Serves ``/<behaviour>/<file>``; counts what was asked for in ``server.requests``."""

    def do_GET(self):
        self.server.requests.append(self.path)
        _, behaviour, name = self.path.split("/")
        content = gzip.compress(FILES.get(name.removesuffix(".gz"), b""), mtime=0)
        length = len(content)
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "other":  # a sound file of another data set
            content = gzip.compress(small_files(seed=1)[name.removesuffix(".gz")])
            length = len(content)
        elif behaviour == "page":
            content = b"<html>Please log in</html>"
            length = len(content)
        elif behaviour == "repacked":
            content = gzip.compress(FILES[name.removesuffix(".gz")], compresslevel=1, mtime=12345)
            length = len(content)
        elif behaviour == "hangs_up":  # promises the file, sends half of it
            content = content[: length // 2]
        elif behaviour == "cut":  # sends half of it as if that were all
            content = content[: length // 2]
            length = len(content)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def address(server, monkeypatch):
    """``address("good")`` is the base address of a mirror with that behaviour."""
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    server.requests.clear()
    return lambda behaviour: f"http://127.0.0.1:{server.server_port}/{behaviour}/"


@pytest.fixture
def nobody():
    """An address that refuses connections."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it; not listening
        yield f"http://127.0.0.1:{s.getsockname()[1]}/"


def download(cache, *mirrors, split="train"):
    return mnist(split, "download", cache=cache, mirrors=mirrors, sha256=SHA256)


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_then_cache(tmp_path, address, server, capsys):
    cache = tmp_path / "new" / "cache"
    data = download(cache, address("good"))
    images, labels = small_data()
    assert data.images.shape == (12, 28, 28, 1)
    assert data.labels.tolist() == labels.tolist()
    assert contents(cache) == NAMES[:2]  # of one split only
    assert "100%" in capsys.readouterr().err  # the progress bar
    assert len(server.requests) == 2

    download(cache, address("good"))
    assert len(server.requests) == 2  # nothing fetched again
    assert len(download(cache, address("good"), split="test").images) == 6
    assert contents(cache) == sorted(NAMES)
    assert len(mnist("test", cache).images) == 6  # the cache is a folder as any other


def test_a_mirror_that_packed_the_files_otherwise_is_accepted(tmp_path, address):
    assert len(download(tmp_path, address("repacked")).images) == 12


def test_base_address_without_slash(tmp_path, address):
    assert len(download(tmp_path, address("good").rstrip("/")).images) == 12


BAD = {
    "missing": "404",
    "other": "SHA-256 of the uncompressed content is",
    "page": "SHA-256 of the uncompressed content is",
    "hangs_up": "",  # the wording is that of urllib3, whose older versions leave it to the checks here
    "cut": "truncated gzip file",
}


@pytest.mark.parametrize("behaviour", BAD)
def test_bad_mirror_leaves_nothing_and_gives_its_reason(tmp_path, address, behaviour):
    with pytest.raises(DataError, match=r"no mirror gave a usable file") as caught:
        download(tmp_path, address(behaviour))
    assert contents(tmp_path) == []
    message = str(caught.value)
    assert message.startswith(str(tmp_path / NAMES[0]))
    assert f"{address(behaviour)}{NAMES[0]}: " in message
    assert BAD[behaviour] in message
    assert "Check the network" in message


@pytest.mark.parametrize("behaviour", BAD)
def test_the_next_mirror_is_tried(tmp_path, address, server, behaviour):
    assert len(download(tmp_path, address(behaviour), address("good")).images) == 12
    assert [path.split("/")[1] for path in server.requests] == [behaviour, "good"] * 2
    assert contents(tmp_path) == NAMES[:2]


def test_first_mirror_down(tmp_path, address, nobody):
    assert len(download(tmp_path, nobody, address("good")).images) == 12


def test_every_mirror_is_listed_with_its_reason(tmp_path, address, nobody):
    with pytest.raises(DataError) as caught:
        download(tmp_path, nobody, address("missing"), address("cut"), "no address")
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    starts = [nobody, address("missing"), address("cut"), "no address"]
    assert [line.strip().startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 4
    assert contents(tmp_path) == []


def test_a_second_file_that_fails_keeps_the_first(tmp_path, address, monkeypatch):
    sums = SHA256 | {"train-labels-idx1-ubyte": "0" * 64}
    with pytest.raises(DataError, match="train-labels"):
        mnist("train", "download", cache=tmp_path, mirrors=[address("good")], sha256=sums)
    assert contents(tmp_path) == NAMES[:1]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interrupted_leaves_nothing(tmp_path, address, monkeypatch, interruption):
    whole = pooch.HTTPDownloader.__call__

    def interrupted(self, url, output_file, *rest):
        whole(self, url, output_file, *rest)
        assert len(contents(tmp_path)) == 1  # something to clean up
        raise interruption

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(interruption):
        download(tmp_path, address("good"), address("good"))
    assert contents(tmp_path) == []


def test_a_wrong_file_in_the_cache_is_reported_not_overwritten(tmp_path, address, server):
    path = tmp_path / NAMES[0]
    path.write_bytes(b"somebody's own")
    with pytest.raises(DataError, match=f"SHA-256 .* Delete .*{path.name}, or choose another cache folder"):
        download(tmp_path, address("good"))
    assert path.read_bytes() == b"somebody's own"
    assert server.requests == []


def test_default_cache_is_pooch_s(tmp_path, address, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    mnist("train", "download", mirrors=[address("good")], sha256=SHA256)
    assert contents(tmp_path / "minigan" / "mnist") == NAMES[:2]


def test_default_mirrors_and_sums(tmp_path, address, monkeypatch):
    monkeypatch.setattr(module, "MIRRORS", (address("good"),))
    with pytest.raises(DataError, match=f"expected {module.SHA256['train-images-idx3-ubyte']}"):
        mnist("train", "download", cache=tmp_path)
    monkeypatch.setattr(module, "SHA256", SHA256)
    assert len(mnist("train", "download", cache=tmp_path).images) == 12


@pytest.mark.parametrize("package", ["pooch", "requests", "tqdm"])
def test_without_the_packages(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # what makes `import package` fail
    with pytest.raises(ImportError, match=rf"downloading needs {package}: pip install minigan\[data\]"):
        download(tmp_path, "http://127.0.0.1:9/")
    assert contents(tmp_path) == []
