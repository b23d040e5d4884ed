"""Expected ids and texts of small tokenizers, by Hugging Face's `tokenizers` 0.23.3.

    pip install tokenizers==0.23.3
    python3 gen.py OUT [MINILM_TOKENIZER_JSON]

OUT/small/NAME.json    a tokenizer.json that exercises one component or a few
OUT/small/NAME.jsonl   {text, ids, ids_special, ids_plain, decoded, decoded_raw}
OUT/small/NAME.ids.jsonl  {ids, decoded, decoded_raw}: random ids
OUT/pairs.jsonl        {tokenizer, a, b, max, ids, types}: pairs, cut longest first

In the "marked" model every first character of a piece is its own token and every other one
carries "##", so ids show where pieces begin.
"""
import json
import random
import sys
from pathlib import Path

from tokenizers import (AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N,
                        pre_tokenizers as P, processors as X)

OUT = Path(sys.argv[1])
R = random.Random(5)
CHARS = ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:!?'\"-_()[]/\\|<>\n\r\t"
         "\u2581éüßñçİıſ中文字日本語한글あアя世界é½²Ⅷ١\u00a0\u2028\u200b\u200d\u0301\u0327😀👍🏽")
TEXTS = ["", " ", "  ", "a", "Hello, world!", "Hello  world", " lead and trail ", "don't STOP 123 45678", "a-b--c---d",
         "x1y22z333", "--a", "a--", "---", "tabs\tand\nnewlines\r\n\r\nhere", "   \n  \n x", "héllo Ünïcode ñ ç", "e\u0301a\u0327",
         "İstanbul ıſ ß", "中文字 日本語abc", "한글 あア", "½² Ⅷ ١٢", "a\u00a0b\u2028c\u200bd\u200de", "😀👍🏽 ok", "snake_case_word",
         "path/to/file.txt", "<s>in the text</s>", "a<mask>b <mask> c", "word <w> xwordx word", "A<R>   b  <L>  c", "[CLS] [SEP] [UNK]",
         "I'M you'LL we'Re THEY'VE 'S 'ſ", "\u2581a \u2581b\u2581\u2581c", "end.", "...", "one,two;three", "\x00\x07\ufffd", "Zz" * 20,
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\ufeffbom", "ABC def GHI"]
for _ in range(12):
    TEXTS.append("".join(R.choice(CHARS) for _ in range(R.randint(1, 24))))
WORDS = "the quick brown fox jumps over lazy dog hello world unaffable the then there these bread read".split()
for _ in range(4):
    TEXTS.append(" ".join(R.choice(WORDS) for _ in range(R.randint(1, 9))))


def save(name, tk, texts=TEXTS):
    path = OUT / "small" / f"{name}.json"
    tk.save(str(path), pretty=False)
    tk = Tokenizer.from_file(str(path))
    tk.no_truncation()
    rows = []
    for t in texts:
        a = tk.encode(t, add_special_tokens=False).ids
        b = tk.encode(t).ids
        r = {"text": t, "ids": a, "ids_special": b, "decoded": tk.decode(b, skip_special_tokens=True),
             "decoded_raw": tk.decode(a, skip_special_tokens=False)} if not (a == [] and "BPEDecoder" in path.read_text()) else \
            {"text": t, "ids": a, "ids_special": b, "decoded": "", "decoded_raw": ""}
        tk.encode_special_tokens = True
        r["ids_plain"] = tk.encode(t, add_special_tokens=False).ids
        tk.encode_special_tokens = False
        rows.append(r)
    put(OUT / "small" / f"{name}.jsonl", rows)
    known = sorted(tk.get_vocab(with_added_tokens=True).values())
    ids = [[R.choice(known) for _ in range(R.randint(1, 10))] for _ in range(12)]
    put(OUT / "small" / f"{name}.ids.jsonl", [{"ids": i, "decoded": tk.decode(i, skip_special_tokens=True),
                                               "decoded_raw": tk.decode(i, skip_special_tokens=False)} for i in ids])


def put(path, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=True, separators=(",", ":")) + "\n")


def marked():
    vocab = {"<unk>": 0}
    for c in dict.fromkeys(CHARS):
        vocab[c] = len(vocab)
        vocab["##" + c] = len(vocab)
    return Tokenizer(M.BPE(vocab=vocab, merges=[], unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=False))


