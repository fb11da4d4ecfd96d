#!/usr/bin/env python3
"""Makes the folders of tests/data/tokenizers: trains small tokenizers on the text in this file, and records what Hugging
Face `tokenizers` does with them.

  make_tokenizers.py [-o OUT] [NAME...]     make all tokenizers, or those named, as OUT/NAME
  make_tokenizers.py --verify [NAME...]     compare every recorded case with what `tokenizers` does now

Each OUT/NAME gets
  tokenizer.json          the tokenizer
  tokenizer_config.json   special tokens and, for most, a chat template
  cases.jsonl             one case a line: text, ids, ids_nospecial, decoded, decoded_skip
  chat.json               rendered chat templates, where there is one

Everything is seeded: the same library versions give the same bytes.
The text, templates and normalisation rules in this file were all written for it.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import collections
import itertools
import json
import os
import random
import sys
import tempfile
import unicodedata
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

# ---------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------

PROSE = {
    "en": ["The quick brown fox doesn't jump over the lazy dog; it sleeps.",
           "We've measured the river's depth at 3.75 metres, and they'll measure it again tomorrow.",
           "I'm sure you'd rather read a book than watch the rain.",
           "Please return the small wooden box to the library before Friday.",
           "A tokenizer splits text into pieces which the model can count.",
           "What is the capital of the country that lies north of the sea?",
           "SHE SAID: \"DON'T TOUCH IT!\" AND THEN IT'S GONE."],
    "de": ["Die Straße führt über die Brücke zum größten Bahnhof der Stadt.",
           "Können Sie mir bitte sagen, wie spät es ist?",
           "Donaudampfschifffahrtsgesellschaft ist ein sehr langes Wort.",
           "Im Frühling blühen die Äpfelbäume und die Vögel singen früh."],
    "fr": ["L'été dernier, nous avons mangé des crêpes près de la forêt.",
           "Où est-ce que tu as mis la clé de la voiture ?",
           "Ça coûte 12,50 € : c'est trop cher pour un café « normal »."],
    "es": ["¿Dónde está la biblioteca? ¡Está al lado del río!",
           "El niño pequeño sueña con una montaña muy alta.",
           "Mañana iremos a la estación para recoger a la señora Núñez."],
    "ru": ["Съешь ещё этих мягких булок, да выпей чаю.",
           "Сегодня утром мы поехали в город на старом поезде.",
           "Вопрос о том, сколько слов в языке, не имеет простого ответа."],
    "ar": ["ذهب الولد إلى المدرسة في الصباح الباكر.",
           "هَذَا كِتَابٌ جَدِيدٌ عَنِ اللُّغَةِ العَرَبِيَّةِ.",
           "كم عدد الأيام في السنة؟ ٣٦٥ يومًا."],
    "hi": ["यह एक छोटा सा वाक्य है जिसे हम तोड़ेंगे।",
           "क्या आप मुझे स्टेशन का रास्ता बता सकते हैं?",
           "भारत में बहुत सी भाषाएँ बोली जाती हैं।"],
    "zh": ["今天天气很好，我们去公园散步吧。", "这本书的作者是谁？我不知道。", "人工智能正在改变世界，學習語言需要時間。"],
    "ja": ["吾輩はここで新しい本を読んでいます。", "カタカナとひらがなと漢字を混ぜて書く。", "東京タワーの高さは３３３メートルです。"],
    "ko": ["오늘은 날씨가 아주 좋아서 산책을 했습니다.", "이 문장은 토큰으로 나누어집니다.", "서울에서 부산까지 기차로 몇 시간 걸려요?"],
    "th": ["วันนี้อากาศดีมาก เราไปเดินเล่นกันเถอะ", "ภาษาไทยไม่มีช่องว่างระหว่างคำ"],
    "el": ["Η γλώσσα είναι ένα παράθυρο στον κόσμο."],
    "he": ["שלום עולם, מה שלומך היום?"],
    "vi": ["Tiếng Việt có rất nhiều dấu thanh khác nhau."],
    "tr": ["İstanbul'da ılık bir gün, ıssız bir sokak."],
    "maths": ["∀x∈ℝ: x² ≥ 0 ⇒ √(x²) = |x|, ∑_{i=1}^{n} i = n(n+1)/2", "e^{iπ} + 1 = 0; ∫₀^∞ e^{-x²} dx = ½√π"],
    "emoji": ["😀 😂 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☕️ 1️⃣", "party 🎉🎉🎉 time ⏰!"],
}

CODE = [
    "def add(a, b):\n    \"\"\"Return the sum.\"\"\"\n    return a + b\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n",
    "#include <stdio.h>\n\nint main(void) { printf(\"%d\\n\", 42); return 0; }",
    "SELECT name, count(*) FROM users WHERE age >= 18 GROUP BY name;",
    "{\"key\": [1, 2.5e-3, null, true], \"nested\": {\"a\": \"b\"}}",
    "<div class=\"box\"><a href='https://example.org/?q=1&r=2#top'>link</a></div>",
    "fn main() -> Result<(), Box<dyn Error>> { let x = vec![1u8; 16]; Ok(()) }",
    "if [ -f \"$HOME/.profile\" ]; then . \"$HOME/.profile\"; fi",
    "    if x is not None and len(x) > 0x1F:\n        yield from (i ** 2 for i in x if i % 2)\n",
]

WORDS = ("time year people way day man thing woman life child world school state family student group "
         "country problem hand part place case week company system program question work government "
         "number night point home water room mother area money story fact month lot right study book "
         "eye job word business issue side kind head house service friend father power hour game line "
         "running walked faster highest unbelievable internationalisation tokenization recomputed").split()


def training_lines(seed=1):
    """A few hundred lines: the prose and code above, and sentences made of shuffled words."""
    rng = random.Random(seed)
    prose = list(itertools.chain.from_iterable(PROSE.values()))
    lines = prose * 6 + CODE * 6
    for _ in range(400):
        words = [rng.choice(WORDS) for _ in range(rng.randint(4, 14))]
        words[0] = words[0].capitalize()
        if rng.random() < 0.3:
            words.insert(rng.randrange(len(words)), str(rng.randrange(10 ** rng.randint(1, 7))))
        if rng.random() < 0.3:
            words.insert(rng.randrange(len(words)), rng.choice(rng.choice(prose).split()))
        lines.append(" ".join(words) + rng.choice([".", "!", "?", ",", "...", ""]))
    rng.shuffle(lines)
    return lines


def alphabet(size, lines):
    """The commonest characters. The trainers' own choice varies between runs."""
    counts = collections.Counter(c for line in lines for c in line if not c.isspace())
    return [c for c, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]]


