//! Row 1: SIGKILL at named points of every step, also while recovering from an earlier kill.
