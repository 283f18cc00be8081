"""If one of these fails, a user who cannot have a model is not told why, or what to do."""

from collections.abc import Callable, Mapping

import pytest
from tests.hub.command import Machine
from tests.hub.models import MODEL, SMALL, split
from tests.hub.server import Hub

Ordered = Callable[[Hub], None]


def gated(hub: Hub) -> None:
    hub.add("org/name", MODEL, is_gated=True, readers=frozenset({"hf_reader"}))
    hub.known_tokens = {"hf_reader", "hf_other"}


def private(hub: Hub) -> None:
    hub.add("org/name", MODEL, readers=frozenset({"hf_reader"}))
    hub.known_tokens = {"hf_reader", "hf_other"}


def status(number: int, name: str = "*", **headers: str) -> Ordered:
    def order(hub: Hub) -> None:
        hub.add("org/name", MODEL)
        hub.faults.statuses[name] = number
        hub.faults.headers |= {key.replace("_", "-"): value for key, value in headers.items()}

    return order


def no_hub(hub: Hub) -> None:
    hub.faults.is_no_hub = True


def nothing(_: Hub) -> None:
    pass


HUB_SAYS: Mapping[str, tuple[Ordered, str, str, str]] = {
    "gated, no token": (
        gated,
        "",
        "repository org/name is gated: only accounts that have accepted its terms may read it",
        "visit {hub}/org/name and accept them, then set `HF_TOKEN` to a token from {hub}/settings/tokens",
    ),
    "gated, another account": (
        gated,
        "hf_other",
        "repository org/name is gated, and the account of the token is not among those that may read it",
        "visit {hub}/org/name with that account and ask for access",
    ),
    "private, no token": (
        private,
        "",
        "there is no folder org/name and no repository of that name at {hub}, or it is private",
        "see {hub}/org/name; for a private one set `HF_TOKEN` to a token from {hub}/settings/tokens",
    ),
    "private, another account": (
        private,
        "hf_other",
        "there is no folder org/name and no repository of that name at {hub}, or the token may not read it",
        "see {hub}/org/name",
    ),
    "missing": (
        nothing,
        "",
        "there is no folder org/name and no repository of that name at {hub}, or it is private",
        "see {hub}/org/name; for a private one set `HF_TOKEN` to a token from {hub}/settings/tokens",
    ),
    "wrong token": (
        private,
        "hf_wrong",
        "{hub} does not know the token that `HF_TOKEN` or `hf auth login` gives",
        "make a new one at {hub}/settings/tokens, or unset `HF_TOKEN` (`hf auth logout` without it)",
    ),
    "disabled": (
        status(403, X_Error_Message="Access to this resource is disabled."),
        "",
        "repository org/name is disabled",
        "see {hub}/org/name",
    ),
    "forbidden": (
        status(403),
        "",
        "{hub} forbids to read repository org/name",
        "see {hub}/org/name, and what the token may do at {hub}/settings/tokens",
    ),
    "too many requests": (
        status(429),
        "",
        "{hub} has had too many requests from here",
        "try again later, or set `HF_TOKEN`, which allows more",
    ),
    "list fails": (
        status(500),
        "",
        "{hub} answered 500 when it was asked for org/name",
        "try again later, or see {hub}/org/name",
    ),
    "file fails": (
        status(502, "config.json"),
        "",
        "{hub} answered 502 when it was asked for org/name",
        "try again later, or see {hub}/org/name",
    ),
    "file has gone": (
        status(404, "tokenizer.json", X_Error_Code="EntryNotFound"),
        "",
        "a file of org/name has gone from {hub} meanwhile",
        "see {hub}/org/name",
    ),
    "no hub": (
        no_hub,
        "",
        "{hub} does not answer as a Hugging Face Hub does",
        "see whether `HF_ENDPOINT` is right, and whether a proxy asks for something",
    ),
}


@pytest.mark.parametrize("case", HUB_SAYS)
def test_what_the_hub_says(case: str, hub: Hub, machine: Machine) -> None:
    """One sentence and what to do, with the address of the hub that was asked, whichever that is."""
    order, token, said, hint = HUB_SAYS[case]
    order(hub)
    variables = {"HF_TOKEN": token} if token else {}
    complaint = machine.serve("org/name", **variables).complaint
    assert complaint == f"{said}; {hint}".format(hub=hub.address)


@pytest.mark.parametrize("order", [gated, private])
def test_right_token_opens(order: Ordered, hub: Hub, machine: Machine) -> None:
    """The same repositories, for the account that may read them; the token may be that of `hf auth login`."""
    order(hub)
    assert machine.serve("org/name", HF_TOKEN="hf_reader").folder.is_dir()
    kept = Machine(hub, machine.home.with_name("another"))
    kept.home.mkdir()
    (kept.home / "token").write_text("hf_reader\n")
    assert kept.serve("org/name").folder.is_dir()


