"""The sizes of a model that compiles in seconds, as `config.model`."""

MODEL = {
    "depth": 1,
    "width": 24,
    "heads": 2,
    "audio_width": 16,
    "audio_heads": 2,
    "exchange_width": 16,
    "exchange_heads": 2,
    "text_width": 16,
    "text_heads": 2,
    "text_layers": 1,
}
