"""The generation engine: continuous batching with many adapters on one base model."""