SPACES = ["\u00a0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f",
          "\u205f", "\u3000", "\u0085", "\u200b", "\ufeff", "\u2060", "\u180e"]

SNIPPETS = [
    # nothing, and nothing but white space
    "", " ", "  ", "   ", "    ", " " * 7, " " * 8, " " * 15, " " * 16, " " * 17, " " * 33, "\t", "\t\t", "\t\t\t\t",
    "\n", "\n\n", "\n\n\n", "\r", "\r\n", "\r\n\r\n", "\n\r", " \n", "\n ", " \n ", "  \n\n  ", " \t ", "\t \t",
    " \t\n\r ", "\v", "\f", "\x1c\x1d\x1e\x1f",
    # white space around and between words
    " a", "a ", " a ", "  a", "a  ", "  a  ", "a b", "a  b", "a   b", "a    b c", "\ta", "a\t", "a\tb", "a\t\tb",
    "\na", "a\n", "a\nb", "a\n\nb", "a\n\n\nb", "a \nb", "a\n b", "a \n b", "a  \n  b", "a\r\nb", "a\r\n\r\nb",
    "a\rb", "   leading", "trailing   ", "   both   ", "tabs\tand  spaces \t mixed", "line one\n  line two\n\tline three\n",
    "x = 1\n\n\n\ny = 2", "end with newline\n\n", " \n\n\n a",
    # contractions
    "I'm", "you're", "they've", "we'll", "he'd", "isn't", "it's", "I'M YOU'RE THEY'VE WE'LL HE'D ISN'T IT'S",
    "'re 'LL 'Ve 'S", "'s's's", "' s", "can’t won’t it’s", "''quoted''", "rock 'n' roll", "'tis o'clock", "'ſ 'S",
    "l'été d'accord aujourd'hui", "x'lly 'll' 'd've",
    # digits and numbers
    "0", "7", "12", "123", "1234", "12345", "1234567", "12345678901234567890", "3.14159", "-42", "+1", "1,234,567.89",
    "1e10 2E-5 0xDEADBEEF 0b1010", "1 2 3 4", "12ab34cd567", "2024-02-29T23:59:60Z", "192.168.0.1:8080", "v1.2.3-rc4",
    "٣٦٥ ١٢", "१२३४", "１２３", "½ ¾ ²³ ₄₅", "Ⅷ ⅷ ④ ⑳", "𝟏𝟐𝟑", "一二三四", "100%", "$3.50", "€20", "#1",
    # punctuation and symbols
    ".", "..", "...", "!", "?!", "!!!", "a.b.c", "a,b;c:d", "(a)[b]{c}<d>", "--", "---", "—–‐", "a-b a_b a/b a\\b",
    "@user #tag $var %s ^caret &amp; *star*", "\"double\" 'single' `back`", "«guillemets» „low“ ‚s‘", "¿¡§¶†‡•…",
    "~~~", "===", "/* c */ // c", "<!-- html -->", "www.example.com/a_b?c=d&e=f%20g", "me@example.org", "C:\\path\\file.txt",
    "😀", "¯\\_(ツ)_/¯", ":-)", "→←↑↓", "©®™", "♥♦♣♠", "．，！？", "。、「」", "!\n", "?\r\n", "-\n\n-", " !\n\n", "!/\n/",
    # case
    "Hello", "hello", "HELLO", "hELLO", "HelloWorld", "helloWorld", "HELLOworld", "HTTPServer2XMLParser", "iPhone eBay McDonald",
    "ǅ ǈ ǋ ǲ", "ǅungla ﬁn ﬀ ﬃ", "ß ẞ straße STRASSE", "İıIi", "ΑΣΑΣ ας", "ÀÉÎÕÜ àéîõü", "ŒŚŽ œśž", "ᏣᎳᎩ ꮳꮃꭹ",
    "snake_case camelCase kebab-case SCREAMING_CASE",
    # composed and decomposed
    "é", "e\u0301", "caf\u00e9", "cafe\u0301", "\u00c5 A\u030a \u212b", "n\u0303 \u00f1", "\u1e9b\u0323", "\u1e69 s\u0323\u0307 s\u0307\u0323",
    "q\u0307\u0323", "a\u0300\u0301\u0302\u0303\u0304\u0305", "Z\u0351\u036b\u0343a\u0320\u0321l\u034dg\u0322o\u0334", "\u0301", "\u0301a",
    " \u0301", "a \u0301b", "\u0344 \u0385 \u1fc1", "\u0958 \u0915\u093c", "\u0b94 \u0b92\u0bd7", "\u0f73 \u0f71\u0f72",
    "\uac00 \u1100\u1161", "\uac01 \u1100\u1161\u11a8", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u1100", "\u1161", "\u11a8",
    "\u1100\u1161\u11a8\u11a8", "\u3131\u314f", "\uffa1\uffc2", "\u304b\u3099 \u304c", "\u30cf\u309a \u30d1", "\uff76\uff9e \uff8a\uff9f",
    "\u2126 \u03a9 \u212a K", "\u2f00 \u4e00 \uf900 \u8c48", "\ufb1d \u05d9\u05b4", "\u1e0b\u0323 \u1e0d\u0307", "\U0001d15e \U0001d157\U0001d165",
    "\u0627\u0653 \u0622", "\u064b\u0651 \u0651\u064b", "\u0e40\u0e33 \u0e4d\u0e32", "\u1ea4 \u00c2\u0301 A\u0302\u0301", "\u0041\u030a\u0323",
    # compatibility forms
    "ＡＢＣ ａｂｃ！", "㎏ ㎡ ㍿ ㈱ ㊗", "ﷺ ﷲ", "ﺍﻟﻌﺮﺑﻴﺔ", "ｶﾀｶﾅ ﾊﾝｶｸ", "ℌ𝕖𝓁𝔩𝚘 𝐰𝐨𝐫𝐥𝐝", "x² y³ H₂O", "①②③ ⒈⒉ ⓐⓑ", "… ‥ ․", "ŉ Ŀ ŀ", "℀ ℅ № ℡",
    # emoji
    "👨‍👩‍👧‍👦", "👩🏽‍🚀👨🏿‍🔬", "🏳️‍🌈🏴‍☠️", "🇩🇪🇫🇷🇯🇵", "🇩", "🇩🇪🇫", "❤️ ❤ ❤︎", "1️⃣#️⃣*️⃣", "👍👍🏻👍🏿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "😀😀😀 😀", "a😀b", "😀 text 😀",
    "\u200d", "\ufe0f", "👩\u200d", "\U0001f3fd", "🫠🫶🏾🩷",
    # right to left, Indic, South-East Asian, others
    "שלום world שלום", "مرحبا بالعالم 123 abc", "\u202eabc\u202c \u200fx\u200e", "\u2067שלום\u2069", "لا إله", "ـــ", "क्षत्रिय श्री", "क\u094d\u200dष क\u094d\u200cष",
    "தமிழ் മലയാളം తెలుగు ಕನ್ನಡ", "বাংলা ગુજરાતી ਪੰਜਾਬੀ", "မြန်မာ ខ្មែរ ລາວ", "สวัสดีครับ", "ກາ ก็ น้ำ", "བོད་ཡིག", "ქართული ᲥᲐᲠᲗᲣᲚᲘ հայերեն",
    "አማርኛ ትግርኛ", "ᠮᠣᠩᠭᠣᠯ", "ߒߞߏ ⴰⵎⴰⵣⵉⵖ", "ᚠᚢᚦ 𐌰𐌱𐌲 𐍈", "𒀀𒁀 𓀀𓂀", "𠀀𠮷𪚥", "漢字かなカナ混じり文ABC123", "中文English混排 test测试", "한국어English한국어", "“中文引号”《书名》", "々〆〇ゝヽー",
    # control, format, private use, odd code points
    "\x01", "a\x01b", "\x07\x08\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f", "a\u00adb", "\u061c", "\u2061\u2062\u2063", "\ufff9a\ufffab\ufffb",
    "\ud7ff", "\ue000", "\uf8ff", "\U000f0000", "\U0010fffd", "\ufffd", "a\ufffdb", "\ufffd\ufffd", "\ufffe", "\uffff", "\U0001ffff", "\U0010ffff",
    "\U000e0001\U000e0041", "\u0378", "\U0001fbff", "\u0000", "a\u0000b", "\u0000\u0000 \u0000",
    # text that looks like what the tokenizers use themselves
    "▁", "▁▁", "▁a", "a▁b", " ▁ ", "▁▁▁ a", "Ġ", "Ġa", "ĠĠ Ċ", "a</w>", "##ing", "## a", "<0x41>", "<0x0A>", "<0xE2><0x96><0x81>", "<0xZZ>",
    "<s>", "</s>", "<s>a</s>", " <s> ", "<S>", "< s >", "<s", "s>", "<<s>>", "<unk>", "<pad>", "[UNK]", "[CLS] a [SEP]", "[MASK]", "[cls]", "<mask>", "a <mask> b",
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|", "|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n", "<|begin_of_text|>", "<|eot_id|>",
    "<bos>", "<eos>", "<start_of_turn>user\n", "[INST] hi [/INST]", "[INST", "<<SYS>>\nx\n<</SYS>>\n\n", "<|user|>\nhi</s>\n<|assistant|>\n", "<extra_id_0>", "<|", "|>",
    # long, repeated
    "ab" * 60, "the " * 25, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "!" * 40, "-" * 64, "=" * 17 + "\n" + "=" * 17, "ha" * 20 + "!", "\n" * 20, "é" * 30, "中" * 40, "😀" * 12,
    "zyxwv ignoremerges QQQQ?!?! QQQQQ zyxwvu ignoremergess", "0123456789" * 5, "a b " * 15, "_" * 21 + "x" + "_" * 20, "pneumonoultramicroscopicsilicovolcanoconiosis", "x" * 99, "x" * 100, "x" * 101,
]


