#!/usr/bin/env python3
"""Makes tests/data/minilm: texts, a line each, and the vectors that sentence-transformers gives them with the real
all-MiniLM-L6-v2, which tools/fetch-embed-model.sh fetches.

    venv/bin/python tests/goldens/make_minilm.py FOLDER      where FOLDER is what that script prints

SPDX-License-Identifier: AGPL-3.0-or-later"""
import pathlib
import sys

import sentence_transformers
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "minilm"
TEXTS = [
    "This is an example sentence", "Each sentence is converted", "A man is playing a guitar.", "Someone plays an instrument.",
    "a", "?", "", "Hello, World!", "HELLO, WORLD!", "The quick brown fox jumps over the lazy dog.",
    "Wie spät ist es, bitte? Über den Wolken …", "Où est la bibliothèque, s'il vous plaît ?", "東京は日本の首都です。", "Привет, как дела?",
    "ǅ ﬁ Ⅳ ½ ①", "😀 emoji and \t tabs   and  spaces", "https://example.org/a/b?c=d&e=f#g user@example.org 192.168.0.1",
    "int main(void) { return 0; } // C", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "-1.5e+10 3,141,592 0x7fffffff 50% $9.99", " ".join(f"word{i}" for i in range(80)), "one " * 250,
    "mkdir - make directories. Create the DIRECTORY(ies), if they do not already exist.",
]


def main():
    torch.set_num_threads(1)
    m = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True)
    vectors = torch.stack([m.encode([t], convert_to_tensor=True)[0] for t in TEXTS])
    OUT.mkdir(exist_ok=True)
    (OUT / "texts").write_text("".join(t + "\n" for t in TEXTS))
    save_file({"vectors": vectors}, OUT / "vectors.safetensors",
              metadata={"sentence_transformers": sentence_transformers.__version__, "torch": torch.__version__})
    print(vectors.shape, (OUT / "vectors.safetensors").stat().st_size)


if __name__ == "__main__":
    main()