def merges_for(words, prefix="", suffix=""):
    """A vocabulary and merges that build the words left to right."""
    vocab, merges = {}, []
    alphabet = sorted(set("".join(words)))
    for c in alphabet:
        for v in {c, prefix + c, c + suffix, prefix + c + suffix}:
            vocab.setdefault(v, len(vocab))
    for w in words:
        parts = [w[0]] + [prefix + c for c in w[1:]]
        parts[-1] += suffix
        while len(parts) > 1:
            k = R.randrange(len(parts) - 1)
            a, b = parts[k], parts[k + 1]
            new = a + b[len(prefix):]
            vocab.setdefault(new, len(vocab))
            if (a, b) not in merges:
                merges.append((a, b))
            parts[k:k + 2] = [new]
    return vocab, merges


def byte_level(words):
    enc = {b: c for b, c in zip(range(256), [None] * 256)}
    pt = P.ByteLevel(add_prefix_space=False, use_regex=False)
    mapped = [pt.pre_tokenize_str(w)[0][0] for w in words]
    vocab = {c: i for i, c in enumerate(sorted(P.ByteLevel.alphabet()))}
    _, merges = merges_for(mapped)
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    del enc
    return vocab, merges


# pre-tokenizers
BEHAVIORS = ["removed", "isolated", "contiguous", "merged_with_previous", "merged_with_next"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = TEKKEN.replace(f"{L}+|", f"{L}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|").replace(f"{L}*|", f"{L}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|").replace(
    r"\p{N}| ?", r"\p{N}{1,3}| ?")
CL100K = r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
DEEPSEEK = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
            r"[一-龥ࠀ-一가-퟿]+"]
pre = {f"split_string_{b}": P.Split("-", b) for b in BEHAVIORS}
pre |= {f"split_regex_{b}": P.Split(Regex(r"\d+|[A-Z]"), b) for b in BEHAVIORS}
pre |= {f"split_invert_{b}": P.Split(Regex(r"[a-z]+"), b, invert=True) for b in BEHAVIORS[:2] + BEHAVIORS[4:]}
pre |= {f"punct_{b}": P.Punctuation(b) for b in BEHAVIORS}
pre |= {"digits": P.Digits(), "digits_each": P.Digits(individual_digits=True), "delimiter": P.CharDelimiterSplit("_"),
        "fixed": P.FixedLength(4), "whitespace": P.Whitespace(), "space_split": P.WhitespaceSplit(), "bert": P.BertPreTokenizer(),
        "metaspace_always": P.Metaspace(), "metaspace_first": P.Metaspace(prepend_scheme="first"),
        "metaspace_never": P.Metaspace(prepend_scheme="never", split=False), "llama3": P.Split(Regex(LLAMA3), "isolated"),
        "llama3_removed": P.Split(Regex(LLAMA3), "removed", invert=True),
        "qwen35": P.Split(Regex(QWEN35), "isolated"), "tekken": P.Split(Regex(TEKKEN), "isolated"),
        "o200k": P.Split(Regex(O200K), "isolated"), "o200k_pcre": P.Split(Regex(O200K + "|x"), "isolated"),
        "llama3_pcre": P.Split(Regex("(?:" + LLAMA3 + ")"), "isolated"), "cl100k": P.Split(Regex(CL100K), "isolated"),
        "empty_matches": P.Split(Regex(r"(?=[A-Z])|\b"), "isolated"), "spaces_regex": P.Split(Regex(r"\s+"), "merged_with_next"),
        "deepseek": P.Sequence([P.Split(Regex(r), "isolated") for r in DEEPSEEK] + [P.Digits(individual_digits=True)])}
for name, pt in pre.items():
    tk = marked()
    tk.pre_tokenizer = pt
    tk.decoder = D.WordPiece(cleanup=False)
    save("pre_" + name, tk)

# normalizers
norm = {"nfc": N.NFC(), "nfd": N.NFD(), "nfkc": N.NFKC(), "nfkd": N.NFKD(), "lower": N.Lowercase(), "strip": N.Strip(),
        "strip_right": N.Strip(left=False), "strip_accents": N.Sequence([N.NFD(), N.StripAccents()]), "nmt": N.Nmt(),
        "bert": N.BertNormalizer(), "bert_cased": N.BertNormalizer(lowercase=False),
        "bert_accents": N.BertNormalizer(strip_accents=False, handle_chinese_chars=False), "replace": N.Replace("a", "bb"),
        "replace_regex": N.Replace(Regex(r"[ \t]{2,}|\d"), "_"),
        "nested": N.Sequence([N.Prepend("_"), N.Sequence([N.Replace(" ", "\u2581"), N.Lowercase()])])}
