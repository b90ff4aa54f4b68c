//! Every door, tried with what must not pass: who may come in, what may be asked, and that a refusal
//! always says why, in one form, and leaves no trace.

mod absent;
mod bodies;
pub mod claims;
mod fields;
mod guard;
mod keys;
mod raw;
pub mod routes;
mod stored;