def long_word():
    rng = random.Random(5000)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5000))


# Ranges to draw random characters from, with weights: ASCII mostly, then every script and oddity.
RANGES = [((0x20, 0x7e), 30), ((0x09, 0x0d), 3), ((0xa0, 0x24f), 10), ((0x300, 0x36f), 5), ((0x370, 0x52f), 6),
          ((0x590, 0x6ff), 5), ((0x900, 0xd7f), 5), ((0xe00, 0xeff), 3), ((0x1100, 0x11ff), 3), ((0x1e00, 0x1fff), 4),
          ((0x2000, 0x206f), 4), ((0x2070, 0x2bff), 5), ((0x3000, 0x30ff), 5), ((0x3100, 0x33ff), 2), ((0x4e00, 0x9fff), 6),
          ((0xa000, 0xabff), 2), ((0xac00, 0xd7a3), 4), ((0xf900, 0xffef), 3), ((0x10000, 0x12fff), 2), ((0x1d100, 0x1d7ff), 2),
          ((0x1f300, 0x1faff), 5), ((0x20000, 0x2a6df), 1)]


def random_text(rng, most):
    """Assigned characters only (as Python's Unicode tables have them), in short runs of one range."""
    out, length = [], rng.randint(1, most)
    while len(out) < length:
        low, high = rng.choices([r for r, _ in RANGES], [w for _, w in RANGES])[0]
        for _ in range(rng.randint(1, 4)):
            c = chr(rng.randint(low, high))
            if unicodedata.category(c) not in ("Cn", "Cs"):
                out.append(c)
    return "".join(out[:length])


