"""The network of `laurel bench step` and `laurel bench generate` in PyTorch: a Llama decoder with RMSNorm, half
rotation, SwiGLU and an untied output layer. Prints one JSON line with the seconds of every measured step (training)
or of decoding (generation). Started by compare.py; written for speed as a user of PyTorch would: q, k, v and gate, up
in one product each, scaled_dot_product_attention, fused AdamW."""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c.hidden // c.heads
        self.heads, self.kv_heads, self.d = c.heads, c.kv_heads, d
        self.norm1, self.norm2 = torch.nn.RMSNorm(c.hidden, 1e-5), torch.nn.RMSNorm(c.hidden, 1e-5)
        self.qkv = torch.nn.Linear(c.hidden, (c.heads + 2 * c.kv_heads) * d, bias=False)
        self.out = torch.nn.Linear(c.hidden, c.hidden, bias=False)
        self.gate_up = torch.nn.Linear(c.hidden, 2 * c.ffn, bias=False)
        self.down = torch.nn.Linear(c.ffn, c.hidden, bias=False)

    def rotate(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def forward(self, x, cos, sin, cache, at):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, -1, self.d).transpose(1, 2).split(
            (self.heads, self.kv_heads, self.kv_heads), 1)
        q, k = self.rotate(q, cos, sin).to(v.dtype), self.rotate(k, cos, sin).to(v.dtype)
        if cache is not None:
            cache[0][:, :, at:at + t], cache[1][:, :, at:at + t] = k, v
            k, v = cache[0][:, :, :at + t], cache[1][:, :, :at + t]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1, enable_gqa=self.heads != self.kv_heads)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, -1))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Decoder(torch.nn.Module):
    def __init__(self, c, length):
        super().__init__()
        self.embed = torch.nn.Embedding(c.vocab, c.hidden)
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = torch.nn.RMSNorm(c.hidden, 1e-5)
        self.output = torch.nn.Linear(c.hidden, c.vocab, bias=False)
        d = c.hidden // c.heads
        angle = torch.outer(torch.arange(length), 1e6 ** (-torch.arange(0, d, 2) / d))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, std=0.02)

    def forward(self, ids, caches=None, at=0):
        t = ids.shape[1]
        x, cos, sin = self.embed(ids), self.cos[at:at + t], self.sin[at:at + t]
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if caches is None else caches[i], at)
        return self.norm(x)


def train(c):
    model = Decoder(c, c.length)
    n = c.sequences * c.length
    ids = (torch.arange(n) * 7919 % c.vocab).view(c.sequences, c.length)
    target = (torch.arange(1, n + 1) * 7919 % c.vocab)
    if c.precision == "bf16":  # everything, without master weights: less work than Laurel does
        model = model.bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.95), 1e-8, 0.1, fused=True)
    forward = torch.compile(model) if c.compile else model
    seconds, losses = [], []
    for step in range(c.steps + 1):
        t0 = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=c.precision == "autocast"):
            logits = model.output(forward(ids))
        loss = F.cross_entropy(logits.view(n, -1).float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - t0)
    return {"seconds": seconds[1:], "losses": losses, "parameters": sum(p.numel() for p in model.parameters())}


@torch.inference_mode()
def generate(c):
    """Seconds of c.tokens - 1 decoding steps after the prompt, sampling from the whole distribution."""
    length = c.prompt + c.tokens
    dtype = torch.bfloat16 if c.precision != "f32" else torch.float32
    model = Decoder(c, length).to(dtype)
    shape = (c.batch, c.kv_heads, length, c.hidden // c.heads)
    caches = [(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)) for _ in model.layers]
    ids = torch.tensor([[(i * 31 + t * 7919) % c.vocab for t in range(c.prompt)] for i in range(c.batch)])

    def draw(x):
        return torch.multinomial(torch.softmax(model.output(x[:, -1]).float(), -1), 1)

    seconds = []
    for _ in range(c.steps + 1):
        token = draw(model(ids, caches))
        t0 = time.perf_counter()
        for at in range(c.prompt, length - 1):
            token = draw(model(token, caches, at))
        seconds.append(time.perf_counter() - t0)
    return {"seconds": seconds[1:]}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["train", "generate"])
    for key, value in dict(layers=8, hidden=512, ffn=1408, heads=8, kv_heads=8, vocab=32000, sequences=8, length=512,
                           prompt=64, tokens=64, batch=1, steps=2, threads=0).items():
        p.add_argument("--" + key, type=int, default=value)
    p.add_argument("--precision", choices=["f32", "autocast", "bf16"], default="f32")
    p.add_argument("--compile", action="store_true")
    c = p.parse_args()
    torch.manual_seed(1)
    if c.threads > 0:
        torch.set_num_threads(c.threads)
    out = train(c) if c.what == "train" else generate(c)
    assert all(map(math.isfinite, out.get("losses", []))), "the loss is not finite"
    print(json.dumps({**out, "torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
