#!/usr/bin/env python3
"""Writes the PyTorch archives that the tests read, and what they hold as safetensors.

    python scripts/make_torch_checkpoints.py tests/data

Needs torch, numpy, safetensors and omegaconf.

torch_lightning.ckpt   laid out as a Lightning checkpoint of a HyenaDNA training run: state_dict with shared
                       frequencies, strided views, several dtypes and torchmetrics entries; Adam's state after one
                       step; a scheduler; callbacks with a path and numpy numbers; the configuration as omegaconf objects.
torch_protocol_N.pt    a plain state dict in pickle protocol N.
"""
import collections
import pathlib
import sys

import numpy as np
import omegaconf
import torch
from safetensors.torch import save_file


class Filter(torch.nn.Module):
    """The names of HyenaDNA's filter network: one frequency under two names."""

    def __init__(self):
        super().__init__()
        sine = torch.nn.Module()
        sine.freq = torch.nn.Parameter(10 * torch.ones(1, 8))
        self.implicit_filter = torch.nn.Sequential(
            torch.nn.Linear(5, 8), sine, torch.nn.Linear(8, 8), sine, torch.nn.Linear(8, 4, bias=False)
        )
        self.register_buffer("deltas", torch.linspace(-3, -15, 4).view(1, 1, 4))
        self.register_buffer("step", torch.tensor(7))


def lightning():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = Filter()
    model.lm_head = torch.nn.Linear(4, 16, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    sum(p.square().sum() for p in model.parameters()).backward()
    optimizer.step()
    scheduler.step()
    root = torch.nn.Module()
    root.model = model
    state = root.state_dict()
    base = torch.arange(60, dtype=torch.float32).view(5, 12)
    state["view.transposed"] = base.t()
    state["view.columns"] = base[:, 3:7]
    state["view.steps"] = base[::2, 1::3]
    state["view.row"] = base[2]
    state["dtype.half"] = torch.randn(3, 3).half()
    state["dtype.bfloat16"] = torch.randn(3, 3).bfloat16()
    state["dtype.double"] = torch.randn(3).double()
    state["dtype.int32"] = torch.tensor([-1, 2**31 - 1], dtype=torch.int32)
    state["dtype.int16"] = torch.tensor([-1, 2**15 - 1], dtype=torch.int16)
    state["dtype.uint8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["dtype.bool"] = torch.tensor([True, False])
    state["empty"] = torch.zeros(0, 3)
    state["val_torchmetrics.accuracy.total"] = torch.tensor(1234)
    config = omegaconf.OmegaConf.create({
        "model": {"d_model": 4, "n_layer": 1, "layer": {"_name_": "hyena", "l_max": 1026, "w": 10, "lr": 6e-4}},
        "dataset": {"max_length": 1024, "bed_file": None, "splits": ["train", "val"]},
        "layer_max": "${dataset.max_length}",
    })
    checkpoint = {
        "epoch": 3,
        "global_step": 70_000,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4, "completed": 3}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val/loss'}": {
                "monitor": "val/loss",
                "best_model_score": np.float64(1.25),
                "best_model_path": pathlib.PosixPath("checkpoints/last.ckpt"),
                "best_k_models": {},
                "kth_value": torch.tensor(float("inf")),
            }
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hparams_name": "config",
        "hyper_parameters": config,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "random": np.random.RandomState(0).get_state()[1][:8],
        "numbers": (2**70, -(2**40), 1e-5, None, True, {1, 2}, frozenset("a"), b"bytes", bytearray(b"x"), slice(1, 2)),
        "defaults": collections.defaultdict(list, a=[1]),
    }
    return checkpoint, state


def main():
    out = pathlib.Path(sys.argv[1])
    checkpoint, state = lightning()
    torch.save(checkpoint, out / "torch_lightning.ckpt")
    as_bytes = {"dtype.bool": torch.uint8}
    plain = {name: t.to(as_bytes.get(name, t.dtype)).contiguous().clone() for name, t in state.items()}
    save_file(plain, out / "torch_lightning.safetensors")
    for protocol in (2, 3, 4, 5):
        small = collections.OrderedDict(
            a=torch.tensor([1.0, 2.0]), b=torch.nn.Parameter(torch.tensor([[3.0], [4.0]])), c=torch.tensor(5)
        )
        torch.save(small, out / f"torch_protocol_{protocol}.pt", pickle_protocol=protocol)


main()