def common_texts():
    """The texts that every tokenizer encodes."""
    rng = random.Random(20)
    texts = list(SNIPPETS)
    texts += [f"a{s}b" for s in SPACES] + ["".join(SPACES)]
    texts += [lines[0] for lines in PROSE.values()] + CODE
    texts += [unicodedata.normalize("NFD", PROSE[k][0]) for k in ("fr", "ko", "vi", "hi")]
    texts += [random_text(rng, 16) for _ in range(50)]
    texts += ["".join(rng.choice(" \t\n\r\u00a0\u3000") for _ in range(rng.randint(2, 9))) + rng.choice(["", "x", "."]) for _ in range(10)]
    texts += ["".join(rng.choice("aA1 .'\n") for _ in range(rng.randint(4, 24))) for _ in range(20)]
    texts.append(long_word())
    return texts


def added_token_texts(tok, limit=48):
    """Texts with this tokenizer's own added tokens in them, whole and broken, in several surroundings."""
    rng = random.Random(7)
    tokens = [t.content for _, t in sorted(tok.get_added_tokens_decoder().items())]
    if len(tokens) > limit:
        tokens = tokens[:limit // 2] + rng.sample(tokens[limit // 2:], limit // 2)
    texts = [f"ab {t} cd{t}ef  {t}\n{t}." for t in tokens]
    for t in tokens[:4]:
        texts += [t, f" {t} ", t + t, t[:-1], t[1:], f"{t[0]} {t[1:]}", t.upper(), f"_{t}_", f"{t}\u00a0{t}\u3000", f"é{t}é"]
    texts += ["".join(rng.choice(tokens + [" ", "  ", "a", "\n", "word"]) for _ in range(6)) for _ in range(8) if tokens]
    return texts


def unique(texts):
    return list(dict.fromkeys(texts))


def case(tok, text):
    ids = tok.encode(text, add_special_tokens=True).ids
    bare = tok.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "ids_nospecial": bare,
            "decoded": tok.decode(bare, skip_special_tokens=False),
            "decoded_skip": tok.decode(ids, skip_special_tokens=True)}


