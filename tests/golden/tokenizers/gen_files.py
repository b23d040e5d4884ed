"""Tokenizers that are not a tokenizer.json, and what the references make of them.

    pip install tokenizers==0.23.3 transformers==5.23.0 sentencepiece==0.2.1 protobuf
    python3 gen_files.py OUT

OUT/files/spm_bpe      tokenizer.model trained on a few sentences; ids by sentencepiece itself
OUT/files/spm_unigram  spiece.model with its character map; ids by tokenizers as T5's converter builds it
OUT/files/gpt2 roberta qwen2 (vocab.json + merges.txt), bert (vocab.txt): ids by transformers' classes
"""
import io
import json
import random
import sys
from pathlib import Path

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, GPT2Tokenizer, Qwen2Tokenizer, RobertaTokenizer

OUT = Path(sys.argv[1]) / "files"
R = random.Random(3)
WORDS = "the quick brown fox jumps over lazy dog hello world there then these bread read Paris 2024 caf\u00e9 na\u00efve \u4e2d\u6587 it's don't".split()
CORPUS = [" ".join(R.choice(WORDS) for _ in range(R.randint(3, 12))) + R.choice([".", "!", "?", ","]) for _ in range(400)]
TEXTS = ["", " ", "  ", "hello", " hello", "hello world", "The quick  brown   fox", "it's don't IT'S", "123 2024", "caf\u00e9 cafe\u0301", "\u4e2d\u6587\u5b57",
         "\U0001f600 ok", "a\nb\n\nc", "\ttab", "trailing ", "trailing  ", "\u2581x", "\uff21\uff22 \u2460", "\u00a0nbsp", "\u200bzero", "x" * 40, "ﬁne \u017f\u212a"]
TEXTS += [" ".join(R.choice(WORDS) for _ in range(R.randint(1, 8))) for _ in range(15)]
TEXTS += ["".join(R.choice("abcdehlortw \u00e9\u4e2d\u2028.,!'12") for _ in range(R.randint(1, 20))) for _ in range(15)]


def put(name, rows):
    with open(OUT / name / "rows.jsonl", "w", encoding="utf-8", newline="\n") as f:
        for r in rows:
            f.write(json.dumps(r, separators=(",", ":")) + "\n")


def train(name, file, **options):
    (OUT / name).mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, minloglevel=2, **options)
    (OUT / name / file).write_bytes(model.getvalue())
    return model.getvalue()


blob = train("spm_bpe", "tokenizer.model", model_type="bpe", vocab_size=420, byte_fallback=True, normalization_rule_name="identity",
             remove_extra_whitespaces=False, character_coverage=0.99)
sp = spm.SentencePieceProcessor(model_proto=blob)
rows = []
for t in TEXTS:
    ids = sp.encode(t)
    rows.append({"text": t, "ids": ids, "ids_special": [sp.bos_id()] + ids, "decoded": sp.decode(ids), "decoded_raw": sp.decode(ids)})
put("spm_bpe", rows)

blob = train("spm_unigram", "spiece.model", model_type="unigram", vocab_size=140, bos_id=-1, pad_id=0, eos_id=1, unk_id=2, hard_vocab_limit=False)
proto = pb.ModelProto()
proto.ParseFromString(blob)
tk = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=2, byte_fallback=False))
tk.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
                                      normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")])
tk.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
tk.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
tk.add_special_tokens([p.piece for p in proto.pieces if p.type in (2, 3)])
tk.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])


def rows_of(encode, decode):
    return [{"text": t, "ids": encode(t, False), "ids_special": encode(t, True), "decoded": decode(encode(t, True), True),
             "decoded_raw": decode(encode(t, False), False)} for t in TEXTS]


put("spm_unigram", rows_of(lambda t, s: tk.encode(t, add_special_tokens=s).ids, lambda i, s: tk.decode(i, skip_special_tokens=s)))


def byte_bpe(specials):
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tk.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                      show_progress=False))
    d = json.loads(tk.to_str())["model"]
    return d["vocab"], d["merges"]


for name, cls, specials, config in (
        ("gpt2", GPT2Tokenizer, ["<|endoftext|>"], {"tokenizer_class": "GPT2Tokenizer"}),
        ("roberta", RobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], {"tokenizer_class": "RobertaTokenizer"}),
        ("qwen2", Qwen2Tokenizer, ["<|endoftext|>"], {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>"})):
    vocab, merges = byte_bpe(specials)
    d = OUT / name
    d.mkdir(parents=True, exist_ok=True)
    (d / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), "utf-8")
    (d / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n", "utf-8")
    (d / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    b = cls(vocab=vocab, merges=[tuple(m) for m in merges]).backend_tokenizer
    put(name, rows_of(lambda t, s: b.encode(t, add_special_tokens=s).ids, lambda i, s: b.decode(i, skip_special_tokens=s)))

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(set("".join(WORDS)))
pieces += ["##" + c for c in sorted(set("".join(WORDS)))] + ["hello", "world", "the", "##re", ",", "!", ".", "'", "caf\u00e9", "don", "Paris"]
pieces = list(dict.fromkeys(pieces))
d = OUT / "bert"
d.mkdir(parents=True, exist_ok=True)
(d / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
(d / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False}) + "\n")
b = BertTokenizer(vocab={p: i for i, p in enumerate(pieces)}, do_lower_case=False).backend_tokenizer
put("bert", rows_of(lambda t, s: b.encode(t, add_special_tokens=s).ids, lambda i, s: b.decode(i, skip_special_tokens=s)))
