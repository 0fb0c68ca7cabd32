import hashlib
import json
from pathlib import Path

import pytest

from allod.core.errors import ImportRefused
from allod.registry.catalog import Catalog
from allod.registry.progress import Progress, ignore_progress
from allod.registry.pull import pull
from allod.registry.settings import RegistrySettings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "org/Tiny-Llama"


class Hub:
    """The part of the hub's API that a pull needs, with one repository."""

    def __init__(self, stub, folder: Path) -> None:
        self.stub = stub
        self.siblings: list[dict[str, object]] = []
        for path in folder.iterdir():
            self.add(path.name, path.read_bytes())

    def add(self, name: str, content: bytes) -> None:
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
        if name.endswith((".safetensors", ".bin")):
            sha256 = hashlib.sha256(content).hexdigest()
            sibling["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 130}
        self.siblings.append(sibling)
        self.stub.serve(self.path(name), content)

    def sibling(self, name: str) -> dict[str, object]:
        return next(each for each in self.siblings if each["rfilename"] == name)

    def path(self, name: str) -> str:
        return f"/{REPOSITORY}/resolve/{COMMIT}/{name}"

    def publish(self, revision: str | None = None) -> None:
        info = {"id": REPOSITORY, "sha": COMMIT, "siblings": self.siblings, "tags": [], "downloads": 0}
        ending = f"/revision/{revision}" if revision else ""
        self.stub.serve(
            f"/api/models/{REPOSITORY}{ending}",
            json.dumps(info).encode(),
            headers={"Content-Type": "application/json"},
        )

    def refuse(self, status: int, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self.stub.serve(f"/api/models/{REPOSITORY}", b"{}", status=status, headers=headers)

    def fetched(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.stub.paths() if "/resolve/" in path]


@pytest.fixture
def hub(stub, checkpoint, monkeypatch) -> Hub:
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    made = Hub(stub, checkpoint.folder)
    made.publish()
    return made


def fetch(catalog: Catalog, hub: Hub, what: str = REPOSITORY, name: str | None = None):
    return pull(catalog, what, name, ignore_progress, endpoint=hub.stub.url)


def test_a_repository_arrives_pinned_to_its_commit(catalog: Catalog, hub: Hub) -> None:
    """Only what is known is fetched, each file once, and the card says the commit."""
    for name in ("README.md", "pytorch_model.bin", "original/consolidated.safetensors"):
        hub.add(name, b"not wanted")
    hub.publish()
    card = fetch(catalog, hub)
    assert (card.name, card.kind, card.source) == ("tiny-llama", "hub", f"hub:{REPOSITORY}@{COMMIT}")
    assert sorted(hub.fetched()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [path for path in catalog.downloads.rglob("*") if path.is_file()] == []


def test_what_is_said_of_pooling_comes_along(catalog: Catalog, hub: Hub) -> None:
    """From the one folder of a repository that is looked into; its name stays the hub's in the request."""
    hub.add("1_Pooling/config.json", b'{"pooling_mode_cls_token": true}')
    hub.publish()
    card = fetch(catalog, hub)
    assert hub.path("1_Pooling/config.json") in hub.stub.paths()
    assert (catalog.folder(card) / "pooling.json").read_bytes() == b'{"pooling_mode_cls_token": true}'


def test_a_revision_is_asked_for(catalog: Catalog, hub: Hub) -> None:
    """`org/repo@revision` asks for that revision and no other."""
    hub.publish("v1.0")
    assert fetch(catalog, hub, f"{REPOSITORY}@v1.0").source.endswith(COMMIT)
    assert f"/api/models/{REPOSITORY}" not in hub.stub.paths()


def test_shards_come_by_their_index(catalog: Catalog, hub: Hub, checkpoint) -> None:
    """With an index, exactly its shards are fetched."""
    weights = (checkpoint.folder / "model.safetensors").read_bytes()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    hub.add("model.safetensors.index.json", json.dumps(index).encode())
    hub.add("model-1.safetensors", weights)
    hub.publish()
    with pytest.raises(ImportRefused, match=r"not there: model-2\.safetensors"):
        fetch(catalog, hub)
    assert not any(name.endswith(".safetensors") for name in hub.fetched())
    hub.add("model-2.safetensors", weights)
    hub.publish()
    fetch(catalog, hub)
    shards = [name for name in hub.fetched() if name.endswith(".safetensors")]
    assert shards == ["model-1.safetensors", "model-2.safetensors"]


def test_code_is_refused_before_any_file_is_fetched(catalog: Catalog, hub: Hub) -> None:
    """A list with Python code costs one request, the list's."""
    hub.add("modeling_tiny.py", b"print()")
    hub.publish()
    with pytest.raises(ImportRefused, match=r"modeling_tiny\.py"):
        fetch(catalog, hub)
    assert hub.fetched() == []


def test_a_config_that_asks_for_code_is_refused_before_the_weights(catalog: Catalog, hub: Hub) -> None:
    """The config is read first; not a byte of the weights is fetched."""
    hub.siblings.remove(hub.sibling("config.json"))
    hub.add("config.json", json.dumps({"model_type": "x", "auto_map": {"AutoModel": "a.B"}}).encode())
    hub.publish()
    with pytest.raises(ImportRefused, match="auto_map"):
        fetch(catalog, hub)
    assert "model.safetensors" not in hub.fetched()


def test_a_repository_of_gguf_files_gets_the_way_out(catalog: Catalog, hub: Hub) -> None:
    """Which of many GGUF files is wanted only a person can say."""
    hub.siblings.clear()
    hub.add("x.Q4_K_M.gguf", b"GGUF")
    hub.publish()
    with pytest.raises(ImportRefused, match="give `allod import` the path"):
        fetch(catalog, hub)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "check the name"),
        (404, "RevisionNotFound", "check the name"),
        (404, "", "check the name"),
        (401, "GatedRepo", "accept its terms"),
        (403, "GatedRepo", "accept its terms"),
        (403, "", "accept its terms"),
        (401, "", "hf auth login"),
        (500, "", "answers 500"),
    ],
)
def test_a_refusing_hub_is_told_in_words(
    catalog: Catalog, hub: Hub, status: int, code: str, said: str
) -> None:
    """Every status has its cause and its way out, and never a traceback."""
    hub.refuse(status, code)
    with pytest.raises(ImportRefused, match=said):
        fetch(catalog, hub)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": "a/b"}', b'{"id": "a/b", "sha": "../.."}'])
