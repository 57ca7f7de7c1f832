"""Makes hf-reference.json: texts with the ids and offsets that Hugging Face `tokenizers` gives.

    python make_hf_reference.py path/to/all-MiniLM-L6-v2/tokenizer.json

Every text is encoded twice: with the file as it is (BERT uncased) and with a variant that neither lower-cases nor strips
accents, over the same vocabulary. Offsets are byte offsets (the library counts characters). Long texts are written as
[piece, repetitions, piece, repetitions, ...], and results of more than 64 tokens as their count and a checksum.
"""

import json
import random
import sys
import zlib
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

PICKED = [
    "", " ", "\n", "\t \r\n", "Hello, World!", "naïve café", "Äpfel", "ÀÉÎÕÜ àéîõü Ł ł Ø ø Đ đ ß ẞ", "İstanbul ıŞĞ",
    "ﬁ ﬀ ﬆ Ａ １ ½ ² Ⅷ", "한국어 문장", "안녕하세요, 세계!", "我想在apple工作1314151天～", "日本語のテキスト、カタカナ。", "ｶﾞｷﾞ が が",
    "Ελληνικά ΟΔΟΣ ὈΔΥΣΣΕΎΣ", "нещо на Български Ёлка Йод", "مرحبا بالعالم", "שָׁלוֹם עוֹלָם", "हिन्दी में पाठ", "ภาษาไทยง่ายนิดเดียว",
    "កាន់តែពិសេសអាចខលចេញ", "தமிழ் மொழி", "བོད་ཡིག", "አማርኛ", "ᏣᎳᎩ ꮳꮃꭹ", "𐐀𐐨 𝐇𝐞𝐥𝐥𝐨 𝕏", "🚀 (normal) 😶‍🌫️ ✅ 👩‍👩‍👧‍👦 🇺🇳 1️⃣", "🦙.cpp",
    "e\u0301 e\u0301\u0302\u0323 \u0301 \u0301\u0301a", "a\u0323\u0307 a\u0307\u0323 \u1e69 s\u0307\u0323", "q\u0307\u0323\u0308", "\u0344\u0323 x\u0344\u0323y",
    "Z̷̢͙͗a̴͎͑l̵̰̈g̶̣̈́ǫ̸̛ ţ̷̎e̵̱͂x̶̖͝t̴͉̄", "a\u20dd b\u0489 c\u302e d\u302f", "\u1d15e \U0001d15e \u0f73\u0f75\u0f81", "Å Å Ω Ω K K",
    "zero\u200bwidth non\u200cjoiner joi\u200dner bom\ufeff soft\u00adhyphen", "rtl \u202eabc\u202c \u2066x\u2069 \u200f\u200e", "nul\x00l bell\x07 del\x7f esc\x1b[0m",
    "vt\x0bff\x0cfs\x1cgs\x1drs\x1eus\x1fnel\x85nb\xa0sp", "em\u2003en\u2002thin\u2009hair\u200aideo\u3000line\u2028para\u2029ogham\u1680mvs\u180emm\u205f",
    "rep\ufffdlace \ufffd\ufffd", "\ud7ff\ue000\uf8ff private \U000f0000\U0010fffd \U0010ffff \ufdd0", "𠀀𪛖𪜀𫝀𫠠\U0002b820\U0002b920\U0002ceb0\U0002f800\U0002fa1d\U00030000", "豈更車 㐀䶿 一鿿",
    "[CLS] a [SEP] b [MASK] c [PAD] [UNK]", "[cls] [ SEP ] [SEP][SEP]x[MASK]y [unused1] [SEP", "[[SEP]] \u0301[SEP]\u0301 é[MASK]é", "##ing ## # ####", "don't can't I'll we've",
    "http://example.com/a_b-c?d=e&f=%20#g", "C++ C# $100 £5 €7 ¥8 50% a^b `x` ~y |z <w> \\ _", "«quote» “curly” ‘single’ „low‟ ¿qué? ¡sí!", "a·b‧c・d、e。f！ｇ", "§ ¶ © ® ™ ° ± × ÷",
    "x" * 99, "x" * 100, "x" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "e\u0301" * 101, "ab" * 50 + "-" + "cd" * 51, "한" * 34, "e" + "\u0301" * 200 + "f",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "333333333", "w048 7tuijk dsdfhu",
    "MiXeD CaSe WORDS and iPhone McDonald", "ǅ ǆ Ǆ ǈ ŉ ǰ ΐ և ẖ", "ſtraße", "\u2126 \u212a \u212b \u2329 \u232a", "\u037e \u0387 \u1fef \u1ffd", "a\u0338=\u0338 ≠ ≮", "\u2000\u2001", "Ç Ç ç ç",
    "\u3099\u309a か\u3099 は\u309a ハ\u309a", "\u0e33 \u0eb3 \u0f77 \u0f79", "\ua670\ua671\ua672", "\u0c55\u0c56 \u094d\u093c", "\u05b7\u05bc\u05bf", "\u064b\u0651\u0670", "\u135d\u135f",
]
REPEATED = [
    ["a", 100000], [" ", 100000], ["😀", 20000], ["word ", 20000], ["我", 20000], ["한", 5000], ["é", 20000], ["\u0301", 20000], ["a", 1, "\u0301", 20000, "\u0323", 20000],
    ["[SEP]", 5000], ["!", 20000], ["\u200b", 20000], ["a!", 10000], ["e\u0301 ", 10000], ["Ünïcödé wörds, ", 5000], ["\x00", 5000, "x", 1],
]
RANGES = [
    (0x20, 0x7E, 30), (0x61, 0x7A, 30), (0x41, 0x5A, 8), (0x20, 0x20, 20), (0x00, 0xA0, 4), (0xA1, 0x24F, 14), (0x250, 0x36F, 6), (0x300, 0x36F, 10), (0x370, 0x52F, 8),
    (0x530, 0x8FF, 6), (0x900, 0xDFF, 6), (0xE00, 0x10FF, 4), (0x1100, 0x13FF, 4), (0x1400, 0x1DBF, 4), (0x1DC0, 0x1FFF, 6), (0x2000, 0x206F, 8), (0x2070, 0x2BFF, 6),
    (0x2C00, 0x30FF, 6), (0x3100, 0x33FF, 2), (0x3400, 0x4DBF, 2), (0x4E00, 0x9FFF, 6), (0xA000, 0xABFF, 3), (0xAC00, 0xD7A3, 4), (0xE000, 0xF8FF, 1), (0xF900, 0xFFFF, 5),
    (0x10000, 0x1FFFF, 8), (0x1F300, 0x1FAFF, 6), (0x20000, 0x323AF, 3), (0xE0000, 0xE01EF, 1), (0xF0000, 0x10FFFF, 1),
]


