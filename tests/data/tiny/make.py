"""Makes the tiny chat model of the tests: random Llama weights behind the bpe-smollm2 tokenizer, so that whole
pipelines, text in and text out, run without a download. Needs torch and transformers; the tests do not.
golden.json holds what transformers generates (float32, greedy) for a few prompts.

usage: python tests/data/tiny/make.py

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json, pathlib, shutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

here = pathlib.Path(__file__).parent
source = here.parent / "tokenizers" / "bpe-smollm2"
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(source / name, here / name)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(here / "tokenizer.json"))
vocab = max(tokenizer.get_vocab().values()) + 1
torch.manual_seed(7)
config = LlamaConfig(
    vocab_size=vocab, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=True,
    bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    eos_token_id=tokenizer.convert_tokens_to_ids("<|end|>"), initializer_range=0.4)
model = LlamaForCausalLM(config).to(torch.bfloat16)
model.generation_config.pad_token_id = None
model.save_pretrained(here)
model = LlamaForCausalLM.from_pretrained(here, dtype=torch.float32).eval()
cases = []
for text in ("The capital of France is", "def f(x):\n", "Hello, w\u00f6rld \U0001F600"):
    ids = tokenizer(text, add_special_tokens=True)["input_ids"]
    out, margin = list(ids), 1e9
    for _ in range(24):
        with torch.no_grad():
            row = model(torch.tensor([out])).logits[0, -1]
        top = row.topk(2).values
        margin = min(margin, float(top[0] - top[1]))
        out.append(int(row.argmax()))
        if out[-1] == config.eos_token_id:
            break
    cases.append({"text": text, "ids": ids, "greedy": out[len(ids):], "margin": margin,
                  "text_out": tokenizer.decode(out[len(ids):], skip_special_tokens=True,
                                               clean_up_tokenization_spaces=False)})
(here / "golden.json").write_text(json.dumps(cases, indent=1) + "\n")
