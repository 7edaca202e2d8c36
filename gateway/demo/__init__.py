"""The page that lets anyone try it: a Gradio form, a player on the audio clock, and a plain client of the HTTP API."""
