"""Prompts that are storyboards, which describe a clip shot by shot (a shot is a part between two
cuts). Such a prompt chooses the format of the clip, and must fit it.
"""

from collections.abc import Sequence

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.storyboard import Storyboard, check_format
from sora_jax.worlds.playhouse.storyboard_reader import StoryboardError, read


def parse_storyboard(text: str) -> Storyboard:
    """Parses a storyboard.

    Raises:
        UserError: the text is no storyboard. The message says the shot, the column and what was
            expected there.
    """
    try:
        return read(text)
    except StoryboardError as error:
        raise UserError(f"the storyboard cannot be read: {error}", field="prompt") from None


def storyboard_of(prompt: str | None) -> Storyboard | None:
    """Returns the storyboard that a prompt is; None for any other prompt.

    Raises:
        UserError: the prompt begins with "[", as a storyboard in the form of cards does, but cannot
            be read.
    """
    try:
        return parse_storyboard(prompt or "")
    except UserError:
        if _is_cards(prompt):
            raise
        return None


def _is_cards(prompt: str | None) -> bool:
    return (prompt or "").lstrip().startswith("[")


def format_of_prompt(
    prompt: str | None, format: ClipFormat, formats: Sequence[ClipFormat]
) -> ClipFormat:
    """Returns the first of `format` and `formats` that fits a storyboard; `format` if none fits.

    Args:
        prompt: the prompt. For one that is no storyboard, `format` is returned.
        format: that of the pipeline.
        formats: those that its model was trained on.

    Raises:
        UserError: as in `storyboard_of`.
    """
    board = storyboard_of(prompt)
    fitting = (one for one in (format, *formats) if board and not _misfit(board, one))
    return next(fitting, format)


def check_storyboard(
    prompt: str | None,
    format: ClipFormat,
    formats: Sequence[ClipFormat],
    families: Sequence[str] = (),
) -> None:
    """Validates a prompt that is a storyboard.

    Args:
        prompt: the prompt. One that is no storyboard is valid.
        format: that of the pipeline.
        formats: those that its model was trained on.
        families: the families of scenes that it was trained on. Default: none, unknown.

    Raises:
        UserError: the model learned no storyboards, or no clips of several shots; the pipeline's
            format has other shots; or the prompt begins with "[" but cannot be read as a
            storyboard.
    """
    board = storyboard_of(prompt)
    if board is None:
        return
    several = len(board.shots) > 1
    unknown = bool(families) and "story" not in families and _is_cards(prompt)
    if unknown or (several and not any(one.shots for one in formats)):
        raise UserError(
            f"the storyboard has {len(board.shots)} shot{'s' * several}, and this "
            "model learned no storyboards; give weights trained on stories, or a sentence that "
            "this model knows",
            field="prompt",
        )
    if several and (misfit := _misfit(board, format)):
        raise misfit


def _misfit(board: Storyboard, format: ClipFormat) -> UserError | None:
    """Returns the error that says why a format does not fit a storyboard; None if it fits."""
    try:
        check_format(board, format)
    except UserError as error:
        return error
    return None
