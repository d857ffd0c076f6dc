"""Whatever lies in a folder of models, a scan reports each candidate once, and ends."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine_worker.fetch.scanning.scanner import Scanner
from kernel.protocol import codec
from kernel.protocol.worker import FileScanned, ScanBegun, ScanEnded, ScanFolders
from tests.unit.worker.model_files import SMALL_SD, write_safetensors
from tests.unit.worker.scanning.trees import OPEN_LORA

NAMES = st.sampled_from(
    [
        *(
            "a.safetensors",
            "a.ckpt",
            "a.onnx",
            "a.gguf",
            "a.sft",
            "a.json",
            "a.civitai.info",
            "a.preview.png",
        ),
        *("model_index.json", "config.json", "adapter_config.json", "pytorch_lora_weights.safetensors"),
        *(
            "learned_embeds.safetensors",
            "learned_embeds_2.safetensors",
            "diffusion_pytorch_model.safetensors",
        ),
        *("a.yaml", "a\n.safetensors", "refs", "main", "sdxl"),
    ]
)
FOLDERS = st.lists(
    st.sampled_from(["a", "sdxl", "models--o--n", "snapshots", "refs", "unet", "vae"]), max_size=3
)
CONTENTS = st.one_of(
    st.sampled_from(["checkpoint", "lora", "loop", "broken", "out", "folder"]),
    st.binary(max_size=40),
    st.sampled_from(
        [b'{"_class_name": "AutoencoderKL"}', b"[]", b"null", b'{"trainedWords": 5}', b"\x89PNG\r\n\x1a\n"]
    ),
)


def plant(path: Path, root: Path, content: str | bytes) -> None:
    """Make a file, a link or a folder of that name, unless something is in its way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case bytes():
                path.write_bytes(content)
            case "checkpoint" | "lora":
                write_safetensors(path, SMALL_SD if content == "checkpoint" else OPEN_LORA)
            case "folder":
                path.mkdir()
            case _:
                path.symlink_to({"loop": root, "broken": root / "nowhere", "out": Path("/usr")}[content])
    except OSError:
        return  # a file where a folder is to be, or a name that is taken


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FOLDERS, NAMES, CONTENTS), max_size=12))
def test_each_candidate_is_reported_once_and_known_afterwards(
    tree: list[tuple[list[str], str, str | bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folders, file, content in tree:
            plant(root.joinpath(*folders, file), root, content)
        found = list(Scanner([root]).scan(ScanFolders(folders=(name,))))
        begun, *files, ended = found
        scanned = [one for one in files if isinstance(one, FileScanned)]
        assert isinstance(begun, ScanBegun)
        assert ended == ScanEnded()
        assert begun.files == begun.unknown == len(scanned) == len(files) // 2
        assert len({one.path for one in scanned}) == len({one.stamp for one in scanned}) == len(scanned)
        for one in scanned:
            assert (one.fingerprint is None) == bool(one.code) == bool(one.text)
            assert one.text.isprintable()
            assert "see the log" not in one.text
            codec.encode(one)
        again = Scanner([root]).scan(ScanFolders(folders=(name,), known=tuple(one.stamp for one in scanned)))
        assert next(again) == ScanBegun(files=len(scanned), unknown=0, absent=begun.absent)