def load(path):
    """A tokenizer without its settings for batches (truncation, padding), which the goldens leave out."""
    tok = Tokenizer.from_file(str(path))
    tok.no_truncation()
    tok.no_padding()
    tok.encode_special_tokens = False
    return tok


def write_cases(directory, texts):
    tok = load(directory / "tokenizer.json")
    cases = [case(tok, t) for t in unique(texts)]
    with open(directory / "cases.jsonl", "w", encoding="utf-8", newline="\n") as f:
        for c in cases:
            f.write(json.dumps(c, ensure_ascii=False, separators=(",", ":")) + "\n")
    return len(cases)


def verify(directory, sample=20):
    """Loads everything from disk again, and checks the ids of the added tokens and a sample of the recorded cases, or all."""
    tok = load(directory / "tokenizer.json")
    data = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = data["model"]["vocab"]
    pieces = {i: t for t, i in vocab.items()} if isinstance(vocab, dict) else {i: t for i, (t, _) in enumerate(vocab)}
    for t in data["added_tokens"]:
        assert tok.token_to_id(t["content"]) == t["id"], (directory.name, t)
        assert pieces.get(t["id"], t["content"]) == t["content"], (directory.name, t)
    with open(directory / "cases.jsonl", encoding="utf-8", newline="\n") as f:
        cases = [json.loads(line) for line in f]
    for c in random.Random(99).sample(cases, min(sample, len(cases))) if sample else cases:
        assert case(tok, c["text"]) == c, (directory.name, c["text"])
    return len(cases)


# ---------------------------------------------------------------------------------------------
# Tokenizers
# ---------------------------------------------------------------------------------------------

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_SPLIT = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

BYTES = [f"<0x{b:02X}>" for b in range(256)]


def special(content, **flags):
    return AddedToken(content, **{"special": True, "normalized": False, **flags})


def flag_tokens():
    """One added token for each combination of the five flags; half look like words, half like tags."""
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for i, bits in enumerate(itertools.product([False, True], repeat=5)):
        content = f"Tok{i:02d}x" if i % 3 == 0 else f"<F{i:02d}>"
        yield AddedToken(content, **dict(zip(names, bits)))


def add(tok, tokens):
    for t in tokens:
        (tok.add_special_tokens if t.special else tok.add_tokens)([t])


def bos_template(tok, bos=None, eos=None):
    def with_specials(seq):
        return " ".join(filter(None, [bos, seq, eos]))
    pair = with_specials("$A") + " " + " ".join(filter(None, [bos and bos + ":1", "$B:1", eos and eos + ":1"]))
    ids = [(t, tok.token_to_id(t)) for t in (bos, eos) if t]
    return processors.TemplateProcessing(single=with_specials("$A"), pair=pair, special_tokens=ids)


def edit(tok, change):
    """Pass a tokenizer through its JSON form, for what the Python interface has no setter for."""
    data = json.loads(tok.to_str())
    change(data)
    return Tokenizer.from_str(json.dumps(data, ensure_ascii=False))


