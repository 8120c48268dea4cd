#!/usr/bin/env python3
"""check_bench.py PROGRAM: `weft bench` and tools/bench_against_torch from the outside: the fields that scripts read. It
judges no time."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = ""
WORKLOADS = {
    "mlp": {"kind": "mlp", "batch": 4, "sizes": [16, 16, 16], "optimizer": "adamw", "lr": 1e-3},
    "cnn": {"kind": "cnn", "batch": 2, "image": [1, 8, 8], "channels": [4, 4], "hidden": 8, "classes": 10,
            "optimizer": "sgd", "lr": 0.01, "momentum": 0.9},
}
GPT = {"gpt": {"kind": "gpt", "batch": 2, "block": 8, "layers": 1, "heads": 2, "embd": 8, "vocab": 5, "optimizer": "adamw", "lr": 1e-3}}
CASES = [
    {"op": "matmul", "shapes": [[16, 16], [16, 16]], "dtype": "bf16"},
    {"op": "softmax", "shapes": [[8, 64]], "grad": True},
    {"op": "view", "shapes": [[4]], "overhead": True},
]


def cuda():
    """What `weft info` says of CUDA, where there is a device; else nothing."""
    done = subprocess.run([PROGRAM, "info", "--json"], capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)["cuda"]
    return found if found["available"] else None


NAMES = ["matmul/16x16,16x16/bf16", "softmax/8x64/f32", "softmax/8x64/f32/grad"]


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for name, what in (("workloads.json", WORKLOADS), ("gpt.json", {**WORKLOADS, **GPT}), ("cases.json", CASES)):
            with open(self.path(name), "w", encoding="utf-8") as file:
                json.dump(what, file)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def bench(self, *args, code=0):
        done = subprocess.run([PROGRAM, "bench", *args], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_steps(self):
        for command in ("train", "infer"):
            for workload in WORKLOADS:
                with self.subTest(command=command, workload=workload):
                    row = json.loads(self.bench(command, "--workload", workload, "--workloads", self.path("workloads.json"), "--threads", "1"))
                    self.assertEqual(row["batch"], 1 if command == "infer" else WORKLOADS[workload]["batch"])
                    self.assertTrue(0 < row["min_ms"] <= row["step_ms"])
                    self.assertGreaterEqual(row["floor_ms"], 0)
                    self.assertGreater(row["peak_mb"], 0)
                    self.assertTrue(abs(row["loss"]) < 4)
        lower = json.loads(self.bench("train", "--workload", "mlp", "--workloads", self.path("workloads.json"), "--amp", "bf16"))
        self.assertEqual(lower["amp"], "bf16")
        self.assertIn("--amp", self.bench("train", "--workload", "mlp", "--workloads", self.path("workloads.json"), "--amp", "f64", code=2))
        self.assertIn("no workload nothing", self.bench("train", "--workload", "nothing", "--workloads", self.path("workloads.json"), code=1))

    def test_infer_modes(self):
        losses = {}
        for mode in ("eager", "default", "reduce-overhead"):
            row = json.loads(self.bench("infer", "--workload", "gpt", "--workloads", self.path("gpt.json"), "--mode", mode))
            self.assertEqual((row["mode"], row["infer"], row["batch"]), (mode, True, 1))
            losses[mode] = row["loss"]
        self.assertEqual(len(set(losses.values())), 1, losses)

    def test_generate(self):
        command = ["infer", "--workloads", self.path("gpt.json"), "--steps", "3", "--workload"]
        for more, cache in (([], True), (["--no-cache"], False), (["--batch", "3", "--amp", "bf16"], True)):
            row = json.loads(self.bench(*command, "gpt", "--generate", "30", *more))
            self.assertEqual((row["generate"], row["cache"], row["batch"]), (30, cache, 3 if "--batch" in more else 1))
            self.assertTrue(0 < row["tokens_per_s"] <= row["most_tokens_per_s"])
        self.assertIn("needs a workload of kind gpt, mlp is mlp", self.bench(*command, "mlp", "--generate", "30", code=1))
        self.assertIn("--generate", self.bench(*command, "gpt", "--generate", "0", code=2))
        self.assertIn("--no-cache requires --generate", self.bench(*command, "gpt", "--no-cache", code=2))
        self.assertIn("one mode", self.bench(*command, "gpt", "--generate", "3", "--mode", "default", code=1))

    def test_kernels(self):
        rows = [json.loads(line) for line in self.bench("kernels", "--cases", self.path("cases.json")).splitlines()]
        self.assertEqual([row["name"] for row in rows], NAMES + ["view/4/f32"])
        for row in rows:
            self.assertEqual(set(row), {"name", "us"})
            self.assertGreater(row["us"], 0)

    def test_bits(self):
        # Every kernel of the built-in list gives the same bits on one thread and on all.
        rows = [json.loads(line) for line in self.bench("kernels", "--bits").splitlines()]
        self.assertGreater(len(rows), 40)
        for row in rows:
            self.assertIs(row["same"], True, f"{row['name']}: weft bench kernels --bits --only '^{row['name']}$'")

    def test_op(self):
        row = json.loads(self.bench("op", "softmax", "--shapes", "8x64", "--arg", "dim=-1", "--dtype", "bf16", "--grad"))
        self.assertEqual(row["name"], "softmax/8x64/bf16/grad")
        for field in ("us", "gb_per_s", "gflop_per_s", "ceiling_us", "fraction"):
            self.assertGreater(row[field], 0, field)
        self.assertIn("no op named nothing", self.bench("op", "nothing", "--shapes", "4", code=1))
        self.assertIn("is no shape", self.bench("op", "exp", "--shapes", "4y4", code=1))
        self.assertIn("toaster", self.bench("op", "exp", "--shapes", "4", "--device", "toaster", code=2))
        self.assertIn("is no argument", self.bench("op", "softmax", "--shapes", "4", "--arg", "dim", code=1))

    def test_data(self):
        peer = os.path.join(self.folder.name, "peer.py")
        with open(peer, "w", encoding="utf-8") as file:
            file.write('import json, sys\nassert "--workers" in sys.argv\nprint(json.dumps({"samples_per_s": 2, "single_samples_per_s": 1}))\n')
        for workers in ("0", "2"):
            row = json.loads(self.bench("data", "--samples", "300", "--workers", workers, "--epochs", "2", "--peer", f"{sys.executable} {peer}"))
            self.assertEqual((row["name"], row["samples"], row["workers"]), ("data", 300, int(workers)))
            self.assertAlmostEqual(row["times_peer"], row["samples_per_s"] / 2)
            self.assertAlmostEqual(row["single_times_peer"], row["single_samples_per_s"])
        self.assertIn("no JSON line", self.bench("data", "--samples", "9", "--peer", "true", code=1))

    def test_no_device(self):
        """Without a device, or with one number too high: one clear line, and nothing is measured."""
        device = "cuda:9" if cuda() else "cuda"
        for args in (["train", "--workload", "mlp", "--workloads", self.path("workloads.json")], ["infer", "--workload", "mlp", "--workloads", self.path("workloads.json")],
                     ["kernels"], ["op", "exp", "--shapes", "4"], ["device"]):
            with self.subTest(args=args):
                text = self.bench(*args, "--device", device, code=2)
                self.assertRegex(text, f"^weft: .*no device {device}: [^\n]+\n$")
        self.assertRegex(self.bench("device", "--device", "cpu", code=1), "^weft: bench device: needs a CUDA device, not cpu\n$")
        done = subprocess.run([PROGRAM, "fuzz", "programs", "--count", "1", "--device", device], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"no device {device}", done.stderr)

    def test_device(self):
        if not cuda():
            self.skipTest("no CUDA device")
        if cuda()["build"] != "emulate":
            self.skipTest("tools/gpu_check measures GPUs")
        rows = [json.loads(line) for line in self.bench("device", "--small").splitlines() if line.startswith("{")]
        names = [row["name"] for row in rows]
        self.assertEqual(len(names), len(set(names)))
        for name in ("copy/f32", "add/bf16", "softmax_backward/f32", "matmul_64/bf16", "attention_causal_backward/bf16", "launch_add/f32", "gpt2_124m_train/bf16"):
            self.assertIn(name, names)
        for row in rows:
            self.assertNotIn("error", row)
            self.assertGreater(row["us"], 0)
        row = json.loads(self.bench("train", "--workload", "mlp", "--workloads", self.path("workloads.json"), "--device", "cuda", "--steps", "3"))
        self.assertEqual(row["device"], "cuda")
        self.assertGreater(row["peak_mb"] + 1, 0)
        self.assertTrue(abs(row["loss"]) < 4)

    def test_info(self):
        done = subprocess.run([PROGRAM, "info", "--json"], capture_output=True, text=True, timeout=60)
        found = json.loads(done.stdout)["cuda"]
        self.assertIn(found["build"], ("off", "on", "emulate"))
        if found["available"]:
            for device in found["devices"]:
                self.assertRegex(device["capability"], r"^\d+\.\d+$")
                self.assertTrue(device["name"] and device["memory"] > 0)
                self.assertTrue(device["bf16"] or device["bf16_reason"])
        else:
            self.assertTrue(found["reason"])

    def test_roofline(self):
        table = self.bench("roofline", "--cases", self.path("cases.json"), "--json", self.path("r.json"), "--html", self.path("r.html"))
        found = json.loads(self.read("r.json"))
        self.assertEqual([row["name"] for row in found["kernels"]], NAMES)  # no ceiling for the time of a call
        matmul, softmax, both = found["kernels"]
        self.assertEqual((matmul["flops"], matmul["bytes"]), (2 * 16 ** 3, 3 * 512))
        self.assertEqual((softmax["bytes"], both["bytes"]), (2 * 2048, 5 * 2048))
        for row in found["kernels"]:
            self.assertIn(row["name"], table)
            self.assertIn(row["bound"], ("compute", "read", "copy", "triad", "write"))
            self.assertGreater(row["memory_fraction"], 0)
        for name, value in found["ceilings"].items():
            self.assertTrue(value is False or value > 0, name)
        page = self.read("r.html")
        self.assertEqual(page.count("<circle"), len(NAMES))
        self.assertEqual(page.count("<polyline"), 3 if found["ceilings"]["bf16_dot"] else 2)
        self.assertNotRegex(page, r"(src|href)=|\b(nan|inf)\b")


AGAINST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "bench_against_torch")
# Stand-ins of the peers: fixed figures. LOSS is replaced.
FAKE_TRAIN = """import json, sys
infer = "--infer" in sys.argv
print(json.dumps({"min_ms": 1e3, "peak_mb": 1e6, "loss": 0.0 if infer else LOSS}))
"""
FAKE_KERNELS = """import json
for name in NAMES:
    print(json.dumps({"name": name, "us": 1e6}))
