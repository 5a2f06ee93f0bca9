"""Rows of 65536 to 8388608 samples in several passes: error against float64, and time.

    python3 long_rows.py [SIZES, comma-separated] [--time] [--cubins FOLDER]

FOLDER holds long_rows.cubin and long_spectrum.cubin; without it nvcc makes them. Times are scaled to batch 64 and 768
channels from 5e8 samples, launches in a CUDA graph: all passes, then sums, columns, rows (with the columns of 16
points around them), columns back.
"""
import argparse
import ctypes
import os
import struct
import subprocess
import tempfile

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE = "cuda"
ROW, PARTS, TILE, BUTTERFLY = 2048, 32, 64, 8
lane = np.arange(32)
g, t, i16 = lane >> 2, lane & 3, np.arange(16)
driver = ctypes.CDLL("libcuda.so.1")


def check(result):
    assert result == 0, f"CUDA error {result}"


def cis(turns):
    return np.exp(2j * np.pi * turns)


def pack(low, high):
    word = lambda x: np.float16(x).view(np.uint16).astype(np.uint32)
    return word(low) | word(high) << 16


def left(m):
    return np.stack([pack(m[g + r, 2 * t + c], m[g + r, 2 * t + c + 1]) for r, c in ((0, 0), (8, 0), (0, 8), (8, 8))], -1)


def right(m):
    return np.stack([pack(m[2 * t + r, g + c], m[2 * t + r + 1, g + c]) for r, c in ((0, 0), (8, 0), (0, 8), (8, 8))], -1)


def reversed_bits(i, count):
    return int(format(i, f"0{count.bit_length() - 1}b")[::-1], 2)


def tables(points, weight=0.25):
    """Columns of `points`, back, columns of 16, back, rows: entries of 32 lanes, 4 words each."""
    butterfly = points // 16
    dft = cis(-np.outer(i16, i16) / 16) / 4
    forward = []
    for j in range(butterfly):
        x = i16 * butterfly + j
        forward.append(dft * cis(-i16[:, None] * j / points + weight * x / points) / butterfly**0.5)
    entries = [part(m) for m in forward for part in (lambda m: left(m.real), lambda m: left(m.imag))]
    for m in forward:
        inverse = m.conj().T
        entries += [left(inverse.real), left(-inverse.imag)]
    entries += [left(dft.real), left(dft.imag), left(dft.real), left(-dft.imag)]
    entries += [left(dft.real), left(dft.imag), right(dft.real), right(dft.imag)]
    entries += [left(dft.real), left(-dft.imag), right(dft.real), right(-dft.imag)]
    twiddle = cis(-np.outer(i16, i16) / 256)
    entries += [left(twiddle.real), left(twiddle.imag), left(twiddle.real.T), left(-twiddle.imag.T)]
    for q in range(4):
        k = lambda low: (g + 8 * (q & 1)) + 16 * (2 * t + low + 8 * (q >> 1))
        factors = [[cis(-k(low) * j / ROW) for low in (0, 1)] for j in range(BUTTERFLY)]
        words = [pack(a.real, b.real) for a, b in factors] + [pack(a.imag, b.imag) for a, b in factors]
        entries += [np.stack(words[i : i + 4], -1) for i in range(0, 2 * BUTTERFLY, 4)]
    return np.stack(entries).astype(np.uint32).reshape(-1)


