//! Row 1: SIGKILL at every named point of every step, also during the recovery from the kill before; and at random
//! moments.

mod moments;
mod points;
mod scenes;
