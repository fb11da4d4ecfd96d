"""Lists the frames of a logits(5) stream, written from the page and not from the C: "OPEN:0 LOGI:0@2x1 CLOS:0 END"
(type, sequence, position, rows). --text: the texts, a line each. --cut: the stream may stop without its END.
--rows: the rows of logits as they are, ordered by sequence and position; --rows=N: those of sequence N.
--sorted: all that is said of each sequence, with hashes of rows, however the stream is cut into frames.
SPDX-License-Identifier: AGPL-3.0-or-later"""
import hashlib
import struct
import sys

options, paths = [a for a in sys.argv[1:] if a[0] == "-"], [a for a in sys.argv[1:] if a[0] != "-"]
data = open(paths[0], "rb").read()
assert data[:8] == b"LOGITS\r\n", "no stream header"
row_bytes = 4 * struct.unpack_from("<I", data, 16)[0]
at, names, texts, logits, said = 256, [], [], [], []
hidden_bytes = 4 * struct.unpack_from("<I", data, 20)[0]
while at < len(data):
    kind, seq, pos, rows, n_ids, n_text, n_payload = struct.unpack_from("<4sIIIIIQ", data, at)
    name = kind.decode().strip()
    padded = (n_payload + 7) // 8 * 8
    assert at + 32 + padded <= len(data), "cut inside a frame"
    payload = data[at + 32 : at + 32 + n_payload]
    names.append(name if name == "END" else f"{name}:{seq}" + (f"@{pos}x{rows}" if rows else ""))
    if n_text:
        texts.append(payload[n_payload - n_text :].decode())
    if name in ("LOGI", "HIDD"):
        n = row_bytes if name == "LOGI" else hidden_bytes
        text = payload[rows * n :].decode()
        said += ((seq, 1, pos + i, name, text, hashlib.md5(payload[i * n : (i + 1) * n]).hexdigest()) for i in range(rows))
    elif name != "END":
        said.append((seq, 0 if name == "OPEN" else 2, pos, name, "", payload.hex()))
    if name == "LOGI":
        logits += ((seq, pos + i, payload[i * row_bytes : (i + 1) * row_bytes]) for i in range(rows))
    at += 32 + padded
assert "--cut" in options or names[-1] == "END", "no END frame"
if "--sorted" in options:
    print(data[12:88].hex(), *sorted(said), sep="\n")  # the header, up to the return path
    sys.exit()
which = [int(o[7:]) for o in options if o.startswith("--rows=")]
if "--rows" in options or which:
    for seq, pos, row in sorted(logits):
        if not which or seq in which:
            sys.stdout.buffer.write(row)
else:
    print("\n".join(texts) if "--text" in options else " ".join(names))
