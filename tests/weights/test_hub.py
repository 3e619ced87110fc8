"""From a source to a folder, against a small hub on loopback that speaks what huggingface_hub asks for.

huggingface_hub reads its environment when it is imported, so each case runs in a process of its own, with a cache of its own.
"""

import dataclasses
import hashlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from urllib.parse import unquote

import pytest

from da3jax.weights import hub
from da3jax.weights.released import RELEASES

SMALL = RELEASES["depth-anything/DA3-SMALL"]
GIANT = RELEASES["depth-anything/DA3-GIANT"]
OTHER = "0123456789" * 4
FILES = {"config.json": b'{"model_name": "da3-small"}', "model.safetensors": bytes(range(256)) * 400}

CALLS = """
import json, logging, sys
from da3jax.weights import hub

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger(hub.__name__).addHandler(handler)
logging.getLogger(hub.__name__).setLevel(logging.INFO)
results = []
for arguments in json.loads(sys.argv[1]):
    try:
        results.append({"path": str(hub.resolve(**arguments))})
    except (OSError, ValueError) as error:
        results.append({"error": str(error), "type": type(error).__name__})
print(json.dumps({"results": results, "said": said}))
"""


@dataclasses.dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked for."""

    url: str = ""
    revisions: dict = dataclasses.field(default_factory=lambda: {"main": OTHER, OTHER: OTHER})
    repos: tuple = (SMALL.repo_id, GIANT.repo_id, "someone/else")
    refuse: tuple | None = None
    """Status and X-Error-Code that every request is answered with."""
    missing: tuple = ()
    cut: bool = False
    """Closes the connection in the middle of the weights, and is out of order from then on."""
    short: bool = False
    """Sends fewer bytes than the headers of the file promised."""
    requests: list = dataclasses.field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        state = self.server.state
        path = unquote(self.path)
        state.requests.append((self.command, path))
        if state.refuse:
            status, code = state.refuse
            return self.answer(status, {"X-Error-Code": code} if code else {})
        repo, _, rest = path[1:].partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo not in state.repos:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if revision not in state.revisions:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        commit = state.revisions[revision]
        if name not in FILES or name in state.missing:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        body = FILES[name]
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit, "X-Linked-Etag": etag, "X-Linked-Size": len(body)}
        if self.command == "GET" and name == "model.safetensors":
            if state.cut:
                state.refuse = (503, None)
                self.close_connection = True
                return self.answer(200, {**headers, "Content-Length": len(body)}, body[: len(body) // 2])
            if state.short:
                body = body[:-100]
        return self.answer(200, headers, body)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.state = Hub(f"http://127.0.0.1:{listening.server_port}")
        listening.state.revisions[SMALL.revision] = SMALL.revision
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield listening.state
        finally:
            listening.shutdown()


@pytest.fixture
def resolve(tmp_path):
    """Runs `hub.resolve` once for each dict of arguments, in a fresh process; returns the results and what was logged."""

    def call(url, *calls, **environment):
        environment = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": url, "NO_PROXY": "*", **environment}
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CALLS, json.dumps(calls)], env=kept | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "B/s" not in done.stderr, "a progress bar"
        answer = json.loads(done.stdout)
        return answer["results"], answer["said"]

    return call


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def finished(cache: pathlib.Path) -> list[str]:
    """What in the cache can be taken for weights, or is half of them."""
    return [str(path) for path in cache.rglob("*") if path.name == "model.safetensors" or path.suffix == ".incomplete"]


def test_a_release_is_fetched_at_its_pinned_revision_and_then_needs_no_request(server, resolve, tmp_path):
    call = {"source": "depth-anything/da3-small"}
    [first], said = resolve(server.url, call)
    assert files(first["path"]) == FILES
    assert pathlib.Path(first["path"]).is_relative_to(tmp_path / "home" / "hub")
    asked = [path for _, path in server.requests if "/resolve/" in path]
    assert {path.split("/resolve/")[1].split("/")[0] for path in asked} == {SMALL.revision}
    assert {path.rsplit("/")[-1] for path in asked} == set(FILES)
    size, digest = said
    assert str(len(FILES["model.safetensors"])) in size
    assert str(SMALL.bytes) in size
    assert hashlib.sha256(FILES["model.safetensors"]).hexdigest() in digest
    assert SMALL.sha256_prefix in digest

    server.requests.clear()
    again, said = resolve(server.url, call, {**call, "offline": True})
    assert [result["path"] for result in again] == [first["path"]] * 2
    assert (server.requests, said) == ([], [])  # the warning came once, after the download


def test_another_revision_overrides_the_pinned_one_and_is_not_compared_with_the_table(server, resolve):
    [result], said = resolve(server.url, {"source": SMALL.repo_id, "revision": OTHER})
    assert files(result["path"]) == FILES
    assert pathlib.Path(result["path"]).name == OTHER
    assert said == []


def test_a_branch_asks_the_hub_again_and_falls_back_to_the_cache(server, resolve):
    call = {"source": "someone/else"}
    [first, second], _ = resolve(server.url, call, call)
    assert first == second
    assert sum(path.endswith("config.json") for method, path in server.requests if method == "HEAD") >= 2
    server.refuse = (503, None)
    [cached, offline], said = resolve(server.url, call, {**call, "offline": True})
    assert cached == offline == first
    assert "taken from the cache" in said[0]


@pytest.mark.parametrize(
    ("refuse", "kind", "sentence"),
    [
        ((404, "RepoNotFound"), "FileNotFoundError", r"someone/else is neither a folder here nor a model that http://127.* shows you"),
        ((404, None), "FileNotFoundError", r"someone/else is neither a folder here nor a model"),
        ((401, "RepoNotFound"), "FileNotFoundError", r"a private one needs `hf auth login`"),
        ((401, "GatedRepo"), "PermissionError", r"access to someone/else is restricted: ask for it on http://127.*/someone/else"),
        ((403, None), "PermissionError", r"access to someone/else is restricted"),
        ((503, None), "ConnectionError", r"someone/else at revision main .* answers with status 503: run `hf download someone/else"),
    ],
)  # fmt: skip
def test_a_hub_that_refuses_is_one_sentence(server, resolve, refuse, kind, sentence):
    server.refuse = refuse
    [result], _ = resolve(server.url, {"source": "someone/else"})
    assert result["type"] == kind
    expect(result, sentence)


def test_a_misspelt_release_names_the_closest(server, resolve):
    [result], _ = resolve(server.url, {"source": "depth-anything/DA3-SMAL"})
    expect(result, r"did you mean 'depth-anything/DA3-SMALL'\?")


def test_a_revision_that_is_not_there_is_named_with_the_pinned_one(server, resolve):
    [result], _ = resolve(server.url, {"source": SMALL.repo_id, "revision": "v9"})
    assert result["type"] == "ValueError"
    expect(result, rf"DA3-SMALL has no revision 'v9' on http://127.*; without one it is {SMALL.revision}")


@pytest.mark.parametrize("name", FILES)
def test_a_model_without_config_or_weights_is_no_checkpoint(server, resolve, name):
    server.missing = (name,)
    [result], _ = resolve(server.url, {"source": "someone/else"})
    assert result["type"] == "FileNotFoundError"
    expect(result, r"someone/else at revision main lacks config.json or model.safetensors")


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_download_that_breaks_off_leaves_nothing_that_loads_and_can_be_repeated(server, resolve, tmp_path, fault):
    setattr(server, fault, True)
    [result], _ = resolve(server.url, {"source": SMALL.repo_id})
    assert result["type"] == "OSError"
    expect(result, r"the download of depth-anything/DA3-SMALL at revision \w+ broke off \(.+\): nothing unfinished was kept, try again")
    assert finished(tmp_path / "home") == []
    server.cut, server.short, server.refuse = False, False, None
    [offline, online], _ = resolve(server.url, {"source": SMALL.repo_id, "offline": True}, {"source": SMALL.repo_id})
    assert offline["type"] == "FileNotFoundError"
    assert files(online["path"]) == FILES


def test_offline_the_sentence_says_where_it_looked_and_how_to_get_the_model(resolve, tmp_path):
    sentence = (
        rf"depth-anything/DA3-SMALL at revision {SMALL.revision} is .*nor in the cache {tmp_path}.*models--depth-anything--DA3-SMALL, and "
        r"this is offline: run `hf download depth-anything/DA3-SMALL --local-dir DIR` on a connected machine and pass DIR"
    )
    [asked], _ = resolve("http://127.0.0.1:9", {"source": SMALL.repo_id, "offline": True})
    [environment], _ = resolve("http://127.0.0.1:9", {"source": SMALL.repo_id}, HF_HUB_OFFLINE="1")
    for result in (asked, environment):
        assert result["type"] == "FileNotFoundError"
        expect(result, sentence)


def test_a_hub_that_is_down_is_named_with_the_way_out(resolve):
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        [result], _ = resolve(url, {"source": GIANT.repo_id})
    assert result["type"] == "ConnectionError"
    expect(
        result, rf"DA3-GIANT at revision main .* {url} cannot be reached \(.+\): run `hf download depth-anything/DA3-GIANT --local-dir DIR`"
    )


def test_a_server_that_is_no_hub_is_called_so(server, resolve):
    server.revisions = {"main": ""}
    [result], _ = resolve(server.url, {"source": "someone/else"})
    assert result["type"] == "ConnectionError"
    expect(result, r"http://127.* does not answer as a Hugging Face hub does: check HF_ENDPOINT")


def test_da3_tiny_is_in_the_package_unless_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = hub.resolve("da3-tiny", offline=True)
    assert {"model.safetensors", "config.json", "README.md"} <= {path.name for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"^da3-tiny is part of this package and has no revision 'main'; a revision goes with a hub id$"):
        hub.resolve("da3-tiny", revision="main")
    (tmp_path / "da3-tiny").mkdir()
    assert hub.resolve("da3-tiny") == pathlib.Path("da3-tiny")


def test_a_folder_stays_itself(tmp_path, monkeypatch):
    (tmp_path / "depth-anything" / "DA3-SMALL").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("depth-anything/DA3-SMALL") == pathlib.Path("depth-anything/DA3-SMALL")
    assert hub.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("source", "kind", "sentence"),
    [
        (
            "DA3-SMALL",
            ValueError,
            r"^'DA3-SMALL' is neither a folder nor a hub id owner/name; .*did you mean 'depth-anything/DA3-SMALL'\?$",
        ),
        ("da3nested-giant-larg", ValueError, r"did you mean 'depth-anything/DA3NESTED-GIANT-LARGE'\?$"),
        (
            "",
            ValueError,
            r"^'' is neither a folder nor a hub id owner/name; da3-tiny is part of this package, .* depth-anything/DA3-SMALL, ",
        ),
        ("DA3-tinny", ValueError, r"did you mean 'da3-tiny'\?$"),
        ("./weights/small", FileNotFoundError, r"^the folder weights/small does not exist$"),
        ("a/b/c", FileNotFoundError, r"^the folder a/b/c does not exist$"),
        (pathlib.Path("owner/name"), FileNotFoundError, r"^the folder owner/name does not exist$"),
        (__file__, ValueError, r"test_hub.py is a file, where a folder .*pass the folder it lies in$"),
    ],
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_one_sentence(source, kind, sentence):
    with pytest.raises(kind, match=sentence):
        hub.resolve(source)


def expect(result: dict, sentence: str):
    """The error matches, and is one sentence."""
    with pytest.raises(ValueError, match=sentence):
        raise ValueError(result["error"])
    assert "\n" not in result["error"]
