"""Options of the stage tokenize."""

from __future__ import annotations

from string import punctuation
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from conf.schema.base import Conf, RunConf

UNKNOWN = "[UNK]"
"""What WordPiece writes for a word that it cannot spell."""
SENTINEL = "<extra_id_{}>"
"""The name of a token that stands for a hidden span, as T5 has them."""


class TokenizerRun(RunConf):
    """How merges are learned and texts turned into ids; neither depends on it."""

    engine: Literal["auto", "tokenizers", "gigatoken"] = "auto"
    """auto: gigatoken for kind=bpe where it is installed; tokenizers as soon as the two differ, and for other kinds."""


class TokenizerConf(Conf):
    """A tokenizer trained on the corpus."""

    kind: Literal["bpe", "unigram", "wordpiece"] = "bpe"
    """bpe: byte-level byte pair encoding. unigram: the likeliest pieces (Kudo, 2018), also on bytes. Both read back to
    the exact text. wordpiece: as in BERT, for encoders; its text does not read back exactly (statistics: `exact`)."""
    vocab_size: int = Field(4096, ge=300)
    """Tokens in the vocabulary, special tokens and the 256 bytes (wordpiece: the characters) included."""
    min_frequency: int = Field(2, ge=1)
    """How often a pair must occur to be merged; of bpe and wordpiece."""
    uncased: bool = True
    """Lower-case and strip the accents of a text before it is cut; of wordpiece only."""
    eos_token: str = Field("<|endoftext|>", min_length=1)
    """Ends every document and every turn of a conversation; also stands at the beginning of a text (bos)."""
    pad_token: str = Field("<|pad|>", min_length=1)
    """Fills up batches; never trained on."""
    roles: tuple[str, ...] = ("system", "user", "assistant")
    """Roles in a conversation; each gets a token <|ROLE|>."""
    extra_tokens: tuple[str, ...] = ()
    """More special tokens, given ids after the roles'."""
    mask_token: str | None = Field(None, min_length=1)
    """Stands for a hidden word, as in `[MASK]`; pretraining of bert and roberta needs it. None: there is none."""
    sentinels: int = Field(0, ge=0, le=1000)
    """How many tokens <extra_id_0>, <extra_id_1>, … there are, each for a hidden span; pretraining of t5 needs them."""
    chat_template: Literal["turns"] | None = "turns"
    """How a conversation is written: `turns` is <|ROLE|>content<|endoftext|> for each message; None for no template."""
    max_length: int = Field(1 << 20, ge=8)
    """Longest input that the tokenizer promises to take without a warning, in tokens."""
    run: TokenizerRun = TokenizerRun()
    """How merges are learned and texts turned into ids."""
    later: ClassVar[frozenset[str]] = frozenset({"mask_token", "sentinels"})

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """All special tokens in the order of their ids, from 0."""
        unknown = (UNKNOWN,) if self.kind == "wordpiece" else ()
        roles = (f"<|{role}|>" for role in self.roles)
        hiding = (
            *((self.mask_token,) if self.mask_token else ()),
            *(SENTINEL.format(n) for n in range(self.sentinels)),
        )
        return (self.eos_token, self.pad_token, *roles, *self.extra_tokens, *hiding, *unknown)

    @model_validator(mode="after")
    def _fits_together(self) -> TokenizerConf:
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError(f"special tokens repeat: {', '.join(self.special_tokens)}")
        if self.vocab_size < 256 + len(self.special_tokens):
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small for 256 bytes and {len(self.special_tokens)} special tokens"
            )
        if self.run.engine == "gigatoken" and self.kind != "bpe":
            raise ValueError(
                f"tokenizer.run.engine=gigatoken cannot write tokenizer.kind={self.kind}: set tokenizer.run.engine=auto"
            )
        for token in self.special_tokens:
            # Both pre-tokenizers part letters from punctuation, so that no piece of a text is ever such a token.
            if not (set(token) & set(punctuation) - {"'"} and any(map(str.isalnum, token))):
                raise ValueError(f"a text may say {token!r} itself: write a special token as <|NAME|> or [NAME]")
        if self.chat_template and not {"user", "assistant"} <= set(self.roles):
            raise ValueError("chat_template needs the roles user and assistant: add them or set chat_template to null")
        return self


class UpsampleConf(Conf):
    """Training documents that are seen more than once, by the size of their cluster of duplicates; what is held out
    never is. Seeing one again costs the disk space of its tokens."""

    times: dict[int, Annotated[int, Field(ge=1, le=16)]] = Field(min_length=1)
    """How often a document is seen in one reading of its source (1 to 16), from which size of its cluster on: of
    {2: 2, 5: 3, 1000: 1} one from a cluster of 2 to 4 documents twice, of 5 to 999 three times, of more once.

    A size (2 or more) is the number of different documents that the cluster had when this one was accepted, itself
    included; one that repeats another of its source to the letter is the same document. All others are seen once."""

    @field_validator("times")
    @classmethod
    def _repeats_duplicates(cls, times: dict[int, int]) -> dict[int, int]:
        if min(times) < 2:
            raise ValueError(
                f"{min(times)} is no size of a cluster of duplicates: give sizes from 2 on (how often everything is "
                "read, pretrain.segments.NAME.epochs says)"
            )
        if max(times.values()) == 1:
            raise ValueError("nothing would be seen more than once: give a size more than 1, or set upsample to null")
        return dict(sorted(times.items()))

    @property
    def passes(self) -> tuple[str, ...]:
        """The parts of a shard's repeats: pass-2 to pass-N, where N is how often a document is seen at most."""
        return tuple(f"pass-{number}" for number in range(2, max(self.times.values()) + 1))