def test_a_hub_that_talks_nonsense_is_refused(catalog: Catalog, hub: Hub, body: bytes) -> None:
    """An answer that is no listing ends the pull in words."""
    hub.stub.serve(f"/api/models/{REPOSITORY}", body)
    with pytest.raises(ImportRefused):
        fetch(catalog, hub)


def test_files_behind_a_gate_are_told_in_words(catalog: Catalog, hub: Hub) -> None:
    """A list may be public while the files are not."""
    for sibling in hub.siblings:
        hub.stub.serve(hub.path(str(sibling["rfilename"])), status=403)
    with pytest.raises(ImportRefused, match=r"403.*gated.*hf auth login"):
        fetch(catalog, hub)


def test_no_connection_is_told_in_words(catalog: Catalog, monkeypatch) -> None:
    """A port where nobody listens gives the way out."""
    with pytest.raises(ImportRefused, match="check the connection"):
        pull(catalog, REPOSITORY, None, ignore_progress, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_lying_content_is_refused(catalog: Catalog, hub: Hub, name: str) -> None:
    """Same size, other bytes: sha256 finds it in large files, git's own hash in small ones."""
    answer = hub.stub.answers[hub.path(name)]
    answer.body = answer.body[:-1] + b" "
    with pytest.raises(ImportRefused, match=name.replace(".", r"\.") + " is not the file that was asked for"):
        fetch(catalog, hub)
    assert catalog.cards() == ()


def test_a_lying_size_is_refused(catalog: Catalog, hub: Hub) -> None:
    """A file longer than listed is stopped; one that is shorter never counts as whole."""
    sibling = hub.sibling("model.safetensors")
    sibling["lfs"]["size"] -= 1  # type: ignore[index]
    hub.publish()
    with pytest.raises(ImportRefused, match="longer"):
        fetch(catalog, hub)


@pytest.mark.parametrize("gap", [{"size": None}, {"blobId": None}])
def test_a_list_without_size_or_hash_is_refused(catalog: Catalog, hub: Hub, gap: dict[str, object]) -> None:
    """What cannot be checked is not fetched."""
    hub.sibling("config.json").update(gap)
    hub.publish()
    with pytest.raises(ImportRefused, match="no size or hash"):
        fetch(catalog, hub)
    assert hub.fetched() == []


def test_an_interrupted_pull_is_continued(catalog: Catalog, hub: Hub) -> None:
    """After an interrupt the next pull fetches only what is missing."""

    def interrupt(progress: Progress) -> None:
        if progress.stage == "downloading model.safetensors":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(catalog, REPOSITORY, None, interrupt, endpoint=hub.stub.url)
    assert catalog.cards() == ()
    before = len(hub.fetched())
    fetch(catalog, hub)
    assert set(hub.fetched()[before:]) <= {"model.safetensors"}


def test_a_login_is_used_where_there_is_one(catalog: Catalog, hub: Hub, monkeypatch) -> None:
    """The token of huggingface_hub's own login goes with every request, and nothing else is read."""
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_secret")
    fetch(catalog, hub)
    assert {headers["authorization"] for _, _, headers in hub.stub.requests} == {"Bearer hf_secret"}


@pytest.mark.parametrize("what", ["smollm2-135m", REPOSITORY])
def test_offline_fetches_nothing(catalog: Catalog, hub: Hub, what: str) -> None:
    """The setting refuses before any request, and says how else a model comes in."""
    with pytest.raises(ImportRefused, match=r"registry\.offline.*allod import"):
        pull(catalog, what, None, ignore_progress, RegistrySettings(offline=True), hub.stub.url)
    assert hub.stub.requests == []


@pytest.mark.parametrize("what", ["", "x", "a/b/c", "/etc/passwd", "../..", "a/b@", "a/b c", "http://a/b"])
def test_what_names_no_model_is_refused(catalog: Catalog, hub: Hub, what: str) -> None:
    """Neither built in nor a repository: the message says what would be."""
    with pytest.raises(ImportRefused):
        pull(catalog, what, "a", ignore_progress, endpoint=hub.stub.url)
    assert hub.fetched() == []


def test_a_taken_name_is_refused_before_any_request(catalog: Catalog, hub: Hub) -> None:
    """Nothing is asked for a model that could not be kept."""
    fetch(catalog, hub, name="a")
    before = len(hub.stub.requests)
    with pytest.raises(ImportRefused, match="already here"):
        fetch(catalog, hub, name="a")
    assert len(hub.stub.requests) == before


def test_a_full_disk_is_told_before_the_weights(catalog: Catalog, hub: Hub) -> None:
    """A listed size that the disk cannot hold refuses without a byte of it."""
    sibling = hub.sibling("model.safetensors")
    sibling["lfs"]["size"] = 2**60  # type: ignore[index]
    hub.publish()
    with pytest.raises(ImportRefused, match="too full"):
        fetch(catalog, hub)
    assert "model.safetensors" not in hub.fetched()
