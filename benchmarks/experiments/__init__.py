"""What trainings and adapters gain, at small sizes."""