def exact_spectrum(k, size):
    """In the order of long_spectrum.cu, from float64."""
    first = size // ROW
    inner = 16 if first > 256 else 1
    rows = np.arange(first)
    frequency = rows // inner + first // inner * (rows % inner)
    index = np.zeros((first, 4, BUTTERFLY, 32, 2), np.int64)
    for q in range(4):
        for j in range(BUTTERFLY):
            for low in (0, 1):
                k1 = (g + 8 * (q & 1)) + 16 * (2 * t + low + 8 * (q >> 1)) + 256 * reversed_bits(j, BUTTERFLY)
                index[:, q, j, :, low] = frequency[:, None] + first * k1[None]
    n = torch.arange(size, device=DEVICE, dtype=torch.float64)
    c = torch.nn.functional.pad(k.double(), (0, size - k.shape[1]))
    scale = 2.0 ** torch.floor(torch.log2(c.norm(dim=1)))
    values = torch.fft.fft(c * torch.exp(1j * torch.pi * n / (2 * size))) / BUTTERFLY / scale[:, None]
    values = torch.view_as_real(values[:, torch.from_numpy(index).to(DEVICE)]).half()
    values = values.reshape(len(k), first, 4, 2, 4, 32, 2, 2).permute(0, 1, 2, 3, 7, 5, 4, 6)
    return values.contiguous().view(len(k), -1), scale.float()


