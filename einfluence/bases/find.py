"""Finding a base's files: a folder, the hub or what is embedded; and its name, by the content of what is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from einfluence.digests import digest
from einfluence.embedded import cache_folder, data_folder
from einfluence.errors import InputError
from einfluence.head import TASKS, Head
from einfluence.keys import content_hash
from einfluence.models.base import BaseInfo, Registered
from einfluence.models.four_bit import states_of
from einfluence.models.kinds import QUANTISED_FILES, built_for, foreign_code, read_config, read_json, says_four_bit
from einfluence.models.weights import INDEX, SINGLE, check_pointer, read_tensors, weight_files
from einfluence.objectives import objective_of

# Keys of config.json that say who wrote the file, not what the model computes.
VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "bnb_4bit_compute_dtype")
# Tokenizers come in too many files to list them, so every file in a folder counts but those that none reads.
NOT_READ = (
    ".*", "README*", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*.md", "*.pdf", "*.html", "*.ipynb", "*.log",
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.mp4",
    "*.safetensors", "*.index.json", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.ggml",
    "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "*.ot", "*.npz", "*.npy", "*.zip", "*.tar", "*.gz",
    "generation_config.json", "training.json", "evaluation.json", "trainer_state.json", "*_results.json",
    "events.out.tfevents*", "requirements*.txt", "*.lock",
)  # fmt: skip
TEMPLATES = "*chat_templates"


def find_base(
    name: str,
    where: str,
    *,
    relative_to: Path = Path("."),
    trust_remote_code: bool = False,
    head: Head | None = None,
) -> BaseInfo:
    """Finds a base's files and names them by their content, without building the model.

    Args:
        name: ``embedded:NAME``, a folder (relative to ``relative_to``), or a hub id with an optional ``@revision``.
        where: What error messages call the place where the name was written.
        relative_to: Folder of the spec.
        trust_remote_code: Whether the model's own Python files may be fetched and run.
        head: A fresh head that is wanted.

    Raises:
        InputError: When there is no such model, its folder lacks config or weights, or it is of a kind that cannot be
            measured: an adapter, quantised weights, a model of another task.
    """
    folder = _folder(name, where, relative_to, trust_remote_code, head)
    return describe(folder, name, where, trust_remote_code, head)


def describe(folder: Path, label: str, where: str, trust_remote_code: bool, head: Head | None = None) -> BaseInfo:
    """What is known of the model in a folder, named by its content.

    The name covers config.json but for what it says of its writer, each tensor of the weights (however they are cut
    into files), and where the objective reads more than these, every file that a tokenizer or, where it is trusted, the
    model's own code may read.

    Raises:
        InputError: As for :func:`find_base`.
    """
    try:
        config, objective = _read(folder, where, head=head)
        tensors = read_tensors(weight_files(folder, config, where))
        files = _beside(folder, config, where, trust_remote_code, objective.reads(config))
        settings = json.dumps(_lasting(config), sort_keys=True)
    except OSError as error:
        raise InputError(where, f"{error.filename or folder} ({error.strerror})", "files that can be read") from error
    except RecursionError as error:
        raise InputError(where, f"{folder} with a config.json too deep to read", "a model's configuration") from error
    packed = tuple(sorted(states_of(tensors)))
    if bool(packed) != says_four_bit(config):
        words = ("which", "does not call") if packed else ("none of which", "calls")
        found = f"weights {words[0]} bitsandbytes packed into 4 bits, while `quantization_config` {words[1]} them so"
        raise InputError(f"{folder}/config.json", found, "a configuration and weights of one model", "save it anew")
    base_id = content_hash((settings, tensors, files))
    if head is None:
        return BaseInfo(base_id, label, objective.name, str(folder), config, packed=packed)
    base_id = content_hash((base_id, "head", head.seed))  # its objective and labels are in the settings
    label = f"{label}, {head.label}"
    return BaseInfo(base_id, label, objective.name, str(folder), config, head=head, packed=packed)


def _read(
    folder: Path, where: str, name: str | None = None, head: Head | None = None
) -> tuple[dict[str, Any], type[Registered]]:
    """config.json, and the objective of a base that can be measured."""
    config = read_config(folder, where, name)
    config = config if head is None else head.configured(config)
    objective = objective_of(config, folder / "config.json")
    if head is not None and not (objective.name in TASKS and built_for(config, TASKS[objective.name])):
        found = f"a new head for {objective.name}"
        fix = "write `head: {kind: new, objective: ..., labels: [...]}`"
        raise InputError(f"{where} head", found, f"a classifier: {', '.join(TASKS)}", fix)
    objective.check(folder, config)
    return config, objective


def fetched_again(info: BaseInfo, trust_remote_code: bool) -> Path | None:
    """Where a base that is embedded or of the hub lies on this machine; None of any other.

    Raises:
        InputError: When it cannot be fetched.
    """
    if info.label.startswith("embedded:") and not info.content:
        return _embedded(info.label.removeprefix("embedded:").partition(",")[0], info.label)
    folder = Path(info.folder)
    if folder.parent.name != "snapshots":
        return None
    repo = folder.parts[-3].removeprefix("models--").replace("--", "/")
    return _from_hub(repo, folder.name, info.label, trust_remote_code, info.head)


def digits_folder() -> Path:
    """The folder of the digits base, trained on first use and cached by the content hash of its recipe."""
    from einfluence.bases import digits

    folder = cache_folder() / "models" / f"digits-{digits.key()}"
    if not (folder / "config.json").is_file():  # config.json is written last
        digits.train_digits(folder)
    return folder


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _lasting(item) for key, item in items if key not in VOLATILE}
    return [_lasting(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def _beside(
    folder: Path, config: Mapping[str, Any], where: str, trust_remote_code: bool, read: Sequence[str]
) -> dict[str, str]:
    """Digests of the files that are read beside config and weights, by their names."""
    if not read:
        return {}
    found = {name: folder / name for name in beside(folder) if not name.endswith(".py")}
    named = {name: path for name, path in found.items() if any(fnmatch(name, pattern) for pattern in read)}
    if trust_remote_code:
        homes = {
            "": folder,
            **{f"{repo}--": _fetch(repo, None, where, ["*.py"]) for repo in foreign_code(folder, config)},
        }
        for prefix, home in homes.items():
            code = (path.relative_to(home) for path in home.rglob("*.py"))
            named |= {prefix + path.as_posix(): home / path for path in code if not path.as_posix().startswith(".")}
    digests: dict[str, str] = {}
    for name, path in named.items():
        if path.is_file():
            check_pointer(path)
            digests[name.encode(errors="backslashreplace").decode()] = digest(path)
    return digests


def beside(folder: Path) -> list[str]:
    """The files of a base's folder that may be read beside config.json and the weights."""
    files = [path for path in folder.iterdir() if path.name != "config.json" and not _ignored(path.name)]
    files += [path for inner in folder.glob(TEMPLATES) for path in inner.rglob("*")]
    return [path.relative_to(folder).as_posix() for path in files if path.is_file()]


