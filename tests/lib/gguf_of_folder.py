#!/usr/bin/env python3
"""A Hugging Face folder as a GGUF file, as llama.cpp's converter writes it: the same keys, tensor names and changes of
tensors. Written from gguf-py/gguf/tensor_mapping.py and conversion/*.py of https://github.com/ggml-org/llama.cpp, and
not from the code under test. For the small models of tests/data/models; the tokens are made up. Standard library only.

usage: gguf_of_folder.py FOLDER FILE [OPTION ...] [KEY=VALUE ...]   KEY=VALUE overrides a key (VALUE: JSON, null removes)
    --f32            matrices as F32, not as the folder has them
    --q8             matrices whose rows are a multiple of 32 as Q8_0
    --q8-values      the values of these as F32
    --blocks=T,...   random blocks of these types, in turn, for matrices whose rows are a multiple of the block
    --fuse-qkv       q, k and v in one tensor
    --fuse-exps      gate and up of the experts in one tensor
    --single-exps    each expert's matrices alone, as in 2023
    --copy-head      a tied head is written, too
    --arrays         head counts and feed_forward_length as arrays
    --split N        N files FILE-0000n-of-0000N.gguf (FILE without .gguf); the first has no tensor if N > 2

SPDX-License-Identifier: AGPL-3.0-or-later"""
import glob, json, math, os, random, re, struct, sys

from gguf_tiny import BOOL, F32, I32, STRING, U32, ARRAY, text, value

U16 = 2
NUMBERS = {'F32': 0, 'F16': 1, 'Q4_0': 2, 'Q4_1': 3, 'Q5_0': 6, 'Q8_0': 8, 'Q4_K': 12, 'Q6_K': 14, 'BF16': 30}
# Elements of a block, the largest f16 scales before its other bytes and after them, and the number of these.
BLOCKS = {'Q4_0': (32, [0.02], 16, []), 'Q4_1': (32, [0.02, 0.1], 16, []), 'Q5_0': (32, [0.01], 20, []), 'Q8_0': (32, [0.001], 32, []),
          'Q4_K': (256, [2e-4, 1.5e-3], 140, []), 'Q6_K': (256, [], 208, [1e-4])}
BYTES = {'F32': 4, 'F16': 2, 'BF16': 2}


def load(folder):
    out = {}
    for path in sorted(glob.glob(folder + '/model*.safetensors')):
        with open(path, 'rb') as f:
            raw = f.read()
        n = struct.unpack('<Q', raw[:8])[0]
        for name, t in json.loads(raw[8:8 + n]).items():
            if name != '__metadata__' and len(t['shape']) < 3:
                out[name] = Tensor(t['dtype'], t['shape'], raw[8 + n:][slice(*t['data_offsets'])])
    return out


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), data

    def rows(self):  # a vector has rows of one element
        n = len(self.data) // self.shape[0]
        return [self.data[i * n:(i + 1) * n] for i in range(self.shape[0])]

    def f32(self):
        if self.dtype == 'F32':
            return self
        if self.dtype == 'BF16':
            data = b''.join(b'\0\0' + self.data[i:i + 2] for i in range(0, len(self.data), 2))
        else:
            n = len(self.data) // 2
            data = struct.pack('<%df' % n, *struct.unpack('<%de' % n, self.data))
        return Tensor('F32', self.shape, data)

    def transposed(self):
        n, (rows, cols) = BYTES[self.dtype], self.shape
        return Tensor(self.dtype, [cols, rows], b''.join(
            self.data[(r * cols + c) * n:][:n] for c in range(cols) for r in range(rows)))

    def plus_one(self):
        t = self.f32()
        n = len(t.data) // 4
        return Tensor('F32', t.shape, struct.pack('<%df' % n, *[x + 1 for x in struct.unpack('<%df' % n, t.data)]))

    def permuted(self, heads):
        rows, half = self.rows(), self.shape[0] // heads // 2
        order = [h * 2 * half + part * half + i for h in range(heads) for i in range(half) for part in (0, 1)]
        return Tensor(self.dtype, self.shape, b''.join(rows[i] for i in order))

    def q8(self, values):  # as Q8_0, or the values of that
        t, out = self.f32(), []
        for at in range(0, len(t.data), 128):
            x = struct.unpack('<32f', t.data[at:at + 128])
            scale = struct.pack('<e', max(map(abs, x)) / 127)
            d = struct.unpack('<e', scale)[0]
            q = [max(-127, min(127, round(v / d))) if d else 0 for v in x]
            out.append(struct.pack('<32f', *[d * v for v in q]) if values else scale + struct.pack('<32b', *q))
        return Tensor('F32' if values else 'Q8_0', self.shape, b''.join(out))


