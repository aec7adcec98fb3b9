"""Model references and the files they name: weights, configuration, adapters and hashes."""
