//! What `query` answers, how it writes it, and what it refuses.
use super::*;