def stack(tensors):
    return Tensor(tensors[0].dtype, [len(tensors)] + tensors[0].shape, b''.join(t.data for t in tensors))


def join(tensors):  # rows after rows
    return Tensor(tensors[0].dtype, [sum(t.shape[0] for t in tensors)] + tensors[0].shape[1:], b''.join(t.data for t in tensors))


# -- Names: gguf-py/gguf/tensor_mapping.py --------------------------------------------------------------------------

OUTER = {'embed_tokens': 'token_embd', 'wte': 'token_embd', 'wpe': 'position_embd', 'norm': 'output_norm',
         'final_layernorm': 'output_norm', 'ln_f': 'output_norm', 'lm_head': 'output'}
INNER = {'input_layernorm': 'attn_norm', 'ln_1': 'attn_norm', 'ln_2': 'ffn_norm', 'post_attention_layernorm': 'ffn_norm',
         'pre_feedforward_layernorm': 'ffn_norm', 'post_feedforward_layernorm': 'post_ffw_norm',
         'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output',
         'self_attn.dense': 'attn_output', 'self_attn.qkv_proj': 'attn_qkv', 'attn.c_attn': 'attn_qkv', 'attn.c_proj': 'attn_output',
         'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm', 'self_attn.q_layernorm': 'attn_q_norm',
         'self_attn.k_layernorm': 'attn_k_norm', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down',
         'mlp.gate_up_proj': 'ffn_up', 'mlp.fc1': 'ffn_up', 'mlp.fc2': 'ffn_down', 'mlp.c_fc': 'ffn_up', 'mlp.c_proj': 'ffn_down',
         'block_sparse_moe.gate': 'ffn_gate_inp', 'mlp.gate': 'ffn_gate_inp'}
EXPERT = {'w1': 'ffn_gate', 'w3': 'ffn_up', 'w2': 'ffn_down', 'gate_proj': 'ffn_gate', 'up_proj': 'ffn_up', 'down_proj': 'ffn_down'}
ARCHS = {'mistral': 'llama', 'mixtral': 'llama', 'phi': 'phi2', 'qwen3_moe': 'qwen3moe', 'gemma3_text': 'gemma3', 'olmo3': 'olmo2'}
PERMUTED = ('llama', 'mistral', 'mixtral', 'granite', 'smollm3')


def gguf_name(name, family):
    name, suffix = re.sub(r'^(model|transformer)\.', '', name).rsplit('.', 1)
    m = re.match(r'(?:layers|h)\.(\d+)\.(.*)', name)
    if not m:
        return OUTER[name] + '.' + suffix
    kind = INNER[m[2]]
    if m[2] == 'post_attention_layernorm' and family in ('gemma2', 'gemma3_text', 'olmo2', 'olmo3'):
        kind = 'post_attention_norm'
    return 'blk.%s.%s.%s' % (m[1], kind, suffix)