def train_spm_bpe(vocab_size, control):
    """BPE over characters with byte fallback, laid out as SentencePiece does: control, bytes, pieces."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    letters = ["▁"] + alphabet(260, training_lines())
    tok.train_from_iterator(training_lines(), trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=control + BYTES, show_progress=False,
        initial_alphabet=letters, limit_alphabet=len(letters)))

    def forget_bytes(data):
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in control]
    return edit(tok, forget_bytes)


def bpe_llama2():
    tok = train_spm_bpe(1400, ["<unk>", "<s>", "</s>"])
    tok.pre_tokenizer = None
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.post_processor = bos_template(tok, "<s>")
    add(tok, flag_tokens())
    return tok


def bpe_gemma():
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + [f"<unused{i}>" for i in range(20)]
    control += ["<start_of_turn>", "<end_of_turn>"]
    tok = train_spm_bpe(1400, control)
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.post_processor = bos_template(tok, "<bos>")
    # Runs of newlines, tabs and spaces, and markup, as plain added tokens.
    add(tok, [AddedToken("\n" * n, normalized=False) for n in range(1, 9)])
    add(tok, [AddedToken("\t" * n, normalized=False) for n in range(2, 6)])
    add(tok, [AddedToken("▁" * n, normalized=False) for n in range(2, 9)])
    add(tok, [AddedToken(f"<{slash}{t}>", normalized=False) for t in ("table", "tr", "td", "b", "h1") for slash in ("", "/")])
    return tok


def train_byte_bpe(vocab_size, pre_tokenizer, normalizer=None, specials=()):
    tok = Tokenizer(models.BPE())
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizer
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(training_lines(), trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    add(tok, specials)
    return tok


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def bpe_llama3():
    tok = train_byte_bpe(1300, split_then_bytes(LLAMA3_SPLIT))

    # A few whole words which no merges lead to: ignore_merges has to find them.
    def ignore_merges(data):
        data["model"]["ignore_merges"] = True
        for word in ("Ġignoremerges", "zyxwv", "ĠQQQQ", "?!?!"):
            data["model"]["vocab"][word] = len(data["model"]["vocab"])
    tok = edit(tok, ignore_merges)
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id", "reserved_special_token_0"]
    add(tok, [special(f"<|{n}|>") for n in names])
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos_template(tok, "<|begin_of_text|>")])
    return tok


def bpe_qwen2():
    tok = train_byte_bpe(1300, split_then_bytes(QWEN2_SPLIT), normalizers.NFC(),
                         [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    add(tok, [AddedToken(t, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def bpe_gpt2(add_prefix_space):
    tok = train_byte_bpe(1000, pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space),
                         specials=[special("<|endoftext|>", normalized=True)])
    if add_prefix_space:
        add(tok, [special("<mask>", lstrip=True, normalized=True), special("<s>"), special("</s>")])
        tok.post_processor = processors.RobertaProcessing(("</s>", tok.token_to_id("</s>")), ("<s>", tok.token_to_id("<s>")),
                                                          trim_offsets=True, add_prefix_space=True)
    else:
        add(tok, [special(t) for t in ("<|user|>", "<|assistant|>", "<|system|>", "</s>")])
        add(tok, [AddedToken(" " * n, normalized=True) for n in range(12, 1, -1)])
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def bpe_smollm2():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok = train_byte_bpe(1000, pre, specials=[special("<|endoftext|>")])
    add(tok, [special(f"<|{n}|>", rstrip=True) for n in ("system", "user", "assistant", "end")])
    add(tok, [special("<|placeholder|>", lstrip=True), special("<|both|>", lstrip=True, rstrip=True)])
    return tok


def bpe_tekken():
    control = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"]
    tok = train_byte_bpe(1300, split_then_bytes(TEKKEN_SPLIT), specials=[special(t) for t in control])
    tok.post_processor = bos_template(tok, "<s>")
    return tok


def normalisation_rules():
    """Our own character map, much smaller than SentencePiece's nmt_nfkc: sequence -> replacement."""
    rules = {}
    for low, high in [(0xff01, 0xff5e), (0xff65, 0xff9f), (0xfb00, 0xfb06), (0x2460, 0x2473), (0x2150, 0x216f),
                      (0xb2, 0xb3), (0xbc, 0xbe), (0x2080, 0x2089), (0x3380, 0x33a0), (0x2122, 0x212b), (0x1c4, 0x1cc)]:
        for c in map(chr, range(low, high + 1)):
            if unicodedata.normalize("NFKC", c) != c:
                rules[c] = unicodedata.normalize("NFKC", c)
    for base, mark in itertools.product("aceinouyzACEINOUYZ", "\u0300\u0301\u0302\u0303\u0308\u0327\u030c"):
        composed = unicodedata.normalize("NFC", base + mark)
        if len(composed) == 1:
            rules[base + mark] = composed
    for kana in "かきくけこはひふへほカキクケコハヒフヘホ":
        rules[kana + "\u3099"] = unicodedata.normalize("NFC", kana + "\u3099")
    for source in ("\u1100\u1161", "\u1100\u1161\u11a8", "\u1112\u1161\u11ab", "\uff76\uff9e", "\uff8a\uff9f"):
        rules[source] = unicodedata.normalize("NFKC", source)
    rules.update({c: " " for c in "\t\n\r\u00a0\u2003\u2009\u2028\u202f\u3000\ufeff\u200b"})
    rules.update({chr(c): "" for c in [*range(1, 9), 0x0b, 0x0e, 0x1b, 0x7f, 0xad]})

    return rules


