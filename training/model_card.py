"""The model card of an exported run: from what data, how trained, how good, which limits. Figures come from the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from training.checkpoints import Saved

LIMITS = (
    "Lips follow sound, not meaning; who is heard well by the audio encoder is moved well. Voices, languages and "
    "recording conditions that the data above does not hold were not tested.",
    "Motion is relative to the portrait: head pose, lips, lids, gaze and brows; no hands, no body.",
    "Use it only with portraits of people who agree, and say that a video is generated.",
)


@dataclass(frozen=True)
class Card:
    """What the run does not know and the person who exports it must say.

    Attributes:
        name: of the bundle.
        licence: of the weights and the data.
        about: who speaks in the data and how it was recorded; may be empty.
        renderer: that shows the motion.
        evaluations: results of training.evaluate by name.
    """

    name: str
    licence: str
    about: str = ""
    renderer: Literal["embedded", "liveportrait"] = "embedded"
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def card_text(card: Card, saved: Saved, sha256: str, settings: Mapping[str, str]) -> str:
    """The card as Markdown with a YAML header."""
    parts = [
        f"---\nlicense: {card.licence}\ntags: [talking-head, audio-driven-motion]\n---",
        f"# {card.name}",
        f"Motion weights of a talking head: sound in, 70 numbers of facial motion per frame out. SHA-256 `{sha256}`.",
        "## Use",
        "\n".join(f"    {name}={value}" for name, value in settings.items()) + "\n    talkinghead up",
        "## Data",
        _data(saved.facts) + (f"\n\n{card.about}" if card.about else ""),
        f"Licence, as stated by who exported it: {card.licence}.",
        "## Training",
        _training(saved),
        "## Held-out loss",
        _losses(saved),
        "## Evaluation",
        _evaluations(card.evaluations),
        "## Limits",
        "\n".join(f"- {line}" for line in (*_span(saved.facts), *LIMITS)),
    ]
    return "\n\n".join(parts) + "\n"


def _data(facts: Mapping[str, Any]) -> str:
    rows = [
        (
            split,
            source["kind"],
            source["folder"],
            source["n_clips"],
            source["n_windows"],
            f"{source['seconds'] / 60:.1f}",
        )
        for split, name in (("training", "train"), ("held out", "held"))
        for source in facts[name]
    ]
    return table(("split", "kind", "folder", "clips", "windows", "minutes"), rows)


def _training(saved: Saved) -> str:
    network, config, encoder = saved.network, saved.config, saved.facts["train"][0]["encoder"]
    n_weights = sum(value.numel() for name, value in saved.model.items() if not name.startswith("normaliser."))
    return table(
        ("what", "value"),
        [
            ("network", f"{network.layers} x {network.hidden}, {n_weights / 1e6:.2f} M weights"),
            ("started from", config["init"] or "random weights"),
            ("steps", saved.step),
            ("minutes", f"{saved.used_s / 60:.1f}"),
            ("windows per step and process", config["batch_size"] * config["accumulation"]),
            ("peak learning rate", config["learning_rate"] or "default"),
            ("precision", config["mixed_precision"]),
            ("seed", config["seed"]),
            ("audio encoder", f"{encoder['name']}, SHA-256 {encoder['sha256'][:16]}"),
        ],
    )


def _losses(saved: Saved) -> str:
    names = list(saved.validation)
    rows = [(name, _figure(saved.initial.get(name)), _figure(saved.validation[name])) for name in names]
    return "Of the averaged weights, the same windows and noise both times.\n\n" + table(
        ("loss", "at the first step", "exported"), rows
    )


def _evaluations(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    if not evaluations:
        return "Not evaluated: no result of `python -m training.evaluate` was given to the export."
    tables = []
    for name, result in evaluations.items():
        rows = [(key, _figure(value)) for key, value in result.items() if not isinstance(value, dict | list)]
        tables.append(f"`{name}`\n\n" + table(("figure", "value"), rows))
    return "\n\n".join(tables)


def _span(facts: Mapping[str, Any]) -> list[str]:
    span = facts.get("span")
    if not span:
        return []
    return [
        "Fine-tuned in the coordinates of the network it started from: "
        f"{100 * span['exp_lost']:.1f} % of the variance of the data's expressions lies outside them and was not "
        f"learnt (lip opening moved by {span['lips_rms']:.3f} rms)."
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
