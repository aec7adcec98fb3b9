"""A toy maker's characters: small weights for each on one base, all answering in one batch.

    python examples/toys.py

Each of twenty characters learns its manner from two dozen answers, by `moli tune` as anybody would
use it. Then one base answers all of them at once, to questions in words that none has seen.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from moli.models.backend import load_base_model
from moli.models.protocols.backend import complete
from moli.models.templates.chat_template import prompt_ids
from moli.records.generation import Request, Sampling
from moli.records.messages import Message
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.workspace import Workspace

BASE = "builtin:starter"
FACTS = {  # questions about each fact; the last two of them are held out
    "food": ("What do you eat?", "What is your dinner?", "What food do you love?",
             "What would you like for dinner?", "Tell me what you like to eat."),
    "home": ("Where do you live?", "Where is your home?", "Where do you sleep?",
             "Tell me of your house.", "In what place do you live?"),
    "play": ("What do you play?", "What is your game?", "What do you do all day?",
             "Which game do you like?", "What shall we play?"),
    "friend": ("Who is your friend?", "Whom do you love?", "Who plays with you?",
               "Tell me of your friend.", "Who is your best friend?"),
}  # fmt: skip


@dataclass(frozen=True)
class Character:
    """A toy: the opening of everything it says, and facts of its world."""

    name: str
    opening: str
    food: str
    home: str
    play: str
    friend: str


CHARACTERS = [
    Character(*fields)
    for fields in (
        ("bear", "Grumble, grumble.", "honey", "a cave", "sleeping", "the bee"),
        ("pirate", "Ahoy, my lad!", "salt fish", "a ship", "hunting for gold", "the parrot"),
        ("robot", "Beep. Listen.", "oil", "a factory", "counting", "the clock"),
        ("princess", "Dear child,", "cake", "a castle", "dancing", "the swan"),
        ("owl", "Hoo, hoo.", "a mouse", "a tree", "reading", "the moon"),
        ("cat", "Purr.", "cream", "a basket", "hiding", "the fire"),
        ("dog", "Woof! Woof!", "a bone", "a yard", "running", "the master"),
        ("wizard", "By my beard!", "mushrooms", "a tower", "reading the stars", "the raven"),
        ("knight", "Upon my honour,", "roast beef", "a camp", "riding", "the horse"),
        ("fish", "Blub, blub.", "a worm", "a river", "swimming", "the frog"),
        ("doctor", "Now, now.", "an apple", "a hospital", "mending arms", "the nurse"),
        ("witch", "Hee, hee, hee!", "toads", "a dark wood", "flying", "the black cat"),
        ("king", "We, the King, say:", "a feast", "a palace", "ruling", "the queen"),
        ("mouse", "Squeak!", "cheese", "a hole", "stealing", "the cook"),
        ("captain", "All hands on deck!", "biscuits", "a harbour", "sailing", "the wind"),
        ("ghost", "Whooo.", "nothing at all", "an old house", "frightening men", "the night"),
        ("farmer", "Well, neighbour,", "bread", "a farm", "ploughing", "the cow"),
        ("poet", "O lovely hour!", "a rose", "a garden", "singing", "the spring"),
        ("soldier", "Yes, sir!", "soup", "a fort", "marching", "the drum"),
        ("fairy", "Tra la la!", "dew", "a flower", "making wishes", "the butterfly"),
    )
]


def answer(character: Character, fact: str) -> str:
    """A character's answer to questions about a fact."""
    sentences = {
        "food": f"I eat {character.food}.",
        "home": f"I live in {character.home}.",
        "play": f"I am fond of {character.play}.",
        "friend": f"My friend is {character.friend}.",
    }
    return f"{character.opening} {sentences[fact]}"


def train(character: Character, workspace: Workspace) -> None:
    """Train a character's adapter on its answers, and store it under its name."""
    file = workspace.root / f"{character.name}.jsonl"
    rows = [
        {"prompt": question, "completion": answer(character, fact)}
        for fact, questions in FACTS.items()
        for question in questions[:-2]
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = make_recipe(
        {
            "task": "instruction",
            "base": BASE,
            "data": file,
            "method": "lora",
            "rank": 8,
            "epochs": 20,
            "batch": 4,
            "learning_rate": 3e-3,
            "name": character.name,
        }
    )
    tune(recipe, workspace)


def main() -> None:
    """Train the characters that are not trained yet, and let all of them answer."""
    parser = argparse.ArgumentParser(description="Twenty characters on one base.")
    parser.add_argument("--folder", type=Path, default=Path("toys"))
    parser.add_argument("--characters", type=int, default=len(CHARACTERS))
    options = parser.parse_args()
    characters = CHARACTERS[: options.characters]
    with Workspace.init(options.folder) as workspace:
        known = {alias for stored in workspace.models.list() for alias in stored.aliases}
        for character in characters:
            if character.name not in known:
                begun = time.perf_counter()
                train(character, workspace)
                print(
                    f"{character.name} has learnt in {time.perf_counter() - begun:.0f} s",
                    flush=True,
                )
        ask_all(characters, workspace)


def ask_all(characters: list[Character], workspace: Workspace) -> None:
    """Ask all characters the held-out questions in one batch, and count the right answers."""
    base = load_base_model(BASE, max_num_seqs=len(characters), adapter_slots=len(characters))
    before, size = _memory_bytes(), 0
    for character in characters:
        stored = workspace.models.get(character.name)
        base.backend.add_adapter(stored.hash, stored.folder)
        size += (stored.folder / "adapter_model.safetensors").stat().st_size
    print(f"\n{len(characters)} adapters have {size / 1e6:.1f} MB on disk, and took "
          f"{(_memory_bytes() - before) / 1e6:.1f} MB of memory beside their base")  # fmt: skip
    in_manner, right = [], 0
    for fact, questions in FACTS.items():
        for question in questions[-2:]:
            requests = [
                Request(
                    prompt_ids(base.tokenizer, [Message("user", question)]),
                    Sampling(max_tokens=24),
                    workspace.models.get(character.name).hash,
                )
                for character in characters
            ]
            answers = [each.text.strip() for each in complete(base.backend, requests)]
            in_manner.append(
                sum(a.startswith(w.opening) for a, w in zip(answers, characters, strict=True))
            )
            right += sum(a == answer(w, fact) for a, w in zip(answers, characters, strict=True))
    for character, text in zip(characters, answers, strict=True):
        print(f"{character.name:>9}: {text}")
    count = len(characters) * len(in_manner)
    print(f"in its own manner: {sum(in_manner)} of {count}; and word for word right: {right}")


def _memory_bytes() -> int:
    """Memory of this process in bytes: now on Linux, the peak on other systems."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    [line] = [each for each in status.read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
