#!/usr/bin/env python3
"""What a hostile client may send to a resident llm-forward: hostile_client.py SOCK CASE

Prints the engine's last message, or "dropped" where it has closed the connection without one.
SPDX-License-Identifier: AGPL-3.0-or-later"""
import array
import os
import signal
import socket
import struct
import sys
import tempfile
import time


def text(b):
    return struct.pack("<I", len(b)) + b


def ask(flags=0, batch=16, context=0, address=b"", device=b"", layers=b""):
    return (b"LLM-CTL1" + struct.pack("<IIIIQQ", 1, flags, batch, context, 0, 0) + bytes(32) +
            address.ljust(108, b"\0") + bytes(16) + text(device) + text(layers) + text(b"stdin"))


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(path)
    s.settimeout(20)
    return s


def send(s, message, fds=()):
    s.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def answer(s):
    """The engine's last message: its code and text."""
    try:
        while message := s.recv(8192):
            kind, = struct.unpack_from("<I", message, 8)
            if kind == 18:
                code, left, n = struct.unpack_from("<III", message, 12)
                return "left" if left else f"{code} {message[24:24 + n].decode()}"
    except ConnectionResetError:
        pass
    return "dropped"


def pipes():
    """The ends that a client passes, and those that it retains."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    os.set_blocking(in_read, False)
    os.set_blocking(out_write, False)
    return (in_read, out_write), (in_write, out_read)


def ask_one(s):
    """Asks for one prompt: the connection, and the end on which the logits come."""
    passed, own = pipes()
    send(s, ask(), passed)
    os.write(own[0], b"1 5 9\n")
    os.close(own[0])
    for fd in passed:
        os.close(fd)
    return s, own[1]


def answered(ends):
    answers = []
    for s, out in ends:
        while os.read(out, 1 << 16):
            pass
        answers.append(answer(s))
    return f"{sum(a.startswith('0 ') for a in answers)} of {len(answers)} answered"


def main(path, case):
    if case == "flood":  # many connections that ask nothing
        open_ones = []
        for _ in range(int(sys.argv[3])):
            open_ones.append(connect(path))
            if len(open_ones) == 200:
                open_ones.pop(0).close()
        return "flooded"
    if case == "together":  # many that have asked before a stopped engine goes on
        ends = [ask_one(connect(path)) for _ in range(100)]
        os.kill(int(sys.argv[3]), signal.SIGCONT)
        return answered(ends)
    if case == "slowly":  # many that ask only after the engine has seen their connections
        open_ones = [connect(path) for _ in range(100)]
        os.kill(int(sys.argv[3]), signal.SIGCONT)
        time.sleep(0.1)
        return answered([ask_one(s) for s in open_ones])
    s = connect(path)
    passed, own = pipes()
    if case == "silent":
        return answer(s)
    if case == "no-descriptors":
        send(s, ask())
    elif case == "one-descriptor":
        send(s, ask(), passed[:1])
    elif case == "many-descriptors":
        send(s, ask(), [passed[0]] * 40)
    elif case == "file":
        with tempfile.TemporaryFile() as f:
            send(s, ask(), [f.fileno(), passed[1]])
    elif case == "device":
        send(s, ask(), [passed[0], os.open("/dev/null", os.O_WRONLY)])
    elif case == "datagram":
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        send(s, ask(), [pair[0].fileno(), passed[1]])
    elif case == "listener":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.path.join(tempfile.mkdtemp(), "s"))
        listener.listen()
        send(s, ask(), [listener.fileno(), passed[1]])
    elif case == "wrong-ends":  # stdin cannot be read
        send(s, ask(), [passed[1], passed[1]])
        os.close(own[0])
    elif case == "garbage":
        send(s, b"\xff" * 100)
    elif case == "long":
        send(s, ask() + bytes(20000))
    elif case == "cut":
        send(s, ask()[:150], passed)
    elif case == "empty":
        send(s, b"LLM-CTL1")
    elif case == "flags":
        send(s, ask(flags=1 << 20), passed)
    elif case == "batch":
        send(s, ask(batch=0), passed)
    elif case == "context":
        send(s, ask(context=0xffffffff), passed)
    elif case == "address":
        send(s, ask(flags=16, address=b"x" * 108), passed)
    elif case == "layers":
        send(s, ask(flags=6, layers=b"9-3"), passed)
    elif case == "twice":
        send(s, ask(), passed)
        send(s, ask(), passed)
    elif case == "taken-unasked":
        send(s, ask(), passed)
        send(s, b"LLM-CTL1" + struct.pack("<I", 2), passed[:1])
    elif case == "taken-pipe":
        send(s, ask(flags=16), passed)
        send(s, b"LLM-CTL1" + struct.pack("<I", 2), passed[:1])
    elif case == "bad-request":  # garbage on the return path
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        send(s, ask(flags=16), passed)
        send(s, b"LLM-CTL1" + struct.pack("<I", 2), [pair[0].fileno()])
        pair[1].send(b"\xff" * 64)
    elif case == "engine-message":
        send(s, b"LLM-CTL1" + struct.pack("<III", 18, 0, 0) + text(b""))
    elif case == "blocking":  # the sender makes the passed pipe wait: nobody else may
        os.set_blocking(passed[1], True)
        send(s, ask(flags=1), passed)
        os.write(own[0], b"1 5 9 1 5 9 1 5 9 1 5 9\n" * 2000)
        s.settimeout(3)
        try:
            return answer(s)
        except TimeoutError:
            return "waits"
    return answer(s)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2]))
