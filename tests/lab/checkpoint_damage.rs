//! Row 5: A checkpoint folder that was deleted, torn, flipped, or put back from an old copy.
