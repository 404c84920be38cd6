"""Files of clips: they are written, signed, stored and served here."""