def _ignored(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in NOT_READ)


def _folder(name: str, where: str, relative_to: Path, trust_remote_code: bool, head: Head | None) -> Path:
    if name.startswith("embedded:"):
        return _embedded(name.removeprefix("embedded:"), where)
    expected = "a model folder that exists, a hub id such as org/name, or embedded:NAME"
    try:
        local = relative_to / Path(name).expanduser()
        is_folder, exists = local.is_dir(), local.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(where, f"{name!r} ({error})", expected) from error
    if is_folder:
        return local.resolve()
    repo, _, revision = name.partition("@")
    if exists or repo.startswith((".", "/", "~")) or repo.count("/") > 1:
        raise InputError(where, f"{name!r}, which is no folder", expected)
    return _from_hub(repo, revision or None, where, trust_remote_code, head)


def _embedded(name: str, where: str) -> Path:
    if name == "digits":
        return digits_folder()
    folder = data_folder() / "models" / name
    if not folder.is_dir():
        known = sorted(["digits", *(path.parent.name for path in folder.parent.glob("*/config.json"))])
        raise InputError(where, f"embedded:{name}", f"one of {', '.join('embedded:' + item for item in known)}")
    return folder


def _from_hub(repo: str, revision: str | None, where: str, trust_remote_code: bool, head: Head | None = None) -> Path:
    """Fetches what is read: config.json first, so that what cannot be measured is refused before the weights come."""
    folder = _fetch(repo, revision, where, ["config.json", "adapter_config.json", *QUANTISED_FILES])
    (config, _), commit = _read(folder, where, repo, head), folder.name  # what is pushed meanwhile is not mixed in
    code = [] if trust_remote_code else ["*.py"]
    _fetch(repo, commit, where, ["*"], [*NOT_READ, "*/*", *code])
    named = config.get("transformers_weights")
    weights = [named] if isinstance(named, str) else [SINGLE, INDEX]
    _fetch(repo, commit, where, [*weights, f"{TEMPLATES}/*", *(["*.py"] if trust_remote_code else [])])
    index = next((folder / name for name in weights if (folder / name).is_file()), folder)
    if index.name.endswith(".index.json"):
        shards = read_json(index).get("weight_map")
        _fetch(repo, commit, where, sorted({str(name) for name in shards.values()} if isinstance(shards, dict) else ()))
    return folder


def _fetch(repo: str, revision: str | None, where: str, wanted: Sequence[str], left: Sequence[str] = ()) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        IncompleteSnapshotError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{repo}@{revision}" if revision else repo
    fix = "check the spelling, or download it where there is a network and give the folder"
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(left)))
    except HFValidationError as error:
        expected = "a model folder that exists, a hub id such as org/name, or embedded:NAME"
        raise InputError(where, f"{name!r}", expected) from error
    except GatedRepoError as error:
        found, expected = (
            f"{name!r}, which the hub gives to those only who accepted its terms",
            "a model you may download",
        )
        raise InputError(where, found, expected, "accept them on its page, then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise InputError(where, f"{name!r}, which the hub does not have", "a hub id that exists", fix) from error
    except RevisionNotFoundError as error:
        found = f"{name!r}: {repo} has no revision {revision!r}"
        raise InputError(where, found, "a branch, tag or commit that exists", fix) from error
    except IncompleteSnapshotError as error:
        found = f"{name!r}, of which the local cache holds only a part, while the hub cannot be reached"
        fix = f"run `hf download {repo}` where there is a network"
        raise InputError(where, found, "a network, or a model folder", fix) from error
    except Exception as error:  # whatever the network's libraries raise: it cannot be fetched
        found = f"{name!r}, while the hub cannot be reached and it is not in the local cache"
        raise InputError(where, found, "a network, or a model folder", fix) from error
