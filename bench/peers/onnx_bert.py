"""A BERT sentence encoder (mean pooling, unit length) as ONNX: with onnxruntime's fused operators, its fastest form, or
in the standard's own, which OpenVINO fuses by itself."""
import json
import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from safetensors.numpy import load_file


def write(folder, path, fused):
    config = json.load(open(os.path.join(folder, "config.json")))
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    tensors = {k.removeprefix("bert."): v.astype(np.float32) for k, v in tensors.items() if v.dtype.kind == "f"}
    nodes, constants = [], []

    def constant(value):
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, own=False, **attributes):
        name = f"n{len(nodes)}"
        domain = "com.microsoft" if own else ""
        nodes.append(helper.make_node(kind, inputs, [name], name=kind + name, domain=domain, **attributes))
        return name

    def weight(name):
        return constant(tensors[name])

    def product(x, name):
        return node("MatMul", [x, constant(tensors[name + ".weight"].T)])

    def normed(x, norm):
        return node("LayerNormalization", [x, weight(norm + ".weight"), weight(norm + ".bias")], axis=-1, epsilon=config["layer_norm_eps"])

    def join_and_norm(y, x, bias, norm):
        if not fused:
            return normed(node("Add", [node("Add", [y, weight(bias)]), x]), norm)
        return node("SkipLayerNormalization", [y, x, weight(norm + ".weight"), weight(norm + ".bias"), weight(bias)], True,
                    epsilon=config["layer_norm_eps"])

    embeddings = "embeddings."
    places = tensors[embeddings + "position_embeddings.weight"] + tensors[embeddings + "token_type_embeddings.weight"][0]
    shape = node("Shape", ["input_ids"])
    length = node("Gather", [shape, constant(np.array([1]))], axis=0)
    places = node("Slice", [constant(places), constant(np.array([0])), length, constant(np.array([0]))])
    x = node("Add", [node("Gather", [weight(embeddings + "word_embeddings.weight"), "input_ids"]), places])
    x = normed(x, embeddings + "LayerNorm")
    heads = config["num_attention_heads"]
    size = config["hidden_size"] // heads
    if fused:
        seen = node("Cast", ["attention_mask"], to=TensorProto.INT32)
    else:
        hidden = node("Sub", [constant(np.float32(1)), node("Cast", ["attention_mask"], to=TensorProto.FLOAT)])
        hidden = node("Mul", [node("Unsqueeze", [hidden, constant(np.array([1, 2]))]), constant(np.float32(-1e9))])

    def attention(x, parts):
        """From x to the joined heads, before the output's matrix."""
        if fused:
            return node("Attention", [x, constant(np.concatenate([tensors[p + ".weight"].T for p in parts], 1)),
                                      constant(np.concatenate([tensors[p + ".bias"] for p in parts])), seen], True, num_heads=heads)
        q, k, v = (node("Transpose", [node("Reshape", [node("Add", [product(x, p), weight(p + ".bias")]), constant(np.array([0, 0, heads, size]))])],
                        perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3]) for i, p in enumerate(parts))
        scores = node("Mul", [node("MatMul", [q, k]), constant(np.float32(size ** -0.5))])
        y = node("MatMul", [node("Softmax", [node("Add", [scores, hidden])], axis=-1), v])
        return node("Reshape", [node("Transpose", [y], perm=[0, 2, 1, 3]), constant(np.array([0, 0, heads * size]))])

    def bias_gelu(x, bias):
        return node("BiasGelu", [x, weight(bias)], True) if fused else node("Gelu", [node("Add", [x, weight(bias)])])

    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        parts = [layer + "attention.self." + p for p in ("query", "key", "value")]
        y = attention(x, parts)
        out = layer + "attention.output."
        x = join_and_norm(product(y, out + "dense"), x, out + "dense.bias", out + "LayerNorm")
        y = bias_gelu(product(x, layer + "intermediate.dense"), layer + "intermediate.dense.bias")
        out = layer + "output."
        x = join_and_norm(product(y, out + "dense"), x, out + "dense.bias", out + "LayerNorm")
    mask = node("Unsqueeze", [node("Cast", ["attention_mask"], to=TensorProto.FLOAT), constant(np.array([2]))])
    total = node("ReduceSum", [node("Mul", [x, mask]), constant(np.array([1]))], keepdims=0)
    mean = node("Div", [total, node("ReduceSum", [mask, constant(np.array([1]))], keepdims=0)])
    nodes.append(helper.make_node("Div", [mean, node("ReduceL2", [mean, constant(np.array([-1]))], keepdims=1)], ["embedding"]))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", config["hidden_size"]])
    graph = helper.make_graph(nodes, "encoder", inputs, [output], constants)
    save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]), path)
