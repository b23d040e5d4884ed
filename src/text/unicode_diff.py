"""Writes unicode_diff.inc: where the reference tokenizers and utf8proc know other versions of Unicode.

    pip install tokenizers==0.23.3; python3 unicode_diff.py > unicode_diff.inc

Every code point is given to the components of `tokenizers`; what they do is compared with the
category that utf8proc 2.8 (Unicode 15.0) tells, and the differences are printed as ranges.
"""
import ctypes

from tokenizers import Regex, normalizers as N, pre_tokenizers as P

lib = ctypes.CDLL("libutf8proc.so.2")
NAMES = ("CN LU LL LT LM LO MN MC ME ND NL NO PC PD PS PE PI PF PO SM SC SK SO ZS ZL ZP CC CF CS CO").split()
CPS = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]
CAT = {c: NAMES[lib.utf8proc_category(c)] for c in CPS}


def of(*names):
    return {c for c in CPS if CAT[c] in names}


def regex_set(rx):
    pt = P.Split(Regex(rx), "removed", invert=True)
    out = set()
    for i in range(0, len(CPS), 4096):
        for piece, _ in pt.pre_tokenize_str("\n".join(map(chr, CPS[i:i + 4096]))):
            out |= set(map(ord, piece))
    return out


def vanishes(norm):
    return {c for c in CPS if norm.normalize_str(chr(c)) == ""}


def joined(pt):
    return {c for c in CPS if len(pt.pre_tokenize_str("a" + chr(c) + "a")) == 1}


def ranges(s):
    out = []
    for c in sorted(s):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, s, what):
    print(f"/* {what} */\nstatic const range {name}[] = {{")
    for a, b in ranges(s) or [[0x110000, 0x110000]]:
        print(f"    {{0x{a:x}, 0x{b:x}}},")
    print("};")


print("/* Made by unicode_diff.py; do not edit. */")
classes = [("LOAM_UC_UPPER", r"[\p{Lu}\p{Lt}]+", ("LU", "LT")), ("LOAM_UC_LOWER", r"\p{Ll}+", ("LL",)),
           ("LOAM_UC_CASELESS", r"[\p{Lm}\p{Lo}]+", ("LM", "LO")), ("LOAM_UC_MARK", r"\p{M}+", ("MN", "MC", "ME")),
           ("LOAM_UC_NUMBER", r"\p{N}+", ("ND", "NL", "NO"))]
rows = []
for name, rx, cats in classes:
    theirs, ours = regex_set(rx), of(*cats)
    assert not ours - theirs and all(CAT[c] == "CN" for c in theirs - ours)
    rows += [(a, b, name) for a, b in ranges(theirs - ours)]
print("/* Not assigned in utf8proc's version, but in that of the reference's patterns. */")
print("static const struct {\n    uint32_t from, to;\n    unsigned char class;\n} NEW_CLASS[] = {")
for a, b, name in sorted(rows):
    print(f"    {{0x{a:x}, 0x{b:x}, {name}}},")
print("};")
numeric = {c for c in CPS if len(P.Digits(individual_digits=False).pre_tokenize_str("a" + chr(c))) == 2}
assert not of("ND", "NL", "NO") - numeric
table("NEW_NUMERIC", numeric - of("ND", "NL", "NO"), "more N*, for Digits")
word = joined(P.Whitespace())
enclosed = set(range(0x24B6, 0x24EA)) | set(range(0x1F130, 0x1F14A)) | set(range(0x1F150, 0x1F16A)) | \
    set(range(0x1F170, 0x1F18A)) | {0x200C, 0x200D}
ours = of("LU", "LL", "LT", "LM", "LO", "MN", "MC", "ME", "ND", "NL", "PC") | enclosed
assert not ours - word
table("NEW_WORD", word - ours, "more \\w")
bert = dict(handle_chinese_chars=False, lowercase=False)
theirs, ours = vanishes(N.BertNormalizer(clean_text=False, strip_accents=True, **bert)), of("MN")
table("NOT_NONSPACING", ours - theirs, "Mn here, but not for BertNormalizer")
table("ALSO_NONSPACING", theirs - ours, "and the other way round")
theirs, ours = vanishes(N.StripAccents()), of("MN", "MC", "ME")
table("NOT_COMBINING", ours - theirs, "M* here, but not for StripAccents")
table("ALSO_COMBINING", theirs - ours, "and the other way round")
theirs = vanishes(N.BertNormalizer(clean_text=True, strip_accents=False, **bert))
table("NOT_OTHER", of("CC", "CF", "CO") - {0x85} - theirs, "C* here, but not for BertNormalizer")
assert theirs - of("CC", "CF", "CO") == {0xFFFD}
kept = set()
for i in range(0, len(CPS), 4096):
    for piece, _ in P.Punctuation("removed").pre_tokenize_str("\n".join(map(chr, CPS[i:i + 4096]))):
        kept |= set(map(ord, piece))
theirs, ours = set(CPS) - kept, of("PC", "PD", "PS", "PE", "PI", "PF", "PO")
table("NOT_PUNCT", ours - theirs, "P* here, but not for BERT's and Punctuation")
table("ALSO_PUNCT", theirs - ours, "and the other way round")
lower = {c: N.Lowercase().normalize_str(chr(c)) for c in CPS}
diff = [(c, ord(lower[c]) - c) for c in CPS if c != 0x130 and lower[c] != chr(lib.utf8proc_tolower(c))]
print("/* Lower case: from .. to by a distance, every one or every second. */")
print("static const struct {\n    uint32_t from, to;\n    int32_t add;\n} NEW_LOWER[] = {")
runs = []
for c, d in diff:
    if runs and runs[-1][1] == c - 1 and runs[-1][2] == d:
        runs[-1][1] = c
    else:
        runs.append([c, c, d])
for a, b, d in runs:
    print(f"    {{0x{a:x}, 0x{b:x}, {d}}},")
print("};")


def ours_nfkd(c):
    buf = (ctypes.c_int32 * 32)()
    last = ctypes.c_int(0)
    lib.utf8proc_decompose_char.restype = ctypes.c_ssize_t
    n = lib.utf8proc_decompose_char(ctypes.c_int32(c), buf, ctypes.c_ssize_t(32), ctypes.c_int(1 << 1 | 1 << 4 | 1 << 2), ctypes.byref(last))
    return "".join(chr(buf[i]) for i in range(n)) if 0 < n <= 32 else chr(c)


nfkd = {c for c in CPS if not 0xAC00 <= c <= 0xD7A3 and N.NFKD().normalize_str(chr(c)) != ours_nfkd(c)}
same = {c for c in nfkd if N.NFKD().normalize_str(chr(c)) == chr(c)}
print(f"/* {len(nfkd - same)} others differ in a way that is left as it is */")
table("NO_COMPAT", same, "decomposed here, but not by the reference")


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


lib.utf8proc_get_property.restype = ctypes.POINTER(Property)
classed = {c for c in CPS if lib.utf8proc_get_property(ctypes.c_int32(c)).contents.combining_class > 1}
nfd = N.NFD()
table("NO_ORDER", {c for c in classed if nfd.normalize_str("a" + chr(c) + "\u0334") == "a" + chr(c) + "\u0334"},
      "with a combining class here, but not in the reference")
