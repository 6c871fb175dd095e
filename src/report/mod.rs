//! Report: what a batch did, for people and machines.
