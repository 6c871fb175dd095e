//! Row 13: Random histories of everything that can happen, against a naive model, compared after every step.
