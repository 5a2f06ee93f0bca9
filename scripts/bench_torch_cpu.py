#!/usr/bin/env python3
"""The long convolution on the CPU: this crate against torch.fft and torch's grouped conv1d.

    python3 scripts/bench_torch_cpu.py [--rounds 5] [--best-of 3] [--case TEXT]

Builds the benchmark `cpu` and runs its cases and the same ones in PyTorch in turns, so that
whatever else the machine does meets both alike. Prints, for each case, the shortest and the
median time of all rounds. Needs `pip install torch numpy`; both sides use all cores.

torch.fft: irfft(rfft(u, 2L) * rfft(k, 2L))[..., :L], the usual causal convolution by FFT.
conv1d: the direct sum, for kernels of up to 1024 taps.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def bench_binary():
    command = ["cargo", "bench", "--bench", "cpu", "--no-run", "--message-format=json"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "cpu":
            return message["executable"]
    raise SystemExit("cargo built no benchmark named cpu")


def ours(binary, best_of, case):
    env = dict(os.environ, FLASHFFTCONV_BEST_OF=str(best_of), FLASHFFTCONV_CASE=case)
    out = subprocess.run([binary], check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    return {name: float(seconds) for name, seconds in map(str.split, out.splitlines())}


def fft_conv(u, k, length):
    size = 2 * length
    y = torch.fft.irfft(torch.fft.rfft(u.float(), n=size) * torch.fft.rfft(k, n=size), n=size)
    return y[..., :length].to(u.dtype)


def direct_conv(u, k):
    taps = k.shape[1]
    padded = torch.nn.functional.pad(u, (taps - 1, 0))
    return torch.nn.functional.conv1d(padded, k.flip(1)[:, None, :].to(u.dtype), groups=k.shape[0])


def theirs(name, best_of):
    kind, dtype, shape, taps = name.split("/")
    batch, channels, length = map(int, shape.split("x"))
    taps = int(taps.removeprefix("taps"))
    make = lambda c: torch.randn(batch, c, length).to(DTYPES[dtype])
    k = torch.randn(channels, taps)
    if kind == "Gated":
        out_gate, in_gate, u = make(3 * channels).chunk(3, dim=1)
        runs = {"torch.fft": lambda: out_gate * fft_conv(in_gate * u, k, length)}
    elif kind == "Training":
        u = make(channels).requires_grad_()
        k.requires_grad_()
        runs = {"torch.fft": lambda: torch.autograd.grad(fft_conv(u, k, length).sum(), (u, k))}
    else:
        u = make(channels)
        if kind == "Prepared":
            k_f = torch.fft.rfft(k, n=2 * length)
            run = lambda: torch.fft.irfft(torch.fft.rfft(u, n=2 * length) * k_f, n=2 * length)[..., :length]
            runs = {"torch.fft": run}
        else:
            runs = {"torch.fft": lambda: fft_conv(u, k, length)}
            if taps <= 1024:
                runs["conv1d"] = lambda: direct_conv(u, k)
    best = {}
    for what, run in runs.items():
        run()
        times = []
        for _ in range(best_of if what == "torch.fft" else 1):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        best[what] = min(times)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--best-of", type=int, default=3)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    binary = bench_binary()
    times = {}
    for round_number in range(arguments.rounds):
        for name, seconds in ours(binary, arguments.best_of, arguments.case).items():
            row = times.setdefault(name, {})
            row.setdefault("ours", []).append(seconds)
            with torch.inference_mode(not name.startswith("Training")):
                for what, seconds in theirs(name, arguments.best_of).items():
                    row.setdefault(what, []).append(seconds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds, shortest (median)")
    print(f"{'case':44} {'ours':>19} {'torch.fft':>19} {'conv1d':>19} {'torch.fft / ours':>16}")
    for name, row in times.items():
        cell = lambda v: f"{1e3 * min(v):9.2f} ({1e3 * statistics.median(v):7.2f})" if v else "-"
        cells = " ".join(f"{cell(row.get(w)):>19}" for w in ("ours", "torch.fft", "conv1d"))
        print(f"{name:44} {cells} {min(row['torch.fft']) / min(row['ours']):16.2f}")


if __name__ == "__main__":
    main()