class Model:
    def __init__(self, folder, flags):
        v4 = folder + '/config.v4.json'
        with open(v4 if os.path.exists(v4) else folder + '/config.json') as f:
            self.c = json.load(f)
        self.family, self.flags = self.c['model_type'], flags
        self.tensors, self.kv = {}, {}
        c = self.c
        self.hidden, self.layers = c.get('hidden_size', c.get('n_embd')), c.get('num_hidden_layers', c.get('n_layer'))
        self.heads = c.get('num_attention_heads', c.get('n_head'))
        self.kv_heads = c.get('num_key_value_heads') or self.heads
        self.head_dim = c.get('head_dim') or self.hidden // self.heads
        self.max_pos = c.get('max_position_embeddings', c.get('n_positions'))
        self.convert(load(folder))
        self.keys()
        self.rope()
        self.vocabulary(c['vocab_size'])

    # conversion/*.py, modify_tensors
    def convert(self, tensors):
        experts, norms = {}, {}
        for name, t in tensors.items():
            m = re.match(r'model\.layers\.(\d+)\..*experts\.(\d+)\.(\w+)\.weight', name)
            if m:
                experts.setdefault((m[1], EXPERT[m[3]]), {})[int(m[2])] = t
                continue
            m = re.match(r'model\.layers\.(\d+)\.self_attn\.([qk])_layernorm\.norms\.(\d+)\.weight', name)
            if m:
                norms.setdefault((m[1], m[2]), {})[int(m[3])] = t
                continue
            if name.endswith(('.attn.bias', '.attn.masked_bias')):
                continue
            if self.family.startswith('gemma') and name.endswith('norm.weight'):
                t = t.plus_one()
            if self.family in PERMUTED and re.search(r'\.q_proj\.', name):
                t = t.permuted(self.heads)
            if self.family in PERMUTED and re.search(r'\.k_proj\.', name):
                t = t.permuted(self.kv_heads)
            if self.family == 'gpt2' and name.endswith(('.c_attn.weight', '.c_proj.weight', '.c_fc.weight')):
                t = t.transposed()
            self.add(gguf_name(name, self.family), t)
        for (layer, part), heads in norms.items():
            self.add('blk.%s.attn_%s_norm.weight' % (layer, part), stack([heads[i] for i in range(len(heads))]))
        for (layer, kind), items in experts.items():
            items = [items[i] for i in range(len(items))]
            if '--single-exps' in self.flags:
                for i, t in enumerate(items):
                    self.add('blk.%s.%s.%d.weight' % (layer, kind, i), t)
            elif '--fuse-exps' in self.flags and kind == 'ffn_up':
                gates = experts[layer, 'ffn_gate']
                self.add('blk.%s.ffn_gate_up_exps.weight' % layer, stack([join([gates[i], t]) for i, t in enumerate(items)]))
            elif '--fuse-exps' not in self.flags or kind != 'ffn_gate':
                self.add('blk.%s.%s_exps.weight' % (layer, kind), stack(items))
        if '--fuse-qkv' in self.flags:
            self.fuse_qkv()
        types = [t for f in self.flags if f.startswith('--blocks=') for t in f[9:].split(',')]
        if types:
            self.random_blocks(types)
        if '--copy-head' in self.flags:
            self.add('output.weight', self.tensors['token_embd.weight'])
        if '--q8' in self.flags or '--q8-values' in self.flags:
            for name, t in self.tensors.items():
                if len(t.shape) > 1 and t.shape[-1] % 32 == 0:
                    self.tensors[name] = t.q8('--q8-values' in self.flags)

    def random_blocks(self, types):
        rng, i = random.Random(1), 0
        for name, t in self.tensors.items():
            kind = types[i % len(types)]
            n, before, body, after = BLOCKS[kind]
            if len(t.shape) < 2 or t.shape[-1] % n or 'gate_inp' in name:
                continue
            scales = lambda limits: b''.join(struct.pack('<e', rng.uniform(-x, x)) for x in limits)
            count, i = math.prod(t.shape) // n, i + 1
            data = b''.join(scales(before) + rng.randbytes(body) + scales(after) for _ in range(count))
            self.tensors[name] = Tensor(kind, t.shape, data)

    def fuse_qkv(self):
        for layer in range(self.layers):
            for suffix in ('weight', 'bias'):
                names = ['blk.%d.attn_%s.%s' % (layer, x, suffix) for x in 'qkv']
                if names[0] in self.tensors:
                    self.add('blk.%d.attn_qkv.%s' % (layer, suffix), join([self.tensors.pop(n) for n in names]))

    def add(self, name, t):
        self.tensors[name] = t.f32() if len(t.shape) == 1 or '--f32' in self.flags else t

    # conversion/*.py, set_gguf_parameters
    def keys(self):
        c, kv = self.c, self.kv
        arch = self.arch = ARCHS.get(self.family, self.family)
        ffn = c.get('intermediate_size') or c.get('n_inner') or 4 * self.hidden
        kv['general.architecture'] = (STRING, arch)
        each = (lambda n: ([U32], [n] * self.layers)) if '--arrays' in self.flags else (lambda n: (U32, n))

        def put(suffix, t, v):
            kv[arch + '.' + suffix] = (t, v)

        put('block_count', U32, self.layers)
        put('context_length', U32, self.max_pos)
        put('embedding_length', U32, self.hidden)
        kv[arch + '.feed_forward_length'] = each(ffn)
        kv[arch + '.attention.head_count'] = each(self.heads)
        if self.family != 'gpt2':
            kv[arch + '.attention.head_count_kv'] = each(self.kv_heads)
        if 'rms_norm_eps' in c:
            put('attention.layer_norm_rms_epsilon', F32, c['rms_norm_eps'])
        else:
            put('attention.layer_norm_epsilon', F32, next(c[k] for k in ('layer_norm_eps', 'layer_norm_epsilon', 'norm_epsilon') if k in c))
        if c.get('head_dim'):
            put('attention.key_length', U32, c['head_dim'])
            put('attention.value_length', U32, c['head_dim'])
        if c.get('num_local_experts'):
            put('expert_count', U32, c['num_local_experts'])
            put('expert_used_count', U32, c['num_experts_per_tok'])
        if self.family == 'qwen3_moe':
            put('expert_feed_forward_length', U32, c['moe_intermediate_size'])
            if not c['norm_topk_prob']:
                put('expert_weights_norm', BOOL, False)
        if self.family == 'granite':
            put('attention.scale', F32, c['attention_multiplier'])
            put('embedding_scale', F32, c['embedding_multiplier'])
            put('residual_scale', F32, c['residual_multiplier'])
            put('logit_scale', F32, c['logits_scaling'])
        if self.family == 'gemma2':
            put('attn_logit_softcapping', F32, c['attn_logit_softcapping'])
            put('final_logit_softcapping', F32, c['final_logit_softcapping'])
        if c.get('query_pre_attn_scalar', self.head_dim) != self.head_dim:  # llama.cpp has no key: it knows the published models
            put('attention.scale', F32, c['query_pre_attn_scalar'] ** -0.5)
        if self.family == 'stablelm':
            put('use_parallel_residual', BOOL, c['use_parallel_residual'])
        # llama.cpp writes the window of Gemma 2 and 3, Phi 3 and OLMo 3 only; st-convert reads it for others as well
        if self.family == 'phi3' or (c.get('sliding_window') and c.get('use_sliding_window', True)):
            put('attention.sliding_window', U32, c['sliding_window'] or 0)
        if self.family == 'olmo3':
            kv[arch + '.attention.sliding_window_pattern'] = ([BOOL], [(i + 1) % 4 != 0 for i in range(self.layers)])
        if c.get('sliding_window_pattern', 6) != 6:
            put('attention.sliding_window_pattern', U32, c['sliding_window_pattern'])
        if c.get('rope_local_base_freq', 10000) != 10000:
            put('rope.freq_base_swa', F32, c['rope_local_base_freq'])

    def rope(self):
        c, arch, kv = self.c, self.arch, self.kv
        if self.family == 'gpt2':
            return
        dim = int(self.head_dim * c.get('partial_rotary_factor', 1))
        kv[arch + '.rope.dimension_count'] = (U32, dim)
        if c['rope_theta'] != 10000:  # some converters write it always, some never
            kv[arch + '.rope.freq_base'] = (F32, c['rope_theta'])
        s = c.get('rope_scaling') or {}
        kind = s.get('rope_type', s.get('type'))
        original = c.get('original_max_position_embeddings', s.get('original_max_position_embeddings'))
        if kind in ('linear', 'yarn'):
            kv[arch + '.rope.scaling.type'] = (STRING, kind)
            kv[arch + '.rope.scaling.factor'] = (F32, s['factor'])
        if original and kind != 'llama3':
            kv[arch + '.rope.scaling.original_context_length'] = (U32, original)
        for key in ('beta_fast', 'beta_slow'):
            if key in s:
                kv[arch + '.rope.scaling.yarn_' + key] = (F32, s[key])
        if 'attention_factor' in s and kind == 'yarn':
            kv[arch + '.rope.scaling.yarn_attn_factor'] = (F32, s['attention_factor'])
        if kind == 'longrope':
            scale = self.max_pos / original
            kv[arch + '.rope.scaling.attn_factor'] = (F32, s.get('attention_factor', math.sqrt(1 + math.log(scale) / math.log(original))))
            for n in ('long', 'short'):
                self.tensors['rope_factors_%s.weight' % n] = Tensor('F32', [dim // 2], struct.pack('<%df' % (dim // 2), *s[n + '_factor']))
        if kind == 'llama3':
            self.tensors['rope_freqs.weight'] = Tensor('F32', [dim // 2], self.llama3(s, dim, original))

    def llama3(self, s, dim, original):
        out = []
        for i in range(0, dim, 2):
            wave = 2 * math.pi * self.c['rope_theta'] ** (i / dim)
            smooth = (original / wave - s['low_freq_factor']) / (s['high_freq_factor'] - s['low_freq_factor'])
            out.append(1 if smooth > 1 else s['factor'] if smooth < 0 else 1 / ((1 - smooth) / s['factor'] + smooth))
        return struct.pack('<%df' % len(out), *out)

    def vocabulary(self, n):
        kv = self.kv
        kv['tokenizer.ggml.model'], kv['tokenizer.ggml.pre'] = (STRING, 'gpt2'), (STRING, 'gpt-2')
        kv['tokenizer.ggml.tokens'] = ([STRING], ['t%d' % i for i in range(n)])
        kv['tokenizer.ggml.token_type'] = ([I32], [1] * n)
        kv['tokenizer.ggml.merges'] = ([STRING], [])
        for key in ('bos', 'eos'):
            if self.c.get(key + '_token_id') is not None:
                kv['tokenizer.ggml.%s_token_id' % key] = (U32, self.c[key + '_token_id'])


# -- The files ------------------------------------------------------------------------------------------------------


def blob(kv, tensors):
    infos, data = b'', b''
    for name, t in tensors.items():
        data += b'\0' * (-len(data) % 32)
        infos += text(name) + struct.pack('<I', len(t.shape)) + b''.join(struct.pack('<Q', n) for n in reversed(t.shape))
        infos += struct.pack('<IQ', NUMBERS[t.dtype], len(data))
        data += t.data
    head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(kv))
    for k, (t, v) in kv.items():
        head += text(k) + struct.pack('<I', ARRAY if isinstance(t, list) else t)
        head += struct.pack('<H', v) if t == U16 else value(t, v)
    head += infos
    return head + b'\0' * (-len(head) % 32) + data


def split(model, n):
    names = list(model.tensors)
    bounds = [len(names) * i // n for i in range(n + 1)] if n < 3 else [0] + [len(names) * i // (n - 1) for i in range(n)]
    for i in range(n):
        kv = dict(model.kv) if i == 0 else {}
        kv.update({'split.no': (U16, i), 'split.count': (U16, n), 'split.tensors.count': (I32, len(names))})
        yield i, blob(kv, {k: model.tensors[k] for k in names[bounds[i]:bounds[i + 1]]})


def override(kv, args):
    for a in args:
        key, _, v = a.partition('=')
        v, old = json.loads(v), kv.pop(key, (None,))[0]
        if v is None:
            continue
        guess = BOOL if isinstance(v, bool) else U32 if isinstance(v, int) else F32 if isinstance(v, float) else STRING
        if isinstance(v, list):
            guess = [BOOL] if v and isinstance(v[0], bool) else [U32]
        kv[key] = (F32 if old == F32 and isinstance(v, int) else guess, v)


def main(argv):
    if len(argv) < 3:
        sys.exit(__doc__)
    args = argv[3:]
    parts = int(args.pop(args.index('--split') + 1)) if '--split' in args else 1
    model = Model(argv[1], [a for a in args if a[0] == '-'])
    override(model.kv, [a for a in args if a[0] != '-'])
    for i, data in split(model, parts) if parts > 1 else [(None, blob(model.kv, model.tensors))]:
        path = argv[2] if i is None else '%s-%05d-of-%05d.gguf' % (argv[2], i + 1, parts)
        with open(path, 'wb') as f:
            f.write(data)


if __name__ == '__main__':
    main(sys.argv)
