#!/usr/bin/env python3
"""Makes the folders of tests/data/tokconv: tokenizers in the files of SentencePiece, tiktoken and mistral-common, without a
tokenizer.json, and the ids that the reference gives for them.

  make_tokconv.py [-o OUT] [NAME...]    make all, or those named, as OUT/NAME
  make_tokconv.py --verify [NAME...]    compare every recorded case with what the references do now
  make_tokconv.py --seeds               write the seeds of tests/fuzz/tokconv.c

Each OUT/NAME gets the vocabulary, tokenizer_config.json and config.json where it has them, and cases.jsonl, one case a line:
text, ids. The references:

  sp-*       SentencePieceProcessor.encode, and AutoTokenizer of transformers, which must agree
  llama-sp   SentencePieceProcessor.encode after BOS: texts without control tokens
  others     AutoTokenizer of transformers; for tiktoken and tekken also tiktoken and mistral-common, which must agree

Training is seeded by its input: the same library versions give the same bytes.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import base64
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/goldens"))

import make_tokenizers  # noqa: E402  our own text
import sentencepiece  # noqa: E402
from sentencepiece import sentencepiece_model_pb2  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

LINES = [line for lines in make_tokenizers.PROSE.values() for line in lines] + make_tokenizers.CODE
# Characters that a normalisation rule changes: full width, ligature, no-break space, a deleted one.
RULES = "FF21\t41\nFF11\t31\nFB01\t66 69\nA0\t20\n200B\t\n9\t20\nA\t20\n65 301\tE9\n"

TEXTS = [
    "", " ", "  ", "\n", "\t", "Hello world", " hello", "  two  spaces ", "a\nb\n\nc\tx", "trailing \n", "\r\nwin\r\n",
    "▁under", "▁▁ ▁", "a▁b", "don't I'LL We've", "1234567890 3.14 ١٢٣", "e\u0301té ﬁn Ａ１ naïve", "日本語と中文 xyz", "🦙👩‍👩‍👧‍👦",
    "\u00a0nbsp\u3000wide\u200bzero", "\ufeffbom", "aaaaaaaaaa", "        eight", "x" * 70, "a_b-c.d/e\\f", "</w>&amp;<br>",
    "if (a) {\n\treturn b;\n}\n", "Donaudampfschifffahrt straße", "мягких булок", "\u0000nul", "\x7f\x80\x9f",
    "The quick brown fox, the lazy dog; THE RIVER'S DEPTH.",
]
SPECIAL = ["<s>x</s> y", "x</s>", "<unk> <pad><mask>", "<sep>a <sep> b<cls>", "<start_of_turn>user\n hi<end_of_turn>",
           "<extra_id_0> b <extra_id_99>", "<|endoftext|>ab <|im_start|>c", " <s> ", "[INST] x [/INST]"]


def train(**options):
    """A SentencePiece model as bytes."""
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(RULES)
        rules.flush()
        if options.pop("rules", False):
            options["normalization_rule_tsv"] = rules.name
        else:
            options.setdefault("normalization_rule_name", "identity")
        options.setdefault("character_coverage", 0.98)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES * 3), model_writer=out, hard_vocab_limit=False, num_threads=1,
            minloglevel=2, **options)
    m = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    del m.trainer_spec.input[:]  # a path of this machine
    m.trainer_spec.model_prefix = ""
    m.normalizer_spec.normalization_rule_tsv = ""
    return m.SerializeToString(deterministic=True)


LLAMA = dict(model_type="bpe", vocab_size=700, byte_fallback=True, split_digits=True, remove_extra_whitespaces=False,
             allow_whitespace_only_pieces=True, character_coverage=0.98)


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True, **flags}


def ranks():
    """A byte-level BPE vocabulary as {bytes: rank}: bytes first, then the merges in their order."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(LINES * 3, trainers.BpeTrainer(
        vocab_size=560, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    alphabet = {c: b for b, c in make_tokenizers.bytes_to_unicode().items()} if hasattr(
        make_tokenizers, "bytes_to_unicode") else None
    if alphabet is None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode
        alphabet = {c: b for b, c in bytes_to_unicode().items()}
    spelled = sorted(t.get_vocab().items(), key=lambda item: item[1])
    tokens = sorted(bytes([b]) for b in range(256))
    tokens += [b for b in (bytes(alphabet[c] for c in text) for text, _ in spelled) if len(b) > 1]
    return {b: i for i, b in enumerate(tokens)}


def tiktoken_file():
    return "".join(f"{base64.b64encode(b).decode()} {i}\n" for b, i in ranks().items()).encode()


PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
           r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|"
           r"\s+(?!\S)|\s+")