class Kernels:
    def __init__(self, folder):
        self.modules = []
        for name in ("long_rows", "long_spectrum"):
            path = os.path.join(folder, name + ".cubin")
            if not os.path.exists(path):
                includes = "-I" + os.path.join(HERE, "..", "..", "cuda")
                source = os.path.join(HERE, name + ".cu")
                command = ["nvcc", "-arch=sm_90", "-O3", "--std=c++17", includes, "-cubin", "-o", path, source]
                subprocess.run(command, check=True)
            module = ctypes.c_void_p()
            with open(path, "rb") as file:
                check(driver.cuModuleLoadData(ctypes.byref(module), file.read() + b"\0"))
            self.modules.append(module)

    def function(self, name, shared=0):
        function = ctypes.c_void_p()
        module = self.modules[name == "spectrum_long"]
        check(driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
        check(driver.cuFuncSetAttribute(function, 8, shared))
        return function


def launch(function, grid, threads, shared, structure, *rest):
    buffer = ctypes.create_string_buffer(structure, len(structure))
    pointers = [ctypes.cast(buffer, ctypes.c_void_p)]
    pointers += [ctypes.cast(ctypes.pointer(x), ctypes.c_void_p) for x in rest]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    arguments = (ctypes.c_void_p * len(pointers))(*pointers)
    check(driver.cuLaunchKernel(function, grid[0], grid[1], 1, threads, 1, 1, shared, stream, arguments, None))


def spectrum(kernels, k, size):
    channels, taps = k.shape
    first = size // ROW
    words = torch.empty(channels, 2 * size, device=DEVICE, dtype=torch.float16)
    unscale = torch.empty(channels, device=DEVICE)
    lags = struct.pack("<Qqqqqqqqfi", k.data_ptr(), k.stride(0), min(size, taps), 1, 1, 0, 0, channels, 0.25, 0)
    rest = ctypes.c_void_p(words.data_ptr()), ctypes.c_void_p(unscale.data_ptr()), ctypes.c_int(first)
    inner = ctypes.c_int(16 if first > 256 else 1)
    launch(kernels.function("spectrum_long"), (channels * first, 1), 128, 0, lags, *rest, inner)
    return words, unscale


class Convolution:
    def __init__(self, kernels, size, dtype, gated, whole, workspace=32 << 20):
        self.size, self.first = size, size // ROW
        self.middle = 16 if self.first > 256 else 1
        self.columns = self.first // self.middle
        butterfly = self.columns // 16
        name = "bf16" if dtype == torch.bfloat16 else "f16"
        variant = f"{name}_{'gated' if gated else 'plain'}_{'whole' if whole else 'general'}"
        arithmetic = "fast" if dtype == torch.bfloat16 else "precise"
        self.column_shared = butterfly * 1024 + self.columns * 256
        self.sums = kernels.function(f"long_sums_{variant}")
        self.scales = kernels.function("long_scales")
        self.forward = kernels.function(f"long_columns_{butterfly}_{variant}", self.column_shared)
        self.inverse = kernels.function(f"long_inverse_columns_{butterfly}_{variant}", self.column_shared)
        self.rows = kernels.function(f"long_rows_2048_{arithmetic}")
        self.between = [kernels.function(f"long_{i}middle_{arithmetic}") for i in ("", "inverse_")]
        entries = np.cumsum([0, 2 * butterfly, 2 * butterfly, 2, 2]) * 512
        self.tables, self.offsets = torch.from_numpy(tables(self.columns).view(np.int32)).to(DEVICE), entries
        self.group = max(1, workspace // (4 * size))
        self.workspace = torch.empty(self.group * size, device=DEVICE, dtype=torch.int32)
        self.squares = torch.zeros(self.group * PARTS, device=DEVICE, dtype=torch.float64)
        self.row_scales = torch.ones(self.group, device=DEVICE)
        self.multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count

    def __call__(self, u, in_gate, out_gate, y, words, unscale, passes=(0, 1, 2, 3)):
        batch, channels, length = u.shape
        aligned = lambda x: x.data_ptr() % 16 == 0 and x.stride(0) % 8 == 0 and x.stride(1) % 8 == 0
        vectors = int(length % 8 == 0 and all(map(aligned, (u, in_gate, out_gate, y))))
        sequences = b"".join(struct.pack("<Qqq", x.data_ptr(), *x.stride()[:2]) for x in (u, in_gate, out_gate, y))
        for first in range(0, batch * channels, self.group):
            rows = min(self.group, batch * channels - first)

            def go(function, blocks, threads, shared, table, count=rows, points=self.size // self.columns, extra=()):
                addresses = words.data_ptr(), unscale.data_ptr(), self.tables.data_ptr() + int(self.offsets[table])
                group = sequences + struct.pack("<QQQiiiiii", *addresses, batch, channels, length, vectors, 0, 0)
                memory = self.workspace.data_ptr(), self.squares.data_ptr(), self.row_scales.data_ptr()
                group += struct.pack("<QQQiiif", *memory, first, count, points, 0.25)
                launch(function, blocks, threads, shared, group, *map(ctypes.c_int, extra))

            most = lambda blocks, held: (min(blocks, held * self.multiprocessors), 1)
            column_blocks = most(rows * (self.size // self.columns) // TILE, 3 if self.columns == 32 else 2)
            middle = most(rows * self.columns * ROW // TILE, 6), 256, 1024 + 16 * 256
            if 0 in passes:
                go(self.sums, (PARTS, rows), 256, 0, 0, extra=[self.size])
                go(self.scales, ((rows + 7) // 8, 1), 256, 0, 0, extra=[self.size])
            if 1 in passes:
                go(self.forward, column_blocks, 256, self.column_shared, 0)
            if 2 in passes:
                if self.middle > 1:
                    go(self.between[0], *middle, 2, rows * self.columns, ROW)
                go(self.rows, most((rows * self.first + 3) // 4, 4), 128, 28 * 512, 4, extra=[self.first])
                if self.middle > 1:
                    go(self.between[1], *middle, 3, rows * self.columns, ROW)
            if 3 in passes:
                go(self.inverse, column_blocks, 256, self.column_shared, 1)


def reference(u, in_gate, out_gate, k, size, gated):
    v = u.double() * in_gate.double() if gated else u.double()
    y = torch.fft.irfft(torch.fft.rfft(v, 2 * size) * torch.fft.rfft(k.double(), 2 * size), 2 * size)[..., : u.shape[-1]]
    return y * out_gate.double() if gated else y


def error(y, want):
    return ((y.double() - want).norm() / want.norm()).item()


def data(batch, channels, length, dtype):
    random = lambda: torch.randn(batch, channels, length, device=DEVICE).to(dtype)
    decay = torch.exp(-6 * torch.arange(length, device=DEVICE) / length) / length**0.5
    return random(), random(), random(), torch.randn(channels, length, device=DEVICE) * decay


def errors(kernels, size, dtype, gated):
    """Plain; scaled; a row with an outlier; an impulse; whether a NaN stays in its row; odd places and lengths."""
    u, in_gate, out_gate, k = data(2, 3, size, dtype)
    words, unscale = spectrum(kernels, k, size)
    exact, exact_scale = exact_spectrum(k, size)
    found = [error(words, exact.double()), float((unscale != exact_scale).sum())]
    convolution = Convolution(kernels, size, dtype, gated, True)
    y = torch.full_like(u, float("nan"))
    convolution(u, in_gate, out_gate, y, words, unscale)
    found.append(error(y, reference(u, in_gate, out_gate, k, size, gated)))
    u *= 2.0**20 if dtype == torch.bfloat16 else 2.0**-9
    u[1, 0, 3] = 1e4
    u[0, 2, 5] = float("nan")
    u[1, 2] = 0
    u[1, 2, 7] = 1
    convolution(u, in_gate, out_gate, y, words, unscale)
    want = reference(u, in_gate, out_gate, k, size, gated)
    found += [error(y[0, 0], want[0, 0]), error(y[1, 0], want[1, 0]), error(y[1, 2], want[1, 2])]
    bad = ~torch.isfinite(y).all(-1)
    alone = bool(bad[0, 2]) and int(bad.sum()) == 1
    length = size - size // 3 - 1
    u, in_gate, out_gate, k = data(2, 3, length + 1, dtype)
    u, in_gate, out_gate, k = u[..., 1:], in_gate[..., :length], out_gate[..., 1:], k[:, :length].contiguous()
    words, unscale = spectrum(kernels, k, size)
    y = torch.full((2, 3, length), float("nan"), device=DEVICE, dtype=dtype)
    Convolution(kernels, size, dtype, gated, False)(u, in_gate, out_gate, y, words, unscale)
    found.append(error(y, reference(u, in_gate, out_gate, k, size, gated)))
    return " ".join(f"{x:.2e}" for x in found) + (" alone" if alone else " NaN SPREADS")


def milliseconds(call, repetitions=5):
    call()
    torch.cuda.synchronize()
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream):
        call()
    graph.replay()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repetitions + 1)]
    events[0].record()
    for event in events[1:]:
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) for a, b in zip(events, events[1:]))[repetitions // 2]


def times(kernels, size):
    batch = 64 if size <= 131072 else 16 if size <= 1 << 19 else 4
    channels = max(1, (1 << 29) // (batch * size))
    u, in_gate, out_gate, k = data(batch, channels, size, torch.bfloat16)
    y, scale = torch.empty_like(u), 64 * 768 / (batch * channels)
    words, unscale = spectrum(kernels, k, size)
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    spectrum(kernels, k, size)
    end.record()
    torch.cuda.synchronize()
    print(f"  spectrum of a channel {start.elapsed_time(end) / channels:.3f} ms, B = {batch}, H = {channels}")
    for gated, whole in ((False, True), (True, True), (True, False)):
        convolution = Convolution(kernels, size, torch.bfloat16, gated, whole)
        ms = lambda passes: scale * milliseconds(lambda: convolution(u, in_gate, out_gate, y, words, unscale, passes))
        parts = " ".join(f"{ms((i,)):.2f}" for i in range(4))
        name = f"{'gated' if gated else 'plain'} {'whole' if whole else 'general'}"
        print(f"  {name}: {ms((0, 1, 2, 3)):.2f} ms = {parts}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="?", default=",".join(str(1 << i) for i in range(16, 24)))
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--cubins")
    arguments = parser.parse_args()
    torch.zeros(1, device=DEVICE)  # makes the context
    torch.manual_seed(0)
    kernels = Kernels(arguments.cubins or tempfile.mkdtemp())
    print("errors: spectrum, scales that differ, plain, scaled, outlier, impulse, odd places and length; NaN")
    for size in map(int, arguments.sizes.split(",")):
        for dtype in (torch.bfloat16, torch.float16):
            for gated in (False, True):
                what = f"P = {size} {str(dtype)[6:]} {'gated' if gated else 'plain'}"
                print(f"{what}: {errors(kernels, size, dtype, gated)}", flush=True)
        if arguments.time:
            times(kernels, size)


if __name__ == "__main__":
    main()