@pytest.mark.parametrize("revision", ["no-such", "0" * 40, "refs/pr/9"])
def test_missing_revision(revision: str, hub: Hub, machine: Machine) -> None:
    """A branch, a commit or a pull request that there is not."""
    hub.add("org/name", MODEL)
    assert machine.serve(f"org/name@{revision}").complaint == (
        f"repository org/name has no revision `{revision}`; {hub.address}/org/name/tree/main lists its branches and tags"
    )


def without(*names: str, **others: bytes) -> dict[str, bytes]:
    return {name: content for name, content in MODEL.items() if name not in names} | others


HOLDS: Mapping[str, tuple[Mapping[str, bytes], str, str]] = {
    "GGUF files": (
        {"README.md": b"", "name-Q4_K_M.gguf": b"GGUF", "name-Q8_0.gguf": b"GGUF"},
        "repository org/name holds GGUF files, not .safetensors files",
        "`hf download org/name name-Q4_K_M.gguf`, and serve the file by its path",
    ),
    "GGUF files and a config": (
        {"config.json": b"{}", "tokenizer.json": b"{}", "name.gguf": b"GGUF"},
        "repository org/name holds GGUF files, not .safetensors files",
        "`hf download org/name name.gguf`, and serve the file by its path",
    ),
    "pickled weights": (
        without("model.safetensors", **{"pytorch_model.bin": b"x"}),
        "repository org/name cannot be served: model.safetensors is missing: only .safetensors files are ever loaded, "
        "there is only pytorch_model.bin",
        "see {hub}/org/name, or look for a repository that has the model as .safetensors files",
    ),
    "no weights": (
        SMALL,
        "repository org/name cannot be served: model.safetensors is missing",
        "see {hub}/org/name, or look for a repository that has the model as .safetensors files",
    ),
    "weights of the maker's layout": (
        {"params.json": b"{}", "consolidated.safetensors": b"x"},
        "repository org/name has its maker's own layout",
        "download the version in Hugging Face layout",
    ),
    "an adapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"},
        "repository org/name holds a LoRA adapter, not a model",
        "merge it into its base model, and serve the result",
    ),
    "nothing": (
        {"README.md": b"", ".gitattributes": b""},
        "repository org/name has no config.json, so it holds no model that is known",
        "see {hub}/org/name",
    ),
    "no tokenizer.json": (
        without("tokenizer.json", **{"tokenizer.model": b"x"}),
        "repository org/name has no tokenizer.json",
        "save it once with `transformers`, whose fast tokenizers write the file, and serve that folder",
    ),
    "models in folders": (
        {"README.md": b"", "small/config.json": b"{}", "small/model.safetensors": b"x"},
        "repository org/name has no config.json, so it holds no model that is known",
        "see {hub}/org/name",
    ),
}


@pytest.mark.parametrize("case", HOLDS)
def test_repository_that_holds_something_else(case: str, hub: Hub, machine: Machine) -> None:
    """Nothing of it is downloaded."""
    files, said, hint = HOLDS[case]
    hub.add("org/name", files)
    assert machine.serve("org/name").complaint == f"{said}; {hint}".format(hub=hub.address)
    assert hub.fetched() == []


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (b"{", f"cannot be served: {INDEX} is not valid JSON"),
        (b"{}", f"cannot be served: {INDEX} has no `weight_map`"),
        (
            b'{"weight_map": {"a": "../../x.safetensors"}}',
            f"cannot be served: {INDEX} places `a` in '../../x",
        ),
        (
            b'{"weight_map": {"a": "gone.safetensors"}}',
            f"lacks `gone.safetensors`, which its {INDEX} names; see ",
        ),
    ],
)
def test_index_that_cannot_be_used(index: bytes, said: str, hub: Hub, machine: Machine) -> None:
    """It says which files are fetched, so that it must not lead out of the repository."""
    hub.add("org/name", split("a.safetensors") | {INDEX: index})
    assert machine.serve("org/name").complaint.startswith(f"repository org/name {said}")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (
            "http://127.0.0.1:{closed}",
            "there is no folder org/name, and http://127.0.0.1:{closed} cannot be reached",
        ),
        (
            "http://no.such.host.invalid",
            "there is no folder org/name, and http://no.such.host.invalid cannot be",
        ),
        ("huggingface.co", "`HF_ENDPOINT` is `huggingface.co`, it must be like https://huggingface.co"),
        ("http://", "`HF_ENDPOINT` is `http://`, it must be like https://huggingface.co"),
        ("", "`HF_ENDPOINT` is ``, it must be like https://huggingface.co"),
        ("http://[::1", "`HF_ENDPOINT` is `http://[::1`, it must be like https://huggingface.co"),
        ("http://host:port", "`HF_ENDPOINT` is `http://host:port`, it must be like https://huggingface.co"),
    ],
)
def test_hub_that_cannot_be_reached(endpoint: str, said: str, hub: Hub, machine: Machine) -> None:
    """No network, or an address that is none."""
    closed = int(hub.address.rpartition(":")[2])
    hub.close()
    complaint = machine.serve("org/name", HF_ENDPOINT=endpoint.format(closed=closed)).complaint
    assert complaint.startswith(said.format(closed=closed))