def train_unigram(vocab_size, control):
    """Trained by sentencepiece, which also compiles the character map; unlike the trainer in
    `tokenizers` it gives the same pieces every time."""
    import sentencepiece as spm
    from sentencepiece import sentencepiece_model_pb2 as pb

    def hexes(s):
        return " ".join(f"{ord(c):X}" for c in s)
    with tempfile.TemporaryDirectory() as tmp:
        tsv = Path(tmp) / "rules.tsv"
        tsv.write_text("".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in sorted(normalisation_rules().items())))
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(training_lines()), model_prefix=f"{tmp}/m", vocab_size=vocab_size, hard_vocab_limit=False,
            character_coverage=0.98, normalization_rule_tsv=str(tsv), num_threads=1, minloglevel=2)
        proto = pb.ModelProto.FromString((Path(tmp) / "m.model").read_bytes())
    pieces = [(p.piece, p.score) for p in proto.pieces if p.type == 1]  # 1: a normal piece
    tok = Tokenizer(models.Unigram([(t, 0.0) for t in control] + pieces, unk_id=control.index("<unk>"), byte_fallback=False))
    tok.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    tok.add_special_tokens([special(t) for t in control])
    return tok


def unigram_t5():
    tok = train_unigram(900, ["<pad>", "</s>", "<unk>"])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tok.decoder = decoders.Metaspace(prepend_scheme="always")
    tok.post_processor = bos_template(tok, None, "</s>")
    add(tok, [special(f"<extra_id_{i}>") for i in range(9, -1, -1)])
    return tok


def unigram_xlmr():
    tok = train_unigram(900, ["<s>", "<pad>", "</s>", "<unk>"])
    tok.normalizer = normalizers.Sequence([tok.normalizer, normalizers.Strip(left=False, right=True),
                                           normalizers.Replace(Regex(" {2,}"), "▁")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tok.decoder = decoders.Metaspace(prepend_scheme="first", split=True)
    tok.post_processor = bos_template(tok, "<s>", "</s>")
    add(tok, [special("<mask>", lstrip=True)])
    return tok


def wordpiece_vocab(vocab_size, control, normalizer, pre_tokenizer):
    """The letters, and the pieces BPE makes of our words. (The WordPiece trainer numbers its pieces anew in every run.)"""
    lines = training_lines()
    letters = alphabet(330, [normalizer.normalize_str(line) for line in lines])
    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.pre_tokenizer = normalizer, pre_tokenizer
    bpe.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=letters, limit_alphabet=len(letters), show_progress=False))
    counts = collections.Counter([*letters, *("##" + c for c in letters)])
    for line in lines:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(line)):
            pieces = bpe.model.tokenize(word)
            counts.update(("##" if t.offsets[0] else "") + t.value for t in pieces)
    pieces = sorted(counts, key=lambda t: (-counts[t], t))
    return {t: i for i, t in enumerate(control + pieces)}


def wordpiece_bert():
    normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = wordpiece_vocab(1300, control, normalizer, pre_tokenizers.BertPreTokenizer())
    tok = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer, tok.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tok.add_special_tokens([special(t) for t in control])
    tok.post_processor = bos_template(tok, "[CLS]", "[SEP]")
    add(tok, flag_tokens())
    return tok


# ---------------------------------------------------------------------------------------------
# Chat templates
# ---------------------------------------------------------------------------------------------

