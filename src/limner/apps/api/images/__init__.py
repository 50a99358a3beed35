"""OpenAI's images API, as it and other servers of pictures speak it: a concept is a model's name, or a `lora`."""
