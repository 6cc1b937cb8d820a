#!/usr/bin/env python3
"""Laurel against transformers on language models of Hugging Face, one of each text family.

  python3 tools/peers/load_export.py TOKENIZER.model

For each family a small random model is made and saved by transformers, converted by `laurel convert`, continued
greedily by `laurel generate`, and continued by transformers; then it is exported by `laurel convert --to hf` and loaded
by transformers again. Texts must be the same, log-probabilities agree to 1e-4, exported weights be the same. Ends in
'N passed, N failed'. Says SKIP when torch, transformers or sentencepiece is not installed."""
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LAUREL = os.environ.get("LAUREL_BIN", os.path.join(HERE, "..", "..", "build", "laurel"))
PROMPT, NEW = "The quick brown fox", 24
FAMILIES = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", dict(rope_theta=10000.0)),
    "llama, tied": ("LlamaForCausalLM", "LlamaConfig", dict(tie_word_embeddings=True)),
    "mistral": ("MistralForCausalLM", "MistralConfig", dict(sliding_window=None)),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", dict()),
}


def laurel(*words):
    done = subprocess.run([LAUREL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"laurel {' '.join(words)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def check(name, folder, tokenizer):
    import sentencepiece
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model_class, config_class, keys = FAMILIES[name]
    pieces = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    torch.manual_seed(1)
    config = getattr(transformers, config_class)(
        vocab_size=pieces.vocab_size(), hidden_size=64, intermediate_size=160, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2, pad_token_id=None, **keys)
    model = getattr(transformers, model_class)(config).eval().float()
    for weight_name, weight in model.named_parameters():  # transformers makes biases 0 and norms 1
        if weight.dim() == 1:
            weight.data += 0.1 * torch.randn_like(weight)
    there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
    model.save_pretrained(there)
    shutil.copy(tokenizer, os.path.join(there, "tokenizer.model"))
    checkpoint, prompts = os.path.join(folder, "model.h5"), os.path.join(folder, "prompts.jsonl")
    laurel("convert", there, checkpoint)
    with open(prompts, "w") as f:
        f.write(json.dumps({"prompt": PROMPT}) + "\n")
    answer = json.loads(laurel("generate", checkpoint, prompts, "--raw", "--temperature", "0",
                               "--repetition_penalty", "1", "--max_new_tokens", str(NEW)))["responses"][0]

    ids = [1] + pieces.encode(PROMPT)
    logprob, new = 0.0, []
    with torch.no_grad():
        for _ in range(answer["tokens"]):
            row = torch.log_softmax(model(torch.tensor([ids + new])).logits[0, -1].double(), -1)
            new.append(int(row.argmax()))
            logprob += float(row.max())
    text = pieces.decode(ids + new)[len(pieces.decode(ids)):]
    if text != answer["text"]:
        return f"transformers continues with {text!r}, Laurel with {answer['text']!r}"
    if abs(logprob - answer["logprob"]) > 1e-4 * (1 + abs(logprob)):
        return f"log-probability {logprob} in transformers, {answer['logprob']} in Laurel"

    laurel("convert", checkpoint, back, "--to", "hf")
    again = transformers.AutoModelForCausalLM.from_pretrained(back).float()
    ours, theirs = again.state_dict(), model.state_dict()
    if set(ours) != set(theirs):
        return f"tensors differ: {sorted(set(ours) ^ set(theirs))}"
    for k in theirs:
        if not torch.equal(ours[k], theirs[k]):
            return f"{k} is another one after the export"
    return None


def main():
    for package in ("torch", "transformers", "sentencepiece"):
        if importlib.util.find_spec(package) is None:
            print(f"SKIP: {package} is not installed")
            return 0
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    failed = 0
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = check(name, folder, sys.argv[1])
            except (RuntimeError, OSError, KeyError) as e:
                problem = str(e)
        failed += problem is not None
        print(f"{name:12} {'ok' if problem is None else 'FAILED: ' + problem}")
    print(f"{len(FAMILIES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
