"""Language models, chat models, sentence encoders and speech recognition."""