"""


class AgainstTorch(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.write("env.sh", f"export PATH={self.folder.name}:$PATH\n")
        os.symlink(sys.executable, os.path.join(self.folder.name, "python"))
        self.write("workloads.json", json.dumps(WORKLOADS))
        self.write("kernels.json", json.dumps(CASES))
        self.write("torch_kernels.py", FAKE_KERNELS.replace("NAMES", repr(NAMES + ["view/4/f32"])))

    def write(self, name, text):
        with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as file:
            file.write(text)

    def run_it(self, *args, loss=2.4):
        self.write("torch_train.py", FAKE_TRAIN.replace("LOSS", str(loss)))
        command = [sys.executable, AGAINST, self.folder.name, "--peers", self.folder.name, "--weft", PROGRAM, *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    def test_table(self):
        path = os.path.join(self.folder.name, "out.json")
        done = self.run_it("--rounds", "2", "--json", path, "--markdown")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        names = [f"{kind}/{name}" for kind in ("train", "infer") for name in WORKLOADS] + NAMES + ["view/4/f32"]
        self.assertEqual([row["name"] for row in found["rows"]], names)
        for row in found["rows"]:
            self.assertTrue(0 < row["least"] <= row["ratio"] * 1.001 and row["ratio"] <= row["greatest"] * 1.001 < 1, row)
            self.assertEqual(row["rounds"], 2)
            self.assertIn(f"| {row['name']} |", done.stdout)
        self.assertIn("3 kernels: geometric mean 0.00, 0 slower", done.stdout)

    def test_results_first(self):
        done = self.run_it("--rounds", "1", "--only", "train/mlp", loss=5.5)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("not measured: train/mlp: weft ends at", done.stdout)
        self.assertEqual(self.run_it("--rounds", "1", "--only", "train/mlp", loss="float('nan')").returncode, 1)

    def test_errors(self):
        done = self.run_it("--only", "nothing")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("no row matches nothing", done.stderr)
        os.remove(os.path.join(self.folder.name, "env.sh"))
        self.assertIn("setup.sh", self.run_it().stderr)
        os.remove(os.path.join(self.folder.name, "kernels.json"))
        self.assertIn("--peers", self.run_it().stderr)


class GpuCheck(unittest.TestCase):
    """tools/gpu_check: on the emulation all of its own work but PyTorch's; without a GPU one line and 77."""

    def test_it(self):
        script = os.path.join(os.path.dirname(AGAINST), "gpu_check")
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            done = subprocess.run([sys.executable, script, "--program", PROGRAM, "--out", out, "--quick", "--only", "info,bench", "--jobs", "2"],
                                  capture_output=True, text=True, timeout=280)
            if not cuda():
                self.assertEqual(done.returncode, 77, done.stderr)
                self.assertRegex(done.stderr, "^gpu_check: no GPU to check: [^\n]+\n$")
                return
            self.assertIn(done.returncode, (0, 1), done.stderr)
            with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
                found = json.load(file)
            self.assertEqual(set(found["parts"]), {"info", "bench"})
            self.assertGreater(len(found["bench"]), 40)
            self.assertLessEqual(len(os.listdir(out)), 8)
            with open(os.path.join(out, "report.txt"), encoding="utf-8") as file:
                self.assertIn("add/f32", file.read())


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
