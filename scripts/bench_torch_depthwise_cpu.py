"""Times PyTorch's grouped conv1d at the shapes of benches/depthwise_cpu.rs.

    python scripts/bench_torch_depthwise_cpu.py

Prints the shortest and the median time of a forward pass, in milliseconds.
"""

import statistics
import time

import torch

SHAPES = [(1, 768, 1024, 3), (1, 768, 32768, 3), (8, 2304, 128, 3), (4, 768, 1024, 7)]


def times(run, seconds=1.5):
    run()
    measured, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(measured) < 5:
        start = time.perf_counter()
        run()
        measured.append(1e3 * (time.perf_counter() - start))
    return min(measured), statistics.median(measured)


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for batch, channels, length, taps in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(batch, channels, length, dtype=dtype)
            weight = torch.randn(channels, 1, taps, dtype=dtype)
            bias = torch.randn(channels, dtype=dtype)
            with torch.no_grad():
                shortest, median = times(
                    lambda: torch.nn.functional.conv1d(
                        x, weight, bias, padding=taps - 1, groups=channels
                    )
                )
            name = str(dtype).removeprefix("torch.")
            print(f"{batch}x{channels}x{length} taps {taps} {name}: {shortest:.3f} (median {median:.3f})")


if __name__ == "__main__":
    main()
