"""Files of clips: made, signed, kept and given out."""
