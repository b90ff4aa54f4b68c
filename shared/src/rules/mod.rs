//! Thought without I/O. Everything here is a pure function of its arguments, so that it can be
//! tested for every input, and so that the same rule decides in production and in the simulator.

pub mod backoff;
pub mod invocation;
pub mod limits;
pub mod retention;
pub mod rollout;
pub mod task;
