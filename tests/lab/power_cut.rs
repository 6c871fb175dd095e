//! Row 3: the power goes. Whatever was acknowledged is there afterwards, and the next start finds its way.
//!
//! Three ways to try it: every durable call is recorded and what a cut at any of them may leave is made (`recorded`);
//! the order of syncs, names and acknowledgements is read off the system calls of the real binary (`order`); a real
//! file system is shut down under the real binary (`mounted`).

mod mounted;
mod order;
mod recorded;
mod trace;
