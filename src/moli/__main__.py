"""`python -m moli`, which is what torchrun starts: torchrun -m moli tune recipe.yaml."""

from moli.cli.main import main

if __name__ == "__main__":
    main()
