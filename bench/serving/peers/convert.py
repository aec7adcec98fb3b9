"""Writes a Llama model as GGUF, by llama.cpp's own converter.

The converter knows a tokenizer by a hash of what it makes of a certain text, and refuses one that
was trained here. Then it is told what the hash is to tell it: that texts are split as GPT-2 does.

Use: python convert.py LLAMA_CPP_FOLDER MODEL_FOLDER OUT.gguf f32|bf16|q8_0
"""

from __future__ import annotations

import sys


def main() -> None:
    llama, model, out, kind = sys.argv[1:]
    sys.path.insert(0, llama)
    import convert_hf_to_gguf
    from conversion.base import TextModel

    known = TextModel.get_vocab_base_pre

    def name_of_split(self, tokenizer):
        try:
            return known(self, tokenizer)
        except NotImplementedError:
            return "gpt-2"

    TextModel.get_vocab_base_pre = name_of_split
    sys.argv = ["convert_hf_to_gguf", model, "--outfile", out, "--outtype", kind]
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
