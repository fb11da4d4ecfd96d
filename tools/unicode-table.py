#!/usr/bin/env python3
"""Writes common/unicode/unicode_table.c: what the reference tokenizer says about every code point.

The Python library `tokenizers` is asked about each character through its own normalizers and pre-tokenizers,
because its parts follow different versions of Unicode: its regular expressions (Oniguruma) one, Rust's
standard library another, and the crates that know accents, control characters and punctuation much older ones.

usage: tools/unicode-table.py >common/unicode/unicode_table.c     (needs: pip install tokenizers)
       tools/unicode-table.py scripts >common/unicode/scripts.c
SPDX-License-Identifier: AGPL-3.0-or-later
"""
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
BLOCK = 128


def matching(pattern):
    """Code points that the regular expression matches."""
    found = set()
    drop = normalizers.Replace(Regex(pattern), "")
    for i in range(0, len(CODES), 4096):
        part = CODES[i:i + 4096]
        left = set(drop.normalize_str("".join(map(chr, part))))
        found.update(c for c in part if chr(c) not in left)
    return found


def splits(pre_tokenizer, pieces):
    return {c for c in CODES if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")) == pieces}


def removed(normalizer):
    return {c for c in CODES if normalizer.normalize_str(chr(c)) == ""}


def bert(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**options, **on})


def scripts():
    """common/unicode/scripts.c: characters that UnicodeScripts does not part are of one script."""
    part = pre_tokenizers.UnicodeScripts().pre_tokenize_str
    apart = lambda a, b: len(part(chr(a) + chr(b))) == 2
    first, ranges = [None, ord("a"), 0x4E00], []  # a character of each script; number 0 is none
    for c in CODES:
        last = ranges[-1][1] if ranges else 0
        if not apart(first[1], c) and not apart(first[2], c):
            number = 0
        elif last and not apart(first[last], c):
            number = last
        else:
            number = next((k for k in range(1, len(first)) if not apart(first[k], c)), len(first))
            if number == len(first):
                first.append(c)
        if not ranges or number != last:
            ranges.append((c, number))
    print("/* Where each script begins. Written by tools/unicode-table.py: do not edit.\n *\n"
          " * SPDX-License-Identifier: AGPL-3.0-or-later */\n#include \"unicode/scripts.h\"\n\n// clang-format off\n"
          "const struct script_range script_ranges[] = {")
    for i in range(0, len(ranges), 8):
        print("    " + ",".join("{0x%X,%d}" % r for r in ranges[i:i + 8]) + ",")
    print("};\nconst size_t script_ranges_n = sizeof script_ranges / sizeof *script_ranges;")


if sys.argv[1:] == ["scripts"]:
    scripts()
    sys.exit()

value = [0] * 0x110000
for number, name in enumerate(CATEGORIES):
    for c in matching(r"\p{%s}" % name):
        value[c] = number
cjk = {c for c in CODES if bert(handle_chinese_chars=True).normalize_str(chr(c)) != chr(c)}
for bit, members in enumerate([
        matching(r"\s"), matching(r"\w"), splits(pre_tokenizers.Whitespace(), 1),
        splits(pre_tokenizers.Digits(individual_digits=True), 3), splits(pre_tokenizers.Punctuation(), 3),
        removed(bert(clean_text=True)), removed(normalizers.StripAccents()), removed(bert(strip_accents=True)), cjk]):
    for c in members:
        value[c] |= 1 << (5 + bit)

blocks, index = [], []
for start in range(0, 0x110000, BLOCK):
    block = value[start:start + BLOCK]
    if block not in blocks:
        blocks.append(block)
    index.append(blocks.index(block))


def table(numbers, per_line=24):
    return ",\n".join("    " + ",".join(map(str, numbers[i:i + per_line])) for i in range(0, len(numbers), per_line))


print("/* Properties of every code point, as bits of unicode.h. Written by tools/unicode-table.py: do not edit.\n"
      " *\n * SPDX-License-Identifier: AGPL-3.0-or-later */\n#include \"unicode/unicode.h\"\n\n"
      "// clang-format off")
print("const uint8_t uni_index[0x110000 / UNI_BLOCK] = {\n%s,\n};\n" % table(index, 32) if len(blocks) < 256 else
      "const uint16_t uni_index[0x110000 / UNI_BLOCK] = {\n%s,\n};\n" % table(index, 24))
print("const uint16_t uni_blocks[%d * UNI_BLOCK] = {\n%s,\n};" % (len(blocks), table(sum(blocks, []))))
