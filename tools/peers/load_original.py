#!/usr/bin/env python3
"""Laurel against the original code of InternLM-XComposer2.5 on a small random model with an image.

  python3 tools/peers/load_original.py CODE TOKENIZER.model IMAGE

CODE is a folder of the published Python files (modeling_internlm_xcomposer2.py and those it imports), TOKENIZER.model
InternLM-XComposer2.5's. The model is made by that code at a small size, written as a Hugging Face folder, converted by
`laurel convert` and continued greedily by `laurel generate` on a chat with IMAGE, then by the code; then it is exported
by `laurel convert --to hf` and loaded by the code again. Texts must be the same, log-probabilities agree to 1e-5,
exported weights be the same. Needs torch, torchvision, sentencepiece and transformers 4.44 (newer ones no longer run
the code), says SKIP without. Ends in 'N passed, N failed'."""
import glob
import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import types

from load_export import laurel

HIDDEN, VIT, QUERY, NEW = 64, 128, "<ImageHere>What is in this picture?", 16


def original(code, folder):
    """The module of the model, its sizes and downloads replaced: the published ones are in its text."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    package = os.path.join(folder, "original")
    os.mkdir(package)
    for f in glob.glob(os.path.join(code, "*.py")):
        shutil.copy(f, package)
    open(os.path.join(package, "__init__.py"), "w").close()
    sys.path.insert(0, folder)
    if importlib.util.find_spec("decord") is None:  # only for videos
        sys.modules["decord"] = types.ModuleType("decord")
        sys.modules["decord"].VideoReader = None
    importlib.import_module("original.ixc_utils").get_font = lambda: None
    parts = importlib.import_module("original.build_mlp")

    def load_model(tower):
        config = CLIPVisionConfig(hidden_size=VIT, intermediate_size=2 * VIT, num_hidden_layers=3, num_attention_heads=VIT // 64,
                                  image_size=560, patch_size=14, projection_dim=VIT)
        tower.vision_tower, tower.is_loaded = CLIPVisionModel(config), True

    def projector(width=4 * VIT):  # of another width: of the streaming variant, which has no such weights elsewhere
        nn = parts.nn
        return nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN)) if width == 4 * VIT else None

    parts.CLIPVisionTower.load_model = load_model
    parts.build_vision_projector = projector
    return importlib.import_module("original.modeling_internlm_xcomposer2")


def make(module, config):
    import torch

    class Model(module.InternLMXComposer2ForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.plora_glb_GN = torch.nn.Parameter(torch.zeros([1, 1, 4 * VIT]))
            self.plora_sub_GN = torch.nn.Parameter(torch.zeros([1, 1, 1, 4 * VIT]))

    return Model(config)


def check(code, tokenizer_file, image, folder):
    import torch
    from safetensors.torch import load_file, save_file

    module = original(code, folder)
    tokenizer = importlib.import_module("original.tokenization_internlm2").InternLM2Tokenizer(tokenizer_file)
    config = module.InternLMXcomposer2Config(
        vocab_size=92544, hidden_size=HIDDEN, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, initializer_range=0.2, rms_norm_eps=1e-5, pad_token_id=2,
        bias=False, rope_theta=1000000, rope_scaling={"type": "dynamic", "factor": 2.0}, attn_implementation="eager",
        max_length=4096)
    torch.manual_seed(1)
    model = make(module, config).eval().float()
    for name, p in model.named_parameters():
        scale = 0.02 if p.dim() == 1 else 0.5 if "q_proj" in name or "k_proj" in name else 0.1  # attention that is not flat
        p.data = torch.randn_like(p) * scale + (p.dim() == 1 and name.endswith("norm.weight"))
    model.tokenizer = tokenizer
    there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
    os.mkdir(there)
    theirs = {k: v.clone() for k, v in model.state_dict().items()}
    save_file(theirs, os.path.join(there, "model.safetensors"), {"format": "pt"})
    keys = dict(config.to_dict(), model_type="internlmxcomposer2", architectures=["InternLMXComposer2ForCausalLM"])
    with open(os.path.join(there, "config.json"), "w") as f:
        json.dump(keys, f)
    shutil.copy(tokenizer_file, os.path.join(there, "tokenizer.model"))
    checkpoint, prompts = os.path.join(folder, "model.h5"), os.path.join(folder, "prompts.jsonl")
    laurel("convert", there, checkpoint)
    with open(prompts, "w") as f:
        f.write(json.dumps({"prompt": QUERY, "images": [os.path.abspath(image)]}) + "\n")
    answer = json.loads(laurel("generate", checkpoint, prompts, "--temperature", "0", "--repetition_penalty", "1",
                               "--max_new_tokens", str(NEW)))["responses"][0]

    logprob, new = 0.0, []
    with torch.no_grad():
        inputs, im_mask, length = model.interleav_wrap_chat(QUERY, [image])
        embeds = inputs["inputs_embeds"]
        for _ in range(answer["tokens"]):
            row = torch.log_softmax(model(inputs_embeds=embeds, im_mask=im_mask).logits[0, -1].double(), -1)
            new.append(int(row.argmax()))
            logprob += float(row.max())
            embeds = torch.cat([embeds, model.model.tok_embeddings(torch.tensor([new[-1:]]))], 1)
            im_mask = torch.cat([im_mask, torch.zeros(1, 1, dtype=torch.bool)], 1)
    text = tokenizer.sp_model.decode(new)
    print(f"{int(im_mask.sum())} image tokens of {length}; log-probability of {len(new)} tokens {logprob:.6f}, "
          f"in Laurel {answer['logprob']:.6f}")
    if text.strip() != answer["text"].strip():
        return f"the original continues with {text!r}, Laurel with {answer['text']!r}"
    if abs(logprob - answer["logprob"]) > 1e-5 * (1 + abs(logprob)):
        return f"log-probability {logprob} in the original, {answer['logprob']} in Laurel"

    laurel("convert", checkpoint, back, "--to", "hf", "--like", there)
    again = make(module, module.InternLMXcomposer2Config.from_pretrained(back))
    ours = {}
    for f in glob.glob(os.path.join(back, "*.safetensors")):
        ours.update(load_file(f))
    again.load_state_dict(ours)  # every tensor, no other
    different = [k for k, v in again.state_dict().items() if not torch.equal(v, theirs[k])]
    return f"exported weights differ: {different}" if different else None


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        import sentencepiece, torch, torchvision, transformers  # noqa: E401, F401
    except ImportError as e:
        print(f"SKIP: {e.name} is not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wrong = check(*sys.argv[1:], folder)
    print(f"FAIL: {wrong}" if wrong else "the same text, log-probabilities and weights")
    print(f"{int(wrong is None)} passed, {int(wrong is not None)} failed")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
