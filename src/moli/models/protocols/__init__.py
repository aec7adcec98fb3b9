"""What every backend, model runner, chat model and encoder must offer."""