for name, n in norm.items():
    tk = marked()
    tk.normalizer = n
    tk.pre_tokenizer = P.WhitespaceSplit()
    tk.decoder = D.Sequence([D.Replace("##", ""), D.Fuse()])
    tk.add_tokens([AddedToken("Word", normalized=True), AddedToken("<s>", normalized=False, special=True)])
    save("norm_" + name, tk)

# BPE
vocab, merges = merges_for(WORDS, suffix="</w>")
tk = Tokenizer(M.BPE(vocab | {"<unk>": len(vocab)}, merges, unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
tk.pre_tokenizer = P.WhitespaceSplit()
tk.decoder = D.BPEDecoder()
save("bpe_suffix", tk)

vocab, merges = merges_for(WORDS, prefix="##")
for fuse in (False, True):
    tk = Tokenizer(M.BPE(vocab | {"<unk>": len(vocab)}, merges, unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=fuse))
    tk.pre_tokenizer = P.Whitespace()
    tk.decoder = D.WordPiece()
    save(f"bpe_prefix_{'fused' if fuse else 'unk'}", tk)

vocab, merges = merges_for(WORDS)
tk = Tokenizer(M.BPE(vocab, merges))
save("bpe_dropped", tk)  # no unknown token: characters vanish; no decoder

sp_words = ["\u2581" + w for w in WORDS] + ["\u2581\u2581", "\u2581a", "in", "nin"]
for name, fallback in (("all", range(256)), ("some", range(0x80, 0xF0))):
    vocab, merges = merges_for(sp_words)
    vocab = {k: i + 3 for i, k in enumerate(vocab)} | {"<unk>": 0, "<s>": 1, "</s>": 2}
    for b in fallback:
        vocab[f"<0x{b:02X}>"] = len(vocab)
    tk = Tokenizer(M.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tk.add_special_tokens(["<unk>", "<s>", "</s>"])
    if name == "all":
        tk.normalizer = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])
        tk.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    else:
        tk.pre_tokenizer = P.Metaspace(prepend_scheme="first", split=False)
        tk.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Strip(" ", 0, 1), D.Fuse(), D.Replace(Regex(" +"), "  ")])
    tk.post_processor = X.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)])
    save(f"sp_{name}", tk)

# a merge across the border of words: cutting at U+2581 would be wrong after '>' and 'e'
vocab, merges = merges_for(sp_words + ["e\u2581t", ">\u2581<"])
for b in range(256):
    vocab[f"<0x{b:02X}>"] = len(vocab)
tk = Tokenizer(M.BPE(vocab | {"<unk>": len(vocab)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
tk.normalizer = N.Replace(" ", "\u2581")
tk.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse()])
save("sp_across", tk, TEXTS + ["the the the> <a > <", "bread then e t"])

vocab, merges = byte_level(WORDS + [" " + w for w in WORDS] + ["é", "中", "'s", "123"])
for name, ignore, prefix in (("plain", False, False), ("prefix", False, True), ("ignore", True, False)):
    v = dict(vocab)
    if name == "ignore":
        v["\u0120world"] = v.get("\u0120world", len(v))
        v["STOP"] = len(v)
    tk = Tokenizer(M.BPE(v, merges, ignore_merges=ignore))
    tk.pre_tokenizer = P.ByteLevel(add_prefix_space=prefix)
    tk.decoder = D.ByteLevel()
    specials = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False),
                AddedToken("<mask>", lstrip=True, special=True, normalized=False)]
    tk.add_special_tokens(specials)
    tk.add_tokens([AddedToken("word", single_word=True), AddedToken("<w>", rstrip=True), AddedToken("<R>", rstrip=True, lstrip=True),
                   AddedToken("<L>", lstrip=True, normalized=False), AddedToken("wor"), AddedToken("\u00e9\u00e9")])
    s, e = tk.token_to_id("<s>"), tk.token_to_id("</s>")
    tk.post_processor = X.RobertaProcessing(("</s>", e), ("<s>", s)) if prefix else X.Sequence(
        [X.ByteLevel(trim_offsets=False), X.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
                                                               special_tokens=[("<s>", s), ("</s>", e)])])
    save(f"bytes_{name}", tk)

