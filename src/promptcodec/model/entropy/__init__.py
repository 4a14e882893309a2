"""Priors, context models, and the schedule in which latents are coded."""
