//! Row 9: Two processes on one folder, and what a killed one leaves.
