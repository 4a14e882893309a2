"""Networks that look at pictures in the place of people: classifiers, detectors, readers of text."""
