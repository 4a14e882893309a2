"""Running a trained model: precision, device, exact probabilities, refinement of latents."""
