#!/usr/bin/env python3
"""Writes tests/data/images: transforms.npz (torchvision's results) and small PNG and JPEG files with their pixels.

    make_golden_images.py [FOLDER]     needs torch, torchvision and Pillow
"""
import io
import os
import sys

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "images")
os.makedirs(folder, exist_ok=True)
rng = np.random.default_rng(7)


def smooth(channels, height, width):
    """A picture: waves and a little noise, so that JPEG has something to keep."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (4 + c)) + rng.normal(0, 8, (height, width)) for c in range(channels)]
    return np.clip(np.stack(planes), 0, 255).astype(np.uint8)


u8 = torch.from_numpy(smooth(3, 20, 30))
f32 = u8.float() / 255
results = {"u8": u8, "f32": f32}
for name, x in (("u8", u8), ("f32", f32)):
    cases = {
        "resize_9_11": v2.Resize((9, 11))(x),
        "resize_33_47": v2.Resize((33, 47))(x),
        "resize_20_7": v2.Resize((20, 7))(x),
        "resize_shorter_13": v2.Resize(13)(x),
        "resize_plain_9_11": v2.Resize((9, 11), antialias=False)(x),
        "resize_nearest_9_11": v2.Resize((9, 11), interpolation=InterpolationMode.NEAREST)(x),
        "center_crop_7_10": v2.CenterCrop((7, 10))(x),
        "center_crop_25_15": v2.CenterCrop((25, 15))(x),
        "pad_constant": v2.Pad([1, 2, 3, 4], fill=1)(x),
        "pad_edge": v2.Pad([1, 2], padding_mode="edge")(x),
        "pad_reflect": v2.Pad(3, padding_mode="reflect")(x),
        "gray": v2.Grayscale()(x),
        "gray3": v2.Grayscale(3)(x),
        "brightness": F.adjust_brightness(x, 1.4),
        "contrast": F.adjust_contrast(x, 0.6),
        "saturation": F.adjust_saturation(x, 1.7),
        "hue": F.adjust_hue(x, 0.3),
        "hue_back": F.adjust_hue(x, -0.21),
        "blur": F.gaussian_blur(x, [5, 3], [1.3, 1.3]),
        "rotate_30": F.rotate(x, 30),
        "rotate_90": F.rotate(x, 90),
        "rotate_bilinear": F.rotate(x, -17.5, interpolation=InterpolationMode.BILINEAR),
        "flip_h": F.horizontal_flip(x),
        "flip_v": F.vertical_flip(x),
    }
    results.update({f"{name}/{case}": value for case, value in cases.items()})
results["to_f32"] = F.to_dtype(u8, torch.float32, scale=True)
results["to_u8"] = F.to_dtype(f32, torch.uint8, scale=True)
results["to_i16"] = F.to_dtype(u8, torch.int16, scale=True)
results["from_i16"] = F.to_dtype(results["to_i16"], torch.uint8, scale=True)
results["normalize"] = F.normalize(f32, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
np.savez_compressed(os.path.join(folder, "transforms.npz"), **{k.replace("/", "."): v.contiguous().numpy() for k, v in results.items()})

gray, rgb, rgba = smooth(1, 9, 13), smooth(3, 9, 13), smooth(4, 9, 13)
hwc = lambda planes: np.ascontiguousarray(planes.transpose(1, 2, 0))
pictures = {
    "gray.png": (Image.fromarray(gray[0]), {}),
    "rgb.png": (Image.fromarray(hwc(rgb)), {}),
    "rgba.png": (Image.fromarray(hwc(rgba)), {}),
    "gray_alpha.png": (Image.fromarray(hwc(rgba[:2]), "LA"), {}),
    "palette.png": (Image.fromarray(hwc(rgb)).quantize(8), {}),
    "bits.png": (Image.fromarray(gray[0] > 127), {}),
    "rgb.jpg": (Image.fromarray(hwc(smooth(3, 24, 33))), {"quality": 90}),
    "gray.jpg": (Image.fromarray(smooth(1, 9, 13)[0]), {"quality": 90}),
    "progressive.jpg": (Image.fromarray(hwc(smooth(3, 24, 33))), {"quality": 80, "progressive": True}),
    "cmyk.jpg": (Image.fromarray(hwc(smooth(4, 16, 16)), "CMYK"), {"quality": 90}),
}
pixels = {}
for name, (picture, options) in pictures.items():
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if name.endswith("png") else "JPEG", **options)
    data = buffer.getvalue()
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    if name != "cmyk.jpg":
        pixels[name] = decode_image(raw).numpy()
    pixels[name + ".rgb"] = decode_image(raw, ImageReadMode.RGB).numpy()
    pixels[name + ".gray"] = np.asarray(picture.convert("L"))[None] if name == "rgb.png" else decode_image(raw, ImageReadMode.GRAY).numpy()
np.savez_compressed(os.path.join(folder, "pixels.npz"), **pixels)
