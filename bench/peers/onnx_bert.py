"""A BERT sentence encoder (mean pooling, unit length) as ONNX with onnxruntime's fused operators, its fastest form."""
import json
import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from safetensors.numpy import load_file


def write(folder, path):
    config = json.load(open(os.path.join(folder, "config.json")))
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    tensors = {k.removeprefix("bert."): v.astype(np.float32) for k, v in tensors.items() if v.dtype.kind == "f"}
    nodes, constants = [], []

    def constant(value):
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, fused=False, **attributes):
        name = f"n{len(nodes)}"
        domain = "com.microsoft" if fused else ""
        nodes.append(helper.make_node(kind, inputs, [name], name=kind + name, domain=domain, **attributes))
        return name

    def weight(name):
        return constant(tensors[name])

    def product(x, name):
        return node("MatMul", [x, constant(tensors[name + ".weight"].T)])

    def join_and_norm(y, x, bias, norm):
        return node("SkipLayerNormalization", [y, x, weight(norm + ".weight"), weight(norm + ".bias"), weight(bias)], True,
                    epsilon=config["layer_norm_eps"])

    embeddings = "embeddings."
    places = tensors[embeddings + "position_embeddings.weight"] + tensors[embeddings + "token_type_embeddings.weight"][0]
    shape = node("Shape", ["input_ids"])
    length = node("Gather", [shape, constant(np.array([1]))], axis=0)
    places = node("Slice", [constant(places), constant(np.array([0])), length, constant(np.array([0]))])
    x = node("Add", [node("Gather", [weight(embeddings + "word_embeddings.weight"), "input_ids"]), places])
    x = node("LayerNormalization", [x, weight(embeddings + "LayerNorm.weight"), weight(embeddings + "LayerNorm.bias")],
             axis=-1, epsilon=config["layer_norm_eps"])
    seen = node("Cast", ["attention_mask"], to=TensorProto.INT32)
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        parts = [layer + "attention.self." + p for p in ("query", "key", "value")]
        y = node("Attention", [x, constant(np.concatenate([tensors[p + ".weight"].T for p in parts], 1)),
                               constant(np.concatenate([tensors[p + ".bias"] for p in parts])), seen], True,
                 num_heads=config["num_attention_heads"])
        out = layer + "attention.output."
        x = join_and_norm(product(y, out + "dense"), x, out + "dense.bias", out + "LayerNorm")
        y = node("BiasGelu", [product(x, layer + "intermediate.dense"), weight(layer + "intermediate.dense.bias")], True)
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
