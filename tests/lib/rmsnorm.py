#!/usr/bin/env python3
"""rmsnorm.py MODEL X.npy Y.npy: whether Y [rows, n] is the model's final RMS norm of X [rows, n], within 1e-5 of the largest
value; exit 1 if not. With the standard library alone.
SPDX-License-Identifier: AGPL-3.0-or-later"""
import array, json, math, struct, sys

model, x_path, y_path = sys.argv[1:]
config = json.load(open(f"{model}/config.json"))


def rows(path):
    raw = open(path, "rb").read()
    return array.array("f", raw[10 + struct.unpack_from("<H", raw, 8)[0] :])


raw = open(f"{model}/model.safetensors", "rb").read()
size = struct.unpack_from("<Q", raw)[0]
entry = json.loads(raw[8 : 8 + size])["model.norm.weight"]
assert entry["dtype"] == "BF16"
begin, end = (8 + size + o for o in entry["data_offsets"])
weight = [struct.unpack("<f", b"\0\0" + raw[i : i + 2])[0] for i in range(begin, end, 2)]
if config["model_type"].startswith("gemma"):
    weight = [1 + w for w in weight]
n, x, y = len(weight), rows(x_path), rows(y_path)
assert len(x) == len(y) > 0
worst = 0.0
for r in range(0, len(x), n):
    scale = 1 / math.sqrt(sum(v * v for v in x[r : r + n]) / n + config["rms_norm_eps"])
    worst = max(worst, max(abs(x[r + i] * scale * weight[i] - y[r + i]) for i in range(n)))
print(worst)
sys.exit(worst > 1e-5 * max(map(abs, y)))
