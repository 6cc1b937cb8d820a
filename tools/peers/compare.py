#!/usr/bin/env python3
"""Laurel against PyTorch on this machine: the same decoder, shape, type, number of tokens and optimizer, by turns.

  python3 tools/peers/compare.py                     a training step in f32 and bf16
  python3 tools/peers/compare.py generate            cached decoding of 1, 8 and 32 samples in bf16
  python3 tools/peers/compare.py train --dtype bf16 --turns 5 sequences=4 layers=2

PyTorch runs with glibc told to keep freed memory, which makes it several times faster on virtual machines (without,
stock PyTorch spends its time in page faults); `--stock` leaves that out. bf16 training is tried as autocast and as a
model wholly in bf16, and the faster one counts. Says SKIP when PyTorch is not installed."""
import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = dict(layers=8, hidden=512, ffn=1408, heads=8, kv_heads=8, vocab=32000)
LENGTHS = {"train": dict(sequences=8, length=512), "generate": dict(prompt=64, tokens=64)}


def torch_run(args, what, **keys):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    if not args.stock:
        env.update(MALLOC_MMAP_THRESHOLD_="4294967296", MALLOC_TRIM_THRESHOLD_="68719476736",
                   MALLOC_TOP_PAD_="67108864")
    command = [sys.executable, os.path.join(HERE, "torch_peer.py"), what]
    command += [f"--{k}={v}" for k, v in keys.items()] + (["--compile"] if args.compile else [])
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"PyTorch failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def laurel_run(args, *words):
    done = subprocess.run([args.laurel, "bench", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)
    return done.stdout


def words(keys):
    return [f"{k}={v}" for k, v in keys.items()]


def report(name, unit, work, laurel, peers):
    """Best of all turns, and the median over turns of each turn's best."""
    print(f"{name:<28} {'best':>10} {'median':>10}   {unit}, over {len(laurel)} turns")
    rows = {"laurel": laurel, **peers}
    for row, seconds in rows.items():
        print(f"  {row:<26} {work / min(seconds):>10.0f} {work / statistics.median(seconds):>10.0f}")
    peer = min(peers.values(), key=min)
    print(f"  {'laurel / fastest peer':<26} {min(peer) / min(laurel):>9.2f}x "
          f"{statistics.median(peer) / statistics.median(laurel):>9.2f}x", flush=True)


def train(args, dtype):
    shape = {**args.shape, "steps": args.steps}
    variants = ["f32"] if dtype == "f32" else ["autocast", "bf16"]
    laurel, peers, losses = [], {f"torch {v}": [] for v in variants}, {}
    for _ in range(args.turns):
        text = laurel_run(args, "step", f"dtype={dtype}", f"threads={args.threads}", "seconds=0", *words(shape))
        laurel.append(float(re.search(r"^best +([\d.]+)", text, re.M).group(1)))
        losses["laurel"] = float(re.search(r"^loss ([\d.]+)", text, re.M).group(1))
        for v in variants:
            out = torch_run(args, "train", precision=v, threads=args.threads, **shape)
            peers[f"torch {v}"].append(min(out["seconds"]))
            losses[v] = out["losses"][0]
    if max(losses.values()) > 1.02 * min(losses.values()):
        sys.exit(f"the first losses differ, so the networks do: {losses}")
    report(f"training step, {dtype}", "tokens/s", shape["sequences"] * shape["length"], laurel, peers)


def generate(args, dtype):
    shape = args.shape
    for batch in (1, 8, 32):
        laurel, peer = [], []
        for _ in range(args.turns):
            text = laurel_run(args, "generate", f"dtype={dtype}", f"batch={batch}", f"threads={args.threads}",
                              f"repeats={args.steps}", *words(shape))
            rate = float(re.search(rf"^ *{batch} +\d+ +(\d+)", text, re.M).group(1))  # tokens/s of decoding
            laurel.append(batch * (shape["tokens"] - 1) / rate)
            out = torch_run(args, "generate", precision=dtype, batch=batch, threads=args.threads, steps=args.steps,
                            **shape)
            peer.append(min(out["seconds"]))
        report(f"decoding, {dtype}, batch {batch}", "tokens/s", batch * (shape["tokens"] - 1), laurel,
               {f"torch {dtype}": peer})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="?", choices=["train", "generate"], default="train")
    p.add_argument("keys", nargs="*", metavar="key=value", help="of the shape, as for laurel bench")
    p.add_argument("--dtype", choices=["f32", "bf16"])
    p.add_argument("--laurel", default=os.path.join(HERE, "../../build/laurel"))
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--steps", type=int, default=2, help="measured steps of a turn, after one that warms up")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--stock", action="store_true", help="PyTorch with the allocator as it comes")
    p.add_argument("--compile", action="store_true", help="torch.compile the network")
    args = p.parse_intermixed_args()
    args.shape = {**SHAPE, **LENGTHS[args.what]}
    for key, _, value in (word.partition("=") for word in args.keys):
        if key not in args.shape or not value.isdigit():
            p.error(f"{key}={value}: the keys are {', '.join(args.shape)}, the values whole numbers")
        args.shape[key] = int(value)
    if importlib.util.find_spec("torch") is None:
        print("SKIP: PyTorch is not installed for this Python")
        return
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): these ratios will not hold", flush=True)
    default = ["f32", "bf16"] if args.what == "train" else ["bf16"]
    for dtype in [args.dtype] if args.dtype else default:
        (train if args.what == "train" else generate)(args, dtype)


if __name__ == "__main__":
    main()
