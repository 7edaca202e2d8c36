"""What is on the page: a portrait, speech, options, and the element that the player fills."""

from pathlib import Path
from typing import Any

import gradio as gr
import httpx

from gateway.demo.submission import Answer, submit
from shared.controls import DEFAULTS, RANGES, Emotion

TITLE = "Talking Head"
STYLE = "player.css"
FOOTER: list[Any] = []
UI_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
CODE_FONT = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
THEME = gr.themes.Soft(
    primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=UI_FONT, font_mono=CODE_FONT
).set(  # text that can be read: contrast of 4.5 and more
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    block_label_text_color="*primary_800",
    block_title_text_color="*primary_800",
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_500",
)
INTRODUCTION = """
<header class="th-head"><h1>Talking Head</h1>
<p>A portrait and a voice go in; you watch the person speak while the video is being made.</p></header>
"""
CONSENT = '<p class="th-consent">Animate only faces of people who agree, and say that a video is generated.</p>'
PLAYER = "<talking-head-player></talking-head-player>"
BEFORE = "(...values) => { document.querySelector('talking-head-player').submitting(); return values; }"
AFTER = "(...values) => { document.querySelector('talking-head-player').answered(...values); }"
BROKEN = "() => { document.querySelector('talking-head-player').answered(null); }"
PORTRAIT = "portrait.jpg"
EXAMPLES = {"speech.flac": "An astronaut, 9 seconds", "speech_short.flac": "The same, 2 seconds"}
OUTPUTS = [("Face (512 x 512)", "square"), ("Whole photo", "full")]
EMOTIONS = [(emotion.value.capitalize(), emotion.value) for emotion in Emotion]
STEP = 0.05
SWEEP_S = 600
MAX_WAITING = 256


def build_layout(client: httpx.AsyncClient, samples: Path, keep_uploads_s: int) -> gr.Blocks:
    """Lay the page out and connect its button.

    Args:
        client: of the gateway.
        samples: folder of the example files.
        keep_uploads_s: age at which uploads are deleted.
    """

    async def generate(*values: Any) -> Answer:
        portrait, speech, *chosen = values
        texts = {name: "" if value is None else str(value) for name, value in zip(options, chosen, strict=True)}
        return await submit(client, {"portrait": _path(portrait), "audio": _path(speech)}, texts)

    page = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(SWEEP_S, keep_uploads_s))
    with page:
        gr.HTML(INTRODUCTION, js_on_load=None)
        with gr.Row(elem_id="th-columns"):
            with gr.Column(scale=4, min_width=320, elem_id="th-form"):
                portrait, speech = _inputs()
                options = option_elements()
                button = gr.Button("Generate", variant="primary", size="lg", elem_id="th-generate")
                gr.Examples(
                    [[str(samples / PORTRAIT), str(samples / name)] for name in EXAMPLES],
                    [portrait, speech],
                    label="Or try",
                    example_labels=list(EXAMPLES.values()),
                    cache_examples=False,
                )
            with gr.Column(scale=5, min_width=320, elem_id="th-result"):
                gr.HTML(PLAYER, js_on_load=None, apply_default_css=False)
                gr.HTML(CONSENT, js_on_load=None)
        answer = gr.JSON(visible=False)
        sent = button.click(
            generate, [portrait, speech, *options.values()], answer, js=BEFORE, show_progress="hidden",
            concurrency_limit=None, preprocess=False, api_visibility="private",
        )  # fmt: skip
        sent.success(None, [answer, portrait, speech], None, js=AFTER)
        sent.failure(None, None, None, js=BROKEN)
    page.queue(max_size=MAX_WAITING)
    return page


def _inputs() -> tuple[gr.Image, gr.Audio]:
    portrait = gr.Image(
        label="Portrait", type="filepath", sources=["upload", "webcam", "clipboard"], height=210, buttons=[],
        placeholder="A photo with one face, from the front", elem_id="th-portrait",
    )  # fmt: skip
    speech = gr.Audio(label="Speech", sources=["upload", "microphone"], buttons=[], elem_id="th-speech")
    return portrait, speech


def option_elements() -> dict[str, gr.components.Component]:
    """Elements by the name of the form field that they fill."""
    with gr.Accordion("Options", open=False, elem_id="th-options"):
        with gr.Row():
            head_motion = _slider("head_motion", "Head motion", "0 still, 1.5 lively")
            expressiveness = _slider("expressiveness", "Expressiveness", "0 flat, 1.5 strong")
        with gr.Row():
            emotion = gr.Dropdown(EMOTIONS, value=DEFAULTS.emotion.value, label="Emotion", info="while speaking")
            emotion_strength = _slider("emotion_strength", "Strength", "of the emotion")
        with gr.Row():
            gaze_x = _slider("gaze_x", "Look aside", "as you see it")
            gaze_y = _slider("gaze_y", "Look up", "or down")
        with gr.Row():
            output = gr.Radio(OUTPUTS, value="square", label="Picture")
        with gr.Row():
            low, high = RANGES["blinks_per_minute"]
            blinks_per_minute = gr.Textbox(  # a number's element would send 0 when it is empty
                label="Blinks per minute", placeholder="as people do", info=f"{low:g} never, {high:g} at most"
            )
            seed = gr.Textbox(label="Seed", placeholder="drawn for you", info="the same seed, the same video")
    return {
        "seed": seed,
        "head_motion": head_motion,
        "expressiveness": expressiveness,
        "emotion": emotion,
        "emotion_strength": emotion_strength,
        "gaze_x": gaze_x,
        "gaze_y": gaze_y,
        "blinks_per_minute": blinks_per_minute,
        "output": output,
    }


def _slider(name: str, label: str, info: str) -> gr.Slider:
    low, high = RANGES[name]
    return gr.Slider(low, high, getattr(DEFAULTS, name), step=STEP, label=label, info=info)


def _path(upload: dict[str, Any] | None) -> str | None:
    """Where an uploaded file lies unread; Gradio has made sure that it is one of its uploads."""
    return None if upload is None else upload.get("path")
