//! What the API's document promises. Its text is beside this file and is read by the tests, so that
//! the two cannot drift apart.

mod document;
mod keys;
mod lists;
mod servers;
mod tasks;
mod times;
