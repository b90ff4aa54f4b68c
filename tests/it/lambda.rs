//! The services as AWS Lambda functions: the real programs, against the runtime API that Lambda shows
//! to them, over a database and a broker of the test's own.

mod broker;
mod event;
mod function;
mod http;
mod runtime_api;
