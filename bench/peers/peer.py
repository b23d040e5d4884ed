"""One measurement of the peers of one kind: lines `metric TAB peer TAB value TAB unit`, or `# what is missing`.

usage: peer.py search COUNT DIM THREADS | embed FOLDER WORKDIR THREADS | tokenize FOLDER TEXT THREADS
Each figure is the median of the repeats of about a second.
"""
import json
import os
import statistics
import sys
import time

kind, arguments = sys.argv[1], sys.argv[2:]
THREADS = int(arguments[2])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(THREADS)
os.environ["TOKENIZERS_PARALLELISM"] = "true" if THREADS > 1 else "false"


def say(metric, peer, value, unit):
    print(f"{metric}\t{peer}\t{value:.6g}\t{unit}", flush=True)


def missing(peer, why):
    print(f"# {peer}: {type(why).__name__}: {why}".replace("\n", " "), flush=True)


def seconds(run, budget=1.0, least=3):
    """Median time of a call, after one that is not counted (a single call is)."""
    if least > 1:
        run()
    times, end = [], time.perf_counter() + budget
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# ---- search ----

def search_peers(x):
    """name -> function that makes `search(queries)`; each with the settings that serve it best."""
    import numpy as np

    def with_numpy():
        def run(q):
            scores = q @ x.T
            best = np.argpartition(scores, -10, axis=1)[:, -10:]
            order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
            return np.take_along_axis(best, order, 1)
        return run

    def with_faiss(storage):
        import faiss
        faiss.omp_set_num_threads(THREADS)
        faiss.cvar.distance_compute_blas_threshold = 16  # its default keeps a batch of 64 off the matrix product

        def make(n):
            if storage is None:
                return faiss.IndexFlatIP(x.shape[1])
            return faiss.IndexScalarQuantizer(x.shape[1], storage, faiss.METRIC_INNER_PRODUCT)

        index = faiss.IndexShards(x.shape[1], True, True)  # one query uses one thread of a plain index
        half = -(-len(x) // THREADS)
        parts = []
        for i in range(THREADS):
            part = make(half)
            part.train(x[: min(len(x), 50000)])
            part.add(x[i * half : (i + 1) * half])
            index.add_shard(part)
            parts.append(part)
        return lambda q, keep=parts: index.search(q, 10)[1]

    def with_usearch(dtype):
        import usearch.index as us
        kinds = {"f32": np.float32, "f16": np.float16}
        base = x.astype(kinds[dtype]) if dtype in kinds else np.clip(np.rint(x * 127), -127, 127).astype(np.int8)

        def run(q):
            cast = q.astype(kinds[dtype]) if dtype in kinds else np.clip(np.rint(q * 127), -127, 127).astype(np.int8)
            return us.search(base, cast, 10, us.MetricKind.IP, exact=True, threads=THREADS).keys
        return run

    def sq(name):
        import faiss
        return getattr(faiss.ScalarQuantizer, name)

    return {"numpy f32": with_numpy, "faiss f32": lambda: with_faiss(None),
            "faiss f16": lambda: with_faiss(sq("QT_fp16")), "faiss int8": lambda: with_faiss(sq("QT_8bit")),
            "usearch f32": lambda: with_usearch("f32"), "usearch f16": lambda: with_usearch("f16"),
            "usearch int8": lambda: with_usearch("i8")}


def search():
    import numpy as np
    count, dim = int(arguments[0]), int(arguments[1])
    rng = np.random.default_rng(7)
    centres = rng.uniform(-1, 1, (1000, dim)).astype(np.float32)
    x = np.empty((count + 64, dim), np.float32)
    for i in range(0, len(x), 65536):
        n = min(65536, len(x) - i)
        x[i : i + n] = 0.6 * centres[rng.integers(0, 1000, n)] + rng.uniform(-1, 1, (n, dim)).astype(np.float32)
        x[i : i + n] /= np.linalg.norm(x[i : i + n], axis=1, keepdims=True)
    x, q = x[:count], np.ascontiguousarray(x[count:])
    exact = None
    for name, make in search_peers(x).items():
        try:
            run = make()
            found = run(q)
        except Exception as e:  # a peer that is not there is named
            missing(name, e)
            continue
        exact = found if exact is None else exact
        say("recall", name, 100 * statistics.mean(len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), np.asarray(found).tolist())), "%")
        turn = iter(range(10**9))

        def one(run=run):
            i = next(turn) % 64
            run(q[i : i + 1])

        say("one query", name, 1 / seconds(one), "queries/s")
        say("batch 64", name, 64 / seconds(lambda run=run: run(q)), "queries/s")


# ---- embed ----