@pytest.mark.parametrize("variable", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
def test_variable_that_makes_no_sense(variable: str, machine: Machine) -> None:
    """The library reads it while it is imported."""
    complaint = machine.serve("org/name", **{variable: "soon"}).complaint
    assert complaint.startswith("a variable of the environment that begins with `HF_` makes no sense: ")


def test_tls_that_is_not_spoken(hub: Hub, machine: Machine) -> None:
    """An address with the wrong scheme."""
    secure = hub.address.replace("http:", "https:")
    complaint = machine.serve("org/name", HF_ENDPOINT=secure).complaint
    assert complaint.startswith(
        f"there is no folder org/name, and {secure} cannot be reached to download it: "
    )


MISSING = """
import sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Missing)
from streamcore.__main__ import run
sys.exit(run())
"""


@pytest.mark.parametrize("module", ["huggingface_hub", "tqdm"])
def test_library_is_missing(module: str, hub: Hub, machine: Machine) -> None:
    """It is an extra: serving folders does without, and naming a model shows what to install."""
    program = MISSING.format(module=module)
    assert machine.serve("org/name", program=program).complaint == (
        f"org/name, which is no folder here, needs {module}, which is not installed; "
        "`pip install 'huggingface_hub>=0.34'`, or name a folder"
    )
    assert "model folder nothing does not exist" in machine.serve("nothing", program=program).complaint


OLD = """
import huggingface_hub, sys
huggingface_hub.__version__ = "0.33.5"
from streamcore.__main__ import run
sys.exit(run())
"""


def test_library_is_too_old(machine: Machine) -> None:
    """What it lacks would end in a traceback."""
    assert machine.serve("org/name", program=OLD).complaint == (
        "org/name, which is no folder here, needs huggingface_hub>=0.34, there is 0.33.5; "
        "`pip install 'huggingface_hub>=0.34'`, or name a folder"
    )


def test_server_of_large_files_that_breaks_off(hub: Hub, machine: Machine) -> None:
    """A firewall that knows the hub and not the servers of its files: those are named, without what signs an address."""
    hub.add("org/name", MODEL)
    hub.faults.signature = "?X-Signature=secret"
    hub.faults.cuts["model.safetensors"] = [0] * 30
    ended = machine.serve("org/name", program=IMPATIENT)
    assert ended.complaint.startswith(
        f"there is no folder org/name, and {hub.cdn_address} cannot be reached to download it: "
    )
    assert "secret" not in ended.errors


def test_library_that_refuses(hub: Hub, machine: Machine) -> None:
    """What it says is passed on in one line, whichever version it is."""
    hub.add("org/name", MODEL)
    assert machine.serve("org/name", program=REFUSING).complaint == (
        "huggingface_hub cannot download org/name: not with this option"
    )


IMPATIENT = """
import sys, types
from huggingface_hub import file_download
file_download.time = types.SimpleNamespace(sleep=lambda seconds: None)
from streamcore.__main__ import run
sys.exit(run())
"""
"""Does not wait before it tries again."""

REFUSING = """
import sys
from huggingface_hub import file_download

def refuse(*arguments, **options):
    raise ValueError("not with this option")

file_download.http_get = refuse
from streamcore.__main__ import run
sys.exit(run())
"""


@pytest.mark.parametrize("case", ["missing", "offline", "unreachable"])
def test_mistyped_folder_that_looks_like_a_name(case: str, hub: Hub, machine: Machine) -> None:
    """`models/lama` is a name as well: the folder beside it is suggested, whatever the hub says."""
    (machine.home / "models" / "llama").mkdir(parents=True)
    if case == "unreachable":
        hub.close()
    offline = {"HF_HUB_OFFLINE": "1"} if case == "offline" else {}
    complaint = machine.serve("models/lama", **offline).complaint
    assert complaint.startswith("there is no folder models/lama")
    assert "; did you mean the folder `models/llama`? If not, " in complaint