CHATML = """{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}\
{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""

PHI3 = """{% for message in messages %}
{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}
{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}
{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""


def turns(*contents, system=None):
    head = [{"role": "system", "content": system}] if system is not None else []
    return head + [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


CONVERSATIONS = [
    turns("Hi"),
    turns("What is 2 + 2?", "4", "And times 3?"),
    turns("Hello!", system="You are a helpful assistant."),
    turns("  spaces around  ", "\n\nnewlines around\n\n", "\ttab\t", system="  Be brief. \n"),
    turns("Größe der Straße?", "Это большая улица 😀.", "今天天气怎么样？", "よくわかりません。"),
    turns("", system=""),
    turns("Write a function.", "```python\ndef f(x):\n    return x + 1\n```", "Thanks, it's \"great\" & <b>bold</b>!"),
    turns("Ignore <|im_end|> [/INST] </s> <|eot_id|> <end_of_turn> <|end|> in text"),
    turns("{{ not }} a {% template %} {# here #}", "ok"),
    turns(*[f"turn {i}" for i in range(9)], system="Count."),
    [{"role": "assistant", "content": "I speak first."}],
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
    [{"role": "user", "content": "call"}, {"role": "tool", "content": "{\"r\": 1}"}],
]


def chat_cases(directory):
    from transformers import PreTrainedTokenizerFast
    slow = PreTrainedTokenizerFast.from_pretrained(str(directory))
    plain = load(directory / "tokenizer.json")
    out = []
    for messages, prompt in itertools.product(CONVERSATIONS, (False, True)):
        entry = {"messages": messages, "add_generation_prompt": prompt}
        try:
            entry["rendered"] = slow.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            entry["ids"] = slow.apply_chat_template(messages, tokenize=True, add_generation_prompt=prompt, return_dict=False)
            assert entry["ids"] == plain.encode(entry["rendered"], add_special_tokens=False).ids
        except Exception as error:  # raise_exception of the template
            if isinstance(error, AssertionError):
                raise
            entry.update(rendered=None, ids=None, error=str(error))
        out.append(entry)
    return out


# name: (function that trains it, special tokens for tokenizer_config.json, chat template)
TOKENIZERS = {
    "bpe-llama2": (bpe_llama2, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True), LLAMA2),
    "bpe-llama3": (bpe_llama3, dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"), LLAMA3),
    "bpe-qwen2": (bpe_qwen2, dict(bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>"), CHATML),
    "bpe-gpt2": (lambda: bpe_gpt2(False), dict(bos_token="<|endoftext|>", eos_token="</s>"), ZEPHYR),
    "bpe-gpt2-prefix": (lambda: bpe_gpt2(True), dict(bos_token="<s>", eos_token="</s>", add_prefix_space=True), None),
    "bpe-gemma": (bpe_gemma, dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", add_bos_token=True), GEMMA),
    "bpe-smollm2": (bpe_smollm2, dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>"), PHI3),
    "bpe-tekken": (bpe_tekken, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True), MISTRAL),
    "unigram-t5": (unigram_t5, dict(eos_token="</s>", unk_token="<unk>", pad_token="<pad>"), None),
    "unigram-xlmr": (unigram_xlmr, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"), None),
    "wordpiece-bert": (wordpiece_bert, dict(unk_token="[UNK]", sep_token="[SEP]", cls_token="[CLS]", pad_token="[PAD]", mask_token="[MASK]"), None),
}


def dump(path, data, **how):
    path.write_text(json.dumps(data, ensure_ascii=False, **how) + "\n", encoding="utf-8")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="only these tokenizers")
    ap.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "tokenizers",
                    help="folder of the tokenizers (default: in tests/data)")
    ap.add_argument("--verify", action="store_true", help="compare every recorded case")
    a = ap.parse_args()
    unknown = set(a.names) - set(TOKENIZERS)
    if unknown:
        ap.error(f"no such tokenizer: {' '.join(sorted(unknown))}")
    for name in a.names or TOKENIZERS:
        if a.verify:
            print(f"{name:16} {verify(a.out / name, None)} cases are as recorded", flush=True)
        else:
            make(a.out / name, *TOKENIZERS[name])


def make(directory, train, specials, template):
    directory.mkdir(parents=True, exist_ok=True)
    dump(directory / "tokenizer.json", json.loads(train().to_str()), separators=(",", ":"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
              "model_max_length": 2048, **specials}
    if template:
        config["chat_template"] = template
    dump(directory / "tokenizer_config.json", config, indent=2)
    tok = load(directory / "tokenizer.json")
    count = write_cases(directory, common_texts() + added_token_texts(tok))
    verify(directory)
    if template:
        dump(directory / "chat.json", chat_cases(directory), indent=1)
    size = sum(f.stat().st_size for f in directory.iterdir())
    print(f"{directory.name:16} vocab {tok.get_vocab_size():5}  cases {count:4}  {size / 1024:6.0f} KiB", flush=True)


if __name__ == "__main__":
    main()
