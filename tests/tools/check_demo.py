#!/usr/bin/env python3
"""check_demo.py PROGRAM: `weft demo` from the outside: files, resuming, interruption, errors. Tiny models, seconds in all."""
import gzip
import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

PROGRAM = ""
TINY = ["--layers", "1", "--heads", "2", "--embd", "16", "--block", "8", "--batch", "4"]
TEXT = "".join(f"{i} times {i} is {i * i}.\n" for i in range(300))


def weft(*args, **more):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=300, **more)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def checkpoint_of(path):
    """The dict in a .pt file, without torch: tensors become their names' stand-ins."""
    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            return (lambda *a: dict()) if name == "OrderedDict" else (lambda *a: (name, a))

        def persistent_load(self, pid):
            return pid

    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        with archive.open(name) as file:
            return Reader(file).load()


def safetensors_header(path):
    data = read(path)
    return json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.text = self.path("text.txt")
        with open(self.text, "w", encoding="utf-8") as file:
            file.write(TEXT)

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def gpt(self, *args, **more):
        return weft("demo", "gpt", "--text", self.text, *TINY, *args, **more)

    def succeed(self, done):
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done

    def refuse(self, code, pattern, done):
        """One clear line on stderr, and the exit code."""
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def run_json(self, *args):
        self.succeed(self.gpt("--json", self.path("run.json"), *args))
        return json.loads(read(self.path("run.json")))

    def test_json(self):
        run = self.run_json("--steps", 30, "--threads", 1)
        self.assertEqual([row[0] for row in run["loss"]], list(range(1, 31)))
        self.assertIsNotNone(run["loss"][0][2])
        self.assertIsNotNone(run["loss"][-1][2])
        self.assertIsNone(run["loss"][1][2])
        self.assertLess(run["final"]["val"], run["loss"][0][2])
        self.assertAlmostEqual(run["loss"][0][1], run["loss"][0][2], delta=0.2)
        self.assertEqual(run["settings"]["steps"], 30)
        self.assertEqual(run["settings"]["threads"], 1)
        for name in ("tokens_per_s", "wall_s", "peak_mb"):
            self.assertGreater(run[name], 0)
        self.assertEqual(len(run["sample"]), 1000)
        self.assertLessEqual(set(run["sample"]), set(TEXT))

    def test_files(self):
        done = self.succeed(self.gpt("--steps", 5, "--out", self.path("new", "out")))
        self.assertIn("validation loss", done.stdout)
        self.assertEqual(sorted(os.listdir(self.path("new", "out"))), ["checkpoint.pt", "model.safetensors", "report.html"])
        saved = checkpoint_of(self.path("new", "out", "checkpoint.pt"))
        for key in ("epoch", "step", "loss", "model_state_dict", "optimizer_state_dict", "rng", "settings"):
            self.assertIn(key, saved)
        self.assertEqual(saved["step"], 5)
        self.assertEqual(saved["settings"]["block"], 8)
        self.assertEqual(saved["settings"]["vocabulary"], "".join(sorted(set(TEXT))))
        self.assertLessEqual({"wte.weight", "head.weight"}, set(saved["model_state_dict"]))
        stored = safetensors_header(self.path("new", "out", "model.safetensors"))
        self.assertEqual(len({"wte.weight", "head.weight"} & set(stored)), 1)
        page = read(self.path("new", "out", "report.html")).decode()
        self.assertIn("<polyline class=\"train\"", page)
        self.assertNotIn("http", page.replace("http-equiv", ""))

    def test_resume(self):
        """Any number of threads and workers, before and behind the stop."""
        for more in ([], ["--optimizer", "sgd", "--schedule", "step:4"], ["--accumulate", "2", "--schedule", "constant"],
                     ["--amp", "f16", "--schedule", "OneCycleLR", "--save-every", "3"], ["--checkpointing", "--schedule", "ReduceLROnPlateau:patience=0"]):
            with self.subTest(more=more):
                whole = self.run_json("--steps", 12, "--out", self.path("whole"), "--threads", 2, *more)
                self.succeed(self.gpt("--steps", 7, "--out", self.path("half"), "--threads", 1, "--workers", 3, *more))
                rest = weft("demo", "gpt", "--resume", self.path("half", "checkpoint.pt"), "--steps", 12, "--out", self.path("rest"),
                            "--json", self.path("rest.json"), "--workers", 1)
                self.succeed(rest)
                resumed = json.loads(read(self.path("rest.json")))
                self.assertEqual(whole["loss"], resumed["loss"])
                self.assertEqual(whole["sample"], resumed["sample"])
                for name in ("model.safetensors", "checkpoint.pt"):
                    self.assertEqual(read(self.path("whole", name)), read(self.path("rest", name)), name)

    def test_modes(self):
        eager = self.run_json("--steps", 6, "--accumulate", 2, "--out", self.path("eager"))
        for mode in ("default", "reduce-overhead", "max-autotune"):
            with self.subTest(mode=mode):
                fast = self.run_json("--steps", 6, "--accumulate", 2, "--mode", mode, "--out", self.path(mode))
                self.assertEqual(eager["loss"], fast["loss"])
                self.assertEqual(read(self.path("eager", "model.safetensors")), read(self.path(mode, "model.safetensors")))

    def test_resume_refused(self):
        self.succeed(self.gpt("--steps", 3, "--out", self.path("out")))
        checkpoint = self.path("out", "checkpoint.pt")
        def resume(*args):
            return weft("demo", "gpt", "--resume", *args)
        self.refuse(2, "--embd.*trained with 16", resume(checkpoint, "--embd", 32))
        self.refuse(2, "--batch.*trained with 4", resume(checkpoint, "--batch", 8))
        self.refuse(1, "give more --steps", resume(checkpoint))
        self.refuse(1, "is a checkpoint of weft demo gpt, not mnist", weft("demo", "mnist", "--resume", checkpoint))
        with open(self.path("other.txt"), "w") as file:
            file.write(TEXT * 2)
        self.refuse(1, "other data", resume(checkpoint, "--steps", 5, "--text", self.path("other.txt")))
        whole = read(checkpoint)
        for damaged in (b"", whole[:100], whole[:len(whole) // 2], whole[:-1], b"PK\3\4" + bytes(1000), whole[:2000] + bytes(500) + whole[2500:]):
            with open(self.path("damaged.pt"), "wb") as file:
                file.write(damaged)
            self.refuse(1, "damaged.pt", resume(self.path("damaged.pt"), "--steps", 5))
        self.refuse(1, "not a checkpoint of weft demo", resume(self.path("out", "model.safetensors"), "--steps", 5))
        self.refuse(1, "nowhere", resume(self.path("nowhere.pt"), "--steps", 5))

    def test_amp(self):
        whole, half = self.run_json("--steps", 20, "--threads", 1), self.run_json("--steps", 20, "--threads", 1, "--amp", "bf16")
        self.assertEqual((whole["settings"]["amp"], half["settings"]["amp"]), ("none", "bf16"))
        self.assertNotEqual(whole["loss"], half["loss"])
        self.assertAlmostEqual(whole["final"]["val"], half["final"]["val"], delta=0.05)

    def test_what_changes_no_bits(self):
        whole = self.run_json("--steps", 8, "--accumulate", 2)
        for more in (["--workers", 4], ["--checkpointing"], ["--save-every", 1, "--out", self.path("out")]):
            with self.subTest(more=more):
                run = self.run_json("--steps", 8, "--accumulate", 2, *more)
                self.assertEqual((run["loss"], run["sample"]), (whole["loss"], whole["sample"]))

    def test_schedules(self):
        """Every schedule trains, and goes on where it stopped; another one, or another --lr, begins at the same step."""
        names = ["StepLR:step_size=2,gamma=0.5", "MultiStepLR:milestones=2+4", "ConstantLR", "LinearLR:total_iters=6", "ExponentialLR", "PolynomialLR",
                 "CosineAnnealingLR:T_max=6", "CosineAnnealingWarmRestarts:T_0=3", "CyclicLR:step_size_up=2", "OneCycleLR:total_steps=1000", "ReduceLROnPlateau"]
        for name in names:
            with self.subTest(name=name):
                whole = self.run_json("--steps", 6, "--schedule", name)
                self.assertNotEqual(whole["settings"]["schedule"], name.split(":")[0])
                self.succeed(self.gpt("--steps", 3, "--schedule", name, "--out", self.path("half")))
                self.succeed(weft("demo", "gpt", "--resume", self.path("half", "checkpoint.pt"), "--steps", 6, "--json", self.path("rest.json")))
                self.assertEqual(whole["loss"], json.loads(read(self.path("rest.json")))["loss"])
        self.succeed(weft("demo", "gpt", "--resume", self.path("half", "checkpoint.pt"), "--steps", 6, "--schedule", "LinearLR", "--lr", "0.5"))
        for text, pattern in (("StepLR:gamma", "StepLR takes step_size, gamma, not 'gamma'"), ("LinearLR:total_iters=0", "'0' is no value of total_iters"),
                              ("constant:3", "constant takes no number"), ("StepLR:gamma=1+2", "takes one number"), ("LambdaLR", "'LambdaLR' is no schedule")):
            self.refuse(2, pattern, self.gpt("--schedule", text))

    def test_interrupt(self):
        command = [PROGRAM, "demo", "gpt", "--text", self.text, *TINY, "--steps", "1000000", "--out", self.path("out"), "--json", self.path("run.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                if line.startswith("step"):
                    break
            running.send_signal(signal.SIGINT)
            rest = running.stdout.read()
            self.assertEqual(running.wait(60), 0)
        self.assertIn("stopped at step", rest)
        rows = json.loads(read(self.path("run.json")))["loss"]
        self.assertLess(len(rows), 1000000)
        self.assertIsNotNone(rows[-1][2])
        self.assertEqual(checkpoint_of(self.path("out", "checkpoint.pt"))["step"], len(rows))
        self.succeed(weft("demo", "gpt", "--resume", self.path("out", "checkpoint.pt"), "--steps", len(rows) + 2))

    def test_arguments_refused(self):
        for args, pattern in ((["--steps", "-1"], "--steps"), (["--steps", "0"], "--steps"), (["--steps", "many"], "--steps"), (["--unknown"], "--unknown"),
                              (["--lr", "-1"], "--lr"), (["--lr", "nan"], "--lr"), (["--batch", "0"], "--batch"), (["--optimizer", "magic"], "--optimizer"),
                              (["--schedule", "cosine:0"], "--schedule"), (["--schedule", "sometimes"], "--schedule"), (["--heads", "3"], "divided"),
                              (["--device", "cuda:9"], "no device cuda:9: .*CUDA"), (["--device", "toaster"], "toaster"), (["--amp", "f64"], "--amp"), (["--mode", "magic"], "--mode"), (["--threads", "0"], "--threads"),
                              (["--seed", "-5"], "--seed"), (["--workers", "-1"], "--workers"), (["--save-every", "0"], "--save-every"), (["--data", "x"], "--data"), (["--prompt", ""], "--prompt")):
            with self.subTest(args=args):
                self.refuse(2, pattern, self.gpt(*args))
        self.refuse(2, "subcommand", weft("demo"))

    def test_generate(self):
        """A saved model writes on from a prompt, without the text it learnt; keys and values kept or not, the same."""
        run = self.run_json("--steps", 20, "--out", self.path("out"))
        self.assertGreater(run["sample_per_s"], 0)
        checkpoint = self.path("out", "checkpoint.pt")
        os.remove(self.text)
        def write(*args):
            return weft("demo", "gpt", "--resume", checkpoint, "--generate", "--json", self.path("text.json"), *args)
        def text(*args):
            done = self.succeed(write(*args))
            sample = json.loads(read(self.path("text.json")))["sample"]
            self.assertIn(sample, done.stdout)
            return sample
        self.assertEqual(text(), run["sample"])
        self.assertEqual(text("--no-cache"), run["sample"])
        self.assertNotEqual(text("--seed", 2), run["sample"])
        greedy = text("--prompt", "12 times", "--length", 100, "--temperature", 0)
        self.assertEqual(len(greedy), len("12 times") + 100)
        self.assertTrue(greedy.startswith("12 times"))
        for more in (["--no-cache"], ["--top-k", 1, "--temperature", 2], ["--seed", 2]):
            self.assertEqual(text("--prompt", "12 times", "--length", 100, "--temperature", 0, *more), greedy)
        before = read(self.path("text.json"))
        for args, pattern in ((["--prompt", ""], "--prompt.*empty"), (["--length", 0], "--length"), (["--length", -1], "--length"), (["--top-k", -1], "--top-k"),
                              (["--temperature", -1], "--temperature"), (["--temperature", "nan"], "--temperature"), (["--out", self.path("out")], "--out")):
            self.refuse(2, pattern, write(*args))
        self.refuse(2, "--resume", weft("demo", "gpt", "--generate"))
        self.refuse(1, "character 2 of --prompt, '世', is not in the text", write("--prompt", "1世"))
        self.refuse(1, "not UTF-8", write("--prompt", b"1\xff".decode("utf-8", "surrogateescape")))
        self.assertEqual(read(self.path("text.json")), before)

    def test_settings_of_a_damaged_checkpoint(self):
        self.succeed(self.gpt("--steps", 2, "--out", self.path("out")))
        with zipfile.ZipFile(self.path("out", "checkpoint.pt")) as whole, zipfile.ZipFile(self.path("damaged.pt"), "w") as damaged:
            for name in whole.namelist():
                data = whole.read(name)
                if name.endswith("data.pkl"):
                    self.assertEqual(data.count(b"headsK\x02"), 1)
                    data = data.replace(b"headsK\x02", b"headsK\x00")
                damaged.writestr(name, data)
        for more in (["--steps", 4], ["--generate"]):
            self.refuse(1, "damaged.pt' has 0 as heads", weft("demo", "gpt", "--resume", self.path("damaged.pt"), *more))

    def test_text_refused(self):
        for content, pattern in ((b"", "is empty"), (b"too short", "--block 8 needs 18"), (b"caf\xe9 " * 100, "not UTF-8 text at byte 3"), (None, "nowhere.txt")):
            with self.subTest(content=content):
                path = self.path("nowhere.txt") if content is None else self.path("bad.txt")
                if content is not None:
                    with open(path, "wb") as file:
                        file.write(content)
                self.refuse(1, pattern, weft("demo", "gpt", *TINY, "--steps", 2, "--text", path))

    def test_any_alphabet(self):
        with open(self.text, "w", encoding="utf-8") as file:
            file.write("Grüße, мир, 世界 🙂. " * 40)
        run = self.run_json("--steps", 4)
        self.assertIn("世", "Grüße, мир, 世界 🙂. ")
        self.assertEqual(len(run["sample"]), 1000)
        self.assertLessEqual(set(run["sample"]), set("Grüße, мир, 世界 🙂. "))

    def test_outputs_refused(self):
        self.refuse(1, "text.txt", self.gpt("--steps", 2, "--out", os.path.join(self.text, "out")))
        self.refuse(1, "nowhere", self.gpt("--steps", 2, "--json", self.path("nowhere", "run.json")))
        self.assertFalse(os.path.exists(self.path("nowhere")))
        self.refuse(1, "No space left", self.gpt("--steps", 2, "--quiet", "--json", "/dev/full"))
        if os.geteuid() != 0:  # root may write anywhere
            os.mkdir(self.path("locked"), 0o500)
            self.refuse(1, "Permission denied", self.gpt("--steps", 2, "--out", self.path("locked")))

    def test_failed_save_keeps_what_was_there(self):
        out = self.path("out")
        self.succeed(self.gpt("--steps", 3, "--out", out))
        before = {name: read(os.path.join(out, name)) for name in os.listdir(out)}

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        self.refuse(1, "cannot write '.*checkpoint.pt'", self.gpt("--steps", 4, "--out", out, preexec_fn=small_files))
        self.assertEqual(before, {name: read(os.path.join(out, name)) for name in os.listdir(out)})
        self.succeed(weft("demo", "gpt", "--resume", os.path.join(out, "checkpoint.pt"), "--steps", 5))

    def test_mnist(self):
        self.succeed(weft("demo", "mnist", "--steps", 6, "--batch", 8, "--out", self.path("whole"), "--json", self.path("run.json")))
        run = json.loads(read(self.path("run.json")))
        self.assertGreater(run["images_per_s"], 0)
        self.assertGreaterEqual(run["final"]["accuracy"], 0)
        self.assertIn("<figure", read(self.path("whole", "report.html")).decode())
        self.succeed(weft("demo", "mnist", "--steps", 4, "--batch", 8, "--out", self.path("half"), "--workers", 2))
        self.succeed(weft("demo", "mnist", "--steps", 6, "--resume", self.path("half", "checkpoint.pt"), "--json", self.path("rest.json")))
        self.assertEqual(run["loss"], json.loads(read(self.path("rest.json")))["loss"])

    def write_idx(self, prefix, count, size=8):
        images = struct.pack(">I3I", 0x803, count, size, size) + bytes(i * 7 % 256 for i in range(count * size * size))
        labels = struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))
        with gzip.open(self.path(prefix + "-images-idx3-ubyte.gz"), "wb") as file:
            file.write(images)
        with open(self.path(prefix + "-labels-idx1-ubyte"), "wb") as file:
            file.write(labels)

    def test_mnist_files(self):
        def mnist(*args):
            return weft("demo", "mnist", "--data", self.folder.name, "--steps", 2, "--batch", 4, *args)
        self.refuse(1, "t10k-images-idx3-ubyte", mnist())
        self.write_idx("t10k", 50)
        self.assertIn("45 pictures, tested on 5", self.succeed(mnist()).stdout)
        self.refuse(1, "more than the 45 training pictures", mnist("--batch", 46))
        self.write_idx("train", 30)
        self.assertIn("30 pictures, tested on 50", self.succeed(mnist()).stdout)
        path = self.path("train-images-idx3-ubyte.gz")
        whole = read(path)
        with open(path, "wb") as file:
            file.write(whole[:-20])
        self.refuse(1, "truncated", mnist())


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
