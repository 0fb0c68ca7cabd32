"""Which files of a checkpoint come in, and which checkpoints do not.

Only names are looked at here, so that a repository can be refused before a byte of it is fetched.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from allod.core.errors import ImportRefused
from allod.registry.jsonfile import child
from allod.registry.weights import INDEX_FILE

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
TEMPLATE_FILE = "chat_template.jinja"

EMBEDDING_FAMILIES = frozenset({"bert"})
"""Architectures whose models embed text and generate none."""

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""What a model that sees needs to be shown pictures; at least one of them."""

POOLING_FILE = "pooling.json"
"""Under which name the catalogue keeps what sentence-transformers says of pooling."""

POOLING_SOURCE = "1_Pooling/config.json"

KNOWN_FILES = (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    TEMPLATE_FILE,
    "chat_template.json",
    *PROCESSOR_FILES,
    INDEX_FILE,
    POOLING_FILE,
)

_WEIGHTS = "model*.safetensors"
_CODE = ("*.py",)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json", "merges.txt", "spiece.model", "vocab.txt")
_CODE_KEYS = ("auto_map", "model_file", "trust_remote_code")


def require_names(names: Collection[str], where: str) -> None:
    """Refuse a checkpoint that its file names already rule out.

    Args:
        names: file names at the top of the checkpoint.
        where: the checkpoint, for the message.

    Raises:
        ImportRefused: it carries code, has no safetensors, or lacks a file that is needed.
    """
    code = _matching(names, _CODE)
    if code:
        raise ImportRefused(
            f"{where} carries Python code ({_listed(code)}) and models never run code here; "
            f"if the architecture is known to MLX without it, delete those files from a copy and import that"
        )
    if not _matching(names, ("*.safetensors",)):
        raise _no_weights(names, where)
    if CONFIG_FILE not in names:
        raise ImportRefused(f"{where} has no {CONFIG_FILE}; import a whole checkpoint folder")
    if TOKENIZER_FILE not in names:
        slow = _matching(names, _SLOW_TOKENIZERS)
        had = f" (it has the slow form: {_listed(slow)})" if slow else ""
        raise ImportRefused(
            f"{where} has no {TOKENIZER_FILE}{had}; make one with the transformers library: "
            f"AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)"
        )


def loadable_weights(shards: Collection[str], where: str) -> tuple[str, ...]:
    """The weight files that the loader will find among these, sorted.

    Args:
        shards: the files an index names, or every file of a checkpoint that has no index.
        where: the checkpoint, for the message.

    Raises:
        ImportRefused: there are none, or an index names others beside them.
    """
    tensors = _matching(shards, ("*.safetensors",))
    found = tuple(name for name in tensors if fnmatchcase(name, _WEIGHTS))
    if not found:
        raise ImportRefused(
            f"{where} has safetensors files ({_listed(tensors)}), but none is named `{_WEIGHTS}`; "
            f"rename the file with the model's weights to model.safetensors"
        )
    return found


def require_codeless(config: Mapping[str, object], where: str) -> None:
    """Refuse a config.json that asks for code, at its top or one object further down.

    Raises:
        ImportRefused: names the key.
    """
    parts = [("", config), *((f"{key}.", child(config, key)) for key in config)]
    for prefix, part in parts:
        for key in _CODE_KEYS:
            if part.get(key):
                raise ImportRefused(
                    f"{where}: `{prefix}{key}` in {CONFIG_FILE} asks for code of the checkpoint's own, "
                    f"and models never run code here; "
                    f"take a checkpoint of the same model in a form that MLX knows"
                )


def require_model_type(config: Mapping[str, object], where: str) -> str:
    """The architecture that a config names.

    Raises:
        ImportRefused: it names none.
    """
    found = config.get("model_type")
    if not isinstance(found, str) or not found.replace("-", "_").isidentifier():
        raise ImportRefused(
            f"{where}: `model_type` in {CONFIG_FILE} is {found!r}, not the name of an architecture"
        )
    return found


def _no_weights(names: Collection[str], where: str) -> ImportRefused:
    pickles = _matching(names, _PICKLES)
    if pickles:
        return ImportRefused(
            f"{where} has only pickled weights ({_listed(pickles)}), and opening a pickle can run any code; "
            f"take a checkpoint with safetensors files"
        )
    if _matching(names, ("*.gguf",)):
        return ImportRefused(
            f"{where} holds GGUF files; fetch the one you want and give `allod import` the path of the file"
        )
    return ImportRefused(f"{where} has no *.safetensors files; import a whole checkpoint folder")


def _matching(names: Collection[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    lowered = ((name, name.lower()) for name in names)
    return tuple(sorted(name for name, low in lowered if any(fnmatchcase(low, each) for each in patterns)))


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
