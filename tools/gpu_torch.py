#!/usr/bin/env python3
"""The cases of `weft bench device` in PyTorch (eager), under the same names: one JSON line each.

    gpu_torch.py [--device cuda] [--only REGEX] [--small]

Device time between events, median and least of rounds after a warm-up, as weft measures. A case that fails prints its
error and the rest goes on. --small: tiny sizes, on the CPU too, to try the script itself. The names and sizes are those
of tools/weft/bench_device_cases.cpp.
"""
import argparse
import json
import math
import re
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def measure(device, call):
    """(median, least) microseconds of a call."""
    real = device == "cuda"

    def one_round(calls):
        if real:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(calls):
                call()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) * 1e3 / calls
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) * 1e6 / calls

    for _ in range(3 if real else 1):
        call()
    finish(device)
    first = max(one_round(1), 1.0)
    calls = min(max(int(3000 / first), 1), 200) if real else 1
    rounds = min(max(int(60000 / (first * calls)), 5), 20) if real else 2
    us = sorted(one_round(calls) for _ in range(rounds))
    return us[len(us) // 2], us[0]


def finish(device):
    if device == "cuda":
        torch.cuda.synchronize()


class Cases:
    def __init__(self, device, small):
        self.device, self.small = device, small
        self.table = (32, 128) if small else (65536, 1024)
        self.square = (64, 64) if small else (8192, 8192)
        self.words = 96 if small else 50304
        self.logits = (16 if small else 8192, self.words)
        self.all = []  # (name, sizes, bytes, flops, make)
        for dtype in DTYPES:
            self.pointwise(dtype)
            self.rows(dtype)
        n = math.prod(self.table)
        self.add("cast_bf16/f32", self.table, 6 * n, 0, lambda: self.forward(lambda x: x.to(torch.bfloat16), self.values(self.table, "f32")))
        self.add("adamw/f32", self.table, 28 * n, 0, self.adamw)
        for dtype in DTYPES:
            for n in (32, 64) if small else (1024, 2048, 4096, 8192):
                self.product(n, dtype)
        self.attention("causal", (1, 2, 32, 16) if small else (8, 12, 1024, 64), True)
        self.attention("full", (1, 1, 32, 32) if small else (4, 16, 4096, 128), False)

    def values(self, sizes, dtype):
        return torch.randn(sizes, device=self.device, dtype=torch.float32).to(DTYPES[dtype])

    def leaf(self, sizes, dtype):
        return self.values(sizes, dtype).requires_grad_()

    def indices(self, n):
        return torch.randint(self.words, (n,), device=self.device)

    def forward(self, op, *inputs):
        def call():
            with torch.no_grad():
                op(*inputs)
        return call

    def backward(self, op, *inputs):
        y = op(*inputs)
        cotangent = torch.randn_like(y) if y.dim() else torch.ones_like(y)
        leaves = [x for x in inputs if x.requires_grad]
        return lambda: torch.autograd.grad(y, leaves, cotangent, retain_graph=True)

    def add(self, name, sizes, size, flops, make):
        self.all.append((name, "x".join(map(str, sizes)), size, flops, make))

    def memory(self, op, dtype, sizes, times, make):
        item = 4 if dtype == "f32" else 2
        self.add(f"{op}/{dtype}", sizes, times * item * math.prod(sizes), 0, make)

    def pointwise(self, t):
        table, v = self.table, self.values
        self.memory("add", t, table, 3, lambda: self.forward(torch.add, v(table, t), v(table, t)))
        self.memory("mul_row", t, table, 2, lambda: self.forward(torch.mul, v(table, t), v(table[1:], t)))
        self.memory("relu", t, table, 2, lambda: self.forward(F.relu, v(table, t)))
        self.memory("gelu", t, table, 2, lambda: self.forward(F.gelu, v(table, t)))
        self.memory("gelu_backward", t, table, 3, lambda: self.backward(F.gelu, self.leaf(table, t)))
        self.memory("copy_t", t, self.square, 2, lambda: self.forward(lambda x: x.t().contiguous(), v(self.square, t)))
        self.memory("dropout", t, table, 2, lambda: self.forward(lambda x: F.dropout(x, 0.1), v(table, t)))
        self.memory("sum", t, table, 1, lambda: self.forward(torch.sum, v(table, t)))
        self.memory("sum_dim0", t, table, 1, lambda: self.forward(lambda x: x.sum(0), v(table, t)))

    def rows(self, t):
        table, row, v, leaf = self.table, self.table[1:], self.values, self.leaf
        softmax = lambda x: x.softmax(-1)
        layer_norm = lambda x, w, b: F.layer_norm(x, row, w, b)
        rms_norm = lambda x, w: F.rms_norm(x, row, w)
        embedding = lambda i, w: F.embedding(i, w)
        self.memory("softmax", t, table, 2, lambda: self.forward(softmax, v(table, t)))
        self.memory("softmax_backward", t, table, 3, lambda: self.backward(softmax, leaf(table, t)))
        self.memory("layer_norm", t, table, 2, lambda: self.forward(layer_norm, v(table, t), v(row, t), v(row, t)))
        self.memory("layer_norm_backward", t, table, 3, lambda: self.backward(layer_norm, leaf(table, t), leaf(row, t), leaf(row, t)))
        self.memory("rms_norm", t, table, 2, lambda: self.forward(rms_norm, v(table, t), v(row, t)))
        self.memory("rms_norm_backward", t, table, 3, lambda: self.backward(rms_norm, leaf(table, t), leaf(row, t)))
        vocabulary = (self.words, table[1])
        self.memory("embedding", t, table, 2, lambda: self.forward(embedding, self.indices(table[0]), v(vocabulary, t)))
        self.memory("embedding_backward", t, table, 1 + self.words / table[0],
                    lambda: self.backward(embedding, self.indices(table[0]), leaf(vocabulary, t)))
        if t != "bf16":
            return
        logits = self.logits
        self.memory("cross_entropy", t, logits, 1, lambda: self.forward(F.cross_entropy, v(logits, t), self.indices(logits[0])))
        self.memory("cross_entropy_backward", t, logits, 2, lambda: self.backward(F.cross_entropy, leaf(logits, t), self.indices(logits[0])))

    def adamw(self):
        p = nn.Parameter(self.values(self.table, "f32"))
        p.grad = self.values(self.table, "f32")
        return torch.optim.AdamW([p], 1e-3, fused=True).step

    def product(self, n, t):
        self.add(f"matmul_{n}/{t}", (f"{n}x{n},{n}", n), 0, 2 * n ** 3,
                 lambda: self.forward(torch.matmul, self.values((n, n), t), self.values((n, n), t)))

    def attention(self, kind, sizes, causal):
        flops = 4 * math.prod(sizes) * sizes[2] / (2 if causal else 1)
        op = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        inputs = lambda: [self.leaf(sizes, "bf16") for _ in range(3)]
        self.add(f"attention_{kind}/bf16", sizes, 0, flops, lambda: self.forward(op, *inputs()))
        self.add(f"attention_{kind}_backward/bf16", sizes, 0, 2.5 * flops, lambda: self.backward(op, *inputs()))


def measure_launches(device, small):
    ops, host, on_device = 20 if small else 1000, [], []
    one = torch.ones(16, device=device)
    with torch.no_grad():
        for turn in range(2 if small else 8):
            finish(device)
            start = time.perf_counter()
            if device == "cuda":
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
            x = one
            for _ in range(ops):
                x = x + one
            if device == "cuda":
                end.record()
            put = (time.perf_counter() - start) * 1e6 / ops
            finish(device)
            if turn:
                host.append(put)
                on_device.append(begin.elapsed_time(end) * 1e3 / ops if device == "cuda" else put)
    return {"us": max(statistics.median(host), statistics.median(on_device)), "host_us": statistics.median(host),
            "device_us": statistics.median(on_device)}


class Block(nn.Module):
    def __init__(self, embd, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(embd), nn.LayerNorm(embd)
        self.qkv, self.proj = nn.Linear(embd, 3 * embd), nn.Linear(embd, embd)
        self.up, self.down = nn.Linear(embd, 4 * embd), nn.Linear(4 * embd, embd)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in self.qkv(self.ln1(x)).split(c, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocab, block, layers, heads, embd):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, embd), nn.Embedding(block, embd)
        self.blocks = nn.ModuleList(Block(embd, heads) for _ in range(layers))
        self.lnf, self.head = nn.LayerNorm(embd), nn.Linear(embd, vocab, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0.0, 0.02)
        self.head.weight = self.wte.weight

    def forward(self, indices):
        x = self.wte(indices) + self.wpe(torch.arange(indices.shape[1], device=indices.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.lnf(x))


def measure_gpt2(device, small):
    vocab, block, batch = (128, 16, 2) if small else (50304, 1024, 8)
    torch.manual_seed(0)
    with torch.device(device):
        model = Gpt(vocab, block, *((2, 2, 32) if small else (12, 12, 768)))
        x, y = torch.randint(vocab, (batch, block)), torch.randint(vocab, (batch * block,))
    optimizer = torch.optim.AdamW(model.parameters(), 6e-4, fused=True)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ms, losses, host = [], [], 0
    for i in range(3 if small else 15):
        finish(device)
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = F.cross_entropy(model(x).flatten(0, -2), y)
        loss.backward()
        optimizer.step()
        put = (time.perf_counter() - start) * 1e3
        finish(device)
        took = (time.perf_counter() - start) * 1e3
        losses.append(loss.item())
        if i >= (1 if small else 4):
            host = put
            ms.append(took)
    step = statistics.median(ms)
    peak = torch.cuda.max_memory_allocated() / 2 ** 20 if device == "cuda" else 0
    return {"us": step * 1e3, "min_us": min(ms) * 1e3, "host_ms": host, "tokens_per_s": round(batch * block / step * 1e3), "peak_mb": round(peak),
            "loss": [round(losses[0], 4), round(losses[-1], 4)]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--only", default="", metavar="REGEX")
    p.add_argument("--small", action="store_true")
    a = p.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        print("gpu_torch: PyTorch finds no CUDA device", file=sys.stderr)
        sys.exit(77)
    only, failed, bandwidth = re.compile(a.only), 0, 0.0

    def protect(name, shape, f):
        nonlocal failed
        row = {"name": name, "shape": shape, "peer": f"torch-{torch.__version__}"}
        try:
            row.update({k: round(v, 3) if isinstance(v, float) else v for k, v in f().items()})
            finish(a.device)
            if a.device == "cuda":
                torch.cuda.empty_cache()
        except Exception as e:  # pylint: disable=broad-except
            row["error"] = str(e).split("\n", maxsplit=1)[0]
            failed += 1
        print(json.dumps(row), flush=True)

    def timed(size, flops, make):
        us, least = measure(a.device, make())
        row = {"us": us, "min_us": least}
        if size:
            row["gb_per_s"] = size / us * 1e-3
            if bandwidth:
                row["fraction"] = size / us * 1e-3 / bandwidth
        if flops:
            row["tflop_per_s"] = flops / us * 1e-6
        return row

    def copy():
        nonlocal bandwidth
        size = 1 << 14 if a.small else 1 << 28
        source, to = torch.zeros(size // 4, device=a.device), torch.empty(size // 4, device=a.device)
        us, least = measure(a.device, lambda: to.copy_(source))
        bandwidth = 2 * size / least * 1e-3
        return {"us": us, "min_us": least, "gb_per_s": bandwidth, "fraction": 1.0}

    chosen = [c for c in Cases(a.device, a.small).all if only.search(c[0])]
    if only.search("copy/f32") or any(c[2] for c in chosen):
        protect("copy/f32", str((1 << 12) if a.small else (1 << 26)), copy)
    for name, shape, size, flops, make in chosen:
        protect(name, shape, lambda: timed(size, flops, make))  # called at once
    if only.search("launch_add/f32"):
        protect("launch_add/f32", "16", lambda: measure_launches(a.device, a.small))
    if only.search("gpt2_124m_train/bf16"):
        protect("gpt2_124m_train/bf16", "2x16" if a.small else "8x1024", lambda: measure_gpt2(a.device, a.small))
    sys.exit(1 if failed else 0)


main()