v = dict(vocab)
tk = Tokenizer(M.BPE(v, merges))
tk.pre_tokenizer = P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False), P.Digits(), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
tk.decoder = D.ByteLevel()
save("bytes_falcon", tk)
tk = Tokenizer(M.BPE(v, merges))
tk.normalizer = N.ByteLevel()
tk.pre_tokenizer = P.Split(Regex("\u0120?[a-z]+"), "isolated")
tk.decoder = D.ByteLevel()
tk.add_tokens([AddedToken("caf\u00e9", normalized=True)])
save("bytes_normalizer", tk, TEXTS + ["a caf\u00e9 here"])
tk = Tokenizer(M.BPE({k: i for i, k in enumerate(k for k in v if k not in ("\u0120", "q"))},
                     [m for m in merges if not any(x in "".join(m) for x in ("\u0120", "q"))]))
tk.pre_tokenizer = P.ByteLevel(add_prefix_space=False)
tk.decoder = D.ByteLevel()
save("bytes_missing", tk)

# WordPiece, WordLevel, Unigram
pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(set("".join(WORDS)))
pieces += ["##" + c for c in sorted(set("".join(WORDS)))] + ["un", "##aff", "##able", "hello", "world", "the", "##re", ",", "!", ".", "'", "don", "t", "s"]
vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
for cased in (False, True):
    tk = Tokenizer(M.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=30))
    tk.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tk.normalizer = N.BertNormalizer(lowercase=not cased)
    tk.pre_tokenizer = P.BertPreTokenizer()
    tk.decoder = D.WordPiece()
    tk.post_processor = X.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    save(f"wordpiece_{'cased' if cased else 'lower'}", tk, TEXTS + ["unaffable there. don ' t , do not ! hello ' s"])

vocab = {w: i for i, w in enumerate(["<unk>", "<pad>", "|"] + list(dict.fromkeys(WORDS)) + list("abc123,.!"))}
tk = Tokenizer(M.WordLevel(vocab, unk_token="<unk>"))
tk.normalizer = N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase()])
tk.pre_tokenizer = P.Whitespace()
tk.decoder = D.CTC(cleanup=True)
save("wordlevel_ctc", tk)

pieces = [("<unk>", 0.0), ("</s>", 0.0), ("\u2581", -3.0)] + [(c, -5.0 - i / 100) for i, c in enumerate(sorted(set("".join(WORDS) + "123.,!")))]
pieces += [("\u2581the", -2.0), ("\u2581t", -3.5), ("he", -3.6), ("\u2581hello", -4.0), ("hel", -4.1), ("lo", -4.2), ("world", -4.0), ("qu", -4.0), ("ick", -4.5),
           ("12", -4.0), ("123", -9.0), ("re", -3.9), ("read", -4.4), ("\u2581b", -4.0)]
for name, fallback in (("plain", False), ("bytes", True)):
    p = pieces + [(f"<0x{b:02X}>", -20.0) for b in range(256)] if fallback else pieces
    tk = Tokenizer(M.Unigram(p, unk_id=0, byte_fallback=fallback))
    tk.normalizer = N.Sequence([N.Nmt(), N.NFKC(), N.Replace(Regex(" {2,}"), " ")])
    tk.pre_tokenizer = P.Metaspace(prepend_scheme="always" if fallback else "first")
    tk.decoder = D.Sequence([D.ByteFallback(), D.Metaspace(prepend_scheme="always" if fallback else "first")]) if fallback else D.Metaspace(prepend_scheme="first")
    tk.add_special_tokens(["</s>"])
    tk.post_processor = X.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    save(f"unigram_{name}", tk)

# pairs
rows = []
paths = {n: OUT / "small" / f"{n}.json" for n in ("wordpiece_lower", "bytes_prefix", "bytes_plain", "sp_all", "unigram_plain")}
if len(sys.argv) > 2:
    paths["minilm"] = sys.argv[2]
for name, path in paths.items():
    for k in range(24):
        tk = Tokenizer.from_file(str(path))
        tk.no_padding()
        a = " ".join(R.choice(WORDS) for _ in range(R.choice([0, 1, 3, 9, 20])))
        b = " ".join(R.choice(WORDS) for _ in range(R.choice([0, 1, 2, 8, 30])))
        cut = R.choice([0, 5, 6, 8, 13, 20, 40])
        if cut:
            tk.enable_truncation(cut, strategy="longest_first")
        else:
            tk.no_truncation()
        e = tk.encode(a, b)
        rows.append({"tokenizer": name, "a": a, "b": b, "max": cut, "ids": e.ids, "types": e.type_ids})
put(OUT / "pairs.jsonl", rows)