def tekken_file():
    vocab = [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": None} for b, i in ranks().items()]
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
    special = [{"rank": i, "token_str": n, "is_control": True} for i, n in enumerate(names)]
    config = {"pattern": PATTERN, "num_vocab_tokens": len(vocab), "default_vocab_size": 10 + len(vocab) - 4,
              "default_num_special_tokens": 10, "version": "v7"}
    return json.dumps({"config": config, "vocab": vocab, "special_tokens": special}, indent=1).encode()


def rows():
    """{name: (file name, its bytes, tokenizer_config.json or None, config.json or None)}"""
    llama = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
    return {
        "sp-bpe": ("tokenizer.model", lambda: train(
            model_type="bpe", vocab_size=800, user_defined_symbols=["<sep>", "<cls>", "a+b"], rules=True), None, None),
        "sp-bpe-bytes": ("tokenizer.model", lambda: train(**LLAMA), None, {"model_type": "llama"}),
        "sp-unigram": ("tokenizer.model", lambda: train(
            model_type="unigram", vocab_size=800, byte_fallback=True, user_defined_symbols=["<sep>", "<cls>"],
            rules=True), None, None),
        "sp-no-prefix": ("tokenizer.model", lambda: train(
            model_type="unigram", vocab_size=800, add_dummy_prefix=False, remove_extra_whitespaces=False), None, None),
        "sp-renamed": ("tokenizer.model", lambda: train(
            model_type="bpe", vocab_size=800, byte_fallback=True, control_symbols=["[control_0]", "[control_1]"],
            remove_extra_whitespaces=False),
            {"add_bos_token": True, "add_eos_token": True, "pad_token": "</s>",
             "added_tokens_decoder": {"3": token("<|im_start|>"), "900": token("[x]", special=False, lstrip=True)}},
            None),
        "llama": ("tokenizer.model", lambda: train(**LLAMA), {
            **llama, "legacy": False, "added_tokens_decoder": {
                "0": token("<unk>"), "1": token("<s>"), "2": token("</s>"),
                "SIZE": token("<pad>"), "SIZE+1": token("<sep>", special=False, lstrip=True, rstrip=True)}},
            {"model_type": "llama"}),
        "llama-sp": ("tokenizer.model", lambda: train(**LLAMA), {**llama, "legacy": True}, {"model_type": "llama"}),
        "gemma": ("tokenizer.model", lambda: train(
            **{**LLAMA, "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
               "eos_piece": "<eos>", "bos_piece": "<bos>", "control_symbols": ["<start_of_turn>", "<end_of_turn>"],
               "user_defined_symbols": ["<mask>", "\n", "\n\n", "<br>"]}),
            {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}, {"model_type": "gemma"}),
        "t5": ("spiece.model", lambda: train(
            model_type="unigram", vocab_size=800, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, rules=True),
            {"tokenizer_class": "T5Tokenizer"}, {"model_type": "t5"}),
        "xlmr": ("sentencepiece.bpe.model", lambda: train(model_type="unigram", vocab_size=800, rules=True),
                 {"tokenizer_class": "XLMRobertaTokenizer"}, {"model_type": "xlm-roberta"}),
        "tiktoken": ("tokenizer.model", tiktoken_file,
                     {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": True,
                      "added_tokens_decoder": {"SIZE+3": token("<s>"), "SIZE+5": token("<|endoftext|>")}},
                     {"model_type": "llama"}),
        "tekken": ("tekken.json", tekken_file, None, None),
    }


def pieces_of(data):
    try:
        return len(sentencepiece_model_pb2.ModelProto.FromString(data).pieces)
    except Exception:
        return data.count(b"\n")


def with_size(value, size):
    """Replaces the ids SIZE and SIZE+N, which are past the vocabulary."""
    if not isinstance(value, dict):
        return value
    return {k.replace("SIZE", "0") if not k.startswith("SIZE") else str(size + int(k[5:] or 0)): with_size(v, size)
            for k, v in value.items()}


def write(name, out):
    file, make, tokenizer_config, config = rows()[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = make()
    (folder / file).write_bytes(data)
    for n, value in (("tokenizer_config.json", tokenizer_config), ("config.json", config)):
        if value is not None:
            (folder / n).write_text(json.dumps(with_size(value, pieces_of(data)), indent=1) + "\n")
    return folder


def same(texts, first, second, what):
    for t in texts:
        a, b = first(t), second(t)
        assert a == b, f"{what}: {t!r}: {a} and {b}"


def reference(name, folder):
    """[(text, ids)] of the folder, after checks of one reference against another."""
    file = rows()[name][0]
    if name == "tekken":
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        from transformers.integrations.mistral.tokenizer import MistralConverter
        converted = MistralConverter(str(folder / file)).converted()
        native = Tekkenizer.from_file(folder / file)
        same(TEXTS, lambda t: converted.encode(t).ids, lambda t: native.encode(t, bos=False, eos=False), name)
        return [(t, converted.encode(t).ids) for t in TEXTS + SPECIAL]
    from transformers import AutoTokenizer
    with tempfile.TemporaryDirectory() as d:  # transformers wants a config.json
        copy = Path(d) / "m"
        shutil.copytree(folder, copy)
        if not (copy / "config.json").exists():
            (copy / "config.json").write_text('{"model_type": "llama"}')
        auto = AutoTokenizer.from_pretrained(copy)
    if name == "tiktoken":
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe
        from transformers.convert_slow_tokenizer import TikTokenConverter
        native = tiktoken.Encoding("ours", pat_str=TikTokenConverter().pattern,
                                   mergeable_ranks=load_tiktoken_bpe(str(folder / file)), special_tokens={})
        same(TEXTS, lambda t: auto(t, add_special_tokens=False)["input_ids"], native.encode, name)
        return [(t, auto(t)["input_ids"]) for t in TEXTS + SPECIAL]
    sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / file))
    if name == "llama-sp":
        return [(t, [1] + sp.encode(t)) for t in TEXTS]
    if name.startswith("sp-"):
        # SentencePiece ends at a NUL, and removes a "▁" of the text as if it were a space.
        texts = [t for t in TEXTS if "\0" not in t and "▁" not in t]
        same(texts, lambda t: auto(t, add_special_tokens=False)["input_ids"], sp.encode, name)
    return [(t, auto(t)["input_ids"]) for t in TEXTS + SPECIAL]


