#!/usr/bin/env python3
"""What `weft bench data` measures, with PyTorch's DataLoader: one JSON line. The same images, batches and workers: a
dataset that transforms sample by sample, and one that gathers and transforms a batch at once (__getitems__)."""
import argparse
import json
import time

import torch
from torch.utils.data import DataLoader, Dataset


class Single(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i].to(torch.float32).div_(255), self.labels[i]


class Gathered(Single):
    def __getitems__(self, indices):
        indices = torch.tensor(indices)
        return self.images[indices].to(torch.float32).div_(255), self.labels[indices]


def best(dataset, options, collate=None):
    """Samples a second of the best epoch."""
    loader = DataLoader(dataset, batch_size=options.batch, shuffle=True, num_workers=options.workers, collate_fn=collate,
                        persistent_workers=options.workers > 0)
    rates = []
    for _ in range(options.epochs):
        start, samples = time.perf_counter(), 0
        for x, y in loader:
            samples += len(y)
            assert x.dtype == torch.float32
        rates.append(samples / (time.perf_counter() - start))
        assert samples == len(dataset)
    return max(rates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=60000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    images = torch.randint(0, 256, (options.samples, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (options.samples,))
    print(json.dumps({
        "name": "torch_data", "torch": torch.__version__,
        "samples_per_s": best(Gathered(images, labels), options, collate=lambda batch: batch),
        "single_samples_per_s": best(Single(images, labels), options),
    }))
