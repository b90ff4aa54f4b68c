//! Words that cross a wall. A type that is written to or read from the network stands here and
//! nowhere else, so that the wire can be read in one room.

pub mod dead_letter; // messages that could not be handled
pub mod envelope; // DSSE on the wire, and a command's envelope with its proof
pub mod key; // client keys and the plane's signing keys
pub mod object; // JSON objects that are nothing else
pub mod server; // servers
pub mod signed; // what is inside an envelope
pub mod task; // commands, tasks, invocations, results, evidence