def record(name, folder):
    with open(folder / "cases.jsonl", "w") as f:
        for text, ids in reference(name, folder):
            f.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False) + "\n")


def verify(name, folder):
    cases = [json.loads(line) for line in open(folder / "cases.jsonl")]
    now = reference(name, folder)
    bad = [t for c, (t, ids) in zip(cases, now) if (c["text"], c["ids"]) != (t, ids)]
    print(f"{name}: {len(cases)} cases, {len(bad)} differ", *map(repr, bad[:3]))
    return not bad and len(cases) == len(now)


def seeds():
    folder = ROOT / "tests/fuzz/seeds/tokconv"
    folder.mkdir(parents=True, exist_ok=True)
    small = sentencepiece_model_pb2.ModelProto()
    for text, score, kind in [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<0x0A>", 0, 6), ("ab", -1, 1),
                              ("▁a", -2, 1), ("▁", -3, 1), ("a", -4, 1), ("b", -5, 1), ("<x>", 0, 4), ("é", -6, 5)]:
        small.pieces.add(piece=text, score=score, type=kind)
    small.trainer_spec.byte_fallback = True
    small.trainer_spec.pad_id = -1
    small.normalizer_spec.precompiled_charsmap = b"\4\0\0\0\0\0\0\0x\0"
    small.denormalizer_spec.precompiled_charsmap = b"x"
    for which, kind in (("p", 2), ("l", 2), ("g", 2), ("p", 1), ("5", 1), ("x", 1)):
        small.trainer_spec.model_type = kind
        (folder / f"sentencepiece-{which}-{kind}").write_bytes(which.encode() + small.SerializeToString())
    lines = b"YQ== 0\nYg== 1\nYWI= 2\nIA== 3\nYWJhYg== 4\n"
    (folder / "tiktoken").write_bytes(b"t" + lines)
    (folder / "tekken").write_bytes(b"k" + json.dumps({
        "config": {"pattern": "a+|\\s", "default_vocab_size": 6, "default_num_special_tokens": 3},
        "vocab": [{"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "Yg=="},
                  {"rank": 2, "token_bytes": "YWI="}, {"rank": 3, "token_bytes": "IA=="}],
        "special_tokens": [{"rank": 0, "token_str": "<unk>"}, {"rank": 1, "token_str": "<s>"}]}).encode())
    (folder / "tekken-old").write_bytes(b'k{"config":{"pattern":"."},"vocab":[{"token_bytes":"YQ=="}]}')
    (folder / "vocab-and-merges").write_bytes(
        b'b{"a":0,"b":1,"ab":2,"<|endoftext|>":3}\0#version: 0.2\na b\n')
    (folder / "config").write_bytes(b"c" + json.dumps({
        "tokenizer_class": "GPT2TokenizerFast", "legacy": None, "add_bos_token": True, "add_eos_token": False,
        "add_prefix_space": True, "extra_ids": 3, "bos_token": {"content": "<s>", "lstrip": True}, "eos_token": None,
        "image_token": "<i>", "extra_special_tokens": {"x": "<x>"},
        "added_tokens_decoder": {"9": {"content": "<s>", "special": True}}}).encode() + b"\0" + lines)
    (folder / "special-map").write_bytes(
        b'm{"bos_token":"<s>","additional_special_tokens":["<x>"]}\0{"<s>":2,"<y>":5}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", default=ROOT / "tests/data/tokconv", type=Path)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--seeds", action="store_true")
    parser.add_argument("names", nargs="*", default=None)
    o = parser.parse_args()
    if o.seeds:
        return seeds()
    good = True
    for name in o.names or rows():
        if o.verify:
            good &= verify(name, o.o / name)
        else:
            record(name, write(name, o.o))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
