//! Row 2: SIGKILL at every n-th write-like system call of the built binary.
