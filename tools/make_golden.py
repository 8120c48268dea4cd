#!/usr/bin/env python3
"""make_golden.py CONFORMANCE_DIR: fills tests/golden with a compact selection of PyTorch-made cases.

CONFORMANCE_DIR holds cases in the format `weft check` reads (json beside safetensors). Of every file a few cases are kept,
chosen so that they cover what the file's cases differ in: dtypes, layouts, gradients, in-place and out forms, errors,
argument names. Only the tensors they use are written.
"""
import json
import os
import re
import shutil
import struct
import sys

import repo

PER_FILE = 10
LARGE = 16384  # bytes of tensors; a larger case is taken only when nothing smaller shows the same
MODULES = """AdaptiveAvgPool2d AvgPool2d BatchNorm1d BatchNorm2d BCEWithLogitsLoss Conv1d Conv2d CrossEntropyLoss Dropout ELU
Embedding Flatten GELU GroupNorm Hardswish HuberLoss Identity KLDivLoss L1Loss LayerNorm LeakyReLU Linear LogSoftmax MSELoss
MaxPool2d Mish NLLLoss RMSNorm ReLU SELU Sequential SiLU Sigmoid SmoothL1Loss Softmax Softplus Tanh""".split()
OPTIMIZERS = "Adam AdamW SGD".split()
TRAININGS = "mlp_adamw mlp_sgd cnn_adamw cnn_onecycle_clip gpt_bf16_autocast gpt_clip gpt_gradscaler".split()


def features(case):
    """What a case shows that another may not."""
    kind = re.sub(r"\d+$", "", case["id"])
    found = {"kind:" + kind}
    for key in ("grad", "grad2", "inplace", "out_variant", "random", "state_after", "error", "error_on"):
        if key in case:
            found.add(f"{key}:{kind.split('.')[0]}" if key in ("grad", "inplace") else key)
    found |= {"argument:" + key for key in case.get("kwargs", {})}
    found |= {"constructor:" + key for key in case.get("ctor", {}).get("kwargs", {})}
    found |= {"call:" + case.get("call", ""), "train:" + str(case.get("train")), f"arguments:{len(case.get('args', []))}"}
    found.add("values:" + re.sub(r'"tensor": "\d+"', "", json.dumps([case.get("args"), case.get("kwargs"), case.get("ctor")])))
    if '"view"' in json.dumps(case):
        found.add("view")
    return found


def tensors(value):
    """Names of the tensors a case uses."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "tensor" and isinstance(item, str):
                yield item
            else:
                yield from tensors(item)
    elif isinstance(value, list):
        for item in value:
            yield from tensors(item)


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def write_safetensors(path, stored):
    header, offset = {}, 0
    for name, (dtype, shape, data) in stored.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in stored.values()))


def choose(cases, stored, limit):
    """Greedy cover: the case that adds most, the smallest and earliest among equals."""
    size = [sum(len(stored[name][2]) for name in set(tensors(case))) for case in cases]
    shows = [features(case) for case in cases]
    chosen, covered = [], set()
    while len(chosen) < min(limit, len(cases)):
        left = [i for i in range(len(cases)) if i not in chosen]
        best = max(left, key=lambda i: (len(shows[i] - covered) - 4 * (size[i] > LARGE), -size[i], -i))
        if chosen and not shows[best] - covered:
            break
        chosen.append(best)
        covered |= shows[best]
    return [cases[i] for i in sorted(chosen)]


def pack(source, target, name, limit):
    with open(os.path.join(source, name + ".json"), encoding="utf-8") as file:
        content = json.load(file)
    beside = content.get("tensors")
    stored = read_safetensors(os.path.join(source, beside)) if beside else {}
    cases = content.pop("cases")
    cases = choose(cases, stored, limit) if limit else cases
    used = {key: stored[key] for case in cases for key in tensors(case)}
    os.makedirs(target, exist_ok=True)
    content["tensors"] = beside if used else None
    if used:
        write_safetensors(os.path.join(target, beside), used)
    head = json.dumps(content, separators=(",", ":"), ensure_ascii=False)[:-1]
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), ensure_ascii=False) for case in cases)
    with open(os.path.join(target, name + ".json"), "w", encoding="utf-8") as file:
        file.write(f'{head},"cases":[\n{lines}]}}\n')
    return len(cases)


def main():
    if len(sys.argv) != 2 or not os.path.isfile(os.path.join(sys.argv[1], "first.txt")):
        sys.exit("make_golden.py: give the folder of the conformance cases (it holds first.txt)")
    source, golden = sys.argv[1], os.path.join(repo.ROOT, "tests", "golden")
    with open(os.path.join(source, "first.txt"), encoding="utf-8") as file:
        operations = file.read().split()
    for folder, names, limit in (("ops", operations, PER_FILE), ("modules", MODULES, PER_FILE),
                                 ("optim", OPTIMIZERS, None), ("lr_scheduler", None, PER_FILE), ("train", TRAININGS, None)):
        names = names or sorted(f[:-5] for f in os.listdir(os.path.join(source, folder)) if f.endswith(".json"))
        target = os.path.join(golden, folder)
        shutil.rmtree(target, ignore_errors=True)
        count = sum(pack(os.path.join(source, folder), target, name, limit) for name in names)
        size = sum(os.path.getsize(os.path.join(target, f)) for f in os.listdir(target))
        print(f"{folder}: {count} cases of {len(names)} files, {size / 1e6:.2f} MB")
    files = os.path.join(golden, "checkpoints")  # files that must load or be refused: all of them
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(os.path.join(source, "checkpoints"), files, copy_function=shutil.copyfile)


main()