WORDS = """the river keeps its course while people build houses near water and trade grain for tools every summer
brings longer days to work in fields under changing light with careful hands again""".split()


def sentence(index, n):
    """The sentence that bench-cli embed makes."""
    mask, out = (1 << 64) - 1, []
    x = (index * 0x9E3779B97F4A7C15 + 1) & mask
    for _ in range(n):
        x ^= (x << 13) & mask
        x ^= x >> 7
        x ^= (x << 17) & mask
        out.append(WORDS[x % len(WORDS)])
    return " ".join(out) + "."


def encoder_files(folder, work):
    """The model as ONNX: (fused, plain, fused in int8, plain in int8), made once."""
    import onnx_bert
    paths = [os.path.join(work, f"encoder-{n}.onnx") for n in ("fused", "plain", "fused-int8", "plain-int8")]
    for i, path in enumerate(paths):
        if os.path.exists(path):
            continue
        if i < 2:
            onnx_bert.write(folder, path, fused=i == 0)
        else:
            from onnxruntime.quantization import QuantType, quantize_dynamic
            quantize_dynamic(paths[i - 2], path, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})
    return paths


def with_onnxruntime(path):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = THREADS, 1, 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def with_openvino(path, precision):
    import openvino
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this CPU has no bf16 arithmetic, OpenVINO would compute in f32")
    model = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY",
                                             "INFERENCE_PRECISION_HINT": precision})
    request = model.create_infer_request()
    return lambda ids, mask: request.infer({"input_ids": ids, "attention_mask": mask})[model.output(0)].copy()


def embed():
    import numpy as np
    from tokenizers import Tokenizer
    folder, work = arguments[:2]
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    fused, plain, fused_int8, plain_int8 = encoder_files(folder, work)
    exact = None
    for name, make in {"onnxruntime f32": lambda: with_onnxruntime(fused), "onnxruntime int8": lambda: with_onnxruntime(fused_int8),
                       "OpenVINO f32": lambda: with_openvino(plain, "f32"), "OpenVINO bf16": lambda: with_openvino(plain, "bf16"),
                       "OpenVINO int8": lambda: with_openvino(plain_int8, "f32")}.items():
        try:
            forward = make()

            def run(texts, forward=forward):
                e = tokenizer.encode_batch(texts)
                return forward(np.array([t.ids for t in e], np.int64), np.array([t.attention_mask for t in e], np.int64))

            for words in (20, 200):
                texts = [sentence(i, words) for i in range(32)]
                if words == 20:
                    vectors = np.asarray(run(texts))
                    exact = vectors if exact is None else exact
                    say("cosine to f32, least of 32", name, float((vectors * exact).sum(1).min()), "")
                say(f"batch 32, {words} words", name, 32 / seconds(lambda: run(texts)), "sentences/s")
            query = [sentence(7, 8)]
            say("one query, 8 words", name, 1e3 * seconds(lambda: run(query), 0.5, 50), "ms")
        except Exception as e:
            missing(name, e)


# ---- tokenize ----

def tiktoken_of(model, pre_tokenizer):
    """The same vocabulary and pattern for tiktoken, whose ranks are the ids of a byte-level BPE."""
    import tiktoken
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in plain}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)})
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    pattern = next(s["pattern"]["Regex"] for s in steps if s["type"] == "Split")
    ranks = {bytes(byte_of[c] for c in t): i for t, i in model["vocab"].items() if all(c in byte_of for c in t)}
    return tiktoken.Encoding("peer", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def tokenize():
    text = open(arguments[1], encoding="utf-8").read()
    megabytes = len(text.encode()) / 1e6
    metric = f"encode {megabytes:.0f} MB"
    least = 1 if megabytes > 5 else 3
    path = os.path.join(arguments[0], "tokenizer.json")
    want = None
    try:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(path)
        want = tokenizer.encode(text[:100000], add_special_tokens=False).ids
        say(metric, "tokenizers", megabytes / seconds(lambda: tokenizer.encode(text), 0.5, least), "MB/s")
    except Exception as e:
        missing("tokenizers", e)
    try:
        data = json.load(open(path, encoding="utf-8"))
        encoding = tiktoken_of(data["model"], data["pre_tokenizer"])
        if want is not None and encoding.encode_ordinary(text[:100000]) != want:
            raise ValueError("gives other ids than tokenizers")
        say(metric, "tiktoken", megabytes / seconds(lambda: encoding.encode_ordinary(text), 0.5, least), "MB/s")
    except Exception as e:
        missing("tiktoken", e)


try:
    {"search": search, "embed": embed, "tokenize": tokenize}[kind]()
except Exception as e:
    missing(kind, e)
