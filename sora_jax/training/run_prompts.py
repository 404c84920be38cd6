"""The encoder of a run's prompts: ids of words that the model embeds, or features of T5."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax

from sora_jax import files
from sora_jax import weights as weights_lib
from sora_jax.data.t5_prompts import T5Prompts
from sora_jax.errors import UserError
from sora_jax.models import vocabulary
from sora_jax.models.t5 import T5
from sora_jax.models.text_encoder import PromptEncoder, TextTokenizer
from sora_jax.parallel import processes
from sora_jax.training import inputs
from sora_jax.training.run import Run


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The encoder of a run's prompts, and the configuration that fits it.

    Attributes:
        run: the configuration with the text length, vocabulary and text features that its data and
            encoder need.
        encoder: B texts -> (tokens, mask) (`models.text_encoder.PromptEncoder`).
        dataset: the identity of the data (`inputs.identify`), with the fingerprint of T5 if that is
            the encoder.
        lengths: tokens of a padded prompt by set.
        added: words that `data.words` adds to the known words.
    """

    run: Run
    encoder: PromptEncoder
    dataset: dict[str, Any]
    lengths: Mapping[str, int]
    added: tuple[str, ...] = ()

    @property
    def new_rows(self) -> tuple[int, int]:
        """The rows of the added words in the embedding: (index of the first, number of rows)."""
        return 1 + len(self.encoder.words) - len(self.added), len(self.added)

    def encoders(self) -> dict[str, PromptEncoder]:
        """Returns the encoder of each set by name, which pads prompts to that set's length."""
        if not isinstance(self.encoder, TextTokenizer):
            return dict.fromkeys(self.lengths, self.encoder)
        return {name: self.encoder.of_length(length) for name, length in self.lengths.items()}

    def grown(self, params: Mapping[str, Any]) -> Any:
        """Returns a model's parameters with rows of the embedding for the added words.

        Args:
            params: the parameters without these rows, nested dicts of arrays.
        """
        known = self.encoder.words[: self.new_rows[0] - 1]
        return vocabulary.with_rows(params, known, self.added)


def prompts_of(run: Run, start: weights_lib.Weights | None, workdir: str | os.PathLike) -> Prompts:
    """Returns the encoder of a run's prompts with the configuration that fits it.

    Without T5 the vocabulary is that of the initial weights, or for random weights that of the
    families of scenes. The words of `data.words` are added to it.

    Args:
        run: the configuration.
        start: its initial weights. None: random ones.
        workdir: the run's directory; features of T5 are stored in it.

    Raises:
        UserError: the data or the T5 cannot be used, or do not fit the model.
    """
    dataset = dict(inputs.identify(run.data))
    if run.text.t5:
        return _through_t5(run, start, workdir, dataset)
    if run.model.text_features:
        raise UserError(
            f"model.text_features={run.model.text_features} without an encoder that gives them; "
            "give config.text.t5=FOLDER, or leave it 0",
            field="model.text_features",
        )
    sets = dataset if run.data.sets else {run.data.name: dataset}
    words, lengths = inputs.vocabulary(sets, run.data.text_length)
    length = max(lengths.values())
    words = tuple(start.metadata.get("words", words)) if start else words
    added = vocabulary.new_words(words, run.data.words)
    if length != run.data.text_length:
        if processes.is_first():
            print(
                f"note: prompts have {length} words, as their family of scenes needs, and not the "
                f"{run.data.text_length} of config.data.text_length",
                file=sys.stderr,
            )
        run = dataclasses.replace(run, data=dataclasses.replace(run.data, text_length=length))
    size = run.model.vocabulary
    if run.data.words:
        size = (start.config["vocabulary"] if start else size) + len(added)
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, vocabulary=size))
    tokenizer = TextTokenizer.of_vocabulary((*words, *added), size, length)
    return Prompts(run, tokenizer, dataset, lengths, added)


def _through_t5(
    run: Run,
    start: weights_lib.Weights | None,
    workdir: str | os.PathLike,
    dataset: dict[str, Any],
) -> Prompts:
    t5 = T5(run.text.t5)
    if run.model.text_features not in (0, t5.config.d_model):
        raise UserError(
            f"{run.text.t5} gives {t5.config.d_model} features, and model.text_features is "
            f"{run.model.text_features}; leave it out, or give the T5 that it is for",
            field="text.t5",
        )
    trained = start.metadata.get("text_encoder", {}) if start else {}
    if trained.get("fingerprint", t5.fingerprint) != t5.fingerprint:
        raise UserError(
            f"the first weights read T5 {trained['fingerprint']}, and {run.text.t5} is "
            f"{t5.fingerprint}; give the one they were trained with",
            field="text.t5",
        )
    model = dataclasses.replace(run.model, text_features=t5.config.d_model)
    folder = files.user_path(workdir) / "text" / str(jax.process_index())
    encoder = T5Prompts(t5, run.data.text_length, folder)
    lengths = {one.name: run.data.text_length for one in run.data.mixture}
    dataset["text_encoder"] = t5.fingerprint
    return Prompts(dataclasses.replace(run, model=model), encoder, dataset, lengths)