def random_text(rng):
    weights = [weight for *_, weight in RANGES]
    # A text keeps to a few ranges, so that scripts form words as well as mixtures.
    ranges = rng.choices(RANGES, weights, k=rng.randint(1, 6))
    out = []
    for _ in range(rng.randint(1, 40)):
        lo, hi, _ = rng.choice(ranges)
        c = rng.randint(lo, hi)
        if not 0xD800 <= c <= 0xDFFF:
            out.append(chr(c))
            if rng.random() < 0.1:
                out.append(rng.choice([" ", "\u0301", "\u0323", "\u200d", ".", "a"]))
    return "".join(out)


def result(tokenizer, text):
    encoding = tokenizer.encode(text)
    starts = [0]
    for c in text:
        starts.append(starts[-1] + len(c.encode()))
    ids = encoding.ids
    offsets = [[starts[a], starts[b]] for a, b in encoding.offsets]
    if len(ids) <= 64:
        return {"ids": ids, "offsets": [x for pair in offsets for x in pair]}
    numbers = ids + [x for pair in offsets for x in pair]
    return {"count": len(ids), "crc32": zlib.crc32(b"".join(x.to_bytes(4, "little") for x in numbers))}


def main():
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    document["truncation"] = document["padding"] = None
    uncased = Tokenizer.from_str(json.dumps(document))
    document["normalizer"]["lowercase"] = False
    cased = Tokenizer.from_str(json.dumps(document))
    rng = random.Random(20240607)
    texts = PICKED + [random_text(rng) for _ in range(300)] + REPEATED
    cases = []
    for text in texts:
        whole = text if isinstance(text, str) else "".join(p * n for p, n in zip(text[::2], text[1::2]))
        cases.append({"text": text, "uncased": result(uncased, whole), "cased": result(cased, whole)})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = Path(__file__).with_name("hf-reference.json")
    path.write_text(f'{{"tokenizers":{json.dumps(tokenizers.__version__)},"cases":[\n{lines}\n]}}\n', encoding="utf-8")
    print(path.name, path.stat().st_size, "bytes,", len(cases), "texts")


if __name__ == "__main__":
    main()
