#!/usr/bin/env python3
"""Tiny GGUF files for tests/st-convert.bats, and what must come out of them, computed here from the formats'
descriptions and not from the code under test. Standard library only; every file is the same on every run.

usage: gguf_tiny.py make KIND FILE [KEY=VALUE ...]   KIND: see KINDS; KEY=VALUE overrides a key (VALUE: JSON, null removes)
       gguf_tiny.py check KIND FOLDER f32|f16|bf16   exit 1 names the first tensor or file that differs

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json, random, struct, sys

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10


def f32(x):
    return struct.unpack('<f', struct.pack('<f', x))[0]


def half(b):
    return struct.unpack('<e', b)[0]


# -- Block formats: name -> (number, elements, make(rng) -> bytes, values(bytes) -> list) --------------------------

def scale(rng):  # a finite f16
    return struct.pack('<e', rng.uniform(-0.05, 0.05))


def bytes_of(rng, n):
    return rng.randbytes(n)


def nibbles(qs):  # low halves of all bytes, then high halves
    return [q & 15 for q in qs] + [q >> 4 for q in qs]


def bits(data):  # little-endian bit order
    return [data[i // 8] >> i % 8 & 1 for i in range(8 * len(data))]


def q4_0(b):
    return [f32(half(b[:2]) * (q - 8)) for q in nibbles(b[2:])]


def q4_1(b):
    return [f32(f32(half(b[:2]) * q) + half(b[2:4])) for q in nibbles(b[4:])]


def q5_0(b):
    return [f32(half(b[:2]) * (q + 16 * h - 16)) for q, h in zip(nibbles(b[6:]), bits(b[2:6]))]


def q5_1(b):
    return [f32(f32(half(b[:2]) * (q + 16 * h)) + half(b[2:4])) for q, h in zip(nibbles(b[8:]), bits(b[4:8]))]


def q8_0(b):
    return [f32(half(b[:2]) * q) for q in struct.unpack('<32b', b[2:])]


def k_scales(s):  # 12 bytes: eight 6-bit scales, eight 6-bit minima
    scales = [s[j] & 63 for j in range(4)] + [s[j + 8] & 15 | s[j] >> 6 << 4 for j in range(4)]
    minima = [s[j + 4] & 63 for j in range(4)] + [s[j + 8] >> 4 | s[j + 4] >> 6 << 4 for j in range(4)]
    return list(zip(scales, minima))


def q4_k(b, high=None):
    d, dmin, out = half(b[:2]), half(b[2:4]), []
    qs = b[16:] if high is None else b[48:]
    for j, (s, m) in enumerate(k_scales(b[4:16])):
        group = qs[j // 2 * 32:][:32]
        for i in range(32):
            q = group[i] >> 4 if j % 2 else group[i] & 15
            if high is not None:
                q += 16 * (high[i] >> j & 1)
            out.append(f32(f32(f32(d * s) * q) - f32(dmin * m)))
    return out


def q5_k(b):
    return q4_k(b, b[16:48])


def q6_k(b):
    ql, qh, scales, d = b[:128], b[128:192], struct.unpack('<16b', b[192:208]), half(b[208:])
    out = []
    for i in range(256):
        part, run, at = i // 128, i % 128 // 32, i % 32
        low = ql[part * 64 + run % 2 * 32 + at] >> 4 * (run // 2) & 15
        q = low + 16 * (qh[part * 32 + at] >> 2 * run & 3) - 32
        out.append(f32(f32(d * scales[i // 16]) * q))
    return out


TYPES = {
    'F32': (0, 1, lambda r: struct.pack('<f', r.uniform(-2, 2)), lambda b: [struct.unpack('<f', b)[0]]),
    'F16': (1, 1, scale, lambda b: [half(b)]),
    'Q4_0': (2, 32, lambda r: scale(r) + bytes_of(r, 16), q4_0),
    'Q4_1': (3, 32, lambda r: scale(r) + scale(r) + bytes_of(r, 16), q4_1),
    'Q5_0': (6, 32, lambda r: scale(r) + bytes_of(r, 20), q5_0),
    'Q5_1': (7, 32, lambda r: scale(r) + scale(r) + bytes_of(r, 20), q5_1),
    'Q8_0': (8, 32, lambda r: scale(r) + bytes_of(r, 32), q8_0),
    'Q4_K': (12, 256, lambda r: scale(r) + scale(r) + bytes_of(r, 140), q4_k),
    'Q5_K': (13, 256, lambda r: scale(r) + scale(r) + bytes_of(r, 172), q5_k),
    'Q6_K': (14, 256, lambda r: bytes_of(r, 208) + scale(r), q6_k),
    'BF16': (30, 1, lambda r: struct.pack('<f', r.uniform(-2, 2))[2:], lambda b: [struct.unpack('<f', b'\0\0' + b)[0]]),
    'IQ4_XS': (23, 256, lambda r: bytes_of(r, 136), None),
}

# -- Models -------------------------------------------------------------------------------------------------------

BYTE_CHARS = {b: chr(b) for r in ((33, 127), (161, 173), (174, 256)) for b in range(*r)}
for b in range(256):
    BYTE_CHARS.setdefault(b, chr(256 + len([c for c in BYTE_CHARS.values() if ord(c) > 255])))


def bpe_vocab():
    tokens = [('<|end|>', 3), ('<|user|>', 3), ('[hi]', 4)]
    tokens += [(BYTE_CHARS[b], 1) for b in range(256)] + [('Ġt', 1), ('he', 1), ('Ġthe', 1)]
    return tokens, ['Ġ t', 'h e', 'Ġt he']


def spm_vocab():
    tokens = [('<unk>', 2, 0.0), ('<s>', 3, 0.0), ('</s>', 3, 0.0)]
    tokens += [('<0x%02X>' % b, 6, 0.0) for b in range(256)]
    tokens += [('▁a', 1, -2.0), ('ab', 1, -1.0), ('▁ab', 1, -3.0), ('▁', 1, -4.0), ('a', 1, -5.0), ('b', 1, -6.0), ('é', 1, -7.0)]
    return tokens, [['a', 'b'], ['▁', 'a'], ['▁a', 'b'], ['▁', 'ab']]


class Model:
    """dims; types: the block format by tensor kind; the tokenizer: bpe or spm."""

    def __init__(self, arch='llama', hidden=64, heads=4, kv=2, head_dim=None, ffn=96, layers=2, types={}, spm=False,
                 head=True, qkv_bias=False, qk_norm=False, keys={}, extra={}):
        self.__dict__.update(locals())
        self.head_dim = head_dim or hidden // heads
        tokens = (spm_vocab if spm else bpe_vocab)()[0]
        self.vocab = len(tokens) + 1  # one row to spare: the converter of llama.cpp fills it with a token of type unused
        a = arch + '.'
        self.kv_pairs = {
            'general.architecture': (STRING, arch), 'general.name': (STRING, 'tiny'), a + 'block_count': (U32, layers),
            a + 'context_length': (U32, 128), a + 'embedding_length': (U32, hidden), a + 'feed_forward_length': (U32, ffn),
            a + 'attention.head_count': (U32, heads), a + 'attention.head_count_kv': (U32, kv),
            a + 'attention.layer_norm_rms_epsilon': (F32, 1e-5), a + 'rope.freq_base': (F32, 50000.0),
            'tokenizer.ggml.model': (STRING, 'llama' if spm else 'gpt2'),
            'tokenizer.ggml.tokens': ([STRING], [t[0] for t in tokens] + ['[PAD%d]' % len(tokens)]),
            'tokenizer.ggml.token_type': ([I32], [t[1] for t in tokens] + [5]),
        }
        if self.head_dim * heads != hidden:
            self.kv_pairs[a + 'attention.key_length'] = self.kv_pairs[a + 'attention.value_length'] = (U32, self.head_dim)
            self.kv_pairs[a + 'rope.dimension_count'] = (U32, self.head_dim)
        if spm:
            self.kv_pairs['tokenizer.ggml.scores'] = ([F32], [t[2] for t in tokens] + [0.0])
            self.kv_pairs.update({'tokenizer.ggml.bos_token_id': (U32, 1), 'tokenizer.ggml.eos_token_id': (U32, 2),
                                  'tokenizer.ggml.unknown_token_id': (U32, 0)})
        else:
            self.kv_pairs.update({'tokenizer.ggml.pre': (STRING, 'smollm'), 'tokenizer.ggml.merges': ([STRING], bpe_vocab()[1]),
                                  'tokenizer.ggml.bos_token_id': (U32, 1), 'tokenizer.ggml.eos_token_id': (U32, 0),
                                  'tokenizer.chat_template': (STRING, '{{ "a\n" }}')})
        self.kv_pairs.update(keys)

    def tensors(self):
        """(GGUF name, Hugging Face name, [rows, cols] or [n], permuted heads or 0)"""
        h, q, kv = self.hidden, self.heads * self.head_dim, self.kv * self.head_dim
        pq, pk = (self.heads, self.kv) if self.arch == 'llama' else (0, 0)
        out = [('token_embd.weight', 'model.embed_tokens.weight', [self.vocab, h], 0)]
        for n in range(self.layers):
            b, m = 'blk.%d.' % n, 'model.layers.%d.' % n
            out += [(b + 'attn_norm.weight', m + 'input_layernorm.weight', [h], 0),
                    (b + 'ffn_norm.weight', m + 'post_attention_layernorm.weight', [h], 0),
                    (b + 'attn_q.weight', m + 'self_attn.q_proj.weight', [q, h], pq),
                    (b + 'attn_k.weight', m + 'self_attn.k_proj.weight', [kv, h], pk),
                    (b + 'attn_v.weight', m + 'self_attn.v_proj.weight', [kv, h], 0),
                    (b + 'attn_output.weight', m + 'self_attn.o_proj.weight', [h, q], 0),
                    (b + 'ffn_gate.weight', m + 'mlp.gate_proj.weight', [self.ffn, h], 0),
                    (b + 'ffn_up.weight', m + 'mlp.up_proj.weight', [self.ffn, h], 0),
                    (b + 'ffn_down.weight', m + 'mlp.down_proj.weight', [h, self.ffn], 0)]
            if self.qkv_bias:
                out += [(b + 'attn_q.bias', m + 'self_attn.q_proj.bias', [q], pq),
                        (b + 'attn_k.bias', m + 'self_attn.k_proj.bias', [kv], pk),
                        (b + 'attn_v.bias', m + 'self_attn.v_proj.bias', [kv], 0)]
            if self.qkv_bias == 'all':
                out += [(b + 'attn_output.bias', m + 'self_attn.o_proj.bias', [h], 0)]
            if self.qk_norm:
                out += [(b + 'attn_q_norm.weight', m + 'self_attn.q_norm.weight', [self.head_dim], 0),
                        (b + 'attn_k_norm.weight', m + 'self_attn.k_norm.weight', [self.head_dim], 0)]
        out.append(('output_norm.weight', 'model.norm.weight', [h], 0))
        if self.head:
            out.append(('output.weight', 'lm_head.weight', [self.vocab, h], 0))
        return out + [(name, None, [len(v)], 0) for name, v in self.extra.items()]

    def data(self, name, shape):
        """The tensor's block format and its blocks."""
        kind = name.split('.')[-2]
        t = 'F32' if len(shape) == 1 else self.types.get(name, self.types.get(kind, self.types.get('*', 'F32')))
        if name in self.extra:
            return 'F32', [struct.pack('<f', x) for x in self.extra[name]]
        rng = random.Random(name)
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        return t, [TYPES[t][2](rng) for _ in range(n // TYPES[t][1])]


ROPE_FACTORS = []  # of Llama 3.1: theta 500000, factor 8, for heads of 16
for i in range(8):
    wave = 2 * 3.141592653589793 * 500000.0 ** (2 * i / 16)
    smooth = (8192 / wave - 1) / 3
    ROPE_FACTORS.append(1.0 if wave < 2048 else 8.0 if wave > 8192 else 1 / ((1 - smooth) / 8 + smooth))

SMALL = {'token_embd': 'Q8_0', 'attn_q': 'F16', 'attn_k': 'BF16', 'attn_v': 'Q4_0', 'attn_output': 'Q4_1', 'ffn_gate': 'Q5_0',
         'ffn_up': 'Q5_1', 'ffn_down': 'F32', 'blk.1.attn_q.weight': 'Q4_0', 'blk.1.attn_k.weight': 'Q8_0'}
KINDS = {
    'llama': lambda: Model(types=SMALL),
    'tied': lambda: Model(head=False, layers=1),
    'bias': lambda: Model(qkv_bias='all', layers=1),
    'half-bias': lambda: Model(qkv_bias=True, layers=1),
    'kquants': lambda: Model(hidden=256, heads=2, kv=1, ffn=256, layers=1, head=False,
                             types={'attn_q': 'Q4_K', 'attn_k': 'Q5_K', 'attn_v': 'Q6_K', 'attn_output': 'Q5_K', 'ffn_gate': 'Q6_K',
                                    'ffn_up': 'Q4_K', '*': 'Q8_0'}),
    'headdim': lambda: Model(head_dim=32, layers=1),
    'spm': lambda: Model(spm=True, layers=1),
    'qwen2': lambda: Model(arch='qwen2', qkv_bias=True, layers=1, keys={'tokenizer.ggml.pre': (STRING, 'qwen2')}),
    'qwen3': lambda: Model(arch='qwen3', qk_norm=True, head_dim=32, layers=1, keys={'tokenizer.ggml.pre': (STRING, 'qwen2')}),
    'llama3': lambda: Model(layers=1, extra={'rope_freqs.weight': ROPE_FACTORS},
                            keys={'llama.rope.freq_base': (F32, 500000.0), 'tokenizer.ggml.pre': (STRING, 'llama-bpe')}),
    'other-rope': lambda: Model(layers=1, extra={'rope_freqs.weight': [1.0, 2.0] * 4}),
    'leftover': lambda: Model(layers=1, extra={'blk.0.attn_sinks.weight': [1.0] * 4}),
    'iq4': lambda: Model(hidden=256, layers=1, types={'attn_v': 'IQ4_XS'}),
}

# -- The file -----------------------------------------------------------------------------------------------------


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack('<Q', len(s)) + s


def value(t, v):
    if isinstance(t, list):
        return struct.pack('<IQ', t[0], len(v)) + b''.join(value(t[0], x) for x in v)
    return text(v) if t == STRING else struct.pack({U32: '<I', I32: '<i', F32: '<f', BOOL: '<?', U64: '<Q'}[t], v)


def override(model, args):
    for a in args:
        key, _, v = a.partition('=')
        v = json.loads(v)
        old = model.kv_pairs.pop(key, None)
        if v is None:
            continue
        guess = BOOL if isinstance(v, bool) else U32 if isinstance(v, int) else F32 if isinstance(v, float) else STRING
        if isinstance(v, list):
            guess = [STRING] if v and isinstance(v[0], str) else [I32]
        if old and (old[0] in (U32, F32)) and isinstance(v, (int, float)) and not isinstance(v, bool):
            guess = old[0]
        model.kv_pairs[key] = (guess, v)


def make(model):
    infos, data = b'', b''
    tensors = model.tensors()
    for name, _, shape, _ in tensors:
        t, blocks = model.data(name, shape)
        data += b'\0' * (-len(data) % 32)
        infos += text(name) + struct.pack('<I', len(shape)) + b''.join(struct.pack('<Q', n) for n in reversed(shape))
        infos += struct.pack('<IQ', TYPES[t][0], len(data))
        data += b''.join(blocks)
    head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(model.kv_pairs))
    for k, (t, v) in model.kv_pairs.items():
        head += text(k) + struct.pack('<I', ARRAY if isinstance(t, list) else t) + value(t, v)
    head += infos
    return head + b'\0' * (-len(head) % 32) + data


# -- What must come out -------------------------------------------------------------------------------------------


def expected(model, name, shape, heads):
    t, blocks = model.data(name, shape)
    values = [x for b in blocks for x in TYPES[t][3](b)]
    if heads:
        cols = shape[1] if len(shape) > 1 else 1
        rows = [values[i * cols:(i + 1) * cols] for i in range(shape[0])]
        dim = shape[0] // heads
        # The original's halves were dealt out alternately: first rows at even places, second at odd ones.
        rows = [rows[h * dim + i] for h in range(heads) for i in list(range(0, dim, 2)) + list(range(1, dim, 2))]
        values = [x for r in rows for x in r]
    return values


def packed(values, dtype):
    if dtype == 'f32':
        return struct.pack('<%df' % len(values), *values)
    if dtype == 'f16':
        return struct.pack('<%de' % len(values), *values)
    out = []
    for u in struct.unpack('<%dI' % len(values), struct.pack('<%df' % len(values), *values)):
        out.append((u + 0x7fff + (u >> 16 & 1)) >> 16)  # nearest, ties to even
    return struct.pack('<%dH' % len(values), *out)


def check(model, folder, dtype):
    with open(folder + '/model.safetensors', 'rb') as f:
        raw = f.read()
    n = struct.unpack('<Q', raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    head.pop('__metadata__', None)
    want = [t for t in model.tensors() if t[1]]
    if sorted(head) != sorted(t[1] for t in want):
        sys.exit('tensors: %s' % sorted(set(head) ^ {t[1] for t in want}))
    for name, hf, shape, heads in want:
        info = head[hf]
        if info['dtype'] != dtype.upper() or info['shape'] != shape:
            sys.exit('%s: %s %s, not %s' % (hf, info['dtype'], info['shape'], shape))
        begin, end = info['data_offsets']
        if raw[8 + n + begin:8 + n + end] != packed(expected(model, name, shape, heads), dtype):
            sys.exit('%s: the values differ' % hf)
    check_tokenizer(model, folder)


def check_tokenizer(model, folder):
    with open(folder + '/tokenizer.json', encoding='utf-8') as f:
        t = json.load(f)
    tokens, merges = (spm_vocab if model.spm else bpe_vocab)()
    merges = [m if isinstance(m, list) else m.split(' ') for m in merges]
    if t['model']['vocab'] != {x[0]: i for i, x in enumerate(tokens)}:
        sys.exit('tokenizer.json: the vocabulary differs')
    if t['model']['merges'] != merges:
        sys.exit('tokenizer.json: merges %s' % t['model']['merges'])
    added = [(a['id'], a['content'], a['special']) for a in t['added_tokens']]
    if added != [(i, x[0], x[1] != 4) for i, x in enumerate(tokens) if x[1] in (2, 3, 4)]:
        sys.exit('tokenizer.json: added tokens %s' % added)


def main(argv):
    if len(argv) < 4 or argv[1] not in ('make', 'check') or argv[2] not in KINDS:
        sys.exit(__doc__)
    model = KINDS[argv[2]]()
    if argv[1] == 'check':
        return check(model, argv[3], argv[4])
    override(model, argv[4:])
    with open(argv[3], 'wb') as f:
        f.write(make(model))


if __name__ == '__main__':
    main(sys.argv)
