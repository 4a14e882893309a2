"""The codec: pictures, files, and the exact path from latents to bytes and back."""
