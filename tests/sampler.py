#!/usr/bin/env python3
"""A greedy sampler in 60 lines: logits(5) on stdin, tokens(5) on stdout, requests over the return path.

usage: ... | llm-forward | sampler.py N | ...        (N: most new tokens of a sequence)
It shows that a sampler needs nothing but the page logits(5). SPDX-License-Identifier: AGPL-3.0-or-later"""
import os, socket, struct, sys


def read(n):
    data = sys.stdin.buffer.read(n)
    if len(data) < n:
        sys.exit("sampler.py: the stream was cut")
    return data


most = int(sys.argv[1])
header = read(256)
assert header[:16] == b"LOGITS\r\n" + struct.pack("<II", 1, 256)
vocab, hidden, context, dtype, bos, n_eos = struct.unpack_from("<4IiI", header, 16)
eos = struct.unpack_from(f"<{n_eos}i", header, 40)
nonce, address = header[88:104], header[104:212].rstrip(b"\0")

back = socket.socket(socket.AF_UNIX)
back.connect(address)
stdin = os.fstat(0)
back.sendall(struct.pack("<8s16sIIQQ", b"LLM-RET1", nonce, 1, 0, stdin.st_dev, stdin.st_ino))

lengths, new, attrs, ended, written = {}, {}, {}, {}, 0  # by sequence
while True:
    tag, seq, pos, rows, n_ids, n_text, n_bytes = struct.unpack("<4s5IQ", read(32))
    payload = read(n_bytes + -n_bytes % 8)[:n_bytes]
    if tag == b"END ":
        break
    if tag == b"OPEN":
        lengths[seq], new[seq], attrs[seq] = n_ids, [], payload[4 * n_ids:].decode()
    elif tag == b"FAIL":
        new.setdefault(seq, [])
        ended[seq] = "! " + payload.decode()
    elif tag == b"LOGI" and seq not in ended and pos + rows == lengths[seq]:
        logits = struct.unpack(f"<{vocab}f", payload[-4 * vocab:])
        best = logits.index(max(logits))
        new[seq].append(best)
        if best in eos or len(new[seq]) == most or lengths[seq] == context:
            ended[seq] = "#= finish=" + ("eos" if best in eos else "length")
            back.sendall(struct.pack("<4s5IQ", b"CLOS", seq, 0, 0, 0, 0, 0))
        else:
            back.sendall(struct.pack("<4s5IQI", b"EXTD", seq, lengths[seq], 1, 0, 1, 0, best))
            lengths[seq] += 1
    while written in ended:
        if attrs.get(written):
            print("#@", attrs[written])
        if new[written] or ended[written][0] != "!":
            print(*new[written])
        print(ended[written], flush=True)
        written += 1
